/** `live=long-poll`: answers with what there is behind an offset, or waits for it for a while. See section 5.7 of the protocol. */

import { type FromInfo, isLitetopicError, LIMITS } from '../../../protocol/index.ts'
import type { Reading } from '../caller.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { nextCursor } from './live-cursor.ts'
import { FROM_NOW } from './offsets.ts'
import { type Page, type ReadQuery, StreamReader } from './stream-reader.ts'

/** 200 with data, or 204 after `longPollMs` without any, and at once at the end of a closed stream. */
export async function longPoll(face: Face, query: ReadQuery, request: Request, reply: Reply): Promise<Reply> {
  const reader = await StreamReader.open(face, request, reply)
  const page = await pageWithData(face, reader, reader.from(query.offset), reply)
  const cursor = { 'stream-cursor': nextCursor(query.cursor, face.options.clock.wallMs()) }
  // What is new now is not what is new for who asks later.
  const kept: Record<string, string> = query.offset === FROM_NOW ? { 'cache-control': 'no-store' } : {}
  if (!page.isEmpty) return reader.send(page, request, reply, { ...cursor, ...kept })
  const headers = { ...reader.headers(page), 'cache-control': 'no-store' }
  return reply
    .headers(page.closed ? headers : { ...headers, ...cursor })
    .code(204)
    .send()
}

/** The first page that has data; or, when the time is over or the stream is closed, one that has none. */
async function pageWithData(face: Face, reader: StreamReader, from: FromInfo, reply: Reply): Promise<Page> {
  let page = await reader.page(from)
  if (!page.isEmpty || page.closed) return page
  let isOver = false
  let wake = (): void => undefined
  const over = (): void => {
    isOver = true
    wake()
  }
  const cancel = face.options.clock.after(LIMITS.longPollMs, over)
  reply.raw.once('close', over)
  try {
    while (page.isEmpty && !page.closed && !isOver) {
      await more(face, reader, page.next, (resume) => {
        wake = resume
      })
      page = await reader.page({ offset: page.next })
    }
    return page
  } finally {
    cancel()
    reply.raw.off('close', over)
  }
}

/** Resolves when something is stored behind the offset, the stream is closed, or it is woken. Rejects when it is no more. */
async function more(
  face: Face,
  reader: StreamReader,
  offset: number,
  wakeBy: (wake: () => void) => void,
): Promise<void> {
  let close = (): void => undefined
  try {
    await new Promise<void>((resolve, reject) => {
      wakeBy(resolve)
      const reading: Reading = {
        deliver: () => resolve(),
        ended: (error) => (isLitetopicError(error, 'CLOSED') ? resolve() : reject(error)),
      }
      reader.caller.subscribe({ offset }, { raw: true }, reading).then((subscription) => {
        close = subscription.close
        // A broker that began to stop meanwhile has ended what it knew of.
        if (face.stopping === null) subscription.start()
        else reject(face.stopping)
      }, reject)
    })
  } finally {
    close()
  }
}
