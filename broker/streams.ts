/** Operations on token streams: open, continue, join, stop, and what happens when a writer's connection is gone. */

import { isStreamEnd, LIMITS, LitetopicError, type ReplyOf, type StreamInfo, type UP } from '../protocol/index.ts'
import { findStream, type StreamState } from '../storage/index.ts'
import { admitRate, admitStored } from './admission.ts'
import { admit, beginProducer } from './append.ts'
import { CallbackItem } from './committer.ts'
import type { Context } from './context.ts'
import { connectionOf, renewLease, setLease } from './leases.ts'
import { checkOpen } from './outcomes.ts'
import { appendStreamRecord, appendUnlessFailed, forgetWriter, setGrace } from './stream-records.ts'
import { decideOpen, type OpenMode, refusal, streamInfo } from './stream-state.ts'
import type { Attachment, Topic } from './topic.ts'
import { inTurn } from './turns.ts'

/** Of a stream record, beside its names and text. */
const STREAM_RECORD_BYTES = 8

export interface OpenRequest {
  readonly producerEpoch: number
  readonly sequence: number
  readonly streamId: string
  readonly mode: OpenMode
}

type OpenReply = ReplyOf<typeof UP.openStream>

/**
 * Opens, continues or joins a stream for the attachment. Rejects with STREAM_EXISTS, STREAM_UNKNOWN, STREAM_ENDED,
 * LIMIT_EXCEEDED, or what a sequence can be refused with.
 */
export function openStream(context: Context, attachment: Attachment, request: OpenRequest): Promise<OpenReply> {
  return inTurn(attachment.topic, async (resolve, reject) => {
    const { topic } = attachment
    const { streamId, producerEpoch, sequence } = request
    if (attachment.anonymous) throw new LitetopicError('BAD_REQUEST', 'who opens a stream names its producer')
    const found = findStream(context.shard.store.table, topic.state, streamId)
    const stream = found instanceof Promise ? await found : found
    // Its connection may be gone meanwhile, and would never be told to be gone as that of a writer.
    if (attachment.detached) throw new LitetopicError('UNKNOWN_HANDLE', 'the handle was detached meanwhile')
    const verdict = admit(context, attachment, producerEpoch, sequence)
    const reply = (fence: number | null, offset: number | null) => (): void => {
      resolve({ fence, stream: streamInfo(current(topic, stream, streamId), topic.isLive(streamId)), offset })
    }
    if (verdict.kind === 'repeat') {
      // It has been trimmed since, or the sequence is that of something else.
      if (stream === null) throw streamUnknown(topic, streamId)
      const fence = verdict.base < 0 ? null : verdict.base
      if (fence !== null && topic.state.openStreams?.get(streamId)?.fence === fence && !attachment.isFenced) {
        becomeWriter(context, attachment, streamId, fence)
      }
      context.shard.log.afterCommit(new CallbackItem(reply(fence, fence), reject))
      return
    }
    const decision = decideOpen(request.mode, streamId, stream, isLiveElsewhere(attachment, streamId), topic.name)
    checkRoom(topic, stream)
    if (decision !== 'report') {
      checkOpen(topic)
      admitRecord(context, attachment, streamId)
    }
    beginProducer(context, attachment, producerEpoch, verdict)
    if (decision === 'report') {
      const done = new CallbackItem(reply(null, null), reject)
      context.shard.advance(topic.state, verdict.slot, sequence, -1, context.clock.wallMs(), done)
      return
    }
    const fence = topic.state.nextOffset
    const record = { state: decision, streamId, slot: verdict.slot, sequence }
    const done = new CallbackItem(reply(fence, fence), reject)
    appendStreamRecord(context, topic, record, done, attachment.client.identity.principal)
    becomeWriter(context, attachment, streamId, fence)
  })
}

