/** POST: appends to a Durable Streams stream, closes it, or both at once; with the protocol's producers and sequences. */

import { isLitetopicError, LitetopicError } from '../../../protocol/index.ts'
import type { AtomicAppended } from '../../atomic-append.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { checkContentType, formOf } from './media-type.ts'
import { formatOffset } from './offsets.ts'
import { bodyOf, type EncodedBody, encodeBody, NO_RECORDS } from './records.ts'
import { closedHeader, header, type ProducerHeaders, producerHeaders } from './request-headers.ts'
import { streamOf } from './stream-name.ts'

export async function append(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = streamOf(request)
  const { headers } = request
  const producer = producerHeaders(headers)
  const close = closedHeader(headers)
  const streamSeq = header(headers, 'stream-seq')
  const body = bodyOf(request)
  const contentType = body.length === 0 ? undefined : checkContentType(header(headers, 'content-type'))
  const { bytes, count } = encoded(body, contentType, close)
  const caller = face.caller(reply)
  caller.begin(name, { create: false, producer: producer?.id, anonymous: producer === null })
  try {
    const appended = await caller.atomicAppend({
      producerEpoch: producer?.epoch ?? 0,
      sequence: producer?.sequence ?? 0,
      records: bytes,
      count,
      close,
      contentType,
      streamSeq,
    })
    const { epoch } = await caller.whenAttached()
    return answer(reply, epoch, appended, producer, count)
  } catch (error) {
    if (!isLitetopicError(error, 'CLOSED')) throw error
    const { epoch } = await caller.whenAttached()
    reply.headers({
      'stream-closed': 'true',
      'stream-next-offset': formatOffset(Number(error.details.nextOffset), epoch),
    })
    throw error
  }
}

/** What the body becomes. Throws BAD_REQUEST for one that says nothing, or does not say what it is. */
function encoded(body: Buffer, contentType: string | undefined, close: boolean): EncodedBody {
  if (body.length === 0) {
    if (close) return NO_RECORDS
    throw new LitetopicError('BAD_REQUEST', 'an append has a body, unless it closes the stream (Stream-Closed: true)')
  }
  if (contentType === undefined) throw new LitetopicError('BAD_REQUEST', 'an append says its Content-Type')
  const found = encodeBody(body, formOf(contentType))
  if (found.count === 0) throw new LitetopicError('BAD_REQUEST', 'an empty array appends nothing')
  return found
}

/** 204, or 200 where a producer appended something new: so it knows that from a repeat. */
function answer(
  reply: Reply,
  epoch: number,
  { offset, nextOffset, repeat, closed, sequence }: AtomicAppended,
  producer: ProducerHeaders | null,
  count: number,
): Reply {
  const next = repeat || offset === null ? nextOffset : offset + count
  reply.headers({
    'stream-next-offset': formatOffset(next, epoch),
    ...(closed && { 'stream-closed': 'true' }),
    ...(producer !== null && { 'producer-epoch': String(producer.epoch), 'producer-seq': String(sequence) }),
  })
  return reply.code(producer !== null && !repeat && count > 0 ? 200 : 204).send()
}
