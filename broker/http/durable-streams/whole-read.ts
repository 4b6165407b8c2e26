/**
 * A catch-up read of more than a page, in one response: page after page is read as the socket takes the one before, up to where the
 * stream ended when it began. So it is never held whole, and clients that ask once have everything.
 */

import { Readable } from 'node:stream'
import type { Reply, Request } from '../fastify.ts'
import { largeData } from './large-content.ts'
import type { Page, StreamReader } from './stream-reader.ts'

/** Answers with the first page and all behind it. */
export function sendWhole(reader: StreamReader, first: Page, request: Request, reply: Reply): Reply {
  const { next, closed } = first.end
  const whole = { ...first, next, closed, upToDate: true }
  return reader.send(whole, request, reply, {}, Readable.from(contentOf(reader, first), { objectMode: false }))
}

/** Rejects with GONE, TRIMMED or STORE_CORRUPT: the response is cut off then. */
async function* contentOf(reader: StreamReader, first: Page): AsyncGenerator<Uint8Array> {
  const { caller, form } = reader
  const to = first.end.next
  let before = form === 'json' ? '[' : ''
  for (let page = first; ; page = await reader.page({ offset: page.next }, { to })) {
    if (!page.isEmpty) {
      if (before !== '') yield Buffer.from(before)
      before = form === 'json' ? ',' : ''
      if (page.large !== null) yield* largeData(caller, page.large, form)
      else yield form === 'json' ? page.body.subarray(1, -1) : page.body
    }
    if (page.next >= to) break
  }
  if (form === 'json') yield Buffer.from(']')
}
