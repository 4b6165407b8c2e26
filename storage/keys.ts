/**
 * Keys of the table: an index byte, then fields whose bytes sort as their values do. See FORMAT.md, Keys.
 * Numbers are 7 bytes, most significant first (53 bits); names are UTF-8, and end a key or are closed by a zero byte.
 */

import { INDEX, type TableRange } from './store.ts'

const NUMBER_BYTES = 7
const MAX = Number.MAX_SAFE_INTEGER

const HEAD_INDEX = String.fromCharCode(INDEX.head)

export function headKey(name: string): Buffer {
  return Buffer.from(HEAD_INDEX + name)
}

export function nameOfHeadKey(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset + 1, key.length - 1).toString()
}

/** Heads whose names come after `after` and begin with `prefix` as bytes. */
export function headRange(prefix: string, after: string): TableRange {
  const gte = byteOrder(after, prefix) < 0 ? headKey(prefix) : Buffer.concat([headKey(after), Buffer.of(0)])
  return { gte, lt: Buffer.concat([headKey(prefix), Buffer.of(0xff)]) }
}

/** Order of two texts by their UTF-8 bytes, as that of keys. */
export function byteOrder(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length)
  for (let i = 0; i < shorter; i++) {
    const difference = rank(a.charCodeAt(i)) - rank(b.charCodeAt(i))
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** UTF-16 units sort as UTF-8 does, except for surrogates: they stand for characters beyond all others. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}

/** A chunk lies under its last offset, so that the first key at or after an offset is the chunk that holds it. */
export function chunkKey(epoch: number, lastOffset: number): Buffer {
  return numbersKey(INDEX.chunk, epoch, lastOffset)
}

/** Chunks that hold offsets from `from` to before `to`. */
export function chunkRange(epoch: number, from: number, to: number = MAX): TableRange {
  return { gte: chunkKey(epoch, from), lt: chunkKey(epoch, to) }
}

export function streamKey(epoch: number, streamId: string): Buffer {
  return namedKey(INDEX.stream, epoch, streamId)
}

/** With an offset: the entry of a topic that has been forked, which a later one of that id must not replace. */
export function recordIdKey(epoch: number, id: string, offset?: number): Buffer {
  return offset === undefined ? namedKey(INDEX.recordId, epoch, id) : versionKey(INDEX.recordId, epoch, id, offset)
}

export function checkpointKey(epoch: number, offset: number): Buffer {
  return numbersKey(INDEX.checkpoint, epoch, offset)
}

export function checkpointRange(epoch: number, from: number, to: number): TableRange {
  return { gte: checkpointKey(epoch, from), lt: checkpointKey(epoch, to) }
}

/** The entry without an offset, and then those with one before `to`: the last of them is the newest. */
export function recordIdVersions(epoch: number, id: string, to: number): TableRange {
  return { gte: recordIdKey(epoch, id), lt: recordIdKey(epoch, id, to) }
}

export function checkpointNameKey(epoch: number, name: string): Buffer {
  return namedKey(INDEX.checkpointName, epoch, name)
}

export function contextKey(epoch: number, name: string, offset: number): Buffer {
  return versionKey(INDEX.context, epoch, name, offset)
}

/** Stands behind all parts of an upload, for what is said of them as a whole. */
export const MARK_PART = MAX

export function partKey(epoch: number, uploadId: string, part: number): Buffer {
  const key = Buffer.concat([namedKey(INDEX.part, epoch, uploadId), Buffer.alloc(1 + NUMBER_BYTES)])
  writeNumber(key, key.length - NUMBER_BYTES, part)
  return key
}

/** All that there is of the parts of an upload. */
export function partRange(epoch: number, uploadId: string): TableRange {
  return {
    gte: partKey(epoch, uploadId, 0),
    lt: Buffer.concat([namedKey(INDEX.part, epoch, uploadId), Buffer.of(1)]),
  }
}

export function partNumber(key: Uint8Array): number {
  return readNumber(key, key.length - NUMBER_BYTES)
}

export function uploadKey(epoch: number, uploadId: string): Buffer {
  return namedKey(INDEX.upload, epoch, uploadId)
}

export function uploadOfKey(key: Uint8Array): { epoch: number; uploadId: string } {
  return { epoch: readNumber(key, 1), uploadId: Buffer.from(key.subarray(1 + NUMBER_BYTES)).toString() }
}

/** A waker, and behind it, by topic, what it is linked to. */
export function wakerKey(id: string, topic: string): Buffer {
  return Buffer.from(`${String.fromCharCode(INDEX.waker)}${id}\0${topic}`)
}

/** All that there is of a waker. */
export function wakerRange(id: string): TableRange {
  return { gte: wakerKey(id, ''), lt: Buffer.from(`${String.fromCharCode(INDEX.waker)}${id}\u0001`) }
}

export function wakerOfKey(key: Uint8Array): { id: string; topic: string } {
  const text = Buffer.from(key.buffer, key.byteOffset + 1, key.length - 1).toString()
  const end = text.indexOf('\0')
  return { id: text.slice(0, end), topic: text.slice(end + 1) }
}

/** Versions of one context entry at offsets from 0 to before `to`. */
export function contextVersions(epoch: number, name: string, to: number): TableRange {
  return { gte: contextKey(epoch, name, 0), lt: contextKey(epoch, name, to) }
}

