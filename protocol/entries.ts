/**
 * The packed contents of the three hot frames: what is appended, acknowledged and delivered, without a msgpack value
 * per item. See PROTOCOL.md, Entries.
 *
 *     append  := handle:varint producerEpoch:varint sequence:varint fence:varint count:varint size:varint records
 *     ack     := handle:varint producerEpoch:varint sequence:varint base:varint
 *     deliver := subscription:varint flags:varint batch
 *
 * `fence` is 0 for none, else the stream's fence plus one.
 */

import type { ByteReader, ByteWriter } from './bytes.ts'
import { LitetopicError } from './errors.ts'
import { LIMITS } from './limits.ts'

/** Largest size of an append entry's header. */
export const APPEND_HEADER_BYTES = 48

/** Set on a delivery when the subscription had caught up: the batch was delivered as it was committed. */
export const DELIVER_LIVE = 1

/** One append entry, as fields of an object that is used again for the next. */
export interface AppendEntry {
  handle: number
  producerEpoch: number
  sequence: number
  /** The fence of the stream whose tokens or end it carries, or -1. */
  fence: number
  count: number
  /** Where the records lie in the reader's bytes. */
  from: number
  to: number
}

export function newAppendEntry(): AppendEntry {
  return { handle: 0, producerEpoch: 0, sequence: 0, fence: -1, count: 0, from: 0, to: 0 }
}

export function writeAppendEntry(
  out: ByteWriter,
  handle: number,
  producerEpoch: number,
  sequence: number,
  fence: number,
  count: number,
  records: Uint8Array,
  size: number,
): void {
  out.reserve(APPEND_HEADER_BYTES + size)
  out.varint(handle)
  out.varint(producerEpoch)
  out.varint(sequence)
  out.varint(fence + 1)
  out.varint(count)
  out.varint(size)
  out.slice(records, 0, size)
}

/** Reads the next entry into `entry`. Throws BAD_FRAME, or LIMIT_EXCEEDED for an append beyond its bounds. */
export function readAppendEntry(reader: ByteReader, entry: AppendEntry): void {
  entry.handle = reader.varint()
  entry.producerEpoch = reader.varint()
  entry.sequence = reader.varint()
  entry.fence = reader.varint() - 1
  entry.count = reader.varint()
  const size = reader.varint()
  entry.from = reader.skip(size)
  entry.to = entry.from + size
  if (entry.handle >= LIMITS.handlesPerConnection) {
    throw new LitetopicError('BAD_FRAME', `an append for handle ${entry.handle}, which no handle can be`)
  }
  if (size > LIMITS.appendBytes) throw tooMuch('appendBytes', size)
  if (entry.count > LIMITS.appendRecords) throw tooMuch('appendRecords', entry.count)
  if (entry.count === 0) throw new LitetopicError('BAD_FRAME', 'an append of no records')
}

export interface AckEntry {
  handle: number
  producerEpoch: number
  sequence: number
  /** Offset of the first record of the append. */
  base: number
}

export function writeAckEntry(
  out: ByteWriter,
  handle: number,
  producerEpoch: number,
  sequence: number,
  base: number,
): void {
  out.varint(handle)
  out.varint(producerEpoch)
  out.varint(sequence)
  out.varint(base)
}

export function readAckEntry(reader: ByteReader, entry: AckEntry): void {
  entry.handle = reader.varint()
  entry.producerEpoch = reader.varint()
  entry.sequence = reader.varint()
  entry.base = reader.varint()
}

function tooMuch(limit: keyof typeof LIMITS, value: number): LitetopicError {
  const bound = LIMITS[limit]
  return new LitetopicError('LIMIT_EXCEEDED', `an append of ${value} exceeds ${limit} (${bound})`, {
    limit,
    value,
    bound,
  })
}
