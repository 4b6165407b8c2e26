/**
 * The connection to a broker as the rest of the client sees it: there when wanted, replaced when lost. Carries out what
 * reconnect.ts decides, and flushes what has been written once per turn of the event loop.
 */

import {
  DOWN,
  type DownFrame,
  LIMITS,
  LitetopicError,
  type ReplyOf,
  type RequestType,
  type UpFrame,
} from '../protocol/index.ts'
import type { Clock } from './clock.ts'
import { type Exchange, RequestQueue } from './exchange.ts'
import { Link } from './link.ts'
import { Account } from './operation.ts'
import { retryDelayMs } from './passing.ts'
import {
  type ConnectionState,
  NOT_CONNECTED,
  patienceMs,
  type ReconnectAction,
  type ReconnectEvent,
  type ReconnectOptions,
  step,
} from './reconnect.ts'
import { type Attached, Router } from './router.ts'
import type { SocketFactory } from './socket.ts'

export interface ConnectionSetup {
  readonly url: string
  readonly token: string | (() => string | Promise<string>) | undefined
  readonly clock: Clock
  readonly openSocket: SocketFactory
  readonly reconnect: ReconnectOptions
}

/** Something large, which is sent part by part so that everything else goes between its parts. */
export interface PartSender {
  /** Sends one part; false if there is no other to send now. */
  sendPart(): boolean
}

/** While the network is behind, packing is tried again after this. */
const CONGESTED_MS = 4
/** While a part still waits in the socket, the next one is tried again after this: it is less than a part takes. */
const PART_WAIT_MS = 1

export class Connection {
  readonly clock: Clock
  readonly account = new Account()
  /** Whom frames concern. */
  readonly router = new Router()
  /** Of the store, as last told. */
  incarnation = ''
  /** Why it is closed for good, or null. */
  failure: LitetopicError | null = null
  /** Why the last attempt or connection ended, or null. */
  lastError: LitetopicError | null = null
  /** Bytes written since the last flush. */
  unflushed = 0
  private readonly setup: ConnectionSetup
  private readonly listeners = new Set<(state: ConnectionState) => void>()
  private readonly requests: RequestQueue
  private readonly inRoom = new Set<Attached>()
  private reconnect = NOT_CONNECTED
  /** The present link, and whether the broker has welcomed it. */
  private link: Link | null = null
  private open = false
  private dials = 0
  private timer: unknown
  private dirty: Attached[] = []
  private scheduled = false
  private congested = false
  /** Those with parts to send; the first one's turn is next. */
  private senders: PartSender[] = []
  private partsWait = false
  private readonly whenDropped: (() => void)[] = []

  constructor(setup: ConnectionSetup) {
    this.setup = setup
    this.clock = setup.clock
    this.requests = new RequestQueue(setup.clock, (exchange) => this.sendLoose(exchange))
  }

  get state(): ConnectionState {
    return this.reconnect.phase
  }

  /** Is there a connection that requests can be sent on? */
  get isOpen(): boolean {
    return this.open
  }

