/**
 * Tagged data in JSON: one of the fields `json`, `text` and `base64`, or none of them for no data. JSON text is put in as it is,
 * not parsed and printed again: what a writer sent is what a reader gets. See HTTP.md, Data.
 */

import { type DataInfo, LitetopicError, type RecordData } from '../../../protocol/index.ts'

/** Data as a request has it. */
export interface DataFields {
  readonly json?: unknown
  readonly text?: string
  readonly base64?: string
}

const FIELDS = ['json', 'text', 'base64'] as const
const LONE_SURROGATE = /\p{Surrogate}/u

/** A member of a JSON object, with a comma before it; empty for no data. */
export function dataMember({ tag, value }: RecordData | DataInfo): string {
  if (typeof value !== 'string') return value.length === 0 ? '' : `,"base64":"${base64Of(value)}"`
  return tag === 'text' ? `,"text":${JSON.stringify(value)}` : `,"json":${oneLine(value)}`
}

/** JSON text on one line. A line break in it is white space: in a string it would be escaped. */
export function oneLine(json: string): string {
  return /[\r\n]/.test(json) ? json.replace(/[\r\n]+/g, ' ') : json
}

/** The data that the fields say, null if none of them is there. Throws BAD_VALUE or BAD_REQUEST. */
export function dataOfFields(fields: DataFields): RecordData | null {
  const given = FIELDS.filter((field) => fields[field] !== undefined)
  if (given.length > 1) {
    throw new LitetopicError('BAD_REQUEST', `data is one of json, text and base64, not ${given.join(' and ')}`)
  }
  const { json, text, base64 } = fields
  if (json !== undefined) return { tag: 'json', value: jsonText(json) }
  if (text !== undefined) {
    if (LONE_SURROGATE.test(text)) throw new LitetopicError('BAD_VALUE', 'a text with half of a surrogate pair')
    return { tag: 'text', value: text }
  }
  return base64 === undefined ? null : { tag: 'bytes', value: bytesOf(base64) }
}

/** The text of a value that was parsed. Throws BAD_VALUE for one that is nested too deep: what reads it may go further than what writes it. */
export function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new LitetopicError('BAD_VALUE', 'JSON that is nested too deep: send it as a body of its own', {}, cause)
  }
}

function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

function bytesOf(base64: string): Uint8Array {
  const bytes = Buffer.from(base64, 'base64')
  // Node takes anything: what is not base64 is not what comes back.
  if (bytes.toString('base64') === base64) return bytes
  throw new LitetopicError('BAD_VALUE', 'base64 that is not base64, with padding, as in RFC 4648, section 4')
}

/**
 * The value of a context entry from its pieces, as a member: text is joined, bytes are joined; otherwise a list, to which further
 * pieces were added if the first one is a list, and which begins with it if not. See PROTOCOL.md, `context`.
 */
export function foldedMember(pieces: readonly DataInfo[]): string {
  const [first, ...others] = pieces
  if (first === undefined) return ''
  if (others.length === 0) return dataMember(first)
  if (pieces.every(({ tag }) => tag === 'text')) {
    return dataMember({ tag: 'text', value: pieces.map(({ value }) => value as string).join('') })
  }
  if (pieces.every(({ tag }) => tag === 'bytes')) {
    return dataMember({ tag: 'bytes', value: Buffer.concat(pieces.map(({ value }) => value as Uint8Array)) })
  }
  const head = first.tag === 'json' ? (first.value as string).trim() : ''
  // What a list of JSON holds is put in as it is.
  const items = head.startsWith('[') ? [head.slice(1, -1).trim()] : [jsonOf(first)]
  return `,"json":${oneLine(`[${[...items, ...others.map(jsonOf)].filter((item) => item !== '').join(',')}]`)}`
}

/** As an item of a list, where bytes can only be text: base64. */
function jsonOf({ tag, value }: DataInfo): string {
  if (typeof value !== 'string') return `"${base64Of(value)}"`
  return tag === 'json' ? value : JSON.stringify(value)
}
