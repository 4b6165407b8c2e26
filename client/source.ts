/** What a large message is made of: the kinds of sources that `append` takes, and their bytes cut into parts. Nothing is sent here. */

import { ByteWriter, LIMITS, LitetopicError } from '../protocol/index.ts'
import type { PipeSource } from './pipe.ts'

/** Bytes whose size is known: a Blob, a File, or anything that is read in the same way. */
export interface BlobLike {
  readonly size: number
  stream(): ReadableStream<Uint8Array>
}

/** Bytes that come over time: a Blob or File, a web stream, or an async iterable such as a Readable of Node. */
export type ByteSource = BlobLike | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>

/** Is it a source, and not a value? No value has functions, so whose class it is does not matter. */
export function isByteSource(value: unknown): value is ByteSource {
  if (typeof value !== 'object' || value === null) return false
  return isBlobLike(value) || Symbol.asyncIterator in value || ('getReader' in value && isFunction(value.getReader))
}

/** The bytes that there will be, if that is known. */
export function sizeOf(source: ByteSource): number | undefined {
  return isBlobLike(source) ? source.size : undefined
}

export function piecesOf(source: ByteSource): PipeSource<Uint8Array> {
  return isBlobLike(source) ? source.stream() : source
}

/** Throws BAD_VALUE for what is not bytes, such as the text of a stream with an encoding. */
export function checkPiece(piece: unknown): asserts piece is Uint8Array {
  if (piece instanceof Uint8Array) return
  const what = piece === null ? 'null' : typeof piece === 'object' ? piece.constructor.name : typeof piece
  throw new LitetopicError('BAD_VALUE', `the source of a message must give Uint8Arrays; it gave ${what}`)
}

/** Copies pieces of any size into parts of `partBytes`, the last of which may be shorter. Sources may use their buffers again. */
export class PartCutter {
  /** Bytes taken so far. */
  taken = 0
  private buffer: ByteWriter | null = null
  private readonly capacity: number

  /** `size`: how much there will be, if that is known. */
  constructor(size?: number) {
    this.capacity = Math.min(size ?? LIMITS.partBytes, LIMITS.partBytes)
  }

  /** Bytes of the part that is being filled. */
  get length(): number {
    return this.buffer === null ? 0 : this.buffer.length
  }

  get full(): boolean {
    return this.length === LIMITS.partBytes
  }

  /** Takes what fits of the piece from `at` on, and returns where the rest begins. */
  take(piece: Uint8Array, at: number): number {
    this.buffer ??= new ByteWriter(this.capacity)
    const to = Math.min(piece.length, at + LIMITS.partBytes - this.buffer.length)
    this.buffer.slice(piece, at, to)
    this.taken += to - at
    return to
  }

  /** The part as it is; the next piece begins another. */
  part(): Uint8Array {
    const part = this.buffer === null ? new Uint8Array(0) : this.buffer.view()
    this.buffer = null
    return part
  }
}

function isBlobLike(value: object): value is BlobLike {
  return 'stream' in value && isFunction(value.stream) && 'size' in value && typeof value.size === 'number'
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}
