/** What resuming tells of streams: those open now or ended since an offset, and their text so far, read from the log. */

import {
  BatchReader,
  ByteReader,
  isLitetopicError,
  isStreamEnd,
  KIND,
  LitetopicError,
  RecordWalker,
  streamStateName,
  TAG,
} from '../protocol/index.ts'
import { findStream, type StreamState } from '../storage/index.ts'
import type { Context } from './context.ts'
import { readBatches } from './positions.ts'
import type { Topic } from './topic.ts'

/** Reads before the loop gets its turn. */
const READS_PER_TURN = 4
/** About what a stream takes in an answer besides its text. */
const STREAM_BYTES = 128

/** Room for what is told; below 0 it is too much. */
export interface Room {
  bytes: number
}

/** Streams open at this moment, or ended since the offset and still in memory. */
export function streamsInMemory(topic: Topic, since: number): StreamState[] {
  const { openStreams, recent, flushing } = topic.state
  const ended = [...(flushing?.ended?.values() ?? []), ...(recent?.ended?.values() ?? [])]
  return [...(openStreams?.values() ?? []), ...ended.filter((stream) => stream.lastOffset >= since)]
}

/** The streams given, and those whose end lies at offsets from `since` to before `to`. Stops when there is no room left. */
export async function streamsSince(
  context: Context,
  topic: Topic,
  given: readonly StreamState[],
  since: number,
  to: number,
  room: Room,
): Promise<Map<string, StreamState>> {
  const { state } = topic
  const streams = new Map<string, StreamState>()
  const add = (stream: StreamState): void => {
    if (streams.has(stream.streamId)) return
    streams.set(stream.streamId, stream)
    room.bytes -= STREAM_BYTES + stream.streamId.length + (stream.detail?.length ?? 0)
  }
  given.forEach(add)
  const ended: string[] = []
  const visit = (walker: RecordWalker): void => {
    if (walker.kind === KIND.stream && isStreamEnd(streamStateName(walker.code))) ended.push(walker.name())
  }
  for await (const batch of batchesOf(context, topic, since, to)) {
    const walker = new RecordWalker(batch.content())
    for (let offset = batch.base; walker.next(); offset++) if (offset >= since) visit(walker)
    for (const streamId of ended.splice(0)) {
      const stream = await findStream(context.shard.store.table, state, streamId)
      if (stream !== null) add(stream)
    }
    if (room.bytes < 0) break
  }
  return streams
}

/** Text per part of each of the streams, from their opening to before `to`. Stops when there is no room left. */
export async function textOf(
  context: Context,
  topic: Topic,
  streams: ReadonlyMap<string, StreamState>,
  to: number,
  room: Room,
): Promise<Map<string, Map<string, string>>> {
  const texts = new Map<string, Map<string, string[]>>()
  const from = [...streams.values()].reduce((low, stream) => Math.min(low, stream.openOffset), to)
  for await (const batch of batchesOf(context, topic, from, to)) {
    const walker = new RecordWalker(batch.content())
    let pieces: string[] | null = null
    while (walker.next()) {
      if (walker.kind !== KIND.token) continue
      if (!walker.repeat) pieces = streams.has(walker.name()) ? piecesOf(texts, walker.name(), walker.part()) : null
      if (pieces === null || walker.tag !== TAG.text) continue
      pieces.push(walker.text())
      room.bytes -= walker.dataTo - walker.dataFrom
    }
    if (room.bytes < 0) break
  }
  const join = (parts: Map<string, string[]>) => new Map([...parts].map(([part, pieces]) => [part, pieces.join('')]))
  return new Map([...texts].map(([streamId, parts]) => [streamId, join(parts)]))
}

function piecesOf(texts: Map<string, Map<string, string[]>>, streamId: string, part: string): string[] {
  let parts = texts.get(streamId)
  if (parts === undefined) {
    parts = new Map()
    texts.set(streamId, parts)
  }
  let pieces = parts.get(part)
  if (pieces === undefined) {
    pieces = []
    parts.set(part, pieces)
  }
  return pieces
}

/** The raw batches that hold offsets from `from` to before `to`, of those that are kept. The same object each time. */
async function* batchesOf(context: Context, topic: Topic, from: number, to: number): AsyncGenerator<BatchReader> {
  const { state } = topic
  let position = from
  for (let reads = 1; ; reads++) {
    position = Math.max(position, state.firstOffset)
    if (position >= to) return
    const before = position
    const batch = new BatchReader(new ByteReader(await readKept(context, topic, position)))
    while (batch.advance() && batch.base < to) {
      if (batch.next <= position) continue
      position = batch.next
      yield batch
    }
    if (topic.ended !== null) throw topic.ended
    if (position === before && position >= state.firstOffset) {
      const details = { topic: topic.name, offset: position }
      throw new LitetopicError('STORE_CORRUPT', `topic ${topic.name} has no record at offset ${position}`, details)
    }
    if (reads % READS_PER_TURN === 0) await new Promise<void>((turn) => setImmediate(turn))
  }
}

/** Nothing if what is asked for was trimmed meanwhile. */
async function readKept(context: Context, topic: Topic, position: number): Promise<Uint8Array> {
  try {
    return await readBatches(context, topic, position)
  } catch (error) {
    if (isLitetopicError(error, 'TRIMMED')) return new Uint8Array(0)
    throw error
  }
}
