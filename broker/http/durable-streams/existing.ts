/** A stream that a PUT finds there: is it as it is wanted? And what a PUT is answered with. */

import { LitetopicError, type PolicyInfo, type ReplyOf, type UP } from '../../../protocol/index.ts'
import { isSameType, TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import type { Reply, Request } from '../fastify.ts'
import { formatOffset } from './offsets.ts'

export type Found = ReplyOf<typeof UP.describe>

/** What of a stream a PUT says. */
export interface Config {
  readonly contentType: string
  readonly closed: boolean
}

export interface Outcome extends Config {
  /** 201 if it was created, 200 if it was there. */
  readonly status: 200 | 201
  readonly epoch: number
  /** Its end. */
  readonly next: number
}

export function answer(reply: Reply, outcome: Outcome, request: Request): Reply {
  const { status, epoch, next, contentType, closed } = outcome
  const headers = {
    'stream-next-offset': formatOffset(next, epoch),
    ...(closed && { 'stream-closed': 'true' }),
    ...(status === 201 && { location: `${request.protocol}://${request.host}${request.url.split('?', 1)[0]}` }),
  }
  return reply.code(status).headers(headers).type(contentType).send()
}

function differs(name: string, what: string): LitetopicError {
  return new LitetopicError('TOPIC_EXISTS', `topic ${name} exists already, and ${what}`, { topic: name })
}

/** Throws TOPIC_EXISTS if the topic is not what is wanted. */
export function checkSame(name: string, found: Found, wanted: Config): void {
  const { contentType = TOPIC_CONTENT_TYPE, closed = false } = found
  if (!isSameType(contentType, wanted.contentType)) throw differs(name, `its content type is ${contentType}`)
  if (closed !== wanted.closed) throw differs(name, closed ? 'is closed' : 'is not closed')
}

/** `policy` is what would hold if it were created now. Throws TOPIC_EXISTS. */
export function checkSameExpiry(name: string, found: Found, policy: PolicyInfo): void {
  if (found.policy?.ttlMs === policy.ttlMs && found.policy?.expiresAtMs === policy.expiresAtMs) return
  throw differs(name, 'its time to live or its expiry is another one')
}