/** Ends a stream, or all that are open, as stopped. After an end it answers with that end; an unknown id is born stopped. */
export function stopStreams(
  context: Context,
  attachment: Attachment,
  streamId: string | null,
  reason: string | null,
): Promise<ReplyOf<typeof UP.stop>> {
  return inTurn(attachment.topic, async (resolve, reject) => {
    const { topic } = attachment
    context.shard.log.check()
    if (topic.ended !== null) throw topic.ended
    const ids = streamId === null ? [...(topic.state.openStreams?.keys() ?? [])] : [streamId]
    const ended: StreamInfo[] = []
    for (const id of ids) {
      const found = findStream(context.shard.store.table, topic.state, id)
      const stream = found instanceof Promise ? await found : found
      if (topic.ended !== null) throw topic.ended
      // One that is open ends in any case; any other id may be made up.
      if (stream === null) {
        checkOpen(topic)
        admitRecord(context, attachment, id, reason)
      }
      if (stream === null || !isStreamEnd(stream.state)) {
        stopStream(context, topic, id, reason, attachment.client.identity.principal)
      }
      ended.push(streamInfo(current(topic, stream, id), false))
    }
    context.shard.log.afterCommit(new CallbackItem(() => resolve({ streams: ended }), reject))
  })
}

/**
 * A request that has nothing to append says that the writer of the stream is at work. Rejects with STREAM_UNKNOWN, STREAM_ENDED or
 * FENCED.
 */
export function keepStream(
  context: Context,
  attachment: Attachment,
  streamId: string,
  fence: number,
): Promise<ReplyOf<typeof UP.stream>> {
  return inTurn(attachment.topic, async (resolve, reject) => {
    const { topic } = attachment
    context.shard.log.check()
    const stream = await findStream(context.shard.store.table, topic.state, streamId)
    if (topic.ended !== null) throw topic.ended
    attachment.checkFence()
    if (topic.state.openStreams?.get(streamId)?.fence !== fence) throw refusal(topic.name, streamId, stream)
    renewLease(context, attachment, fence)
    const told = (): void => resolve({ stream: streamInfo(current(topic, stream, streamId), topic.isLive(streamId)) })
    context.shard.log.afterCommit(new CallbackItem(told, reject))
  })
}

/** Its writer is gone, or shut out from the topic: its streams are lost after the grace, unless they are continued before. */
export function orphanStreams(context: Context, attachment: Attachment): void {
  const { topic } = attachment
  if (attachment.writes === null) return
  const lostAt = context.clock.monotonicMs() + context.streamGraceMs
  for (const streamId of attachment.writes) {
    if (topic.writers?.get(streamId) !== attachment) continue
    topic.writers.delete(streamId)
    setGrace(topic, streamId, lostAt)
  }
  attachment.writes = null
}

/** Writes `lost` for the streams whose grace has run out. */
export function loseStreams(context: Context, topic: Topic, nowMs: number): void {
  if (topic.graces === null) return
  for (const [streamId, { lostAtMs }] of topic.graces) {
    if (lostAtMs > nowMs) continue
    topic.graces.delete(streamId)
    topic.run(() => {
      const stream = topic.state.openStreams?.get(streamId)
      if (topic.ended !== null || stream === undefined || stream.state === 'lost' || topic.isLive(streamId)) return
      appendUnlessFailed(context, topic, 'lost', streamId)
    })
  }
}

/** Is a stream record of the broker's own making within the bounds of the attachment's scopes? */
function admitRecord({ clock }: Context, attachment: Attachment, streamId: string, reason: string | null = null): void {
  const { scopes } = attachment
  if (scopes.length === 0) return
  const bytes = STREAM_RECORD_BYTES + Buffer.byteLength(streamId) + Buffer.byteLength(reason ?? '')
  admitStored(scopes, bytes)
  admitRate(attachment, 1, bytes, clock.monotonicMs())
}

/** Writes the end of a stream that has none, and tells its writer when it is durable. */
export function stopStream(
  context: Context,
  topic: Topic,
  streamId: string,
  reason: string | null,
  principal?: string,
): void {
  const writer = topic.writers?.get(streamId)
  const fence = topic.state.openStreams?.get(streamId)?.fence
  const data = reason === null ? undefined : ({ tag: 'json', value: JSON.stringify({ reason }) } as const)
  const told = new CallbackItem(() => {
    if (writer !== undefined && !writer.detached) {
      writer.client.notice(writer.handle, 'stopped', { streamId, fence, reason })
    }
  }, ignore)
  appendStreamRecord(context, topic, { state: 'stopped', streamId, data }, told, principal)
  forgetWriter(topic, streamId)
}

