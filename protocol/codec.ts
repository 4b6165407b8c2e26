/**
 * Frames to bytes and back. The only importer of msgpackr.
 *
 * A WebSocket message is one or more frames, one behind the other. Before anything is decoded the bytes are walked:
 * msgpackr decodes record and extension types, which could define structures or build objects of other classes, so
 * every extension type, too deep nesting and lengths beyond the bytes are refused first.
 */

import { Packr, Unpackr } from 'msgpackr'
import { LitetopicError } from './errors.ts'
import {
  DOWN_FRAMES,
  type DownFrame,
  REPLIES,
  type ReplyOf,
  type RequestType,
  UP_FRAMES,
  type UpFrame,
} from './frames.ts'
import { LIMITS } from './limits.ts'
import type { Shape } from './shape.ts'

const packr = new Packr({ useRecords: false, variableMapSize: true, int64AsType: 'number' })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** Plain data as msgpack bytes of its own. */
export function pack(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** One msgpack value that fills the bytes. Throws BAD_FRAME. */
export function unpack(bytes: Uint8Array): unknown {
  const values = unpackAll(bytes)
  if (values.length !== 1) throw new LitetopicError('BAD_FRAME', 'more than one value where one was expected')
  return values[0]
}

/** The bytes of one frame; concatenate several for one message. */
export function encodeFrame(frame: UpFrame | DownFrame): Uint8Array {
  return packr.pack(frame)
}

/** The frames of one message from a client. Throws FRAME_TOO_LARGE, BAD_FRAME or UNKNOWN_FRAME. */
export function decodeUp(message: Uint8Array): UpFrame[] {
  return decode(message, UP_FRAMES) as UpFrame[]
}

/** The frames of one message from a broker; throws like decodeUp. */
export function decodeDown(message: Uint8Array): DownFrame[] {
  return decode(message, DOWN_FRAMES) as DownFrame[]
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
  const frames = unpackAll(message)
  for (const frame of frames) {
    const type: unknown = Array.isArray(frame) ? frame[0] : undefined
    if (typeof type !== 'number') throw new LitetopicError('BAD_FRAME', 'a frame is an array with its type first')
    const shape = Object.hasOwn(shapes, type) ? shapes[type] : undefined
    if (shape === undefined) throw new LitetopicError('UNKNOWN_FRAME', `frame type ${type} is not of this version`)
    const wrong = shape.check(frame)
    if (wrong !== undefined) throw new LitetopicError('BAD_FRAME', `frame ${type}: ${wrong}`)
  }
  return frames
}

function unpackAll(bytes: Uint8Array): unknown[] {
  const ends: number[] = []
  for (let at = 0; at < bytes.length; ) {
    at = skipValue(bytes, at, 0)
    ends.push(at)
  }
  if (ends.length === 0) throw new LitetopicError('BAD_FRAME', 'an empty message')
  let start = 0
  return ends.map((end) => {
    const value: unknown = unpackr.unpack(ends.length === 1 ? bytes : bytes.subarray(start, end))
    start = end
    return value
  })
}

/** Walks one msgpack value and returns its end. Throws BAD_FRAME for what is not plain data. */
function skipValue(bytes: Uint8Array, at: number, depth: number): number {
  const head = byteAt(bytes, at)
  if (head <= 0x7f || head >= 0xe0) return at + 1
  if (head <= 0x8f) return skipItems(bytes, at + 1, (head & 0x0f) * 2, depth)
  if (head <= 0x9f) return skipItems(bytes, at + 1, head & 0x0f, depth)
  if (head <= 0xbf) return within(bytes, at + 1 + (head & 0x1f))
  switch (head) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return at + 1
    case 0xc4:
    case 0xd9:
      return within(bytes, at + 2 + byteAt(bytes, at + 1))
    case 0xc5:
    case 0xda:
      return within(bytes, at + 3 + uintAt(bytes, at + 1, 2))
    case 0xc6:
    case 0xdb:
      return within(bytes, at + 5 + uintAt(bytes, at + 1, 4))
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
      return skipItems(bytes, at + 3, uintAt(bytes, at + 1, 2) * 2, depth)
    case 0xdf:
      return skipItems(bytes, at + 5, uintAt(bytes, at + 1, 4) * 2, depth)
    default:
      throw new LitetopicError('BAD_FRAME', `msgpack type 0x${head.toString(16)} is not plain data`)
  }
}

function skipItems(bytes: Uint8Array, at: number, items: number, depth: number): number {
  if (depth >= LIMITS.frameDepth) throw new LitetopicError('BAD_FRAME', 'a value nested too deeply')
  if (items > LIMITS.frameElements * 2) throw new LitetopicError('BAD_FRAME', 'a value with too many elements')
  for (let i = 0; i < items; i++) at = skipValue(bytes, at, depth + 1)
  return at
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
