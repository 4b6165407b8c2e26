/**
 * Messages of a connection over HTTP, for where WebSockets do not pass: those up are bodies of requests, those down follow each
 * other in one answer that stays open, each behind its size. See PROTOCOL.md, Over HTTP.
 *
 *     down := (size:u32 message)*
 */

import { LitetopicError } from './errors.ts'
import { LIMITS } from './limits.ts'

/** Where connections over HTTP are opened; below it, by its id, each one is sent to and closed. */
export const CONNECTIONS_PATH = '/v1/connections'

/** The content type of messages, in both directions. */
export const FRAMES_TYPE = 'application/vnd.litetopic.frames'

/** The header that tells the id of a connection that was opened. */
export const CONNECTION_HEADER = 'litetopic-connection'

/** The size before each message down: 4 bytes, the most significant first. */
export const MESSAGE_HEAD_BYTES = 4

export function writeMessageHead(bytes: Uint8Array, size: number): void {
  bytes[0] = size >>> 24
  bytes[1] = size >>> 16
  bytes[2] = size >>> 8
  bytes[3] = size
}

/** Finds the messages in bytes that come in pieces of any size. */
export class MessageSplitter {
  private readonly take: (message: Uint8Array) => void
  private readonly head = new Uint8Array(MESSAGE_HEAD_BYTES)
  private headBytes = 0
  /** A message that has not come as a whole, and how much of it has. */
  private rest: Uint8Array | null = null
  private restBytes = 0

  /** `take` gets each message, also one of no bytes; those that came in one piece are a view of it. */
  constructor(take: (message: Uint8Array) => void) {
    this.take = take
  }

  /** Throws FRAME_TOO_LARGE for a message that is larger than any may be. */
  push(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) at = this.rest === null ? this.begin(piece, at) : this.goOn(piece, at)
  }

  private begin(piece: Uint8Array, from: number): number {
    const { head } = this
    let at = from
    while (this.headBytes < MESSAGE_HEAD_BYTES && at < piece.length) head[this.headBytes++] = piece[at++] as number
    if (this.headBytes < MESSAGE_HEAD_BYTES) return at
    this.headBytes = 0
    const size = head.reduce((value, byte) => value * 256 + byte, 0)
    if (size > LIMITS.messageBytes) throw tooLarge(size)
    if (piece.length - at >= size) this.take(piece.subarray(at, at + size))
    else {
      this.rest = new Uint8Array(size)
      this.restBytes = piece.length - at
      this.rest.set(piece.subarray(at))
    }
    return Math.min(at + size, piece.length)
  }

  private goOn(piece: Uint8Array, from: number): number {
    const rest = this.rest as Uint8Array
    const end = Math.min(piece.length, from + rest.length - this.restBytes)
    rest.set(piece.subarray(from, end), this.restBytes)
    this.restBytes += end - from
    if (this.restBytes === rest.length) {
      this.rest = null
      this.take(rest)
    }
    return end
  }
}

function tooLarge(value: number): LitetopicError {
  const bound = LIMITS.messageBytes
  const details = { limit: 'messageBytes', value, bound }
  return new LitetopicError('FRAME_TOO_LARGE', `a message of ${value} bytes, at most ${bound}`, details)
}
