/**
 * What a journal entry holds: a header and operations, each on one topic, named by its epoch. Replaying them in order on
 * the heads of the table gives every topic's state. See FORMAT.md, Journal entries.
 *
 *     entry  := format:u8 0:u8 0:u16 crc:u32 number:u64 operations:u32 0:u32 operation*
 *     append := 1:u8 epoch:varint producer:varint sequence:varint flags:u8 batch
 *     other  := type:u8 size:varint msgpack
 *
 * `producer` is 0 for the broker itself, else the producer's slot plus one.
 */

import { crc32 } from 'node:zlib'
import { ByteReader, LitetopicError, unpack } from '../protocol/index.ts'

export const ENTRY_HEADER_BYTES = 24
export const ENTRY_FORMAT = 1
const CRC_FROM = 8

export const OPERATION = {
  append: 1,
  create: 2,
  introduce: 3,
  producer: 4,
  advance: 5,
  trim: 6,
  policy: 7,
  delete: 8,
  fence: 9,
  close: 10,
  extra: 11,
} as const
export type OperationType = (typeof OPERATION)[keyof typeof OPERATION]

/** The append holds records that change more than the log: ids, context, checkpoints, streams. */
export const APPEND_EFFECTS = 1

/** Policy of one topic; what is missing comes from the longest prefix configured. */
export interface TopicPolicy {
  readonly lingerMs?: number | 'forever'
  readonly maxBytes?: number | null
  readonly maxRecords?: number | null
  readonly maxAgeMs?: number | null
  readonly ttlMs?: number | null
  readonly expiresAtMs?: number | null
}

/** A topic that a fork descends from: the fork shares its records before `upTo`. `kinds` says which indexes may have some of them. */
export type Link = readonly [epoch: number, upTo: number, kinds: number]

/** What a fork has of its parent. */
export interface Fork {
  /** Name of the parent. */
  readonly name: string
  /** The parent first, then its parent, and so on: none goes further than the one before it. */
  readonly links: readonly [Link, ...Link[]]
  /** Bytes of the records that it was created with, if there were any: a repeat of its creation has as many. */
  readonly givenBytes?: number
}

/** What few topics have; room for more. A topic with nothing of it has none. */
export interface TopicExtra {
  /** Who created it, once access is configured. */
  readonly principal?: string
  /** What its data is, as a media type, where who created it said so. */
  readonly contentType?: string
  /** The newest sequence text that an append to it named; see PROTOCOL.md, Closing. */
  readonly streamSeq?: string
  /** Of a topic with a `ttlMs`: it was not read after this time. Not in the journal, only in the head. */
  readonly usedMs?: number
  /** Of a topic that ends by itself: when its linger ends, if it is not attached. Not in the journal, only in the head. */
  readonly lingerUntilMs?: number
  /** What a fork shares. */
  readonly fork?: Fork
  /** It has been forked, and no fork of it has ever shared a record from this offset on. */
  readonly forkedTo?: number
}

/** How a fork begins, beside what its extra says. */
export interface Inherited {
  readonly firstOffset: number
  /** Streams that are open at the fork point, as `packStream` has them. */
  readonly streams: readonly unknown[]
  readonly branches: readonly (readonly [incarnation: string, next: number])[]
}

/** The operations that are not appends, as msgpack arrays. */
export interface OperationBody {
  create: [
    epoch: number,
    name: string,
    createdMs: number,
    policy: TopicPolicy | null,
    extra: TopicExtra | null,
    inherited?: Inherited,
  ]
  /** Names a topic in the journal again, so that its operations can be replayed without the entry that created it. */
  introduce: [epoch: number, name: string, extra: Pick<TopicExtra, 'principal'> | null]
  /** A producer takes a slot, or begins a new producer epoch in it. */
  producer: [epoch: number, slot: number, id: string, producerEpoch: number, timeMs: number]
  /** A sequence was used without a record. */
  advance: [epoch: number, slot: number, sequence: number, base: number, timeMs: number]
  /** `slot` is -1 for retention, which is the broker's own. */
  trim: [epoch: number, slot: number, sequence: number, firstOffset: number, freedBytes: number, timeMs: number]
  policy: [epoch: number, policy: TopicPolicy]
  delete: [epoch: number, name: string, freedBytes: number]
  /** An exclusive session has taken the topic, or, with no holder, let go of it. */
  fence: [epoch: number, fence: number, holder: string | null]
  /** The topic takes no more records. `slot` is -1 where no sequence was used, or another operation used it. */
  close: [epoch: number, slot: number, sequence: number, base: number, timeMs: number]
  /** What changes of the topic's extra. */
  extra: [epoch: number, change: TopicExtra]
}

