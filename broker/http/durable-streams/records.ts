/** What a request body becomes: one record, or, in JSON mode, one for each message. */

import { ByteWriter, type DataTag, isUtf8, LIMITS, LitetopicError, writeMessageBytes } from '../../../protocol/index.ts'
import type { Request } from '../fastify.ts'
import { jsonValues } from './json-values.ts'
import type { Form } from './media-type.ts'

export interface EncodedBody {
  readonly bytes: Uint8Array
  /** Records; 0 for an empty JSON array. */
  readonly count: number
}

const NO_BODY = Buffer.alloc(0)
export const NO_RECORDS: EncodedBody = { bytes: new Uint8Array(0), count: 0 }

/** Room that a record takes beside its data, at most. */
const RECORD_HEAD_BYTES = 8

/** Data of one record that fits an append. More travels in parts. */
export const RECORD_DATA_BYTES = LIMITS.appendBytes - RECORD_HEAD_BYTES

/** Of a repeat, which is not looked at. */
export const ANY_RECORD: EncodedBody = encodeBody(Buffer.from('-'), 'text')

/** The body of a request, which may be empty. */
export function bodyOf({ body }: Request): Buffer {
  return Buffer.isBuffer(body) ? body : NO_BODY
}

/** A JSON body that is one message, and does not fit an append: its bytes. Null for any other. Throws BAD_VALUE. */
export function largeValue(body: Buffer, form: Form): Buffer | null {
  if (form !== 'json' || body.length <= RECORD_DATA_BYTES) return null
  const [value, ...others] = jsonValues(body)
  return value !== undefined && others.length === 0 && value.length > RECORD_DATA_BYTES ? value : null
}

/**
 * Into `out`, which is empty. Throws BAD_VALUE for a JSON body that is not JSON, LIMIT_EXCEEDED for messages that do not fit one append
 * together.
 */
export function encodeBody(body: Buffer, form: Form, out = new ByteWriter(body.length + 16)): EncodedBody {
  const values = form === 'json' ? jsonValues(body) : [body]
  const tag = form === 'json' ? 'json' : tagOf(body, form)
  checkBound('appendRecords', values.length, LIMITS.appendRecords)
  for (const value of values) writeMessageBytes(out, tag, value)
  checkBound('appendBytes', out.length, LIMITS.appendBytes)
  return { bytes: out.view(), count: values.length }
}

/** Text that a chunk boundary has cut through is kept as bytes, which readers of text get all the same. */
export function tagOf(body: Buffer, form: Form): DataTag {
  return form === 'text' && isUtf8(body, 0, body.length) ? 'text' : 'bytes'
}

function checkBound(limit: 'appendRecords' | 'appendBytes', value: number, bound: number): void {
  if (value <= bound) return
  throw new LitetopicError(
    'LIMIT_EXCEEDED',
    `the messages of one request are stored together: at most ${bound} (${limit}), not ${value}`,
    { limit, value, bound },
  )
}
