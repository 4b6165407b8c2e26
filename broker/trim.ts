/**
 * Cutting the beginning of a topic's log: on request before an offset, and by retention in whole chunks. Neither cuts
 * into a stream that is open.
 */

import { BatchReader, ByteReader, LitetopicError, type ReplyOf, type UP } from '../protocol/index.ts'
import type { TopicState } from '../storage/index.ts'
import { admit, beginProducer } from './append.ts'
import { CallbackItem } from './committer.ts'
import { type Context, policyOf } from './context.ts'
import { beyondEnd } from './outcomes.ts'
import { checkpointOffset } from './positions.ts'
import type { Attachment, Topic } from './topic.ts'
import { inTurn } from './turns.ts'

const CHUNKS_PER_STEP = 64
/** Checksum before a chunk's batches. */
const SEAL_BYTES = 4

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
    const wanted = await wantedOffset(context, topic, request)
    const firstOffset = Math.max(Math.min(wanted, firstOpenOffset(topic.state)), topic.state.firstOffset)
    const freed = await freedBytes(context, topic.state, firstOffset)
    const verdict = admit(context, attachment, request.producerEpoch, request.sequence)
    if (verdict.kind === 'repeat') {
      shard.log.afterCommit(new CallbackItem(() => resolve({ firstOffset: verdict.base }), reject))
      return
    }
    beginProducer(context, attachment, request.producerEpoch, verdict)
    const done = new CallbackItem(() => {
      trimmed(context, topic)
      resolve({ firstOffset })
    }, reject)
    shard.trim(topic.state, verdict.slot, request.sequence, firstOffset, freed, clock.wallMs(), done)
  })
}

/** Applies retention, if the topic has more than its policy keeps. */
export function retain(context: Context, topic: Topic): void {
  if (!exceeds(context, topic)) return
  topic.run(async () => {
    try {
      const { state } = topic
      const cut = await retentionCut(context, topic)
      if (cut.firstOffset <= state.firstOffset || topic.ended !== null) return
      const done = new CallbackItem(
        () => trimmed(context, topic),
        () => undefined,
      )
      context.shard.trim(state, -1, 0, cut.firstOffset, cut.bytes, context.clock.wallMs(), done)
    } catch {
      // A store that cannot be read or written keeps what it has; retention is tried again at the next flush.
    }
  })
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

/** Bytes of the chunks that lie wholly before an offset. */
async function freedBytes(context: Context, state: TopicState, firstOffset: number): Promise<number> {
  let bytes = 0
  let from = state.firstOffset
  while (from < Math.min(firstOffset, state.chunkedTo)) {
    const chunks = await context.shard.chunks(state, from, firstOffset, CHUNKS_PER_STEP)
    if (chunks.length === 0) break
    for (const { value } of chunks) {
      bytes += value.length - SEAL_BYTES
      from = lastBatch(value).next
    }
  }
  return bytes
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

/** The first offset that retention keeps, and the bytes it frees: chunk by chunk while something exceeds the policy. */
async function retentionCut(context: Context, topic: Topic): Promise<{ firstOffset: number; bytes: number }> {
  const { state } = topic
  const policy = policyOf(context, topic)
  const oldestMs = context.clock.wallMs() - policy.maxAgeMs
  const bound = firstOpenOffset(state)
  let firstOffset = state.firstOffset
  let bytes = 0
  for (;;) {
    const chunks = await context.shard.chunks(state, firstOffset, state.chunkedTo, CHUNKS_PER_STEP)
    for (const { value } of chunks) {
      const { next, timeMs } = lastBatch(value)
      const size = value.length - SEAL_BYTES
      const over =
        state.bytes - bytes > policy.maxBytes || state.nextOffset - firstOffset > policy.maxRecords || timeMs < oldestMs
      const enough =
        state.bytes - bytes - size < policy.maxBytes &&
        state.nextOffset - next < policy.maxRecords &&
        timeMs >= oldestMs
      if (!over || next > bound) return { firstOffset, bytes }
      firstOffset = next
      bytes += size
      if (enough) return { firstOffset, bytes }
    }
    if (chunks.length < CHUNKS_PER_STEP) return { firstOffset, bytes }
  }
}

function lastBatch(chunk: Uint8Array): { next: number; timeMs: number } {
  const batch = new BatchReader(new ByteReader(chunk, SEAL_BYTES))
  while (batch.advance());
  return { next: batch.next, timeMs: batch.timeMs }
}
