/**
 * Appending, the hot path: one entry of an append frame becomes one batch of a topic. Checks come first and change
 * nothing; then the sequence, the offsets and the journal move together. Refusals use no sequence.
 */

import {
  type AppendEntry,
  asLitetopicError,
  ByteReader,
  type DataTag,
  KIND,
  LitetopicError,
  type RecordParts,
  RecordWalker,
  type StreamEnd,
  streamStateName,
  tagName,
} from '../protocol/index.ts'
import { findRecordId, findStream, type ShardAppend, type StreamState } from '../storage/index.ts'
import { admitMessages, admitRate, admitStored } from './admission.ts'
import type { CommitItem } from './commit-item.ts'
import { AppendItem, RepeatItem } from './committer.ts'
import { type Context, whenTrue } from './context.ts'
import { renewLease } from './leases.ts'
import { increment } from './observe/counts.ts'
import { checkOpen } from './outcomes.ts'
import { judgeSequence, type Verdict } from './producers.ts'
import { forgetWriter } from './stream-records.ts'
import { refusal, writableStream } from './stream-state.ts'
import type { Attachment, Topic } from './topic.ts'

/** What the records of an entry are, beside tokens and plain messages. */
export interface Inspection {
  effects: boolean
  id: string | undefined
  /** The stream that the entry ends, and how. */
  ends: { readonly streamId: string; readonly state: StreamEnd } | null
  /** Set when the entry's fence names no open stream: the stream that its tokens are of. */
  unwritable: string | null
  /** Its first record is a large message. */
  large: { readonly parts: RecordParts; readonly tag: DataTag } | null
}

/** Used again for each append, as most are a token or two: nothing else is made for one but what waits for its commit. */
const nothing = new Uint8Array(0)
const walker = new RecordWalker(new ByteReader(nothing))
const inspection = nothingFound()
const write: { -readonly [K in keyof ShardAppend<CommitItem>]: ShardAppend<CommitItem>[K] } = {
  slot: -1,
  sequence: 0,
  count: 0,
  effects: false,
  timeMs: 0,
  source: nothing,
  from: 0,
  to: 0,
  item: null,
  principal: undefined,
}

/** Appends the entry whose records lie in `bytes`. The client hears of it by an ack or a refusal. */
export function append(context: Context, attachment: Attachment, entry: AppendEntry, bytes: Uint8Array): void {
  const { topic, client } = attachment
  if (!topic.busy) {
    topic.began(appendNow(context, attachment, entry, bytes))
    return
  }
  const kept = { ...entry }
  const size = entry.to - entry.from
  client.begun(size)
  topic.run(() => {
    client.ended(size)
    return appendNow(context, attachment, kept, bytes)
  })
}

function appendNow(
  context: Context,
  attachment: Attachment,
  entry: AppendEntry,
  bytes: Uint8Array,
): void | Promise<void> {
  try {
    const verdict = admit(context, attachment, entry.producerEpoch, entry.sequence)
    if (verdict.kind === 'repeat') {
      context.shard.log.afterCommit(new RepeatItem(attachment, entry.producerEpoch, entry.sequence, verdict.base))
      return
    }
    const found = inspect(context, attachment.topic, entry, bytes, false, inspection)
    if (found.unwritable === null && found.id === undefined && found.large === null) {
      store(context, attachment, entry, bytes, verdict, found)
      return
    }
    // The entry is the connection's, which reads the next one into it meanwhile, and what was found is told of the next one.
    const kept = { ...entry }
    const lookup = storeAfterLookup(context, attachment, kept, bytes, { ...found })
    return lookup.catch((error: unknown) => refuse(context, attachment, kept, error))
  } catch (error) {
    refuse(context, attachment, entry, error)
  }
}

function refuse(context: Context, attachment: Attachment, entry: AppendEntry, error: unknown): void {
  const { producerEpoch, sequence } = entry
  whenTrue(context, asLitetopicError(error), (refusal) => {
    if (!attachment.detached) attachment.client.refuse(attachment.handle, producerEpoch, sequence, refusal)
  })
}

/** May the attachment mutate its topic with this sequence? Throws what it may not. */
export function admit(context: Context, attachment: Attachment, producerEpoch: number, sequence: number): Verdict {
  const { topic, producerId } = attachment
  context.shard.log.check()
  if (topic.ended !== null) throw topic.ended
  const verdict =
    producerId === null
      ? withoutProducer(attachment)
      : judgeSequence(topic.state, producerId, producerEpoch, sequence, context.clock)
  if (verdict.kind === 'next') attachment.checkFence()
  return verdict
}

