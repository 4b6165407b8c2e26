/**
 * Frames to bytes and back. The only importer of msgpackr.
 *
 * A WebSocket message is one or more frames, one behind the other. Before anything is decoded the bytes are walked:
 * msgpackr decodes record and extension types, which could define structures or build objects of other classes, so
 * every extension type, too deep nesting, lengths beyond the bytes, map keys and text that are not UTF-8 text are refused
 * first.
 */

import { type Options, Packr, Unpackr } from 'msgpackr'
import { ByteWriter, isUtf8 } from './bytes.ts'
import { LitetopicError } from './errors.ts'
import {
  DOWN,
  DOWN_FRAMES,
  type DownFrame,
  REPLIES,
  type ReplyOf,
  type RequestType,
  type UP,
  UP_FRAMES,
  type Up,
  type UpFrame,
} from './frames.ts'
import { LIMITS } from './limits.ts'
import type { Shape } from './shape.ts'

// An optional field that is undefined is left out; msgpackr would write it as an extension type.
const packOptions: Options & { skipValues: readonly unknown[] } = {
  useRecords: false,
  variableMapSize: true,
  skipValues: [undefined],
}
const packr = new Packr(packOptions)
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

const NO_BYTES = new Uint8Array(0)
/** Type and 32-bit length before bytes. */
const BYTES_HEAD = 5

/** Plain data as msgpack bytes of its own. */
export function pack(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** One msgpack value that fills the bytes. Throws BAD_FRAME. */
export function unpack(bytes: Uint8Array): unknown {
  if (skipValue(bytes, 0, 0) !== bytes.length) {
    throw new LitetopicError('BAD_FRAME', 'more than one value where one was expected')
  }
  return unpackRange(bytes, 0, bytes.length)
}

/** The bytes of one frame; concatenate several for one message. */
export function encodeFrame(frame: UpFrame | DownFrame): Uint8Array {
  return packr.pack(frame)
}

/** Bytes of the head of a frame that holds nothing but bytes: an array of two, the type, and a binary of 32-bit length. */
const BYTES_FRAME_HEAD = 7

/** Begins a frame `[type, bytes]`, whose bytes are then written to `out`; returns what `endBytesFrame` asks for. */
export function beginBytesFrame(
  out: ByteWriter,
  type: typeof UP.append | typeof DOWN.ack | typeof DOWN.deliver,
): number {
  const start = out.length
  out.reserve(BYTES_FRAME_HEAD)
  out.bytes[start] = 0x92
  out.bytes[start + 1] = type
  out.bytes[start + 2] = 0xc6
  out.length = start + BYTES_FRAME_HEAD
  return start
}

export function endBytesFrame(out: ByteWriter, start: number): void {
  const size = out.length - start - BYTES_FRAME_HEAD
  out.bytes[start + 3] = size >>> 24
  out.bytes[start + 4] = size >>> 16
  out.bytes[start + 5] = size >>> 8
  out.bytes[start + 6] = size
}

/**
 * The frame that answers `fetch`, in bytes of its own: what msgpackr gives is a view of a buffer several times as large, which
 * would stay in memory until a slow reader has taken its part.
 */
export function encodeFetched(request: number, { bytes, size }: ReplyOf<typeof UP.fetch>): Uint8Array {
  const head = packr.pack([DOWN.reply, request, { size, bytes: NO_BYTES }])
  const frame = new ByteWriter(head.length + BYTES_HEAD + bytes.length)
  writeEndingInBytes(frame, head, bytes)
  return frame.view()
}

/** Writes a frame of a part behind what is in `out`, without a copy on the way: msgpackr would make one, and a buffer for it. */
export function writePartFrame(out: ByteWriter, frame: Up<typeof UP.part>): void {
  const [type, request, handle, uploadId, index, crc, bytes] = frame
  writeEndingInBytes(out, packr.pack([type, request, handle, uploadId, index, crc, NO_BYTES]), bytes)
}

/** `head` is msgpack that ends in no bytes, 0xc4 0x00: in place of them come these. */
function writeEndingInBytes(out: ByteWriter, head: Uint8Array, bytes: Uint8Array): void {
  out.raw(head.subarray(0, head.length - 2))
  out.reserve(BYTES_HEAD + bytes.length)
  out.bytes[out.length] = 0xc6
  new DataView(out.bytes.buffer, out.bytes.byteOffset).setUint32(out.length + 1, bytes.length)
  out.length += BYTES_HEAD
  out.raw(bytes)
}

/** The frames of one message from a client. Throws FRAME_TOO_LARGE, BAD_FRAME or UNKNOWN_FRAME. */
export function decodeUp(message: Uint8Array): UpFrame[] {
  return decode(message, UP_FRAMES) as UpFrame[]
}

/** The frames of one message from a broker; throws like decodeUp. */
export function decodeDown(message: Uint8Array): DownFrame[] {
  return decode(message, DOWN_FRAMES) as DownFrame[]
}

/** What is wrong with a frame that is about to be sent, or undefined. */
export function checkUp(frame: UpFrame): string | undefined {
  return UP_FRAMES[frame[0]].check(frame)
}

/** A reply's value, checked for the request it answers. Throws BAD_FRAME. */
export function checkReply<R extends RequestType>(type: R, value: unknown): ReplyOf<R> {
  const wrong = REPLIES[type].check(value)
  if (wrong !== undefined) throw new LitetopicError('BAD_FRAME', `reply to frame ${type}: ${wrong}`)
  return value as ReplyOf<R>
}

function decode(message: Uint8Array, shapes: Readonly<Record<number, Shape<unknown>>>): unknown[] {
  if (message.length > LIMITS.messageBytes) {
    throw new LitetopicError('FRAME_TOO_LARGE', `a message of ${message.length} bytes; at most ${LIMITS.messageBytes}`)
  }
  const frames: unknown[] = []
  for (let at = 0; at < message.length; ) {
    const end = skipValue(message, at, 0)
    const frame = unpackRange(message, at, end)
    checkFrame(frame, shapes)
    frames.push(frame)
    at = end
  }
  if (frames.length === 0) throw new LitetopicError('BAD_FRAME', 'an empty message')
  return frames
}

function checkFrame(frame: unknown, shapes: Readonly<Record<number, Shape<unknown>>>): void {
  const type: unknown = Array.isArray(frame) ? frame[0] : undefined
  if (typeof type !== 'number') throw new LitetopicError('BAD_FRAME', 'a frame is an array with its type first')
  const shape = Object.hasOwn(shapes, type) ? shapes[type] : undefined
  if (shape === undefined) throw new LitetopicError('UNKNOWN_FRAME', `frame type ${type} is not of this version`)
  const wrong = shape.check(frame)
  if (wrong !== undefined) throw new LitetopicError('BAD_FRAME', `frame ${type}: ${wrong}`)
}

/** The range must have been walked: msgpackr is never given anything else. */
function unpackRange(bytes: Uint8Array, from: number, to: number): unknown {
  return unpackr.unpack(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to))
}

