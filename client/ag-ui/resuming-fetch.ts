/** A `fetch` for HttpAgent with which a run survives lost connections: it asks again, behind the last event that arrived. */

import { type Clock, type Fetch, isLitetopicError, LitetopicError, systemClock } from '../index.ts'
import { END, RESUMABLE_HEADER } from './sse.ts'

export interface ResumingFetchOptions {
  /** Another `fetch` than the platform's. */
  readonly fetch?: Fetch
  /** Another clock than the platform's. */
  readonly clock?: Clock
}

/** Between two attempts, growing from the least to the most; so many in a row that bring nothing new are given up. */
const WAIT_MIN_MS = 100
const WAIT_MAX_MS = 10_000
const MOST_ATTEMPTS = 12

/** UTF-16 units of what HttpAgent takes for one event. */
const EVENT_UNITS = 10 * 1024 * 1024

/**
 * Use it as `new HttpAgent({ url, fetch: resumingFetch() })`. The agent sees one response without a loss or a repeat. Responses of servers
 * other than `agentHandler` pass as they are. The body of the request must be one that can be sent again, such as HttpAgent's. A run that
 * cannot be gone on with ends with CONNECTION_CLOSED, or with the reason of the request's signal.
 */
export function resumingFetch(options: ResumingFetchOptions = {}): Fetch {
  const { fetch: ask = (url, init) => fetch(url, init), clock = systemClock } = options
  return async (url, init) => {
    const response = await ask(url, init)
    const { status, statusText, headers, body } = response
    if (body === null || headers.get(RESUMABLE_HEADER) === null) return response
    const again = async (lastId: string | null): Promise<ReadableStream<Uint8Array>> => {
      const headers = new Headers(init.headers)
      if (lastId !== null) headers.set('last-event-id', lastId)
      return bodyOf(await ask(url, { ...init, headers }))
    }
    return new Response(textStream(wholeRun(body, again, clock, init.signal ?? null)), { status, statusText, headers })
  }
}

/** Yields events, as text, in groups between which it can be gone on. */
async function* wholeRun(
  first: ReadableStream<Uint8Array>,
  again: (lastId: string | null) => Promise<ReadableStream<Uint8Array>>,
  clock: Clock,
  signal: AbortSignal | null,
): AsyncGenerator<string, void, undefined> {
  let lastId: string | null = null
  let body: ReadableStream<Uint8Array> | null = first
  for (let attempt = 0; ; attempt++) {
    let held = ''
    try {
      for await (const event of completeEvents(body ?? (await again(lastId)))) {
        held += event
        if (event.startsWith(END)) return yield held
        const id: string | undefined = /^id: (.*)$/m.exec(event)?.[1]
        if (id === undefined) continue
        yield held
        held = ''
        lastId = id
        attempt = 0
      }
    } catch (error) {
      // What it was cut off with does not matter, as long as somebody wants it.
      if (signal?.aborted || isLitetopicError(error)) throw error
    }
    if (attempt >= MOST_ATTEMPTS) throw cutOff('asking again brought nothing new')
    body = null
    await wait(Math.min(WAIT_MIN_MS * 2 ** attempt, WAIT_MAX_MS) * (0.5 + clock.random() / 2), clock, signal)
  }
}

/** What a body holds up to each empty line, with it; not what is left at its end. */
async function* completeEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const reader = body.getReader()
  const utf8 = new TextDecoder()
  let left = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      left += utf8.decode(value, { stream: true })
      let from = 0
      for (let to = left.indexOf('\n\n'); to >= 0; to = left.indexOf('\n\n', from)) {
        yield left.slice(from, to + 2)
        from = to + 2
      }
      left = left.slice(from)
      if (left.length > EVENT_UNITS) throw cutOff(`an event is longer than ${EVENT_UNITS} characters`)
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

/** Throws CONNECTION_CLOSED if it is refused for good; else what may be different next time. */
async function bodyOf({ ok, status, body }: Response): Promise<ReadableStream<Uint8Array>> {
  if (ok && body !== null) return body
  await body?.cancel()
  if (status >= 500 || status === 429) throw new Error(`status ${status}`)
  throw cutOff(`the server refused to go on, with status ${status}`)
}

function cutOff(why: string): LitetopicError {
  return new LitetopicError('CONNECTION_CLOSED', `the events of the run were cut off: ${why}`)
}

function textStream(pieces: AsyncGenerator<string, void, undefined>): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder()
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(utf8.encode(value))
    },
    cancel: () => void pieces.return(),
  })
}

/** Rejects with the signal's reason. */
function wait(ms: number, clock: Clock, signal: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      clock.clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, ms)
    signal?.addEventListener('abort', aborted, { once: true })
    if (signal?.aborted) aborted()
  })
}