export function writeEntryHeader(slab: Buffer, from: number, to: number, number: number, operations: number): void {
  slab.writeUInt32BE(ENTRY_FORMAT << 24, from)
  slab.writeUInt32BE(Math.floor(number / 0x1_0000_0000), from + 8)
  slab.writeUInt32BE(number % 0x1_0000_0000, from + 12)
  slab.writeUInt32BE(operations, from + 16)
  slab.writeUInt32BE(0, from + 20)
  slab.writeUInt32BE(crc32(slab.subarray(from + CRC_FROM, to)), from + 4)
}

/** Checks an entry read back against its number; throws STORE_CORRUPT. Returns how many operations it holds. */
export function checkEntry(bytes: Uint8Array, number: number): number {
  const corrupt = (what: string): LitetopicError =>
    new LitetopicError('STORE_CORRUPT', `journal entry ${number} ${what}`, { number })
  if (bytes.length < ENTRY_HEADER_BYTES) throw corrupt('is cut off')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  // The three bytes behind the format are kept for flags: none is known here.
  if (view.getUint32(0) !== ENTRY_FORMAT << 24) throw corrupt('has an unknown format')
  if (view.getUint32(4) !== crc32(bytes.subarray(CRC_FROM))) throw corrupt('fails its checksum')
  const stored = view.getUint32(8) * 0x1_0000_0000 + view.getUint32(12)
  if (stored !== number) throw corrupt(`says it is entry ${stored}`)
  return view.getUint32(16)
}

/** One operation found in an entry. For an append, `body` is undefined and the batch lies at `batchAt`. */
export interface FoundOperation {
  type: OperationType
  epoch: number
  producer: number
  sequence: number
  flags: number
  batchAt: number
  body: unknown
}

/** Reads the operation at the reader's position and moves behind it. Throws DATA_DIR_VERSION for one unknown here. */
export function readOperation(reader: ByteReader): FoundOperation {
  const type = reader.u8()
  if (type === OPERATION.append) return readAppend(reader)
  if (type === 0 || type > OPERATION.extra) throw unknown(`operation type ${type}`)
  const body = unpack(reader.view(reader.varint()))
  if (!Array.isArray(body) || typeof body[0] !== 'number') {
    throw new LitetopicError('STORE_CORRUPT', `an operation of type ${type} that is not a list`)
  }
  return { type: type as OperationType, epoch: body[0], producer: 0, sequence: 0, flags: 0, batchAt: -1, body }
}

/** Adds the epochs of the topics that an entry in `slab[from, from + size)` has operations of. */
export function addEpochs(slab: Buffer, from: number, size: number, epochs: Set<number>): void {
  const reader = new ByteReader(slab, from + ENTRY_HEADER_BYTES, from + size)
  while (!reader.done) epochs.add(readOperation(reader).epoch)
}

function readAppend(reader: ByteReader): FoundOperation {
  const epoch = reader.varint()
  const producer = reader.varint()
  const sequence = reader.varint()
  const flags = reader.u8()
  if (flags > APPEND_EFFECTS) throw unknown(`append flags ${flags}`)
  const batchAt = reader.at
  skipBatch(reader)
  return { type: OPERATION.append, epoch, producer, sequence, flags, batchAt, body: undefined }
}

/** The entry's checksum is right: a later version wrote it. */
function unknown(what: string): LitetopicError {
  return new LitetopicError('DATA_DIR_VERSION', `the journal has ${what}, unknown here`)
}

function skipBatch(reader: ByteReader): void {
  const form = reader.u8()
  reader.varint()
  reader.varint()
  reader.skip(6)
  if (form >= 0x80) reader.skip(reader.varint())
  reader.skip(reader.varint())
}
