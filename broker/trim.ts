/**
 * Cutting the beginning of a topic's log: on request before an offset, and by retention in whole chunks. Neither cuts
 * into a stream that is open.
 */

import { asLitetopicError, BatchReader, ByteReader, LitetopicError, type ReplyOf, type UP } from '../protocol/index.ts'
import { forkPoint, hasLarge, storedBytes, type TopicState } from '../storage/index.ts'
import { admit, beginProducer } from './append.ts'
import { CallbackItem } from './committer.ts'
import { type Context, policyOf } from './context.ts'
import { beyondEnd } from './outcomes.ts'
import { checkpointOffset } from './positions.ts'
import type { Attachment, Topic } from './topic.ts'
import { inTurn } from './turns.ts'

const CHUNKS_PER_STEP = 64
/** A trim looks only at chunks that it cuts off, and few more. */
const CHUNKS_PER_TRIM_STEP = 8

export interface TrimRequest {
  readonly producerEpoch: number
  readonly sequence: number
  readonly before?: number
  readonly checkpoint?: string
}

/** Trims before an offset or a checkpoint. Rejects with OFFSET_BEYOND_END, CHECKPOINT_UNKNOWN or BAD_REQUEST. */
export function trim(context: Context, attachment: Attachment, request: TrimRequest): Promise<ReplyOf<typeof UP.trim>> {
  const { topic } = attachment
  const { shard, clock } = context
  return inTurn(topic, async (resolve, reject) => {
    // A repeat is answered as before, also when its checkpoint has been trimmed since.
    const known = admit(context, attachment, request.producerEpoch, request.sequence)
    if (known.kind === 'repeat') {
      shard.log.afterCommit(new CallbackItem(() => resolve({ firstOffset: known.base }), reject))
      return
    }
    const wanted = await wantedOffset(context, topic, request)
    const firstOffset = Math.max(Math.min(wanted, firstOpenOffset(topic.state)), topic.state.firstOffset)
    const freed = await freedBytes(context, topic.state, firstOffset)
    // The table was asked: the topic may have ended meanwhile.
    const verdict = admit(context, attachment, request.producerEpoch, request.sequence)
    if (verdict.kind !== 'next') throw new LitetopicError('INTERNAL', 'a trim was overtaken in its turn')
    beginProducer(context, attachment, request.producerEpoch, verdict)
    const cuts = firstOffset > topic.state.firstOffset
    const done = new CallbackItem(() => {
      if (cuts) trimmed(context, topic)
      resolve({ firstOffset })
    }, reject)
    shard.trim(topic.state, verdict.slot, request.sequence, firstOffset, freed, clock.wallMs(), done)
  })
}

/**
 * Applies retention, if the topic has more than its policy keeps, and notes when its age is to be looked at again; then
 * calls back. A store that cannot be read or written keeps what it has.
 */
export function retain(context: Context, topic: Topic, then: () => void): void {
  topic.retainAtMs = Number.POSITIVE_INFINITY
  if (topic.retaining || !exceeds(context, topic)) return
  topic.retaining = true
  topic.run(async () => {
    topic.retaining = false
    try {
      await retainNow(context, topic)
    } catch (error) {
      context.report(asLitetopicError(error))
    }
    then()
  })
}

async function retainNow(context: Context, topic: Topic): Promise<void> {
  const { state } = topic
  if (topic.end !== null) return
  const { clock, shard, report } = context
  const cut = await retentionCut(context, topic)
  if (topic.end !== null) return
  if (cut.oldestMs !== null) {
    const left = cut.oldestMs + policyOf(context, topic).maxAgeMs - clock.wallMs()
    // A chunk that is too old and yet kept holds part of an open stream: it is looked at at the next flush.
    topic.retainAtMs = left < 0 ? Number.POSITIVE_INFINITY : clock.monotonicMs() + left + 1
  }
  if (cut.firstOffset <= state.firstOffset) return
  const done = new CallbackItem(() => trimmed(context, topic), report)
  shard.trim(state, -1, 0, cut.firstOffset, cut.bytes, clock.wallMs(), done)
}

/** Tells attached clients, and gives the space back. */
function trimmed(context: Context, topic: Topic): void {
  const { firstOffset } = topic.state
  for (const attachment of topic.attachments) {
    attachment.client.notice(attachment.handle, 'trimmed', { firstOffset })
  }
  context.shard.collectTrimmed(topic.state)
}

