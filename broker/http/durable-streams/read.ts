/** GET: a page of what there is now, or, with `live`, what comes as it comes. */

import { LIMITS } from '../../../protocol/index.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { liveEvents } from './live-events.ts'
import { longPoll } from './long-poll.ts'
import { FROM_NOW } from './offsets.ts'
import { readQuery, StreamReader } from './stream-reader.ts'
import { sendWhole } from './whole-read.ts'

export async function read(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = readQuery(request)
  if (query.live === 'long-poll') return longPoll(face, query, request, reply)
  if (query.live === 'sse') return liveEvents(face, query, request, reply)
  const reader = await StreamReader.open(face, request, reply)
  const page = await reader.page(reader.from(query.offset))
  if (query.offset !== FROM_NOW) {
    const isAll = page.upToDate || page.end.bytes > LIMITS.httpReadBytes
    return isAll ? reader.send(page, request, reply) : sendWhole(reader, page, request, reply)
  }
  // The end is another one in a moment.
  return reply
    .headers({ ...reader.headers(page), 'cache-control': 'no-store' })
    .type(reader.contentType)
    .send(page.body)
}
