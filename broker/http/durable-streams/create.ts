/** PUT: creates a Durable Streams stream, with what it begins with, or makes sure that there is one as it is wanted. */

import { isLitetopicError } from '../../../protocol/index.ts'
import { TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { answer, type Config, checkSame, checkSameExpiry } from './existing.ts'
import { createFork } from './fork.ts'
import { checkContentType, DEFAULT_CONTENT_TYPE, formOf } from './media-type.ts'
import { bodyOf, type EncodedBody, encodeBody, NO_RECORDS } from './records.ts'
import { stillForked } from './refusals.ts'
import { closedHeader, type Expiry, expiryHeaders, forkHeaders, header } from './request-headers.ts'
import { streamOf } from './stream-name.ts'

/** What a stream is to be. */
interface Wanted extends Config {
  readonly expiry: Expiry
  readonly first: EncodedBody
}

export async function create(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = streamOf(request)
  const fork = forkHeaders(request.headers)
  if (await face.caller(reply).isHidden(name)) throw stillForked(name)
  if (fork !== null) return createFork(face, request, reply, name, fork)
  const wanted = wantedStream(request)
  while (face.overloaded) await new Promise<void>((resolve) => face.whenRelieved(resolve))
  try {
    const { epoch, next } = await begin(face, reply, name, wanted)
    return answer(reply, { status: 201, epoch, next, contentType: wanted.contentType, closed: wanted.closed }, request)
  } catch (error) {
    if (!isLitetopicError(error, 'TOPIC_EXISTS')) throw error
    const caller = face.caller(reply)
    const found = await caller.describe(name)
    checkSame(name, found, wanted)
    checkSameExpiry(name, found, caller.policyFor(name, wanted.expiry))
    const { epoch, nextOffset, contentType = TOPIC_CONTENT_TYPE } = found
    return answer(reply, { status: 200, epoch, next: nextOffset, contentType, closed: wanted.closed }, request)
  }
}

/** Throws BAD_REQUEST or BAD_VALUE. */
function wantedStream(request: Request): Wanted {
  const { headers } = request
  const expiry = expiryHeaders(headers)
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
    first: { records, count },
  })
  const isEmpty = count === 0 && !closed
  const [{ epoch }] = await Promise.all([
    caller.whenAttached(),
    isEmpty
      ? null
      : caller.atomicAppend({ producerEpoch: 0, sequence: 0, records, count, isChecked: true, close: closed }),
  ])
  return { epoch, next: count }
}
