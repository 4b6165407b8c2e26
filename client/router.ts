/** Gives what the broker sends to whom it concerns: attachments by handle, subscriptions by number, requests by theirs. */

import {
  type AckEntry,
  BatchReader,
  ByteReader,
  DOWN,
  type Down,
  type DownFrame,
  LIMITS,
  LitetopicError,
  readAckEntry,
} from '../protocol/index.ts'
import { ExchangeTable } from './exchange.ts'
import { brokerError, type Link } from './link.ts'
import { Slots } from './slots.ts'

/** An attachment, as a connection sees it. */
export interface Attached {
  /** Set while the connection has it on its list of those with something to send. */
  dirty: boolean
  /** There is a new connection: attach on it. */
  welcomed(): void
  /** The connection is gone. */
  lost(): void
  /** Hand what can be sent to the link. */
  flush(link: Link): void
  acknowledged(producerEpoch: number, sequence: number, base: number): void
  refused(producerEpoch: number, sequence: number, error: LitetopicError): void
  notice(frame: Down<typeof DOWN.notice>): void
  /** May those who wait for room go on? If so they have been told. */
  letIn(): boolean
  /** Resolves when all written so far is answered, with the first error. */
  drained(): Promise<LitetopicError | undefined>
  /** The connection is about to be closed for good. */
  leave(): void
  /** It is over, for this reason. */
  fail(error: LitetopicError): void
}

/** An upload, as a connection sees it. */
export interface Granted {
  /** The broker takes so many more of its parts; 0: none of those that it has not been sent yet. */
  granted(parts: number): void
}

/** A subscription, as a connection sees it. */
export interface Subscribed {
  deliver(batch: BatchReader, flags: number): void
  /** All deliveries of one message have been made. */
  delivered(): void
  ended(error: LitetopicError): void
}

/** So many readers decode what has come before the first of them is done with it. */
const READERS_AT_ONCE = 32

export class Router {
  readonly attachments = new Slots<Attached>(LIMITS.handlesPerConnection, 'handlesPerConnection')
  /** The last number is the probe's. */
  readonly subscriptions = new Slots<Subscribed>(LIMITS.subscriptionsPerConnection - 1, 'subscriptionsPerConnection')
  readonly exchanges = new ExchangeTable()
  /** By their ids, which no two have. */
  readonly uploads = new Map<string, Granted>()
  private readonly ack: AckEntry = { handle: 0, producerEpoch: 0, sequence: 0, base: 0 }
  private woken: Subscribed[] = []

  /** Throws BAD_FRAME for what makes no sense. */
  receive(frame: DownFrame): void {
    switch (frame[0]) {
      case DOWN.ack:
        this.receiveAcks(frame[1])
        return
      case DOWN.deliver:
        this.receiveDeliveries(frame[1])
        return
      case DOWN.reply:
      case DOWN.error:
      case DOWN.moved:
        this.exchanges.settle(frame)
        return
      case DOWN.refuse:
        this.attachments.get(frame[1])?.refused(frame[2], frame[3], brokerError(frame[4], frame[5], frame[6]))
        return
      case DOWN.subscriptionEnd:
        this.subscriptions.get(frame[1])?.ended(brokerError(frame[2], frame[3], frame[4]))
        return
      case DOWN.notice:
        this.attachments.get(frame[1])?.notice(frame)
        return
      case DOWN.partGrant:
        this.uploads.get(frame[2])?.granted(frame[3])
        return
    }
  }

  /** The subscription has something to say at the end of the message. */
  wake(subscribed: Subscribed): void {
    this.woken.push(subscribed)
  }

  messageDone(): void {
    if (this.woken.length === 0) return
    const { woken } = this
    this.woken = []
    this.tell(woken, 0)
  }

  private receiveAcks(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const { ack } = this
    while (!reader.done) {
      readAckEntry(reader, ack)
      this.attachments.get(ack.handle)?.acknowledged(ack.producerEpoch, ack.sequence, ack.base)
    }
  }

  private receiveDeliveries(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const batch = new BatchReader(reader)
    while (!reader.done) {
      const subscription = this.subscriptions.get(reader.varint())
      const flags = reader.varint()
      if (!batch.advance()) throw new LitetopicError('BAD_FRAME', 'a delivery without a batch')
      subscription?.deliver(batch, flags)
    }
  }

  /** A few readers at a time, who work through what they get before others do: what was decoded for them is soon garbage. */
  private tell(woken: readonly Subscribed[], from: number): void {
    const to = Math.min(from + READERS_AT_ONCE, woken.length)
    for (let i = from; i < to; i++) (woken[i] as Subscribed).delivered()
    if (to < woken.length) queueMicrotask(() => this.tell(woken, to))
  }
}