/** Walks one msgpack value and returns its end. Throws BAD_FRAME for what is not plain data. */
function skipValue(bytes: Uint8Array, at: number, depth: number): number {
  const head = byteAt(bytes, at)
  if (head <= 0x7f || head >= 0xe0) return at + 1
  if (head <= 0x8f) return skipMap(bytes, at + 1, head & 0x0f, depth)
  if (head <= 0x9f) return skipItems(bytes, at + 1, head & 0x0f, depth)
  if (head <= 0xbf) return skipText(bytes, at + 1, head & 0x1f)
  switch (head) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return at + 1
    case 0xc4:
      return within(bytes, at + 2 + byteAt(bytes, at + 1))
    case 0xc5:
      return within(bytes, at + 3 + uintAt(bytes, at + 1, 2))
    case 0xc6:
      return within(bytes, at + 5 + uintAt(bytes, at + 1, 4))
    case 0xd9:
      return skipText(bytes, at + 2, byteAt(bytes, at + 1))
    case 0xda:
      return skipText(bytes, at + 3, uintAt(bytes, at + 1, 2))
    case 0xdb:
      return skipText(bytes, at + 5, uintAt(bytes, at + 1, 4))
    case 0xcc:
    case 0xd0:
      return within(bytes, at + 2)
    case 0xcd:
    case 0xd1:
      return within(bytes, at + 3)
    case 0xca:
    case 0xce:
    case 0xd2:
      return within(bytes, at + 5)
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return within(bytes, at + 9)
    case 0xdc:
      return skipItems(bytes, at + 3, uintAt(bytes, at + 1, 2), depth)
    case 0xdd:
      return skipItems(bytes, at + 5, uintAt(bytes, at + 1, 4), depth)
    case 0xde:
      return skipMap(bytes, at + 3, uintAt(bytes, at + 1, 2), depth)
    case 0xdf:
      return skipMap(bytes, at + 5, uintAt(bytes, at + 1, 4), depth)
    default:
      throw new LitetopicError('BAD_FRAME', `msgpack type 0x${head.toString(16)} is not plain data`)
  }
}

function skipItems(bytes: Uint8Array, at: number, items: number, depth: number): number {
  checkContainer(items, depth)
  for (let i = 0; i < items; i++) at = skipValue(bytes, at, depth + 1)
  return at
}

function skipMap(bytes: Uint8Array, at: number, entries: number, depth: number): number {
  checkContainer(entries, depth)
  for (let i = 0; i < entries; i++) {
    const head = byteAt(bytes, at)
    const isText = (head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb)
    if (!isText) throw new LitetopicError('BAD_FRAME', 'a map key that is not text')
    at = skipValue(bytes, skipValue(bytes, at, depth + 1), depth + 1)
  }
  return at
}

function checkContainer(items: number, depth: number): void {
  if (depth >= LIMITS.frameDepth) throw new LitetopicError('BAD_FRAME', 'a value nested too deeply')
  if (items > LIMITS.frameElements) throw new LitetopicError('BAD_FRAME', 'a value with too many elements')
}

function skipText(bytes: Uint8Array, from: number, size: number): number {
  const end = within(bytes, from + size)
  if (!isUtf8(bytes, from, end)) throw new LitetopicError('BAD_FRAME', 'text that is not UTF-8')
  return end
}

function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at]
  if (byte === undefined) throw new LitetopicError('BAD_FRAME', 'the message ends in the middle of a value')
  return byte
}

function uintAt(bytes: Uint8Array, at: number, size: number): number {
  let value = 0
  for (let i = 0; i < size; i++) value = value * 256 + byteAt(bytes, at + i)
  return value
}

function within(bytes: Uint8Array, end: number): number {
  if (end > bytes.length) throw new LitetopicError('BAD_FRAME', 'the message ends in the middle of a value')
  return end
}
