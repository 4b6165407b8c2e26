/**
 * One WebSocket as a client of the broker: frames in, decoded and handed to the dispatcher; frames out, gathered while
 * the loop runs and sent as few messages. Acknowledgements and deliveries are packed into one frame each.
 */

import type { WebSocket } from 'ws'
import {
  asLitetopicError,
  ByteWriter,
  DOWN,
  type DownFrame,
  decodeUp,
  ERRORS,
  encodeFrame,
  LIMITS,
  LitetopicError,
  type UpFrame,
  writeAckEntry,
} from '../../protocol/index.ts'
import type { Client, NoticeEvent, NoticeFacts } from '../client.ts'

/** `[type, bytes]` as msgpack: a list of two, the type, and the length of the bytes in four bytes. */
const PACKED_HEADER_BYTES = 7
/** A packed frame, and a message, are sent at about this size. */
const SEND_BYTES = 512 * 1024

/** WebSocket close codes, RFC 6455 section 7.4.1. */
const CLOSE = { normal: 1000, goingAway: 1001, protocol: 1002, policy: 1008, tooLarge: 1009, internal: 1011 } as const

export interface ConnectionOwner {
  /** The connection has something to send when the loop turns. */
  markDirty(connection: Connection): void
  frame(connection: Connection, frame: UpFrame): void
  closed(connection: Connection): void
  /** Are publishers to be paused now? */
  readonly overloaded: boolean
  paused(connection: Connection): void
}

export class Connection implements Client {
  principal: string | undefined = undefined
  greeted = false
  /** Heard from since the last ping. */
  alive = true
  private readonly socket: WebSocket
  private readonly owner: ConnectionOwner
  private queue: Uint8Array[] = []
  private readonly acks = new ByteWriter(1024)
  private readonly deliveries = new ByteWriter(4096)
  private queuedBytes = 0
  private dirty = false
  private closing = false
  private waiting: (() => void)[] = []

  constructor(socket: WebSocket, owner: ConnectionOwner) {
    this.socket = socket
    this.owner = owner
    this.acks.length = this.deliveries.length = PACKED_HEADER_BYTES
    socket.binaryType = 'nodebuffer'
    socket.on('message', (data, isBinary) => this.receive(data as Buffer, isBinary))
    socket.on('pong', () => {
      this.alive = true
    })
    socket.on('close', () => {
      this.closing = true
      owner.closed(this)
    })
    // A broken socket is followed by its close; ws itself answers what violates the WebSocket protocol.
    socket.on('error', () => undefined)
  }

  get clogged(): boolean {
    return this.socket.bufferedAmount + this.queuedBytes + this.deliveries.length > LIMITS.socketBufferBytes
  }

  send(frame: DownFrame): void {
    if (this.closing) return
    this.sealPacked()
    this.push(encodeFrame(frame))
  }

  ack(handle: number, producerEpoch: number, sequence: number, base: number): void {
    if (this.closing) return
    writeAckEntry(this.acks, handle, producerEpoch, sequence, base)
    this.touch()
  }

  refuse(handle: number, producerEpoch: number, sequence: number, error: LitetopicError): void {
    this.send([DOWN.refuse, handle, producerEpoch, sequence, error.code, error.message, error.details])
    if (ERRORS[error.code].closes) this.fail(0, error)
  }

  deliver(subscription: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    if (this.closing) return
    const out = this.deliveries
    out.varint(subscription)
    out.varint(flags)
    out.slice(bytes, from, to)
    if (out.length > SEND_BYTES) this.sealDeliveries()
    this.touch()
  }

  endSubscription(subscription: number, error: LitetopicError): void {
    this.send([DOWN.subscriptionEnd, subscription, error.code, error.message, error.details])
  }

  notice(handle: number, event: NoticeEvent, facts: NoticeFacts): void {
    const given = Object.entries(facts).filter(([, value]) => value !== undefined)
    this.send([DOWN.notice, handle, event, Object.fromEntries(given)])
  }

  whenUnclogged(resume: () => void): void {
    this.waiting.push(resume)
  }

  /** Answers a request, or with request 0 says something about the connection, and closes it if the code says so. */
  fail(request: number, error: LitetopicError): void {
    const closes = ERRORS[error.code].closes
    this.send([DOWN.error, closes ? 0 : request, error.code, error.message, error.details])
    if (closes) this.close(closeCode(error))
  }

  /** Sends what is gathered, in messages of about SEND_BYTES. */
  flush(): void {
    this.dirty = false
    this.sealPacked()
    const { queue } = this
    this.queue = []
    this.queuedBytes = 0
    let first = 0
    let bytes = 0
    for (let i = 0; i < queue.length; i++) {
      bytes += (queue[i] as Uint8Array).length
      if (bytes < SEND_BYTES && i < queue.length - 1) continue
      this.transmit(i === first ? (queue[i] as Uint8Array) : Buffer.concat(queue.slice(first, i + 1), bytes))
      first = i + 1
      bytes = 0
    }
  }

  ping(): void {
    if (!this.alive) {
      this.socket.terminate()
      return
    }
    this.alive = false
    this.socket.ping()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  close(code: number = CLOSE.normal): void {
    if (this.closing) return
    this.flush()
    this.closing = true
    this.socket.close(code)
  }

  closeGoingAway(): void {
    this.close(CLOSE.goingAway)
  }

  terminate(): void {
    this.socket.terminate()
  }

  private receive(data: Buffer, isBinary: boolean): void {
    if (this.closing) return
    this.alive = true
    try {
      if (!isBinary) throw new LitetopicError('BAD_FRAME', 'messages are binary')
      for (const frame of decodeUp(data)) {
        if (this.closing) return
        this.owner.frame(this, frame)
      }
    } catch (error) {
      this.fail(0, asLitetopicError(error))
      return
    }
    if (this.owner.overloaded) this.owner.paused(this)
  }

  private push(frame: Uint8Array): void {
    this.queue.push(frame)
    this.queuedBytes += frame.length
    this.touch()
  }

  private touch(): void {
    if (this.dirty) return
    this.dirty = true
    this.owner.markDirty(this)
  }

  private sealPacked(): void {
    if (this.acks.length > PACKED_HEADER_BYTES) {
      const frame = packed(this.acks, DOWN.ack)
      this.queue.push(frame)
      this.queuedBytes += frame.length
    }
    this.sealDeliveries()
  }

  private sealDeliveries(): void {
    if (this.deliveries.length === PACKED_HEADER_BYTES) return
    const frame = packed(this.deliveries, DOWN.deliver)
    this.queue.push(frame)
    this.queuedBytes += frame.length
  }

  private transmit(message: Uint8Array): void {
    this.socket.send(message, () => {
      if (this.waiting.length === 0 || this.clogged) return
      const waiting = this.waiting
      this.waiting = []
      for (const resume of waiting) resume()
    })
  }
}

/** The frame `[type, contents]`, copied out of the writer, which is emptied. */
function packed(out: ByteWriter, type: number): Uint8Array {
  const frame = Buffer.from(out.view())
  frame[0] = 0x92
  frame[1] = type
  frame[2] = 0xc6
  frame.writeUInt32BE(out.length - PACKED_HEADER_BYTES, 3)
  out.length = PACKED_HEADER_BYTES
  return frame
}

function closeCode(error: LitetopicError): number {
  if (error.code === 'FRAME_TOO_LARGE') return CLOSE.tooLarge
  if (error.code === 'INTERNAL') return CLOSE.internal
  return error.code === 'ACCESS_DENIED' ? CLOSE.policy : CLOSE.protocol
}
