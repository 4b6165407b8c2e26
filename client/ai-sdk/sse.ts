/** UIMessageChunks as server-sent events, in the format of the AI SDK, with cursors as ids; and back. */

import { type Clock, isLitetopicError } from '../index.ts'
import type { ChunkEvent } from './read.ts'

/** What the AI SDK sends, and a proxy must not change. */
export const EVENT_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-vercel-ai-ui-message-stream': 'v1',
  'x-accel-buffering': 'no',
}

/** Says that the answer has ended, which the end of a response alone does not. */
export const DONE = '[DONE]'

const UNREADABLE = 'This answer cannot be read any more.'

/** More than any line of ours that a chunk of 256 KiB makes; of a response that is none of ours no more is held. */
const LINE_MAX_UNITS = 64 * 1024 * 1024

export interface ServerEvent {
  readonly id: string | undefined
  readonly data: string
}

/** The body of a response. `ended` is called once, when it has been sent or nobody wants it any more. */
export function eventBody(
  events: AsyncGenerator<ChunkEvent, void>,
  options: { readonly clock: Clock; readonly keepAliveMs: number; readonly ended: (reason?: unknown) => void },
): ReadableStream<Uint8Array> {
  const { clock, keepAliveMs, ended } = options
  const encoder = new TextEncoder()
  let timer: unknown
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const beat = (): void => {
        controller.enqueue(encoder.encode(':\n\n'))
        timer = clock.setTimeout(beat, keepAliveMs)
      }
      timer = clock.setTimeout(beat, keepAliveMs)
      try {
        const text = await nextText(events)
        controller.enqueue(encoder.encode(text ?? `data: ${DONE}\n\n`))
        if (text !== null) return
        controller.close()
        ended()
      } catch (error) {
        ended(error)
        throw error
      } finally {
        clock.clearTimeout(timer)
      }
    },
    cancel(reason) {
      clock.clearTimeout(timer)
      ended(reason)
    },
  })
}

/** Null at the end. */
async function nextText(events: AsyncGenerator<ChunkEvent, void>): Promise<string | null> {
  try {
    const { done, value } = await events.next()
    return done ? null : `id: ${value.cursor}\ndata: ${JSON.stringify(value.chunk)}\n\n`
  } catch (error) {
    // A reader that is cut off comes back, here or at another server, and must hear it if that is of no use.
    if (!isLitetopicError(error) || error.code === 'CONNECTION_CLOSED') throw error
    return `data: ${JSON.stringify({ type: 'error', errorText: UNREADABLE })}\n\n`
  }
}

/** The events of a response as they come, until it ends or the signal is aborted. */
export async function* eventsOf(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent, void> {
  let id: string | undefined
  let data: string[] = []
  for await (const line of linesOf(body, signal)) {
    if (line === '') {
      if (data.length > 0) yield { id, data: data.join('\n') }
      data = []
      id = undefined
      continue
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? []
    if (field === 'data') data.push(value ?? '')
    if (field === 'id') id = value
  }
}

async function* linesOf(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<string, void> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  const cancel = (): void => void reader.cancel().catch(() => {})
  signal.addEventListener('abort', cancel)
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      rest += decoder.decode(value, { stream: true })
      if (rest.length > LINE_MAX_UNITS) return
      let from = 0
      for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', from)) {
        yield rest.slice(from, rest[end - 1] === '\r' ? end - 1 : end)
        from = end + 1
      }
      rest = rest.slice(from)
    }
  } finally {
    signal.removeEventListener('abort', cancel)
    cancel()
  }
}
