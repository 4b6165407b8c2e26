/** Media types, as far as the Durable Streams protocol looks at them: how their data is kept and served. */

import { LitetopicError } from '../../../protocol/index.ts'
import { mediaType } from '../../content-type.ts'

/** Of a stream that is created without a content type. */
export const DEFAULT_CONTENT_TYPE = 'application/octet-stream'

/** How data travels: as an array of JSON values, as text, or as bytes. */
export type Form = 'json' | 'text' | 'bytes'

const MEDIA_TYPE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;[\x20-\x7e\t]*)?$/
const LONGEST = 255

/** The content type as it was given; undefined for none. Throws BAD_REQUEST for what is not one. */
export function checkContentType(given: string | undefined): string | undefined {
  const text = given?.trim() ?? ''
  if (text === '') return undefined
  if (isContentType(text)) return text
  throw new LitetopicError('BAD_REQUEST', `${JSON.stringify(text.slice(0, 80))} is not a content type`)
}

export function isContentType(text: string): boolean {
  return text.length <= LONGEST && MEDIA_TYPE.test(text)
}

export function formOf(contentType: string): Form {
  const type = mediaType(contentType)
  if (type === 'application/json') return 'json'
  return type.startsWith('text/') ? 'text' : 'bytes'
}
