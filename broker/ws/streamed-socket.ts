/**
 * A WebSocket of ws, and the stream beneath it. Small messages are written to the stream past ws, which hands the system two
 * pieces for each: what a send costs beside the system call is halved. Nothing of ws lies half written between two messages,
 * as it neither compresses nor fragments.
 */

import type { Duplex } from 'node:stream'
import type { SharedMessage } from '../client.ts'
import type { Socket } from './socket.ts'

/** A message as large as this is not copied behind its head. */
const LARGE_BYTES = 16 * 1024

/** The flags of a final binary WebSocket frame, and how its length is told. */
const FINAL_BINARY = 0x82
const LENGTH_16 = 126
const LENGTH_64 = 127

/** What ws makes of a connection. */
interface WebSocket extends Omit<Socket, 'share' | 'address' | 'identity'> {
  readonly readyState: number
  readonly OPEN: number
}

export class StreamedSocket implements Socket {
  readonly address: string
  private readonly socket: WebSocket
  private readonly stream: Duplex

  constructor(socket: WebSocket, stream: Duplex, address: string) {
    this.socket = socket
    this.stream = stream
    this.address = address
  }

  get bufferedAmount(): number {
    return this.socket.bufferedAmount
  }

  on(event: 'message' | 'pong' | 'close' | 'error', listener: (data: Buffer, isBinary: boolean) => void): void {
    this.socket.on(event as 'message', listener)
  }

  send(message: Uint8Array, done: () => void): void {
    if (message.length < LARGE_BYTES && this.isOpen) this.stream.write(webSocketFrame(message), done)
    else this.socket.send(message, done)
  }

  share(message: SharedMessage, done: () => void): void {
    if (!this.isOpen) {
      this.socket.send(message.bytes, done)
      return
    }
    message.wire ??= webSocketFrame(message.bytes)
    this.stream.write(message.wire, done)
  }

  ping(): void {
    this.socket.ping()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  close(code: number): void {
    this.socket.close(code)
  }

  terminate(): void {
    this.socket.terminate()
  }

  private get isOpen(): boolean {
    return this.socket.readyState === this.socket.OPEN
  }
}

/** The message as one unmasked binary frame. */
function webSocketFrame(message: Uint8Array): Buffer {
  const size = message.length
  const headBytes = size < LENGTH_16 ? 2 : size < 0x1_0000 ? 4 : 10
  const frame = Buffer.allocUnsafe(headBytes + size)
  frame[0] = FINAL_BINARY
  if (headBytes === 2) frame[1] = size
  else if (headBytes === 4) {
    frame[1] = LENGTH_16
    frame.writeUInt16BE(size, 2)
  } else {
    frame[1] = LENGTH_64
    frame.writeBigUInt64BE(BigInt(size), 2)
  }
  frame.set(message, headBytes)
  return frame
}
