/** Media types, as far as the Durable Streams protocol looks at them: which are the same, and how their data is kept and served. */

import { LitetopicError } from '../../../protocol/index.ts'

/** Of a stream that is created without a content type. */
export const DEFAULT_CONTENT_TYPE = 'application/octet-stream'
/** Of a topic that was created elsewhere, and has none. */
export const TOPIC_CONTENT_TYPE = 'application/json'

/** How data travels: as an array of JSON values, as text, or as bytes. */
export type Form = 'json' | 'text' | 'bytes'

const MEDIA_TYPE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;[\x20-\x7e\t]*)?$/
const LONGEST = 255

/** The content type as it was given; undefined for none. Throws BAD_REQUEST for what is not one. */
export function checkContentType(given: string | undefined): string | undefined {
  const text = given?.trim() ?? ''
  if (text === '') return undefined
  if (text.length <= LONGEST && MEDIA_TYPE.test(text)) return text
  throw new LitetopicError('BAD_REQUEST', `${JSON.stringify(text.slice(0, 80))} is not a content type`)
}

/** Do both name the same type? Parameters, such as a charset, and case do not count. */
export function isSameType(one: string, other: string): boolean {
  return essence(one) === essence(other)
}

export function formOf(contentType: string): Form {
  const type = essence(contentType)
  if (type === 'application/json') return 'json'
  return type.startsWith('text/') ? 'text' : 'bytes'
}

function essence(contentType: string): string {
  const [type = ''] = contentType.split(';', 1)
  return type.trim().toLowerCase()
}
