/** HEAD and DELETE: what a Durable Streams stream is, without its data, and its end. */

import { TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import { missing } from '../../outcomes.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { formatOffset } from './offsets.ts'
import { streamOf } from './stream-name.ts'

/** Only looks: does not create it, and does not reset its time to live. */
export async function head(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const { epoch, nextOffset, contentType, closed, policy } = await face.caller(reply).describe(streamOf(request))
  reply.headers({
    'stream-next-offset': formatOffset(nextOffset, epoch),
    'cache-control': 'no-store',
    ...(closed && { 'stream-closed': 'true' }),
    ...(typeof policy?.ttlMs === 'number' && { 'stream-ttl': String(Math.floor(policy.ttlMs / 1000)) }),
    ...(typeof policy?.expiresAtMs === 'number' && {
      'stream-expires-at': new Date(policy.expiresAtMs).toISOString(),
    }),
  })
  return reply.type(contentType ?? TOPIC_CONTENT_TYPE).send()
}

export async function remove(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = streamOf(request)
  const { deleted } = await face.caller(reply).delete(name, null)
  if (!deleted) throw missing(name, false)
  return reply.code(204).send()
}
