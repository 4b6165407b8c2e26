/**
 * An append that is answered by a promise, and may do more than append: close the topic, and check and keep a writer's own order
 * (`streamSeq`). All of it, with the producer's sequence, is one commit. See PROTOCOL.md, Closing.
 */

import { type AppendEntry, invariant, LIMITS, LitetopicError } from '../protocol/index.ts'
import {
  admit,
  admitAppend,
  beginProducer,
  discardUpload,
  type Inspection,
  inspect,
  storedAt,
  writeAppend,
} from './append.ts'
import type { CommitItem } from './commit-item.ts'
import { AppendItem, CallbackItem, InOrder } from './committer.ts'
import { checkSameType } from './content-type.ts'
import type { Context } from './context.ts'
import { checkOpen } from './outcomes.ts'
import { findSlot, type Verdict } from './producers.ts'
import { stopStream } from './streams.ts'
import type { Attachment, Topic } from './topic.ts'
import { inTurn } from './turns.ts'
import type { Upload } from './upload.ts'

/** More than a record that stops a stream takes in the journal. */
const STOPPED_BYTES = 2 * LIMITS.nameBytes

export interface AtomicAppend {
  /** Of the attachment's producer; 0 for an attachment without. */
  readonly producerEpoch: number
  readonly sequence: number
  /** Encoded as PROTOCOL.md says, and how many they are: at most `appendBytes` and `appendRecords`; none only to close. */
  readonly records: Uint8Array
  readonly count: number
  /** Was their data held against its tag when they were encoded? Then it is not looked at again. Default false. */
  readonly isChecked?: boolean
  /** Of the stream whose tokens or end they are; -1 for none. Default -1. */
  readonly fence?: number
  /** The topic takes no more records behind these. Streams that are open then end as stopped. Default false. */
  readonly close?: boolean
  /** Must be that of the topic, but for its parameters. Not looked at where there are no records. */
  readonly contentType?: string
  /** Must be greater than that of any append before, byte by byte; 1 to `streamSeqBytes` bytes. */
  readonly streamSeq?: string
}

export interface AtomicAppended {
  /** The incarnation of the topic. */
  readonly epoch: number
  /** Of the first record; if there is none, where it would be. Of a repeat that of the original; null if it is too long ago. */
  readonly offset: number | null
  /** The end of the topic, as it is now. */
  readonly nextOffset: number
  /** All of it was done before. */
  readonly repeat: boolean
  readonly closed: boolean
  /** The newest sequence of the producer; -1 for an attachment without. */
  readonly sequence: number
}

type Next = Verdict & { readonly kind: 'next' }

/**
 * Resolves when it is durable. Rejects with CLOSED (details `{nextOffset}`), CONTENT_TYPE_MISMATCH, STREAM_SEQ_STALE (details `{streamSeq}`, the newest),
 * PRODUCER_STALE (details `{producerEpoch}`), SEQUENCE_GAP (details `{expected, sequence}`, and `producerEpoch`, the one known, where a
 * new epoch does not begin with 0), PRODUCER_UNKNOWN or PRODUCER_LIMIT; LIMIT_EXCEEDED or RATE_LIMITED; BAD_FRAME, BAD_VALUE or
 * BAD_REQUEST; and with what else an append can be refused with. Then nothing of it was done.
 */
export function atomicAppend(context: Context, attachment: Attachment, request: AtomicAppend): Promise<AtomicAppended> {
  return inTurn(attachment.topic, (appended, failed) =>
    appendInTurn(context, attachment, request, { appended, failed }),
  )
}

/** Who is told what became of an append. */
export interface Appending {
  appended(outcome: AtomicAppended): void
  failed(error: LitetopicError): void
}

/**
 * The same where no other operation is under way on the topic, and the records are messages without ids, so that the table need not be
 * asked: who appends is told when it is durable, or cannot be. Throws what `atomicAppend` rejects with: then nothing was done.
 */
export function atomicAppendNow(
  context: Context,
  attachment: Attachment,
  request: AtomicAppend,
  appending: Appending,
): void {
  const { topic } = attachment
  topic.uses++
  try {
    const later = appendInTurn(context, attachment, request, new InUse(topic, appending))
    invariant(later === undefined, 'an append of messages without ids waits for nothing but its commit')
  } catch (error) {
    topic.uses--
    throw error
  }
}

/** Keeps the topic resident until it is known what became of an append. */
class InUse implements Appending {
  private readonly topic: Topic
  private readonly appending: Appending

  constructor(topic: Topic, appending: Appending) {
    this.topic = topic
    this.appending = appending
  }

  appended(outcome: AtomicAppended): void {
    this.topic.uses--
    this.appending.appended(outcome)
  }

  failed(error: LitetopicError): void {
    this.topic.uses--
    this.appending.failed(error)
  }
}

