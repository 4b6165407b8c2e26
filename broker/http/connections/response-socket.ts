/**
 * A connection over HTTP, as the hub sees a WebSocket: what is told goes into a response that stays open, what comes is in the bodies
 * of requests.
 */

import { randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { CONNECTION_HEADER, FRAMES_TYPE, MESSAGE_HEAD_BYTES, writeMessageHead } from '../../../protocol/index.ts'
import type { Identity } from '../../access/identity.ts'
import type { SharedMessage } from '../../client.ts'
import type { Socket } from '../../ws/socket.ts'

/** Nobody who has not been told an id can guess it. */
const ID_BYTES = 16

/** A message as large as this is not copied behind its head. */
const LARGE_BYTES = 16 * 1024

export class ResponseSocket extends EventEmitter implements Socket {
  readonly id = randomBytes(ID_BYTES).toString('hex')
  /** A message is being taken: requests of one connection come one behind the other. */
  busy = false
  private readonly response: ServerResponse
  private isPaused = false
  private isOver = false
  private waiting: (() => void)[] = []

  readonly address: string
  readonly identity: Identity

  /** Whoever has an identity of the same principal may send on it. */
  constructor(response: ServerResponse, address: string, identity: Identity) {
    super()
    this.response = response
    this.address = address
    this.identity = identity
    response.on('close', () => {
      this.isOver = true
      this.wake()
      this.emit('close')
    })
    // It is followed by the close.
    response.on('error', () => undefined)
  }

  get bufferedAmount(): number {
    return this.response.writableLength
  }

  /** Begins the answer that stays open. */
  open(headers: Record<string, unknown>): void {
    this.response.writeHead(200, {
      ...(headers as Record<string, string>),
      'content-type': FRAMES_TYPE,
      [CONNECTION_HEADER]: this.id,
      'cache-control': 'no-store, no-transform',
      // Proxies that gather answers would keep what is told to themselves.
      'x-accel-buffering': 'no',
    })
    this.response.flushHeaders()
  }

  /** Takes one message, none of which only says that the client lives. Resolves when the next may come, or none can any more. */
  async receive(message: Buffer): Promise<void> {
    await this.reading()
    if (this.isOver) return
    if (message.length > 0) this.emit('message', message, true)
    else this.emit('pong')
    await this.reading()
  }

  send(message: Uint8Array, done: () => void): void {
    const { response } = this
    const size = message.length
    const head = Buffer.allocUnsafe(size < LARGE_BYTES ? MESSAGE_HEAD_BYTES + size : MESSAGE_HEAD_BYTES)
    writeMessageHead(head, size)
    if (size < LARGE_BYTES) {
      head.set(message, MESSAGE_HEAD_BYTES)
      response.write(head, done)
      return
    }
    response.cork()
    response.write(head)
    response.write(message, done)
    response.uncork()
  }

  /** What of it the others have is for a WebSocket. */
  share(message: SharedMessage, done: () => void): void {
    this.send(message.bytes, done)
  }

  /** A message of no bytes, which the client answers with another. */
  ping(): void {
    this.response.write(Buffer.alloc(MESSAGE_HEAD_BYTES))
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
    this.wake()
  }

  close(): void {
    this.response.end()
  }

  terminate(): void {
    this.response.destroy()
  }

  private async reading(): Promise<void> {
    while (this.isPaused && !this.isOver) await new Promise<void>((resolve) => this.waiting.push(resolve))
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}