async function wantedOffset(context: Context, topic: Topic, request: TrimRequest): Promise<number> {
  if ((request.before === undefined) === (request.checkpoint === undefined)) {
    throw new LitetopicError('BAD_REQUEST', 'say either an offset or a checkpoint to trim before')
  }
  if (request.before === undefined) return checkpointOffset(context, topic, request.checkpoint ?? null)
  if (request.before > topic.state.committedTo) throw beyondEnd(topic.state, request.before)
  return request.before
}

function firstOpenOffset(state: TopicState): number {
  let first = state.committedTo
  for (const stream of state.openStreams?.values() ?? []) first = Math.min(first, stream.openOffset)
  return first
}

/** Bytes of the batches that a trim to an offset leaves no record of: in chunks, and in memory behind them. */
async function freedBytes({ shard }: Context, state: TopicState, firstOffset: number): Promise<number> {
  // What a fork shares is not counted as its own.
  let from = Math.max(state.firstOffset, forkPoint(state))
  let bytes = 0
  while (from < firstOffset) {
    const before = from
    for (const batches of await batchesFrom(shard, state, from)) {
      const counted = countBatches(state, batches, from, firstOffset)
      bytes += counted.bytes
      from = counted.next
    }
    if (from === before) break
  }
  return bytes
}

/** Some of the log from the batch that holds an offset on. */
async function batchesFrom(shard: Context['shard'], state: TopicState, from: number): Promise<Uint8Array[]> {
  const memory = shard.readMemory(state, from)
  if (memory !== null) return [memory]
  return shard.chunks(state, from, state.chunkedTo, CHUNKS_PER_TRIM_STEP)
}

/** Bytes of the batches that end behind `from` and not behind `to`, and where the last of them ends. */
function countBatches(
  state: TopicState,
  batches: Uint8Array,
  from: number,
  to: number,
): { bytes: number; next: number } {
  const batch = new BatchReader(new ByteReader(batches))
  const mayBeLarge = hasLarge(state)
  let next = from
  let bytes = 0
  while (batch.advance() && batch.next <= to) {
    // Chunks may overlap, with other bounds, where a flush was cut off.
    if (batch.next <= next) continue
    bytes += storedBytes(batch, mayBeLarge)
    next = batch.next
  }
  return { bytes, next }
}

function exceeds(context: Context, topic: Topic): boolean {
  const policy = policyOf(context, topic)
  const { state } = topic
  if (state.chunkedTo <= state.firstOffset) return false
  return (
    state.bytes > policy.maxBytes ||
    state.nextOffset - state.firstOffset > policy.maxRecords ||
    Number.isFinite(policy.maxAgeMs)
  )
}

interface Cut {
  /** The first offset that is kept, and the bytes freed. */
  firstOffset: number
  bytes: number
  /** Time of the newest record of the first chunk that is kept; null if there is none. */
  oldestMs: number | null
}

/** Takes chunk by chunk from the beginning while something exceeds the policy, but none of an open stream. */
async function retentionCut(context: Context, topic: Topic): Promise<Cut> {
  const { state } = topic
  const { maxBytes, maxRecords, maxAgeMs } = policyOf(context, topic)
  const oldestMs = context.clock.wallMs() - maxAgeMs
  const bound = firstOpenOffset(state)
  const cut: Cut = { firstOffset: state.firstOffset, bytes: 0, oldestMs: null }
  for (;;) {
    const chunks = await context.shard.chunks(state, cut.firstOffset, state.chunkedTo, CHUNKS_PER_STEP)
    for (const batches of chunks) {
      const { next, timeMs } = lastBatch(batches)
      const isTooMuch = state.bytes - cut.bytes > maxBytes || state.nextOffset - cut.firstOffset > maxRecords
      if (next > bound || !(isTooMuch || timeMs < oldestMs)) return { ...cut, oldestMs: timeMs }
      cut.bytes += countBatches(state, batches, Math.max(cut.firstOffset, forkPoint(state)), next).bytes
      cut.firstOffset = next
    }
    if (chunks.length < CHUNKS_PER_STEP) return cut
  }
}

function lastBatch(batches: Uint8Array): { next: number; timeMs: number } {
  const batch = new BatchReader(new ByteReader(batches))
  while (batch.advance());
  return { next: batch.next, timeMs: batch.timeMs }
}
