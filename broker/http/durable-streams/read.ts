/** GET: a page of what there is now, or, with `live`, what comes as it comes. */

import { LitetopicError } from '../../../protocol/index.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { FROM_NOW } from './offsets.ts'
import { readQuery, StreamReader } from './stream-reader.ts'

export async function read(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = readQuery(request)
  if (query.live !== null) throw new LitetopicError('BAD_REQUEST', `live=${query.live} is not offered here`)
  const reader = await StreamReader.open(face, request, reply)
  const page = await reader.page(reader.from(query.offset))
  if (query.offset !== FROM_NOW) return reader.send(page, request, reply)
  // The end is another one in a moment.
  return reply
    .headers({ ...reader.headers(page), 'cache-control': 'no-store' })
    .type(reader.contentType)
    .send(page.body)
}