  /** Called with every new state, not within the call that changes it; returns what ends that. */
  onState(listener: (state: ConnectionState) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** Asks something that does not belong to an attachment, for as long as it takes. */
  ask<R extends RequestType>(type: R, frame: (request: number) => UpFrame): Promise<ReplyOf<R>> {
    if (this.failure !== null) return Promise.reject(this.failure)
    return this.requests.ask(type, frame)
  }

  /** Connects unless it has. */
  want(): void {
    this.apply({ type: 'wanted' })
  }

  /** Sends a request now. Only while it is open. */
  exchange(exchange: Exchange): void {
    const frame = this.router.exchanges.begin(exchange)
    if (frame !== null) this.frame(frame)
  }

  /** Sends a frame with the next flush. Only while it is open. */
  frame(frame: UpFrame): void {
    this.link?.frame(frame)
    this.schedule()
  }

  /** The attachment has something to send. */
  mark(attached: Attached): void {
    if (attached.dirty) return
    attached.dirty = true
    this.dirty.push(attached)
    this.schedule()
  }

  /** The sender has parts to send: it is called for one at a time, in turn with others and behind all else that waits. */
  offerParts(sender: PartSender): void {
    if (!this.senders.includes(sender)) this.senders.push(sender)
    this.schedule()
  }

  /** Packs what this attachment has to send ahead of whatever is packed next. */
  flushOne(attached: Attached): void {
    if (this.link !== null && this.open) attached.flush(this.link)
  }

  /** So much more was written; sends at once what makes a full message. */
  wrote(bytes: number): void {
    this.unflushed += bytes
    if (this.unflushed >= LIMITS.clientMessageBytes) this.flush()
  }

  /** Calls `letIn` of the attachment until it returns true, whenever something was acknowledged. */
  waitForRoom(attached: Attached): void {
    this.inRoom.add(attached)
  }

  /** The attachment is no more. */
  forget(attached: Attached, handle: number): void {
    this.inRoom.delete(attached)
    this.router.attachments.remove(handle)
  }

  /** Waits up to closeFlushMs for what has been written, then ends everything. Rejects if something was not acknowledged. */
  async close(): Promise<void> {
    if (this.failure !== null) return
    const drained = Promise.all([...this.router.attachments].map((attached) => attached.drained()))
    let timer: unknown
    const late = new Promise<void>((resolve) => {
      timer = this.clock.setTimeout(resolve, LIMITS.closeFlushMs)
    })
    try {
      await Promise.race([drained, late])
      const dropped = this.link === null ? Promise.resolve() : new Promise<void>((r) => this.whenDropped.push(r))
      if (this.open) for (const attached of this.router.attachments) attached.leave()
      this.shut(new LitetopicError('CONNECTION_CLOSED', 'the client was closed'))
      await Promise.race([dropped, late])
      this.link?.terminate(new LitetopicError('CONNECTION_CLOSED', 'the client was closed'))
      const failed = (await drained).find((error) => error !== undefined)
      if (failed !== undefined) throw failed
    } finally {
      this.clock.clearTimeout(timer)
    }
  }

  private sendLoose(exchange: Exchange): boolean {
    this.want()
    if (!this.open) return false
    this.exchange(exchange)
    return true
  }

  private schedule(): void {
    if (this.scheduled || !this.open) return
    this.scheduled = true
    this.clock.soon(() => {
      this.scheduled = false
      this.flush()
    })
  }

  private flush(): void {
    const { link } = this
    if (link === null || !this.open || this.congested) return
    if (link.congested) {
      this.congested = true
      this.clock.setTimeout(() => {
        this.congested = false
        this.flush()
      }, CONGESTED_MS)
      return
    }
    this.unflushed = 0
    const { dirty } = this
    if (dirty.length > 0) {
      this.dirty = []
      for (const attached of dirty) {
        attached.dirty = false
        attached.flush(link)
      }
    }
    link.send()
    if (this.senders.length > 0) this.sendPart(link)
  }

  /** One part for each turn of the event loop, and none while the network is behind: tokens wait for one part at most. */
  private sendPart(link: Link): void {
    if (this.partsWait) return
    if (!link.hasRoomForPart) {
      this.partsWait = true
      this.clock.setTimeout(() => {
        this.partsWait = false
        this.schedule()
      }, PART_WAIT_MS)
      return
    }
    const sender = this.senders.shift()
    if (sender?.sendPart() === true) this.senders.push(sender)
    link.send()
    if (this.senders.length > 0) this.schedule()
  }

  private apply(event: ReconnectEvent): void {
    const before = this.reconnect.phase
    const { state, actions } = step(this.reconnect, event, this.setup.reconnect)
    this.reconnect = state
    for (const action of actions) this.act(action)
    if (state.phase === before) return
    for (const listener of this.listeners) queueMicrotask(() => listener(state.phase))
  }

  private act(action: ReconnectAction): void {
    switch (action.type) {
      case 'open':
        void this.dial()
        return
      case 'wait':
        this.timer = this.clock.setTimeout(() => this.apply({ type: 'timer' }), action.ms)
        return
      case 'cancelWait':
        this.clock.clearTimeout(this.timer)
        return
      case 'drop':
        this.dials++
        this.link?.close()
        return
    }
  }

  private async dial(): Promise<void> {
    const dial = ++this.dials
    const { token: source, openSocket, url, clock } = this.setup
    try {
      const token = typeof source === 'function' ? await source() : source
      if (dial !== this.dials) return
      const link = new Link(
        { openSocket, url, token, clock, patienceMs: patienceMs(this.reconnect) },
        {
          welcomed: (welcome) => this.welcomed(welcome.incarnation),
          frame: (frame) => this.receive(frame),
          messageDone: () => this.messageDone(),
          closed: (error) => this.closed(link, error),
        },
      )
      this.link = link
    } catch (error) {
      if (dial !== this.dials) return
      this.dropped(asUnreachable(error, url))
    }
  }

  private welcomed(incarnation: string): void {
    this.incarnation = incarnation
    this.open = true
    this.apply({ type: 'welcomed', nowMs: this.clock.nowMs() })
    for (const attached of this.router.attachments) attached.welcomed()
    this.requests.resume()
    this.schedule()
  }

  private closed(link: Link, error: LitetopicError): void {
    if (this.link !== link) return
    this.link = null
    this.open = false
    for (const done of this.whenDropped.splice(0)) done()
    this.dropped(error)
  }

  private dropped(error: LitetopicError): void {
    const wasOpen = this.reconnect.phase === 'open'
    this.lastError = error
    this.senders = []
    this.router.exchanges.lost()
    if (this.isFinal(error, wasOpen)) {
      this.shut(error)
      return
    }
    if (wasOpen) for (const attached of this.router.attachments) attached.lost()
    const random = this.clock.random()
    const leastMs = 'retryAfterMs' in error.details ? retryDelayMs(error, random) : 0
    this.apply({ type: 'dropped', nowMs: this.clock.nowMs(), random, leastMs })
  }

  /** A token that has run out can be replaced if there is a function to ask; one that was never good cannot. */
  private isFinal(error: LitetopicError, wasOpen: boolean): boolean {
    if (error.code === 'VERSION_MISMATCH') return true
    if (error.code !== 'UNAUTHENTICATED') return false
    const isReplaceable = wasOpen || error.details.reason === 'expired'
    return !(isReplaceable && typeof this.setup.token === 'function')
  }

  private shut(error: LitetopicError): void {
    if (this.failure !== null) return
    this.failure = error
    this.open = false
    this.apply({ type: 'close' })
    for (const attached of this.router.attachments) attached.fail(error)
    this.requests.fail(error)
  }

  private receive(frame: DownFrame): void {
    if (frame[0] === DOWN.goaway) {
      const { minDelayMs: minMs = 0, maxDelayMs: maxMs = minMs } = frame[2]
      this.apply({ type: 'goaway', minMs, maxMs })
    } else this.router.receive(frame)
  }

  private messageDone(): void {
    this.router.messageDone()
    if (this.inRoom.size > 0 && this.account.bytes <= LIMITS.connectionBufferBytes) {
      for (const attached of this.inRoom) if (attached.letIn()) this.inRoom.delete(attached)
    }
  }
}

function asUnreachable(error: unknown, url: string): LitetopicError {
  if (error instanceof LitetopicError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new LitetopicError('BROKER_UNREACHABLE', `no connection to ${url}: ${why}`, {}, error)
}
