/**
 * The answer to `resume`, in one round trip: outcome, checkpoint, the context as of it, and the streams that are open or
 * ended since, with their text so far. What is too large to be sent inline is left out and said so.
 */

import {
  BatchReader,
  ByteReader,
  type CheckpointInfo,
  type ContextInfo,
  formatCursor,
  isStreamEnd,
  KIND,
  LIMITS,
  parseCursor,
  RecordWalker,
  type ReplyOf,
  streamStateName,
  TAG,
  type UP,
} from '../protocol/index.ts'
import { contextNames, findContext, type StreamState } from '../storage/index.ts'
import type { Context } from './context.ts'
import { judgeCursor } from './outcomes.ts'
import { checkpointOffset, readBatches, readRecord } from './positions.ts'
import { streamInfo } from './stream-state.ts'
import type { Topic } from './topic.ts'

type ResumeReply = ReplyOf<typeof UP.resume>
type ResumeStream = NonNullable<ResumeReply['streams']>[number]

export interface ResumeRequest {
  readonly cursor?: string
  readonly checkpoint?: string | null
}

/** Rejects with BAD_CURSOR, OFFSET_BEYOND_END, CHECKPOINT_UNKNOWN or STORE_CORRUPT. */
export async function resume(context: Context, topic: Topic, request: ResumeRequest): Promise<ResumeReply> {
  const { state } = topic
  const { incarnation } = context.shard
  const reply: ResumeReply = {
    outcome: 'continued',
    firstOffset: state.firstOffset,
    nextOffset: state.committedTo,
    cursor: null,
  }
  let next = state.committedTo
  if (request.cursor !== undefined) {
    const cursor = parseCursor(request.cursor)
    reply.outcome = judgeCursor(state, incarnation, cursor)
    if (reply.outcome === 'diverged') reply.commonOffset = null
    if (reply.outcome !== 'continued') return reply
    next = cursor.next
  } else {
    const offset = await checkpointOffset(context, topic, request.checkpoint ?? null)
    reply.checkpoint = await checkpointInfo(context, topic, offset)
    next = offset + 1
  }
  reply.cursor = formatCursor({ incarnation, epoch: state.epoch, next })
  const room = { bytes: LIMITS.resumeInlineBytes }
  reply.context = await contextAsOf(context, topic, next, room)
  reply.streams = await streamsSince(context, topic, next, room)
  if (room.bytes < 0) {
    reply.partial = true
    reply.context = []
    for (const stream of reply.streams) stream.text = []
  }
  return reply
}

/** A checkpoint as answers carry it. */
export async function checkpointInfo(context: Context, topic: Topic, offset: number): Promise<CheckpointInfo> {
  const { name, data, timeMs } = await readRecord(context, topic, offset)
  const { incarnation } = context.shard
  const cursor = formatCursor({ incarnation, epoch: topic.state.epoch, next: offset + 1 })
  return { name, offset, cursor, timeMs, state: data }
}

/** One context entry as of an offset, or null. */
export async function contextEntry(
  context: Context,
  topic: Topic,
  name: string,
  asOf: number,
): Promise<ContextInfo | null> {
  const before = Math.min(asOf, topic.state.committedTo)
  const versions = await findContext(context.shard.store.table, topic.state, name, before)
  if (versions === null || versions.length === 0) return null
  return { name, offset: versions.at(-1)?.offset ?? 0, pieces: versions.map((version) => version.data) }
}

async function contextAsOf(
  context: Context,
  topic: Topic,
  asOf: number,
  room: { bytes: number },
): Promise<ContextInfo[]> {
  const entries: ContextInfo[] = []
  let after = ''
  while (room.bytes >= 0) {
    const names = await contextNames(context.shard.store.table, topic.state, after, LIMITS.pageItems)
    for (const name of names) {
      const entry = await contextEntry(context, topic, name, asOf)
      if (entry === null) continue
      for (const piece of entry.pieces) room.bytes -= piece.value.length
      entries.push(entry)
      if (room.bytes < 0) break
    }
    if (names.length < LIMITS.pageItems) break
    after = names.at(-1) as string
  }
  return entries
}

