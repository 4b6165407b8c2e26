/** Gives a stored answer back as UIMessageChunks, from its beginning or from a cursor, and says how it ended. */

import type { UIMessageChunk } from 'ai'
import { type Json, LitetopicError, type Session, type StreamRecord, type TokenRecord } from '../index.ts'
import { ChunkReader, type Delta, extended, isSameDelta } from './chunks.ts'

export interface ReadChunksOptions {
  /** Reads on behind this cursor of a `ChunkEvent`. Default: from the beginning. */
  readonly from?: string
  /** Deltas of the same text that lie next to each other and came together are one. Default true; false gives them as they were written. */
  readonly coalesce?: boolean
  /** Ends the reading, which rejects with its reason. */
  readonly signal?: AbortSignal
}

/** A chunk, and where to read on behind it. */
export interface ChunkEvent {
  readonly chunk: UIMessageChunk
  readonly cursor: string
}

type AnySession = Session<unknown>
type Place = { readonly cursor: string } | { readonly offset: number }

/** What readers are told. Why is in the log, and may be nothing for the eyes of users. */
const FAILED = 'An error occurred.'
const LOST = 'The process that wrote this answer is gone.'
const BEGUN_AGAIN = 'This answer was interrupted, and begun again.'

/**
 * The chunks of the answer until it ends. One that was stopped ends with an `abort` chunk, one that failed with an `error` chunk, and so
 * does one whose writer is lost, or was and has begun again: reading it again from the beginning gives the new attempt. Rejects with
 * STREAM_UNKNOWN, BAD_CURSOR, and what ends any reading: TRIMMED, RECREATED, GONE, DIVERGED, CONNECTION_CLOSED.
 */
export async function* readChunkEvents(
  session: AnySession,
  streamId: string,
  options: ReadChunksOptions = {},
): AsyncGenerator<ChunkEvent, void> {
  const { from, coalesce = true, signal } = options
  const stream = await session.stream(streamId)
  if (stream === null) {
    throw new LitetopicError('STREAM_UNKNOWN', `topic ${session.name} has no stream ${streamId}`, { streamId })
  }
  const start = Math.max(stream.openOffset, stream.fence)
  if (from !== undefined && (await isBehind(session, streamId, from))) return
  const place: Place = from === undefined ? { offset: start } : { cursor: from }
  const events = new EventReader(coalesce)
  for await (const records of session.batches({ from: place, raw: true, signal })) {
    for (const record of records) {
      if ((record.kind !== 'token' && record.kind !== 'stream') || record.streamId !== streamId) continue
      if (record.kind === 'token') {
        yield* events.take(record)
        continue
      }
      yield* events.rest()
      const isFirst = from === undefined && record.offset === start
      const last = isFirst ? lastChunk(record) : await lastChunkOf(session, record)
      if (last === null) continue
      if (last !== 'done') yield { chunk: last, cursor: record.cursor }
      return
    }
    yield* events.rest()
  }
}

/** The same as a web stream, without cursors. `ended` is called once, when it is over or nobody wants it any more. */
export function readChunks(
  session: AnySession,
  streamId: string,
  options: ReadChunksOptions = {},
  ended: () => void = () => {},
): ReadableStream<UIMessageChunk> {
  const cancelled = new AbortController()
  const signal = options.signal === undefined ? cancelled.signal : AbortSignal.any([cancelled.signal, options.signal])
  const events = readChunkEvents(session, streamId, { ...options, signal })
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      try {
        const { done, value } = await events.next()
        if (!done) return controller.enqueue(value.chunk)
        controller.close()
        ended()
      } catch (error) {
        ended()
        throw error
      }
    },
    // The generator cannot be ended while it waits for a record, so it is the waiting that is.
    cancel(reason) {
      cancelled.abort(reason)
      ended()
    },
  })
}

/** Has the stream ended before that place? Then no record of it is to come. */
async function isBehind(session: AnySession, streamId: string, cursor: string): Promise<boolean> {
  const { outcome, streams } = await session.resume({ cursor })
  return outcome === 'continued' && streams.every(({ id }) => id !== streamId)
}

/** What the record ends the chunks with, as things stand now; null if they go on. */
async function lastChunkOf(session: AnySession, record: StreamRecord): Promise<UIMessageChunk | 'done' | null> {
  const { streamId, state, offset } = record
  if (state !== 'lost' && state !== 'resumed') return lastChunk(record)
  const stream = await session.stream(streamId)
  // Its writer was only away, or another one has taken it over, which the next record says.
  if (state === 'lost' && stream !== null && stream.lastOffset > offset) return null
  if (state === 'resumed' && (stream === null || stream.fence >= offset))
    return { type: 'error', errorText: BEGUN_AGAIN }
  return lastChunk(record)
}

function lastChunk({ state, detail }: StreamRecord): UIMessageChunk | 'done' | null {
  switch (state) {
    case 'done':
      return 'done'
    case 'stopped':
      return { type: 'abort', ...reasonOf(detail) }
    case 'failed':
      return { type: 'error', errorText: FAILED }
    case 'lost':
      return { type: 'error', errorText: LOST }
    default:
      return null
  }
}

function reasonOf(detail: Json | undefined): { reason?: string } {
  const reason: unknown = typeof detail === 'object' && detail !== null ? Reflect.get(detail, 'reason') : undefined
  return typeof reason === 'string' ? { reason } : {}
}

/** Chunks from tokens, with deltas put together. */
class EventReader {
  private readonly chunks = new ChunkReader()
  private readonly coalesce: boolean
  private waiting: { readonly chunk: Delta; readonly cursor: string } | null = null

  constructor(coalesce: boolean) {
    this.coalesce = coalesce
  }

  *take(record: TokenRecord): Generator<ChunkEvent> {
    const { delta, chunk } = this.chunks.read(record)
    const { cursor } = record
    if (delta === undefined) {
      yield* this.rest()
      if (chunk !== null) yield { chunk, cursor }
    } else if (this.coalesce && this.waiting !== null && isSameDelta(this.waiting.chunk, delta)) {
      this.waiting = { chunk: extended(this.waiting.chunk, delta), cursor }
    } else {
      yield* this.rest()
      this.waiting = { chunk: delta, cursor }
    }
  }

  *rest(): Generator<ChunkEvent> {
    if (this.waiting === null) return
    yield this.waiting
    this.waiting = null
  }
}