/** The answer to an append, to be given when it is durable. */
class Answer implements CommitItem {
  private readonly appending: Appending
  private readonly attachment: Attachment
  private readonly offset: number | null
  private readonly repeat: boolean

  constructor(appending: Appending, attachment: Attachment, offset: number | null, repeat: boolean) {
    this.appending = appending
    this.attachment = attachment
    this.offset = offset
    this.repeat = repeat
  }

  /** Tells how the topic is then, too. */
  committed(): void {
    const { offset, repeat, attachment } = this
    const { topic, producerId } = attachment
    const { epoch, committedTo: nextOffset, closed, producers } = topic.state
    const producer = producerId === null ? null : producers?.[findSlot(topic.state, producerId)]
    this.appending.appended({ epoch, offset, repeat, nextOffset, closed, sequence: producer?.sequence ?? -1 })
  }

  failed(error: LitetopicError): void {
    this.appending.failed(error)
  }
}

function appendInTurn(
  context: Context,
  attachment: Attachment,
  request: AtomicAppend,
  appending: Appending,
): void | Promise<void> {
  const { topic } = attachment
  const { log } = context.shard
  checkRequest(request)
  if (isForgotten(attachment, request)) {
    log.afterCommit(new Answer(appending, attachment, null, true))
    return
  }
  const verdict = admitRequest(context, attachment, request)
  if (verdict.kind === 'repeat') {
    log.afterCommit(new Answer(appending, attachment, verdict.base, true))
    return
  }
  const entry = entryOf(attachment, request)
  const found = request.count === 0 ? null : inspect(context, topic, entry, request.records, request.isChecked)
  if (found !== null && mayBeStored(found))
    return afterLookup(context, attachment, request, { entry, found }, appending)
  const base = topic.state.nextOffset
  if (found === null) {
    finish(context, attachment, request, verdict, base, new Answer(appending, attachment, base, topic.state.closed))
    return
  }
  const answer = new Answer(appending, attachment, base, false)
  appendAll(context, attachment, request, { entry, found, next: verdict }, answer)
}

async function afterLookup(
  context: Context,
  attachment: Attachment,
  request: AtomicAppend,
  { entry, found }: { entry: AppendEntry; found: Inspection },
  appending: Appending,
): Promise<void> {
  const { topic } = attachment
  const stored = await storedAt(context, topic, found)
  // The table was asked: the topic may have ended meanwhile. Nothing else can have changed, it was this one's turn.
  const next = admit(context, attachment, entry.producerEpoch, entry.sequence)
  if (next.kind !== 'next') throw new LitetopicError('INTERNAL', 'an append was overtaken in its turn')
  if (stored.offset === null) {
    const answer = new Answer(appending, attachment, topic.state.nextOffset, false)
    appendAll(context, attachment, request, { entry, found, next }, answer)
    return
  }
  discardUpload(context, attachment, found, stored)
  const isRepeat = request.close !== true || topic.state.closed
  const answer = new Answer(appending, attachment, stored.offset, isRepeat)
  finish(context, attachment, request, next, stored.offset, answer)
}

/** Is the table to be asked whether the records are there already, or whether their stream is to be written? */
function mayBeStored({ id, large, unwritable }: Inspection): boolean {
  return id !== undefined || large !== null || unwritable !== null
}

function appendAll(
  context: Context,
  attachment: Attachment,
  request: AtomicAppend,
  { entry, found, next }: { entry: AppendEntry; found: Inspection; next: Next },
  answer: CommitItem,
): void {
  const { topic } = attachment
  checkOpen(topic)
  if (request.contentType !== undefined) checkSameType(topic, request.contentType)
  checkStreamSeq(topic, request)
  const upload: Upload | null = found.large && context.uploads.whole(attachment, found.large.parts, found.large.tag)
  admitAppend(context, attachment, entry, request.records, found)
  const delivery = new AppendItem(topic, null, 0, 0, topic.state.nextOffset, entry.count)
  const write = (item: CommitItem): void =>
    writeAppend(context, attachment, entry, request.records, next, found, delivery, item)
  const hasRest = request.close === true || request.streamSeq !== undefined
  // One operation needs no room kept for it.
  if (!hasRest && !next.begin) write(new InOrder(delivery, answer))
  else {
    together(context, attachment, request, () => {
      write(hasRest ? delivery : new InOrder(delivery, answer))
      if (hasRest) writeRest(context, attachment, request, -1, 0, answer)
    })
  }
  if (upload !== null) context.uploads.forget(upload)
}

/** Uses the sequence without a record, and does what else is asked. */
function finish(
  context: Context,
  attachment: Attachment,
  request: AtomicAppend,
  next: Next,
  base: number,
  answer: CommitItem,
): void {
  const { topic } = attachment
  const { shard, clock } = context
  const closes = request.close === true && !topic.state.closed
  if (closes) checkStreamSeq(topic, request)
  together(context, attachment, request, () => {
    beginProducer(context, attachment, request.producerEpoch, next)
    if (closes) writeRest(context, attachment, request, next.slot, base, answer)
    else if (next.slot < 0) shard.log.afterCommit(answer)
    else shard.advance(topic.state, next.slot, request.sequence, base, clock.wallMs(), answer)
  })
}

