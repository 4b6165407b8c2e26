/**
 * Checksums of large messages in Node: its own code, which is many times faster than any in JavaScript. The client's only
 * import of it. Bundlers for browsers take hash-browser.ts instead, by the `browser` field of package.json.
 */

import { createHash } from 'node:crypto'

export { crc32 } from 'node:zlib'

/** A SHA-256 of what comes piece by piece. */
export interface Sha256 {
  update(bytes: Uint8Array): unknown
  /** Its 32 bytes; once. */
  digest(): Uint8Array
}

export function sha256(): Sha256 {
  return createHash('sha256')
}
