/** Names of topics and of what lives in them: their rules, and the order of prefixes. See PROTOCOL.md, Names. */

import { LitetopicError } from './errors.ts'
import { LIMITS } from './limits.ts'

const TOPIC_NAME = /^[A-Za-z0-9._~:@-]+(?:\/[A-Za-z0-9._~:@-]+)*$/
const CONTENT_TYPE = /^[!-~](?:[ -~]*[!-~])?$/

/** True for 1–255 bytes of segments of `[A-Za-z0-9._~:@-]` joined by `/`, none of them `.` or `..`. */
export function isTopicName(name: string): boolean {
  if (name.length === 0 || name.length > LIMITS.nameBytes || !TOPIC_NAME.test(name)) return false
  if (!name.includes('.')) return true
  return !name.split('/').some((segment) => segment === '.' || segment === '..')
}

/** Returns the name, or throws BAD_NAME. */
export function checkTopicName(name: string): string {
  if (isTopicName(name)) return name
  throw new LitetopicError(
    'BAD_NAME',
    `${JSON.stringify(name.slice(0, 80))} is not a topic name: use 1–${LIMITS.nameBytes} characters of ` +
      '[A-Za-z0-9._~:@-] in segments joined by "/", none of them "." or ".."',
  )
}

/** Returns the id of a record, stream or part, or the name of a context entry or checkpoint: 1–255 bytes of text without control characters; else throws BAD_NAME. */
export function checkId(id: string, what: string): string {
  if (id.length > 0 && id.length <= LIMITS.nameBytes && textBytes(id) <= LIMITS.nameBytes) return id
  throw new LitetopicError(
    'BAD_NAME',
    `a ${what} must be 1–${LIMITS.nameBytes} bytes of text without control characters`,
    {
      what,
    },
  )
}

/** Returns the prefix: empty, or a topic name, with or without a slash at its end; else throws BAD_NAME. */
export function checkPrefix(prefix: string): string {
  const bare = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix
  if (prefix === '' || isTopicName(bare)) return bare
  throw new LitetopicError('BAD_NAME', `${JSON.stringify(prefix.slice(0, 80))} is not a prefix of topic names`)
}

/** Returns the media type: 1–255 printable ASCII characters; else throws BAD_REQUEST. */
export function checkContentType(contentType: string): string {
  if (contentType.length <= LIMITS.contentTypeBytes && CONTENT_TYPE.test(contentType)) return contentType
  throw new LitetopicError(
    'BAD_REQUEST',
    `${JSON.stringify(contentType.slice(0, 80))} is no content type: use 1–${LIMITS.contentTypeBytes} printable ASCII characters`,
  )
}

/** Does the prefix cover the name, in whole segments? `support` covers `support` and `support/x`, never `support2`. */
export function prefixCovers(prefix: string, name: string): boolean {
  if (prefix === '') return true
  return name.startsWith(prefix) && (name.length === prefix.length || name.charCodeAt(prefix.length) === 47)
}

/** The value of the longest prefix that covers the name. */
export function longestPrefix<T>(values: ReadonlyMap<string, T>, name: string): T | undefined {
  // Most have a default and no more, and this is asked for each topic that is attached.
  if (values.size === 1 && values.has('')) return values.get('')
  for (let end = name.length; end > 0; end = name.lastIndexOf('/', end - 1)) {
    const value = values.get(name.slice(0, end))
    if (value !== undefined) return value
  }
  return values.get('')
}

/** How many bytes it takes in UTF-8; Infinity if it has a control character, or half of a surrogate pair. */
function textBytes(text: string): number {
  let bytes = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x20) return Number.POSITIVE_INFINITY
    if (unit < 0x80) bytes++
    else if (unit < 0x800) bytes += 2
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 3
    else {
      const next = text.charCodeAt(i + 1)
      if (unit > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return Number.POSITIVE_INFINITY
      bytes += 4
      i++
    }
  }
  return bytes
}
