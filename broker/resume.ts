/**
 * The answer to `resume`, in one round trip: outcome, checkpoint, the context as of it, and the streams that are open or
 * ended since, with their text so far. What is too large to be sent inline is left out and said so.
 */

import {
  type CheckpointInfo,
  formatCursor,
  LIMITS,
  LitetopicError,
  parseCursor,
  type ReplyOf,
  type UP,
} from '../protocol/index.ts'
import type { StreamState } from '../storage/index.ts'
import { allCommitted, type Context } from './context.ts'
import { contextPage, entryBytes } from './context-entries.ts'
import { judgeCursor } from './outcomes.ts'
import { checkpointOffset, readRecord } from './positions.ts'
import { streamInfo } from './stream-state.ts'
import { type Room, streamsInMemory, streamsSince, textOf } from './stream-text.ts'
import type { Topic } from './topic.ts'

type ResumeReply = ReplyOf<typeof UP.resume>

export interface ResumeRequest {
  readonly cursor?: string
  readonly checkpoint?: string | null
}

/** Rejects with BAD_CURSOR, OFFSET_BEYOND_END, CHECKPOINT_UNKNOWN or STORE_CORRUPT. */
export async function resume(context: Context, topic: Topic, request: ResumeRequest): Promise<ResumeReply> {
  if ((request.cursor === undefined) === (request.checkpoint === undefined)) {
    throw new LitetopicError('BAD_REQUEST', 'say either a cursor or a checkpoint to resume from')
  }
  const { state } = topic
  const { incarnation } = context.shard
  const checkpoint =
    request.checkpoint === undefined ? null : await checkpointOffset(context, topic, request.checkpoint)
  const { firstOffset, committedTo: nextOffset } = state
  const reply: ResumeReply = { outcome: 'continued', firstOffset, nextOffset, cursor: null }
  const next =
    checkpoint === null ? parseCursor(request.cursor ?? '') : { incarnation, epoch: state.epoch, next: checkpoint + 1 }
  const { outcome, commonOffset } = judgeCursor(state, context.shard, next)
  reply.outcome = outcome
  if (outcome === 'diverged') reply.commonOffset = commonOffset
  if (outcome !== 'continued') return reply
  reply.cursor = formatCursor({ ...next, incarnation, epoch: state.epoch })
  // Taken together with nextOffset, before anything is waited for: no stream is missed that ends meanwhile.
  const streams = streamsInMemory(topic, next.next)
  if (checkpoint !== null) reply.checkpoint = await checkpointInfo(context, topic, checkpoint)
  await addContextAndStreams(context, topic, next.next, streams, reply)
  // What is told of is durable when it is told.
  await allCommitted(context, topic)
  if (topic.ended !== null) throw topic.ended
  return reply
}

async function addContextAndStreams(
  context: Context,
  topic: Topic,
  next: number,
  inMemory: readonly StreamState[],
  reply: ResumeReply,
): Promise<void> {
  const room: Room = { bytes: LIMITS.resumeInlineBytes - (reply.checkpoint?.state?.value.length ?? 0) }
  const page = await contextPage(context, topic, { asOf: next, limit: LIMITS.pageItems, bytes: room.bytes })
  for (const entry of page.entries) room.bytes -= entryBytes(entry)
  const list: Room = { bytes: LIMITS.resumeInlineBytes }
  const streams = await streamsSince(context, topic, inMemory, next, reply.nextOffset, list)
  if (page.more || list.bytes < 0) room.bytes = -1
  const text = room.bytes < 0 ? new Map() : await textOf(context, topic, streams, reply.nextOffset, room)
  // A text without its beginning is none: who reads it piece by piece is told TRIMMED.
  const isCut = [...streams.values()].some((stream) => stream.openOffset < topic.state.firstOffset)
  const isPartial = room.bytes < 0 || isCut
  if (isPartial) reply.partial = true
  reply.context = isPartial ? [] : page.entries
  reply.streams = [...streams.values()].map((stream) => ({
    stream: streamInfo(stream, topic.isLive(stream.streamId)),
    text: isPartial ? [] : [...(text.get(stream.streamId) ?? [])].map(([part, piece]) => ({ part, text: piece })),
  }))
}

/** A checkpoint as answers carry it. */
export async function checkpointInfo(context: Context, topic: Topic, offset: number): Promise<CheckpointInfo> {
  const { name, data, timeMs } = await readRecord(context, topic, offset)
  const { incarnation } = context.shard
  const cursor = formatCursor({ incarnation, epoch: topic.state.epoch, next: offset + 1 })
  return { name, offset, cursor, timeMs, state: data }
}