/**
 * A producer has attached again: the open streams that it was the last to write are live, for it goes on with the fence
 * it has. Of one already `lost` the readers are told that it is resumed.
 */
export function adoptStreams(context: Context, attachment: Attachment, slot: number): void {
  const { topic } = attachment
  for (const stream of topic.state.openStreams?.values() ?? []) {
    if (stream.writerSlot !== slot) continue
    // What is there is the same producer's former connection, not yet known to be gone.
    topic.writers?.get(stream.streamId)?.writes?.delete(stream.streamId)
    setWriter(topic, attachment, stream.streamId)
    if (stream.state === 'lost') resumeLost(context, topic, stream.streamId)
  }
}

/** A `resumed` record of the broker's own: it gives no new fence, for the writer is the one that has it. */
function resumeLost(context: Context, topic: Topic, streamId: string): void {
  topic.run(() => {
    if (topic.ended !== null || topic.state.openStreams?.get(streamId)?.state !== 'lost') return
    appendUnlessFailed(context, topic, 'resumed', streamId)
  })
}

/** Has it a writer that is neither the attachment nor what is open for the same producer? */
function isLiveElsewhere(attachment: Attachment, streamId: string): boolean {
  const { topic, producerId } = attachment
  const writer = topic.writers?.get(streamId)
  if (writer !== undefined) return writer !== connectionOf(attachment)
  const lease = topic.graces?.get(streamId)?.lease ?? null
  return lease !== null && lease.producerId !== producerId
}

/** It, or who is connected for it, is the writer from now on; one without a connection has a lease. */
function becomeWriter(context: Context, attachment: Attachment, streamId: string, fence: number): void {
  const { topic, producerId, request } = attachment
  const connection = connectionOf(attachment)
  const before = topic.writers?.get(streamId)
  if (before !== undefined && before !== connection) {
    before.writes?.delete(streamId)
    if (!before.detached) before.client.notice(before.handle, 'fenced', { streamId, fence })
  }
  if (connection !== null) setWriter(topic, connection, streamId)
  else {
    topic.writers?.delete(streamId)
    setLease(context, topic, streamId, { producerId, leaseMs: request?.leaseMs ?? LIMITS.leaseMs })
    topic.noteWrite(attachment)
  }
}

function setWriter(topic: Topic, attachment: Attachment, streamId: string): void {
  topic.writers ??= new Map()
  topic.writers.set(streamId, attachment)
  topic.graces?.delete(streamId)
  attachment.writes ??= new Set()
  attachment.writes.add(streamId)
  topic.noteWrite(attachment)
}

function streamUnknown(topic: Topic, streamId: string): LitetopicError {
  return new LitetopicError('STREAM_UNKNOWN', `topic ${topic.name} has no stream ${streamId}`, { streamId })
}

function checkRoom(topic: Topic, stream: StreamState | null): void {
  const open = topic.state.openStreams?.size ?? 0
  if (stream !== null || open < LIMITS.openStreamsPerTopic) return
  throw new LitetopicError('LIMIT_EXCEEDED', `topic ${topic.name} has ${open} open streams, as many as it may`, {
    limit: 'openStreamsPerTopic',
    value: open + 1,
    bound: LIMITS.openStreamsPerTopic,
  })
}

/** The stream as it is now, also when it has just been opened or ended. */
function current(topic: Topic, stream: StreamState | null, streamId: string): StreamState {
  const { openStreams, recent, flushing } = topic.state
  const now = openStreams?.get(streamId) ?? recent?.ended?.get(streamId) ?? flushing?.ended?.get(streamId) ?? stream
  if (now === null) throw new LitetopicError('INTERNAL', `stream ${streamId} of topic ${topic.name} is known`)
  return now
}

function ignore(): void {}