/** No sequence is kept of it, in the broker's own slot. */
const ANONYMOUS: Verdict = { kind: 'next', slot: -1, begin: false }

function withoutProducer({ topic, anonymous }: Attachment): Verdict {
  if (anonymous) return ANONYMOUS
  throw new LitetopicError('BAD_REQUEST', `this attachment of topic ${topic.name} may not write: it named no producer`)
}

/** Writes down the producer if the verdict says so; to be called right before its sequence is used. */
export function beginProducer(
  context: Context,
  attachment: Attachment,
  producerEpoch: number,
  verdict: Verdict & { kind: 'next' },
): void {
  if (!verdict.begin) return
  const id = attachment.producerId as string
  context.shard.setProducer(attachment.topic.state, verdict.slot, id, producerEpoch, context.clock.wallMs())
}

async function storeAfterLookup(
  context: Context,
  attachment: Attachment,
  entry: AppendEntry,
  bytes: Uint8Array,
  found: Inspection,
): Promise<void> {
  const { topic } = attachment
  const stored = await storedAt(context, topic, found)
  // The table was asked: the topic may have ended meanwhile. Nothing else can have changed, it was this entry's turn.
  const verdict = admit(context, attachment, entry.producerEpoch, entry.sequence)
  if (verdict.kind !== 'next') throw new LitetopicError('INTERNAL', 'an append was overtaken in its turn')
  if (stored.offset === null) {
    checkOpen(topic)
    const upload = found.large && context.uploads.whole(attachment, found.large.parts, found.large.tag)
    store(context, attachment, entry, bytes, verdict, found)
    if (upload !== null) context.uploads.forget(upload)
    return
  }
  discardUpload(context, attachment, found, stored)
  beginProducer(context, attachment, entry.producerEpoch, verdict)
  const { shard, clock } = context
  const item = new RepeatItem(attachment, entry.producerEpoch, entry.sequence, stored.offset)
  if (attachment.anonymous) shard.log.afterCommit(item)
  else shard.advance(topic.state, verdict.slot, entry.sequence, stored.offset, clock.wallMs(), item)
}

/** Where something is stored already, if it is. */
interface StoredAt {
  readonly offset: number | null
  /** With the content that it names, not only under its id. */
  readonly isOwn: boolean
}

/** Looks for the records in the topic, by their id or their content. Rejects if they are not there and their stream is not to be written. */
export async function storedAt(context: Context, topic: Topic, found: Inspection): Promise<StoredAt> {
  const { table } = context.shard.store
  // A repeat is a repeat, whatever has become of its stream since.
  const own = found.large === null ? null : await context.uploads.committed(topic, found.large.parts.uploadId)
  const offset = own ?? (found.id === undefined ? null : await findRecordId(table, topic.state, found.id))
  if (offset === null && found.unwritable !== null) {
    throw refusal(topic.name, found.unwritable, await findStream(table, topic.state, found.unwritable))
  }
  return { offset, isOwn: own !== null }
}

/** What was stored before under the same id makes an upload superfluous. */
export function discardUpload(context: Context, attachment: Attachment, found: Inspection, stored: StoredAt): void {
  if (found.large !== null && !stored.isOwn) context.uploads.discard(attachment, found.large.parts.uploadId)
}

function store(
  context: Context,
  attachment: Attachment,
  entry: AppendEntry,
  bytes: Uint8Array,
  verdict: Verdict & { kind: 'next' },
  found: Inspection,
): void {
  const { topic } = attachment
  checkOpen(topic)
  admitAppend(context, attachment, entry, bytes, found)
  if (attachment.request !== null && entry.fence >= 0) renewLease(context, attachment, entry.fence)
  const { producerEpoch, sequence, count } = entry
  const item = new AppendItem(topic, attachment, producerEpoch, sequence, topic.state.nextOffset, count)
  writeAppend(context, attachment, entry, bytes, verdict, found, item, item)
}

