/**
 * What one connection has to send: gathered while the loop runs, and sent as few messages. Acknowledgements and deliveries
 * are packed into one frame each. Says when it holds more than its socket should.
 */

import { DOWN, LIMITS, writeAckEntry } from '../../protocol/index.ts'
import type { SharedMessage } from '../client.ts'
import { PackedFrame } from './packed-frame.ts'
import type { Socket } from './socket.ts'

/** A packed frame, and a message, are sent at about this size. */
const SEND_BYTES = 512 * 1024

/** A frame as large as this is a message of its own, and not copied into one. */
const OWN_MESSAGE_BYTES = 64 * 1024

const NOBODY: readonly (() => void)[] = []

/** What takes it. */
export type OutgoingSocket = Pick<Socket, 'bufferedAmount' | 'send' | 'share'>

export interface OutgoingOwner {
  /** There is something to be flushed when the loop turns. */
  gathered(): void
  /** The socket has taken what it was given, or some of it. */
  unloaded(): void
  /** Do all connections together hold more than they should? Then each may hold only little. */
  readonly congested: boolean
  /** The connection holds so many bytes more that its socket has not taken, or fewer. */
  held(bytes: number): void
}

export class Outgoing {
  private readonly socket: OutgoingSocket
  private readonly owner: OutgoingOwner
  private readonly bufferBytes: number
  private queue: Uint8Array[] = []
  private readonly acks = new PackedFrame(DOWN.ack)
  private readonly deliveries = new PackedFrame(DOWN.deliver)
  private queuedBytes = 0
  private dirty = false
  private waiting: (() => void)[] = []
  /** To be called when the socket has taken what is queued; and all that were not called yet. */
  private takers: (() => void)[] = []
  private readonly untaken = new Set<() => void>()
  /** Of what it holds unsent, what its owner was told. */
  private toldBytes = 0
  private gone = false
  private readonly sent = (): void => this.taken(NOBODY)

  /** `bufferBytes`: what it may hold unsent, as long as the owner is not congested. */
  constructor(socket: OutgoingSocket, owner: OutgoingOwner, bufferBytes: number = LIMITS.socketBufferBytes) {
    this.socket = socket
    this.owner = owner
    this.bufferBytes = bufferBytes
  }

  get clogged(): boolean {
    const { unsentBytes } = this
    return unsentBytes > this.bufferBytes || (unsentBytes > LIMITS.unsentShareBytes && this.owner.congested)
  }

  /** Gathered, or handed to the socket, which has not taken it yet. */
  private get unsentBytes(): number {
    return this.socket.bufferedAmount + this.queuedBytes + this.deliveries.out.length
  }

  /** A frame, behind all that was gathered before it. */
  frame(frame: Uint8Array): void {
    this.sealPacked()
    this.queue.push(frame)
    this.queuedBytes += frame.length
    this.touch()
  }

  /** The same; calls `taken` once when the socket has taken it, or never will. */
  transfer(frame: Uint8Array, taken: () => void): void {
    this.untaken.add(taken)
    this.takers.push(taken)
    this.frame(frame)
  }

  ack(handle: number, producerEpoch: number, sequence: number, base: number): void {
    writeAckEntry(this.acks.out, handle, producerEpoch, sequence, base)
    this.touch()
  }

  deliver(subscription: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    const { out } = this.deliveries
    out.varint(subscription)
    out.varint(flags)
    out.slice(bytes, from, to)
    if (out.length > SEND_BYTES) this.sealPacked()
    this.touch()
  }

  /** A frame that others get, too: a message of its own, sent at once, unless something was sent or gathered in this turn. */
  share(message: SharedMessage): void {
    if (this.dirty) this.frame(message.bytes)
    else {
      this.socket.share(message, this.sent)
      this.touch()
    }
  }

  whenUnclogged(resume: () => void): void {
    this.waiting.push(resume)
  }

  /** Sends what is gathered, in messages of about SEND_BYTES. */
  flush(): void {
    this.dirty = false
    this.sealPacked()
    const { queue, takers } = this
    if (queue.length === 0) return
    this.queue = []
    this.takers = []
    this.queuedBytes = 0
    let first = 0
    let bytes = 0
    for (let i = 0; i < queue.length; i++) {
      const frame = queue[i] as Uint8Array
      bytes += frame.length
      const following = queue[i + 1]?.length ?? Number.POSITIVE_INFINITY
      const isAlone = Math.max(frame.length, following) >= OWN_MESSAGE_BYTES
      if (bytes + following <= SEND_BYTES && !isAlone) continue
      const message = i === first ? frame : Buffer.concat(queue.slice(first, i + 1), bytes)
      const isLast = i + 1 === queue.length && takers.length > 0
      this.socket.send(message, isLast ? () => this.taken(takers) : this.sent)
      first = i + 1
      bytes = 0
    }
  }

  /** Gives the memory of a burst back. */
  shrink(): void {
    this.acks.shrink()
    this.deliveries.shrink()
  }

  /** The socket is closed. */
  end(): void {
    this.gone = true
    this.tellHeld()
    this.tellTaken([...this.untaken])
  }

  private tellHeld(): void {
    const bytes = this.gone ? 0 : this.unsentBytes
    if (bytes !== this.toldBytes) this.owner.held(bytes - this.toldBytes)
    this.toldBytes = bytes
  }

  private touch(): void {
    this.tellHeld()
    if (this.dirty) return
    this.dirty = true
    this.owner.gathered()
  }

  private sealPacked(): void {
    for (const packed of [this.acks, this.deliveries]) {
      if (packed.empty) continue
      const frame = packed.seal()
      this.queue.push(frame)
      this.queuedBytes += frame.length
    }
  }

  private tellTaken(takers: readonly (() => void)[]): void {
    for (const taken of takers) if (this.untaken.delete(taken)) taken()
  }

  private taken(takers: readonly (() => void)[]): void {
    this.tellTaken(takers)
    this.tellHeld()
    this.owner.unloaded()
    if (this.waiting.length === 0 || this.clogged) return
    const { waiting } = this
    this.waiting = []
    for (const resume of waiting) resume()
  }
}