/** Streams open now or touched since the offset, with the text of their parts from their opening on. */
async function streamsSince(
  context: Context,
  topic: Topic,
  since: number,
  room: { bytes: number },
): Promise<ResumeStream[]> {
  const { state } = topic
  const wanted = new Map<string, StreamState>()
  for (const stream of state.openStreams?.values() ?? []) wanted.set(stream.streamId, stream)
  for (const ended of [state.flushing?.ended, state.recent?.ended]) {
    for (const stream of ended?.values() ?? []) if (stream.lastOffset >= since) wanted.set(stream.streamId, stream)
  }
  const from = [...wanted.values()].reduce((low, stream) => Math.min(low, stream.openOffset), since)
  const scan = new TextScan(wanted)
  let position = Math.max(from, state.firstOffset)
  while (position < state.committedTo && room.bytes >= 0) {
    const before = scan.bytes
    position = scan.read(await readBatches(context, topic, position), position, state.committedTo)
    room.bytes -= scan.bytes - before
  }
  return scan.result((streamId) => topic.isLive(streamId))
}

/** Collects the text of streams, and the streams that ended, from raw batches. */
class TextScan {
  private readonly streams: Map<string, StreamState>
  private readonly text = new Map<string, Map<string, string[]>>()
  private readonly found = new Map<string, StreamState>()
  bytes = 0

  constructor(streams: Map<string, StreamState>) {
    this.streams = streams
  }

  read(batches: Uint8Array, from: number, to: number): number {
    const batch = new BatchReader(new ByteReader(batches))
    let next = from
    while (batch.advance() && batch.base < to) {
      if (batch.next <= from) continue
      next = batch.next
      const walker = new RecordWalker(batch.content())
      let pieces: string[] = []
      for (let offset = batch.base; walker.next(); offset++) {
        if (walker.kind === KIND.stream) this.noteStream(walker, offset)
        if (walker.kind !== KIND.token) continue
        if (!walker.repeat) pieces = this.pieces(walker.name(), walker.part())
        if (walker.tag !== TAG.text) continue
        pieces.push(walker.text())
        this.bytes += walker.dataTo - walker.dataFrom
      }
    }
    return next
  }

  result(live: (streamId: string) => boolean): ResumeStream[] {
    for (const [streamId, stream] of this.found) if (!this.streams.has(streamId)) this.streams.set(streamId, stream)
    return [...this.streams.values()].map((stream) => ({
      stream: streamInfo(stream, live(stream.streamId)),
      text: [...(this.text.get(stream.streamId) ?? [])].map(([part, pieces]) => ({ part, text: pieces.join('') })),
    }))
  }

  private pieces(streamId: string, part: string): string[] {
    let parts = this.text.get(streamId)
    if (parts === undefined) {
      parts = new Map()
      this.text.set(streamId, parts)
    }
    let pieces = parts.get(part)
    if (pieces === undefined) {
      pieces = []
      parts.set(part, pieces)
    }
    return pieces
  }

  /** A stream that ended since, and that the table has already. */
  private noteStream(walker: RecordWalker, offset: number): void {
    const streamId = walker.name()
    const state = streamStateName(walker.code)
    const known = this.found.get(streamId)
    const detail = walker.dataFrom === walker.dataTo ? null : walker.text()
    if (known !== undefined) Object.assign(known, { state, lastOffset: offset, detail })
    else {
      const fence = isStreamEnd(state) ? 0 : offset
      this.found.set(streamId, {
        streamId,
        state,
        openOffset: offset,
        fence,
        lastOffset: offset,
        detail,
        writerSlot: -1,
      })
    }
  }
}
