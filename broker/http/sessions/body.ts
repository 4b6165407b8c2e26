/** A body as data, by its content type: what it says is the data's tag, and its bytes are kept. See HTTP.md, Data. */

import { type DataTag, LitetopicError, type RecordData } from '../../../protocol/index.ts'
import type { Request } from '../fastify.ts'
import { StatusError } from '../problem.ts'

export const JSON_TYPE = 'application/json'
export const LINES_TYPE = 'application/x-ndjson'
export const TEXT_TYPE = 'text/plain'
export const RECORDS_TYPE = 'application/vnd.litetopic.records'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The body, empty if there is none. Throws 415 for one that is compressed. */
export function bytesOf(request: Request): Uint8Array {
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding !== 'identity') throw new StatusError(415, 'BAD_REQUEST', `bodies come as they are, not as ${encoding}`)
  return request.body instanceof Uint8Array ? request.body : new Uint8Array(0)
}

/** Its media type, in small letters and without parameters; null if there is none. Throws 415 for a charset other than UTF-8. */
export function mediaTypeOf(request: Request): string | null {
  const header = request.headers['content-type']
  if (header === undefined) return null
  const [type = '', ...parameters] = header.split(';').map((piece) => piece.trim().toLowerCase())
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length)
  if (charset === undefined || ['utf-8', 'utf8', '"utf-8"', 'us-ascii'].includes(charset)) return type
  throw new StatusError(415, 'BAD_REQUEST', `a charset ${charset}: text is UTF-8 here`)
}

/** The whole body as data; null if it is empty. Throws BAD_VALUE. */
export function dataOfBody(request: Request): RecordData | null {
  const bytes = bytesOf(request)
  return bytes.length === 0 ? null : dataOf(bytes, tagOf(mediaTypeOf(request)))
}

/** What the content type of a body makes of it. */
export function tagOf(type: string | null): DataTag {
  if (type === JSON_TYPE || type?.endsWith('+json')) return 'json'
  return type?.startsWith('text/') ? 'text' : 'bytes'
}

/** Throws BAD_VALUE. */
export function dataOf(bytes: Uint8Array, tag: DataTag): RecordData {
  if (tag === 'bytes') return { tag, value: bytes }
  const value = textOf(bytes)
  return { tag, value: tag === 'json' ? checkedJson(value) : value }
}

/** Its text. Throws BAD_VALUE for what is not UTF-8. */
export function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new LitetopicError('BAD_VALUE', 'a body that is not UTF-8', {}, cause)
  }
}

/** Its JSON value. Throws BAD_VALUE. */
export function jsonOf(bytes: Uint8Array): unknown {
  return parsed(textOf(bytes))
}

function checkedJson(text: string): string {
  parsed(text)
  return text
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new LitetopicError('BAD_VALUE', `a body that is not JSON: ${(cause as Error).message}`, {}, cause)
  }
}
