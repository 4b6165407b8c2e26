/** A stored answer as the response of a route handler: what DefaultChatTransport and `chatTransport` read. */

import { type Clock, type Session, systemClock } from '../index.ts'
import { type ReadChunksOptions, readChunkEvents } from './read.ts'
import { EVENT_HEADERS, eventBody } from './sse.ts'

export interface ResponseOptions extends Omit<ReadChunksOptions, 'from'> {
  /** What is answered: its `Last-Event-ID`, if it has one, says where to read on. */
  readonly request?: { readonly headers: Pick<Headers, 'get'> }
  readonly headers?: Readonly<Record<string, string>>
  /** A comment is sent after so long without a chunk, so that nobody between takes the connection for dead. Default 15 s. */
  readonly keepAliveMs?: number
  readonly clock?: Clock
}

const KEEP_ALIVE_MS = 15_000

/**
 * The answer as server-sent events in the AI SDK's UI message stream format, from its beginning and on until it ends. Each event's id is
 * the cursor behind it. What cannot be read ends it with an `error` chunk. `ended` is called once, when it has been sent or was cut off.
 */
export function toResponse(
  session: Session<unknown>,
  streamId: string,
  options: ResponseOptions = {},
  ended: () => void = () => {},
): Response {
  const { request, headers, keepAliveMs = KEEP_ALIVE_MS, clock = systemClock, coalesce } = options
  const cancelled = new AbortController()
  const signal = options.signal === undefined ? cancelled.signal : AbortSignal.any([cancelled.signal, options.signal])
  const from = request?.headers.get('last-event-id') ?? undefined
  const events = readChunkEvents(session, streamId, { from: from === '' ? undefined : from, coalesce, signal })
  const body = eventBody(events, {
    clock,
    keepAliveMs,
    ended: () => {
      cancelled.abort()
      ended()
    },
  })
  return new Response(body, { headers: { ...EVENT_HEADERS, ...headers } })
}