/** The text of the order, and the close with the ends of streams; `slot` is that of the producer whose sequence it uses, or -1. */
function writeRest(
  context: Context,
  { topic }: Attachment,
  { close, streamSeq, sequence }: AtomicAppend,
  slot: number,
  base: number,
  answer: CommitItem,
): void {
  if (streamSeq !== undefined) context.shard.setExtra(topic.state, { streamSeq }, close === true ? null : answer)
  if (close === true) closeNow(context, topic, { slot, sequence, base }, answer)
}

/**
 * The topic takes no more records: streams that are open end as stopped. `slot` is that of the producer whose sequence it uses, or -1.
 * To be called where all of it goes into one commit, for which `closeBytes` are needed.
 */
export function closeNow(
  context: Context,
  topic: Topic,
  { slot, sequence, base }: { slot: number; sequence: number; base: number },
  answer: CommitItem,
): void {
  const { shard, clock } = context
  const { state } = topic
  for (const streamId of [...(state.openStreams?.keys() ?? [])]) stopStream(context, topic, streamId, CLOSE_REASON)
  const closed = new CallbackItem(
    () => {
      state.closeCommitted = true
      for (const reader of [...topic.subscriptions]) reader.finish()
      answer.committed()
    },
    (error) => answer.failed(error),
  )
  shard.closeTopic(state, slot, sequence, base, clock.wallMs(), closed)
  topic.lastUsedMs = topic.appendedMs = clock.monotonicMs()
}

/** More than closing a topic takes that has so many open streams. */
export function closeBytes(openStreams: number): number {
  return openStreams * STOPPED_BYTES
}

/** What readers of a stream are told that was open when its topic was closed. */
const CLOSE_REASON = 'the topic was closed'

function together({ shard }: Context, { topic, client }: Attachment, request: AtomicAppend, write: () => void): void {
  const open = request.close === true ? closeBytes(topic.state.openStreams?.size ?? 0) : 0
  const texts = 3 * ((client.identity.principal?.length ?? 0) + LIMITS.nameBytes + LIMITS.streamSeqBytes)
  shard.together(request.records.length + texts + open, write)
}

function entryOf({ handle }: Attachment, request: AtomicAppend): AppendEntry {
  const { producerEpoch, sequence, fence = -1, count, records } = request
  return { handle, producerEpoch, sequence, fence, count, from: 0, to: records.length }
}

/** A closed topic is told of before a sequence that is not the next one: what follows is of no interest then. */
function admitRequest(context: Context, attachment: Attachment, request: AtomicAppend): Verdict {
  try {
    return admit(context, attachment, request.producerEpoch, request.sequence)
  } catch (error) {
    if (attachment.topic.ended === null && attachment.topic.state.closed) checkOpen(attachment.topic)
    throw error
  }
}

/** Was it done so long ago that its offset is not known any more? Its sequence says that it was. */
function isForgotten({ topic, producerId }: Attachment, { producerEpoch, sequence }: AtomicAppend): boolean {
  const producer = producerId === null ? null : topic.state.producers?.[findSlot(topic.state, producerId)]
  if (topic.end !== null || !producer || producer.epoch !== producerEpoch) return false
  return sequence <= producer.sequence - producer.bases.length
}

function checkRequest({ records, count, close, streamSeq }: AtomicAppend): void {
  const tooMuch = (limit: 'appendBytes' | 'appendRecords' | 'streamSeqBytes', value: number): void => {
    const bound = LIMITS[limit]
    if (value <= bound) return
    throw new LitetopicError('LIMIT_EXCEEDED', `an append of ${value} exceeds ${limit} (${bound})`, {
      limit,
      value,
      bound,
    })
  }
  tooMuch('appendBytes', records.length)
  tooMuch('appendRecords', count)
  if (streamSeq !== undefined) tooMuch('streamSeqBytes', Buffer.byteLength(streamSeq))
  if (count === 0 && (close !== true || records.length > 0)) {
    throw new LitetopicError('BAD_REQUEST', 'an append of no records, which does not close its topic either')
  }
}

function checkStreamSeq({ name, state }: Topic, { streamSeq }: AtomicAppend): void {
  const newest = state.extra?.streamSeq
  if (streamSeq === undefined || newest === undefined) return
  if (Buffer.compare(Buffer.from(streamSeq), Buffer.from(newest)) > 0) return
  throw new LitetopicError(
    'STREAM_SEQ_STALE',
    `the newest append to topic ${name} came with a Stream-Seq not below this one`,
    {
      streamSeq: newest,
    },
  )
}