/** Context entries whose names come after `after`. */
export function contextAfter(epoch: number, after: string): TableRange {
  const behind = Buffer.concat([contextKey(epoch, after, MAX), Buffer.of(0)])
  const gte = after === '' ? epochRange(INDEX.context, epoch).gte : behind
  return { gte, lt: epochRange(INDEX.context, epoch).lt }
}

export function parseContextKey(key: Uint8Array): { name: string; offset: number } {
  const name = Buffer.from(key.subarray(1 + NUMBER_BYTES, key.length - NUMBER_BYTES - 1)).toString()
  return { name, offset: readNumber(key, key.length - NUMBER_BYTES) }
}

export function openStreamsKey(epoch: number): Buffer {
  return numbersKey(INDEX.openStreams, epoch)
}

export function timerKey(dueMs: number, epoch: number): Buffer {
  return numbersKey(INDEX.timer, dueMs, epoch)
}

/** Timers behind the one of that time and epoch, up to a time, which is included. */
export function timersWithin(after: { readonly dueMs: number; readonly epoch: number }, toMs: number): TableRange {
  return { gte: timerKey(after.dueMs, after.epoch + 1), lt: timerKey(toMs + 1, 0) }
}

/** Of all topics, of those with a first segment, or of those that a principal created. */
export function usageKey(of: 'total' | 'segment' | 'principal', name: string): Buffer {
  const kind = { total: 0, segment: 1, principal: 2 }[of]
  return Buffer.concat([Buffer.of(INDEX.usage, kind), Buffer.from(name)])
}

/** Says that a topic shares records of another one. */
export function forkKey(parent: number, fork: number): Buffer {
  return numbersKey(INDEX.fork, parent, fork)
}

/** A deleted topic that forks still read: by its epoch, and by its name. */
export function hiddenKey(epoch: number): Buffer {
  return numbersKey(INDEX.hidden, epoch)
}

export function hiddenNameKey(name: string, epoch: number): Buffer {
  const key = Buffer.concat([Buffer.of(INDEX.hiddenName), Buffer.from(name), Buffer.alloc(1 + NUMBER_BYTES)])
  writeNumber(key, key.length - NUMBER_BYTES, epoch)
  return key
}

export function hiddenNameOf(key: Uint8Array): { name: string; epoch: number } {
  const name = Buffer.from(key.subarray(1, key.length - NUMBER_BYTES - 1)).toString()
  return { name, epoch: readNumber(key, key.length - NUMBER_BYTES) }
}

export function hiddenNames(name: string): TableRange {
  return { gte: hiddenNameKey(name, 0), lt: hiddenNameKey(name, MAX) }
}

export function garbageKey(epoch: number): Buffer {
  return numbersKey(INDEX.garbage, epoch)
}

/** All keys of an index. */
export function indexRange(index: number): TableRange {
  return { gte: Buffer.of(index), lt: Buffer.of(index + 1) }
}

/** All keys of one epoch in an index. */
export function epochRange(index: number, epoch: number): TableRange {
  return { gte: numbersKey(index, epoch), lt: numbersKey(index, epoch + 1) }
}

/** The name in a key of an epoch: what is behind the epoch, but for a number. */
export function nameInKey(key: Uint8Array): string {
  const named = Buffer.from(key.subarray(1 + NUMBER_BYTES))
  const end = named.indexOf(0)
  return named.subarray(0, end < 0 ? named.length : end).toString()
}

/** Id of the upload that a part is of. */
export function uploadOfPart(key: Uint8Array): string {
  return Buffer.from(key.subarray(1 + NUMBER_BYTES, key.length - NUMBER_BYTES - 1)).toString()
}

/** The n-th number of a key that begins with numbers. */
export function numberInKey(key: Uint8Array, nth: number): number {
  return readNumber(key, 1 + nth * NUMBER_BYTES)
}

function numbersKey(index: number, ...numbers: number[]): Buffer {
  const key = Buffer.allocUnsafe(1 + numbers.length * NUMBER_BYTES)
  key[0] = index
  for (let i = 0; i < numbers.length; i++) writeNumber(key, 1 + i * NUMBER_BYTES, numbers[i] as number)
  return key
}

function namedKey(index: number, epoch: number, name: string): Buffer {
  return Buffer.concat([numbersKey(index, epoch), Buffer.from(name)])
}

function versionKey(index: number, epoch: number, name: string, offset: number): Buffer {
  const key = Buffer.concat([namedKey(index, epoch, name), Buffer.alloc(1 + NUMBER_BYTES)])
  writeNumber(key, key.length - NUMBER_BYTES, offset)
  return key
}

function writeNumber(key: Buffer, at: number, value: number): void {
  key.writeUInt32BE(value % 0x1_0000_0000, at + 3)
  key.writeUIntBE(Math.floor(value / 0x1_0000_0000), at, 3)
}

function readNumber(key: Uint8Array, at: number): number {
  const view = new DataView(key.buffer, key.byteOffset)
  return view.getUint8(at) * 0x1_0000_0000_0000 + view.getUint16(at + 1) * 0x1_0000_0000 + view.getUint32(at + 3)
}
