/**
 * Reading and writing bytes: unsigned LEB128 varints up to 2^53-1, 48-bit times, and short text without a codec object.
 * Tokens are a few bytes each, so TextEncoder and TextDecoder per token would cost more than all the rest.
 */

import { LitetopicError } from './errors.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text this short is looped over in JavaScript; longer text goes to the platform's codec. */
const SHORT_TEXT = 24

/** A growing buffer. Positions stay valid until `reset`; `bytes` moves when it grows. */
export class ByteWriter {
  bytes: Uint8Array
  length = 0

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity)
  }

  /** Makes room for `size` more bytes. */
  reserve(size: number): void {
    const needed = this.length + size
    if (needed <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }

  u8(value: number): void {
    if (this.length === this.bytes.length) this.reserve(1)
    this.bytes[this.length++] = value
  }

  varint(value: number): void {
    if (this.length + 8 > this.bytes.length) this.reserve(8)
    this.length = writeVarint(this.bytes, this.length, value)
  }

  /** Milliseconds since 1970, 6 bytes, most significant first. */
  time(ms: number): void {
    this.reserve(6)
    this.length = writeTime(this.bytes, this.length, ms)
  }

  raw(source: Uint8Array): void {
    this.reserve(source.length)
    this.bytes.set(source, this.length)
    this.length += source.length
  }

  /** Copies `source[from, to)`; short pieces without making a view. */
  slice(source: Uint8Array, from: number, to: number): void {
    this.reserve(to - from)
    this.length = copyBytes(source, from, to, this.bytes, this.length)
  }

  /** One length byte and UTF-8 of at most 255 bytes. */
  shortText(text: string): void {
    this.reserve(1 + text.length * 3)
    const end = writeText(this.bytes, this.length + 1, text)
    const size = end - this.length - 1
    if (size > 255) throw new LitetopicError('BAD_NAME', 'a name of more than 255 bytes')
    this.bytes[this.length] = size
    this.length = end
  }

  /** UTF-8 without a length. */
  text(text: string): void {
    this.reserve(text.length * 3)
    this.length = writeText(this.bytes, this.length, text)
  }

  /** What has been written, as a view that the next write may overwrite after `reset`. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  /** A copy of what has been written. */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }

  reset(): void {
    this.length = 0
  }
}

/** Copies `source[from, to)` to `target` at `at`, short pieces in a loop, and returns where it ended. */
export function copyBytes(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): number {
  const size = to - from
  if (size > 48) target.set(source.subarray(from, to), at)
  else for (let i = 0; i < size; i++) target[at + i] = source[from + i] as number
  return at + size
}

export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  while (value > 0x7f) {
    bytes[at++] = (value % 0x80) | 0x80
    value = value > 0x7fffffff ? Math.floor(value / 0x80) : value >>> 7
  }
  bytes[at++] = value
  return at
}

export function varintSize(value: number): number {
  let size = 1
  while (value > 0x7f) {
    value = Math.floor(value / 0x80)
    size++
  }
  return size
}

export function writeTime(bytes: Uint8Array, at: number, ms: number): number {
  const high = Math.floor(ms / 0x1_0000_0000)
  bytes[at] = high >>> 8
  bytes[at + 1] = high
  bytes[at + 2] = ms >>> 24
  bytes[at + 3] = ms >>> 16
  bytes[at + 4] = ms >>> 8
  bytes[at + 5] = ms
  return at + 6
}

export function readTime(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
  const low =
    (bytes[at + 2] as number) * 0x1_00_00_00 +
    (((bytes[at + 3] as number) << 16) | ((bytes[at + 4] as number) << 8) | (bytes[at + 5] as number))
  return high * 0x1_0000_0000 + low
}

/** Writes UTF-8 and returns the end. The caller has reserved three bytes per UTF-16 unit. */
export function writeText(bytes: Uint8Array, at: number, text: string): number {
  if (text.length <= SHORT_TEXT) {
    let i = 0
    for (; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 0x7f) break
      bytes[at + i] = unit
    }
    if (i === text.length) return at + i
  }
  return at + encoder.encodeInto(text, bytes.subarray(at)).written
}

/** Text of `bytes[from, to)`. Malformed UTF-8 becomes U+FFFD: what comes from a broker has been checked by it. */
export function readText(bytes: Uint8Array, from: number, to: number): string {
  if (to - from <= SHORT_TEXT) {
    const text = readAscii(bytes, from, to)
    if (text !== null) return text
  }
  return decoder.decode(bytes.subarray(from, to))
}

/** Null unless it is ASCII. Several characters per call: one at a time costs three times as much. */
function readAscii(bytes: Uint8Array, from: number, to: number): string | null {
  let text = ''
  let at = from
  for (; to - at >= 4; at += 4) {
    const a = bytes[at] as number
    const b = bytes[at + 1] as number
    const c = bytes[at + 2] as number
    const d = bytes[at + 3] as number
    if ((a | b | c | d) > 0x7f) return null
    text += String.fromCharCode(a, b, c, d)
  }
  const left = to - at
  if (left === 0) return text
  const a = bytes[at] as number
  const b = left > 1 ? (bytes[at + 1] as number) : 0
  const c = left > 2 ? (bytes[at + 2] as number) : 0
  if ((a | b | c) > 0x7f) return null
  if (left === 1) return text + String.fromCharCode(a)
  return text + (left === 2 ? String.fromCharCode(a, b) : String.fromCharCode(a, b, c))
}

/** Is `bytes[from, to)` well-formed UTF-8? */
export function isUtf8(bytes: Uint8Array, from: number, to: number): boolean {
  let i = from
  while (i < to && (bytes[i] as number) < 0x80) i++
  if (i === to) return true
  try {
    strictDecoder.decode(bytes.subarray(i, to))
    return true
  } catch {
    return false
  }
}

/** Reads in sequence and refuses to read beyond the end: throws BAD_FRAME. */
export class ByteReader {
  bytes: Uint8Array
  at: number
  end: number

  constructor(bytes: Uint8Array, from = 0, to: number = bytes.length) {
    this.bytes = bytes
    this.at = from
    this.end = to
  }

  /** Reads `bytes[from, to)` from now on. */
  restart(bytes: Uint8Array, from: number, to: number): void {
    this.bytes = bytes
    this.at = from
    this.end = to
  }

  get done(): boolean {
    return this.at >= this.end
  }

  u8(): number {
    if (this.at >= this.end) throw truncated()
    return this.bytes[this.at++] as number
  }

  varint(): number {
    let value = this.u8()
    if (value < 0x80) return value
    value &= 0x7f
    let scale = 0x80
    for (;;) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 0x80
      if (scale > 0x2_0000_0000_0000) throw new LitetopicError('BAD_FRAME', 'a varint beyond 2^53-1')
    }
    if (value > Number.MAX_SAFE_INTEGER) throw new LitetopicError('BAD_FRAME', 'a varint beyond 2^53-1')
    return value
  }

  time(): number {
    const at = this.skip(6)
    return readTime(this.bytes, at)
  }

  shortText(): string {
    const size = this.u8()
    const at = this.skip(size)
    return readText(this.bytes, at, at + size)
  }

  /** Moves over `size` bytes and returns where they began. */
  skip(size: number): number {
    const at = this.at
    if (size > this.end - at) throw truncated()
    this.at = at + size
    return at
  }

  view(size: number): Uint8Array {
    const at = this.skip(size)
    return this.bytes.subarray(at, at + size)
  }
}

function truncated(): LitetopicError {
  return new LitetopicError('BAD_FRAME', 'the bytes end in the middle of a value')
}
