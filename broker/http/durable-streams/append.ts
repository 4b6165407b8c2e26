/** POST: appends to a Durable Streams stream, closes it, or both at once; with the protocol's producers and sequences. */

import { isLitetopicError, LitetopicError } from '../../../protocol/index.ts'
import type { AtomicAppended } from '../../atomic-append.ts'
import { isSameType, TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import type { Caller } from '../caller.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { comesInParts, receiveBody, storeLarge } from './bodies.ts'
import { checkContentType, formOf } from './media-type.ts'
import { formatOffset } from './offsets.ts'
import { ANY_RECORD, bodyOf, type EncodedBody, encodeBody, largeValue, NO_RECORDS } from './records.ts'
import { closedHeader, header, type ProducerHeaders, producerHeaders } from './request-headers.ts'
import { streamOf } from './stream-name.ts'

/** Epoch and sequence of who has none. */
export const NO_PRODUCER = { epoch: 0, sequence: 0 }

/** What an append stores, or what stores it first because it does not fit an append. */
type Content = EncodedBody | ((caller: Caller) => Promise<EncodedBody>)

export async function append(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = streamOf(request)
  const { headers } = request
  const producer = producerHeaders(headers)
  const close = closedHeader(headers)
  const streamSeq = header(headers, 'stream-seq')
  const contentType = hasBody(request) ? checkContentType(header(headers, 'content-type')) : undefined
  const content = contentOf(face, request, contentType, close)
  const caller = face.caller(reply)
  caller.begin(name, { create: false, producer: producer?.id, anonymous: producer === null })
  try {
    const large = typeof content === 'function'
    const { bytes: records, count } = large ? await stored(caller, producer, contentType, content) : content
    const { epoch: producerEpoch, sequence } = producer ?? NO_PRODUCER
    const request = { producerEpoch, sequence, records, count, isChecked: !large, close, contentType, streamSeq }
    const appended = await caller.atomicAppend(request)
    const { status, headers: answered } = appendAnswer(appended, producer, count)
    return reply.code(status).headers(answered).send()
  } catch (error) {
    if (!isLitetopicError(error, 'CLOSED')) throw error
    const { epoch, nextOffset } = await caller.whenAttached()
    reply.headers({
      'stream-closed': 'true',
      'stream-next-offset': formatOffset(Number(error.details.nextOffset ?? nextOffset), epoch),
    })
    throw error
  }
}

/** Throws BAD_REQUEST for a body that says nothing, or does not say what it is, and what `encodeBody` throws. */
function contentOf(face: Face, request: Request, contentType: string | undefined, close: boolean): Content {
  if (!hasBody(request)) {
    if (close) return NO_RECORDS
    throw new LitetopicError('BAD_REQUEST', 'an append has a body, unless it closes the stream (Stream-Closed: true)')
  }
  if (contentType === undefined) throw new LitetopicError('BAD_REQUEST', 'an append says its Content-Type')
  if (comesInParts(request)) return (caller) => receiveBody(face, caller, request)
  const body = bodyOf(request)
  const value = largeValue(body, formOf(contentType))
  if (value !== null) return (caller) => storeLarge(face, caller, value)
  const found = encodeBody(body, formOf(contentType))
  if (found.count === 0) throw new LitetopicError('BAD_REQUEST', 'an empty array appends nothing')
  return found
}

function hasBody(request: Request): boolean {
  return comesInParts(request) || bodyOf(request).length > 0
}

/** Stores it, unless it is a repeat, of which nothing is stored, or will be refused. */
async function stored(
  caller: Caller,
  producer: ProducerHeaders | null,
  contentType: string | undefined,
  store: (caller: Caller) => Promise<EncodedBody>,
): Promise<EncodedBody> {
  const topic = await caller.whenAttached()
  const known = topic.producer
  if (producer !== null && known?.producerEpoch === producer.epoch && producer.sequence <= known.sequence) {
    return ANY_RECORD
  }
  if (topic.closed === true) throw new LitetopicError('CLOSED', 'the stream is closed and takes no more data')
  const own = topic.contentType ?? TOPIC_CONTENT_TYPE
  if (contentType !== undefined && isSameType(own, contentType)) return store(caller)
  throw new LitetopicError('CONTENT_TYPE_MISMATCH', `the stream takes ${own}`, { contentType: own })
}

/** What an append is answered with: 204, or 200 where a producer appended something new, so that it knows that from a repeat. */
export function appendAnswer(
  { epoch, offset, nextOffset, repeat, closed, sequence }: AtomicAppended,
  producer: ProducerHeaders | null,
  count: number,
): { status: 200 | 204; headers: Record<string, string> } {
  const next = repeat || offset === null ? nextOffset : offset + count
  const headers: Record<string, string> = { 'stream-next-offset': formatOffset(next, epoch) }
  if (closed) headers['stream-closed'] = 'true'
  if (producer === null) return { status: 204, headers }
  headers['producer-epoch'] = String(producer.epoch)
  headers['producer-seq'] = String(sequence)
  return { status: repeat || count === 0 ? 204 : 200, headers }
}