/** Stores an append that was checked and admitted: `delivery` is told where it lies, and `item` what becomes of it. */
export function writeAppend(
  context: Context,
  attachment: Attachment,
  entry: AppendEntry,
  bytes: Uint8Array,
  verdict: Verdict & { kind: 'next' },
  found: Inspection,
  delivery: AppendItem,
  item: CommitItem,
): void {
  const { topic, client } = attachment
  const { shard, clock } = context
  beginProducer(context, attachment, entry.producerEpoch, verdict)
  write.slot = verdict.slot
  write.sequence = entry.sequence
  write.count = entry.count
  write.effects = found.effects
  write.timeMs = clock.wallMs()
  write.source = bytes
  write.from = entry.from
  write.to = entry.to
  write.item = item
  write.principal = client.identity.principal
  delivery.position = shard.append(topic.state, write)
  delivery.size = shard.log.batchBytes
  topic.noteWrite(attachment)
  topic.lastUsedMs = topic.appendedMs = clock.monotonicMs()
  if (found.ends === null) return
  forgetWriter(topic, found.ends.streamId)
  increment(context.counts.streams, found.ends.state)
}

/**
 * Are the bounds of the attachment's scopes kept? An end by itself is stored even where nothing else may be: streams end. Throws
 * LIMIT_EXCEEDED or RATE_LIMITED.
 */
export function admitAppend(
  { clock }: Context,
  attachment: Attachment,
  entry: AppendEntry,
  bytes: Uint8Array,
  found: Inspection,
): void {
  const { scopes } = attachment
  if (scopes.length === 0) return
  const size = entry.to - entry.from
  const content = found.large?.parts.size ?? 0
  admitMessages(scopes, bytes, entry.from, entry.to)
  for (const scope of scopes) scope.check('messageBytes', content)
  if (found.ends === null || entry.count > 1) admitStored(scopes, size + content)
  admitRate(attachment, entry.count, size + content, clock.monotonicMs())
}

function nothingFound(): Inspection {
  return { effects: false, id: undefined, ends: null, unwritable: null, large: null }
}

/**
 * Checks every record of an entry against its shape, its tag and its stream, and says in `found` what they are; `isChecked`: data and
 * tag were held against each other when it was encoded. Throws BAD_FRAME, BAD_VALUE, BAD_REQUEST.
 */
export function inspect(
  { counts }: Context,
  topic: Topic,
  entry: AppendEntry,
  bytes: Uint8Array,
  isChecked = false,
  found: Inspection = nothingFound(),
): Inspection {
  walker.restart(bytes, entry.from, entry.to)
  found.effects = false
  found.id = undefined
  found.ends = found.unwritable = found.large = null
  const stream = entry.fence < 0 ? null : writableStream(topic.state, entry.fence)
  let count = 0
  for (; walker.next(); count++) {
    if (!isChecked) walker.checkData()
    counts.received(walker.kind, walker.end - walker.start)
    if (walker.repeat && found.ends === null && walker.extrasTo === 0) continue
    if (walker.kind === KIND.token || walker.kind === KIND.stream) inspectStreamRecord(topic, stream, walker, found)
    const extras = walker.extras()
    const id = extras?.id
    if (extras?.parts !== undefined) {
      if (count > 0 || walker.kind !== KIND.message) {
        throw new LitetopicError('BAD_REQUEST', 'only a message that is the first record of its append may be large')
      }
      found.large = { parts: extras.parts, tag: tagName(walker.tag) }
      found.effects = true
    }
    if (id !== undefined && count === 0) found.id = id
    if (id !== undefined && count > 0) {
      throw new LitetopicError('BAD_REQUEST', 'only the first record of an append may carry an id')
    }
    if (id !== undefined || (walker.kind !== KIND.token && walker.kind !== KIND.message)) found.effects = true
  }
  if (count !== entry.count) {
    throw new LitetopicError('BAD_FRAME', `an append of ${count} records that says ${entry.count}`)
  }
  return found
}

function inspectStreamRecord(topic: Topic, stream: StreamState | null, walker: RecordWalker, found: Inspection): void {
  const streamId = walker.name()
  if (stream === null) found.unwritable ??= streamId
  if (streamId !== (stream?.streamId ?? found.unwritable)) {
    throw new LitetopicError('BAD_REQUEST', 'the tokens and stream records of an append are of the stream of its fence')
  }
  if (found.ends !== null) {
    throw new LitetopicError('STREAM_ENDED', `an append to stream ${streamId} of topic ${topic.name} behind its end`, {
      streamId,
    })
  }
  if (walker.kind === KIND.stream) found.ends = endOf(walker, streamId)
}

function endOf(walker: RecordWalker, streamId: string): Inspection['ends'] {
  const state = streamStateName(walker.code)
  if (state === 'done' || state === 'failed') return { streamId, state }
  throw new LitetopicError('BAD_REQUEST', `a client may end a stream as done or failed, not write ${state}`)
}
