/** A run as server-sent events, as AG-UI's own encoder writes them, each with the cursor behind it as its id. */

import { type BaseEvent, omitOptionalNulls } from '@ag-ui/core'
import type { Clock } from '../index.ts'
import type { RunEvent } from './read.ts'
import { runErrorOf } from './run-error.ts'

/** Says that who asks again with the last id goes on behind it, and that the whole of it ends with `END`. */
export const RESUMABLE_HEADER = 'litetopic-run'
/** Without data, so that nobody takes it for an event of AG-UI. */
export const END = 'event: end'

/** Of silence before something is sent that means nothing. */
const HEARTBEAT_MS = 15_000

export const SSE_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
  'access-control-expose-headers': RESUMABLE_HEADER,
  [RESUMABLE_HEADER]: 'resumable',
}

/** One event; without a cursor it has no id. */
export function encodeEvent(event: BaseEvent, cursor: string | null): string {
  const data = `data: ${JSON.stringify(omitOptionalNulls(event, 'Event'))}\n\n`
  return cursor === null ? data : `id: ${cursor}\n${data}`
}

/**
 * What makes the reading fail is the last event, a RUN_ERROR with its code. `onEnd` is called when all is sent, or nobody takes it any
 * more.
 */
export function sseBody(events: AsyncIterator<RunEvent>, clock: Clock, onEnd: () => void): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder()
  let timer: unknown = null
  const end = (): void => {
    clock.clearTimeout(timer)
    onEnd()
  }
  return new ReadableStream<Uint8Array>({
    start: (controller) => {
      const beat = (): void => {
        controller.enqueue(utf8.encode(':\n\n'))
        timer = clock.setTimeout(beat, HEARTBEAT_MS)
      }
      timer = clock.setTimeout(beat, HEARTBEAT_MS)
    },
    pull: async (controller) => {
      const next = await events.next().catch((error) => ({ done: null, value: runErrorOf(error) }))
      if (next.done === false) {
        controller.enqueue(utf8.encode(encodeEvent(next.value.event, next.value.cursor)))
        return
      }
      const last = next.done === null ? encodeEvent(next.value, null) : ''
      controller.enqueue(utf8.encode(`${last}${END}\n\n`))
      controller.close()
      end()
    },
    cancel: end,
  })
}
