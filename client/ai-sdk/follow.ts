/** Reads an answer over HTTP to its end, through responses that break off. */

import type { UIMessageChunk } from 'ai'
import type { Clock } from '../index.ts'
import { DONE, eventsOf } from './sse.ts'

/** What is used of the platform's `fetch`. */
export type Fetch = (address: string, request: RequestInit) => Promise<Response>

/** Between one attempt and the next, in ms. Behind the last of them who asks is told; some 40 s in all. */
const RETRY_MS = [250, 500, 1000, 2000, 4000, 8000, 12_000, 12_000] as const
/** What a proxy says while a server is replaced. */
const RETRIED_STATUS = [502, 503, 504]

/**
 * Asks until there is an answer; only for requests that may be sent twice. Rejects with what `once` rejects with, if it still does after
 * 40 s, and with an Error for a status that is none of success.
 */
export async function fetched(
  once: () => Promise<Response>,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Response> {
  for (const waits = new Waits(clock, signal); ; ) {
    let failed: unknown
    try {
      const response = await once()
      if (!RETRIED_STATUS.includes(response.status)) return await successful(response)
      failed = new Error(`the server has answered with ${response.status}`)
      await response.body?.cancel()
    } catch (error) {
      // That is what fetch rejects with when nothing came back.
      if (!(error instanceof TypeError)) throw error
      failed = error
    }
    if (!(await waits.next())) throw failed
  }
}

/** Asks for what is behind the cursor of an answer. */
export type AskAgain = (cursor: string | undefined, signal: AbortSignal) => Promise<Response>

/** The chunks of an answer to its end. */
export function answerOf(
  first: Response,
  again: AskAgain,
  clock: Clock,
  signal: AbortSignal | undefined,
): ReadableStream<UIMessageChunk> {
  const cancelled = new AbortController()
  const either = signal === undefined ? cancelled.signal : AbortSignal.any([cancelled.signal, signal])
  const chunks = chunksOf(first, again, clock, either)
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      const { done, value } = await chunks.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => cancelled.abort(reason),
  })
}

async function* chunksOf(
  first: Response,
  again: AskAgain,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<UIMessageChunk, void> {
  let cursor: string | undefined
  let response = first
  for (const waits = new Waits(clock, signal); ; response = await again(cursor, signal)) {
    if (response.body === null || response.status === 204) break
    try {
      for await (const { id, data } of eventsOf(response.body, signal)) {
        if (data === DONE) return
        yield JSON.parse(data) as UIMessageChunk
        cursor = id ?? cursor
        waits.reset()
      }
    } catch (error) {
      if (error instanceof SyntaxError) throw error
    }
    signal.throwIfAborted()
    if (!(await waits.next())) break
  }
  yield { type: 'error', errorText: 'This answer cannot be read any more.' }
}

/** The waits between attempts that bring nothing. */
class Waits {
  private readonly clock: Clock
  private readonly signal: AbortSignal | undefined
  private count = 0

  constructor(clock: Clock, signal: AbortSignal | undefined) {
    this.clock = clock
    this.signal = signal
  }

  reset(): void {
    this.count = 0
  }

  /** False if it has been tried often enough. Rejects with the signal's reason. */
  next(): Promise<boolean> {
    const { clock, signal } = this
    const ms = RETRY_MS[this.count]
    this.count++
    if (ms === undefined) return Promise.resolve(false)
    return new Promise((resolve, reject) => {
      const timer = clock.setTimeout(
        () => {
          signal?.removeEventListener('abort', aborted)
          resolve(true)
        },
        ms * (0.5 + clock.random() / 2),
      )
      function aborted(): void {
        clock.clearTimeout(timer)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', aborted, { once: true })
    })
  }
}

async function successful(response: Response): Promise<Response> {
  if (response.ok) return response
  throw new Error((await response.text()) || `the server has answered with ${response.status}`)
}
