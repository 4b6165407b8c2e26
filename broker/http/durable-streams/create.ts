/** PUT: creates a Durable Streams stream, with what it begins with, or makes sure that there is one as it is wanted. */

import { isLitetopicError, LitetopicError, type PolicyInfo, type ReplyOf, type UP } from '../../../protocol/index.ts'
import { isSameType, TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { checkContentType, DEFAULT_CONTENT_TYPE, formOf } from './media-type.ts'
import { formatOffset } from './offsets.ts'
import { bodyOf, type EncodedBody, encodeBody, NO_RECORDS } from './records.ts'
import { closedHeader, type Expiry, expiryHeaders, forkHeaders, header } from './request-headers.ts'
import { streamOf } from './stream-name.ts'

/** What a stream is to be. */
interface Wanted {
  readonly contentType: string
  readonly closed: boolean
  readonly expiry: Expiry
  readonly first: EncodedBody
}

type Found = ReplyOf<typeof UP.describe>

export async function create(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = streamOf(request)
  const wanted = wantedStream(request)
  while (face.overloaded) await new Promise<void>((resolve) => face.whenRelieved(resolve))
  try {
    const { epoch, next } = await begin(face, reply, name, wanted)
    reply.header('location', `${origin(request)}${request.url.split('?', 1)[0]}`)
    return answer(reply.code(201), epoch, next, wanted.contentType, wanted.closed)
  } catch (error) {
    if (!isLitetopicError(error, 'TOPIC_EXISTS')) throw error
    const caller = face.caller(reply)
    const found = await caller.describe(name)
    checkSame(name, found, wanted)
    checkSameExpiry(name, found, caller.policyFor(name, wanted.expiry))
    const contentType = found.contentType ?? TOPIC_CONTENT_TYPE
    return answer(reply.code(200), found.epoch, found.nextOffset, contentType, wanted.closed)
  }
}

/** Throws BAD_REQUEST or BAD_VALUE. */
function wantedStream(request: Request): Wanted {
  const { headers } = request
  const expiry = expiryHeaders(headers)
  if (forkHeaders(headers) !== null) throw new LitetopicError('BAD_REQUEST', 'forks are not offered here')
  const contentType = checkContentType(header(headers, 'content-type')) ?? DEFAULT_CONTENT_TYPE
  const body = bodyOf(request)
  const first = body.length === 0 ? NO_RECORDS : encodeBody(body, formOf(contentType))
  return { contentType, closed: closedHeader(headers), expiry, first }
}

/** Creates it with its first records, and closed if it is to be, in one commit. Rejects with TOPIC_EXISTS. */
async function begin(
  face: Face,
  reply: Reply,
  name: string,
  { contentType, closed, expiry, first }: Wanted,
): Promise<{ epoch: number; next: number }> {
  const { bytes: records, count } = first
  const caller = face.caller(reply)
  caller.begin(name, {
    mustCreate: true,
    anonymous: true,
    keep: true,
    contentType,
    policy: expiry,
    firstBytes: records.length,
  })
  const isEmpty = count === 0 && !closed
  const [{ epoch }] = await Promise.all([
    caller.whenAttached(),
    isEmpty ? null : caller.atomicAppend({ producerEpoch: 0, sequence: 0, records, count, close: closed }),
  ])
  return { epoch, next: count }
}

function differs(name: string, what: string): LitetopicError {
  return new LitetopicError('TOPIC_EXISTS', `topic ${name} exists already, and ${what}`, { topic: name })
}

/** Throws TOPIC_EXISTS if the topic is not what is wanted. */
function checkSame(name: string, found: Found, wanted: Wanted): void {
  const { contentType = TOPIC_CONTENT_TYPE, closed = false } = found
  if (!isSameType(contentType, wanted.contentType)) throw differs(name, `its content type is ${contentType}`)
  if (closed !== wanted.closed) throw differs(name, closed ? 'is closed' : 'is not closed')
}

/** `policy` is what would hold if it were created now. Throws TOPIC_EXISTS. */
function checkSameExpiry(name: string, found: Found, policy: PolicyInfo): void {
  if (found.policy?.ttlMs === policy.ttlMs && found.policy?.expiresAtMs === policy.expiresAtMs) return
  throw differs(name, 'its time to live or its expiry is another one')
}

function answer(reply: Reply, epoch: number, next: number, contentType: string, closed: boolean): Reply {
  reply.header('stream-next-offset', formatOffset(next, epoch)).type(contentType)
  if (closed) reply.header('stream-closed', 'true')
  return reply.send()
}

/** Of the URL by which the client reached the broker. */
function origin({ protocol, host }: Request): string {
  return `${protocol}://${host}`
}
