/**
 * Bodies of Durable Streams requests: taken into memory, but for bytes that do not fit one append. Those become a large message,
 * whose parts are stored as they come. JSON is taken into memory, because it is looked at whole.
 */

import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { ByteWriter, type DataTag, invariant, NO_DATA, writeMessage } from '../../../protocol/index.ts'
import type { Caller } from '../caller.ts'
import { INLINE_BYTES, type Incoming, receive } from '../content/receive.ts'
import type { Face } from '../face.ts'
import type { App, Request } from '../fastify.ts'
import { formOf } from './media-type.ts'
import { type EncodedBody, encodeBody } from './records.ts'
import { header } from './request-headers.ts'

/** In this part of the face the body of a request is a Buffer, unless it comes in parts. */
export function streamBodies(app: App, face: Face): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (request, _payload, done) => {
    if (comesInParts(request)) done(null)
    else face.readBody(request, done)
  })
}

/** Is the body left to be read from the socket? That of an append which is no JSON, and is large, or does not say how large it is. */
export function comesInParts({ method, headers }: Request): boolean {
  if (method !== 'POST') return false
  const length = headers['content-length']
  const mayBeLarge = length === undefined ? headers['transfer-encoding'] !== undefined : Number(length) > INLINE_BYTES
  return mayBeLarge && formOf(header(headers, 'content-type') ?? '') !== 'json'
}

/** Takes the body as it comes. Rejects with what `receive` does. */
export async function receiveBody(face: Face, caller: Caller, request: Request): Promise<EncodedBody> {
  const form = formOf(header(request.headers, 'content-type') ?? '')
  const received = await receive(face, caller, request.raw, { uploadId: randomUUID(), tag: 'bytes', id: undefined })
  if (received.kind === 'bytes') return encodeBody(received.bytes, form)
  return largeRecord(received, 'bytes')
}

/** Stores one JSON message that does not fit an append. */
export async function storeLarge(face: Face, caller: Caller, value: Buffer): Promise<EncodedBody> {
  const source: Incoming = Object.assign(Readable.from([value], { objectMode: false }), {
    headers: { 'content-length': String(value.length) },
  })
  return largeRecord(
    await receive(face, caller, source, { uploadId: randomUUID(), tag: 'json', id: undefined }),
    'json',
  )
}

function largeRecord(received: Awaited<ReturnType<typeof receive>>, tag: DataTag): EncodedBody {
  invariant(received.kind === 'parts', 'an upload without an id has parts of its own')
  const out = new ByteWriter(256)
  writeMessage(out, tag === 'bytes' ? NO_DATA : { tag, value: '' }, { parts: received.parts })
  return { bytes: out.view(), count: 1 }
}
