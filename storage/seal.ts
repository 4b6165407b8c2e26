/** Checksums. Every stored unit carries one that covers its key too, so that a value in the wrong place is found out. */

import { crc32 } from 'node:zlib'
import { LitetopicError } from '../protocol/index.ts'

/** What `seal` puts before a payload. */
export const SEAL_BYTES = 4

/** The payload with a checksum of key and payload before it. */
export function seal(key: Uint8Array, payload: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(SEAL_BYTES + payload.length)
  sealed.set(payload, SEAL_BYTES)
  sealed.writeUInt32BE(crc32(payload, crc32(key)), 0)
  return sealed
}

/** The payload of what `seal` made; throws STORE_CORRUPT if key or payload changed. `what` names the unit for people. */
export function unseal(key: Uint8Array, value: Uint8Array, what: string): Uint8Array {
  const payload = value.subarray(SEAL_BYTES)
  const stored = value.length < SEAL_BYTES ? -1 : new DataView(value.buffer, value.byteOffset).getUint32(0)
  if (stored !== crc32(payload, crc32(key))) {
    throw new LitetopicError('STORE_CORRUPT', `${what} fails its checksum`, { key: Buffer.from(key).toString('hex') })
  }
  return payload
}

/** What is done with something damaged where nobody else is told of it. */
export function refuse(error: LitetopicError): never {
  throw error
}
