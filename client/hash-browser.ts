/** Checksums of large messages in browsers, in place of hash.ts: what they have of their own takes only whole messages. */

import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js'
import type { Sha256 } from './hash.ts'

const POLYNOMIAL = 0xedb88320

const TABLE = new Uint32Array(256).map((_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  return crc
})

export function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number)
  return ~crc >>> 0
}

export function sha256(): Sha256 {
  return nobleSha256.create()
}
