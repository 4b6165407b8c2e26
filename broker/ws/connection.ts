/**
 * One WebSocket as a client of the broker: frames in, decoded and handed to the dispatcher; what the broker tells it,
 * encoded and handed to what is outgoing. Reads nothing more while the journal, the socket or what waits speak against it.
 */

import {
  asLitetopicError,
  DOWN,
  type DownFrame,
  decodeUp,
  ERRORS,
  type ErrorCode,
  encodeFetched,
  encodeFrame,
  LIMITS,
  LitetopicError,
  type ReplyOf,
  UP,
  type UpFrame,
} from '../../protocol/index.ts'
import { type Identity, NOBODY } from '../access/identity.ts'
import type { Client, NoticeEvent, NoticeFacts, SharedBatches } from '../client.ts'
import { CLOSE, closeCode } from './close-codes.ts'
import { Outgoing, type OutgoingOwner } from './outgoing.ts'
import { encodeShared } from './shared.ts'
import type { Socket } from './socket.ts'

/** Frames that write to the journal. */
const PUBLISHING = new Set<number>([
  UP.attach,
  UP.append,
  UP.openStream,
  UP.closeTopic,
  UP.stop,
  UP.trim,
  UP.policy,
  UP.delete,
])

export interface ConnectionOwner {
  /** The connection has something to send when the loop turns. */
  markDirty(connection: Connection): void
  frame(connection: Connection, frame: UpFrame): void
  closed(connection: Connection): void
  /** The largest message that a connection may send. */
  readonly frameBytes: number
  /** Are publishers to be paused now? */
  readonly overloaded: boolean
  /** A connection has no operation under way any more. */
  answered(): void
  /** Do all connections together hold more than they should? Then each may hold only little. */
  readonly congested: boolean
  /** The connection holds so many bytes more that its socket has not taken, or fewer. */
  held(bytes: number): void
  /** Nothing more is read from the connection for a while; and then it is again. */
  paused(connection: Connection): void
  resumed(connection: Connection): void
  /** Something that its client asked was refused. */
  rejected(code: ErrorCode): void
}

export class Connection implements Client, OutgoingOwner {
  greeted = false
  /** What its frames wait for: that it is known who it is. */
  private isHeld = false
  private who: Identity
  private leaveIdentity: () => void = () => undefined
  /** Called with its hello, or its end: a timer that is left would keep a closed connection in memory. */
  cancelHelloTimer: () => void = () => undefined
  /** Heard from since the last ping. */
  alive = true
  private readonly socket: Socket
  private readonly owner: ConnectionOwner
  private readonly outgoing: Outgoing
  private closing = false
  private paused = false
  /** What came while the journal had no room: it is not even begun with, as its records would take memory a second time. */
  private deferred: UpFrame[] = []
  /** Has it just sent what goes into the journal? Then it waits while the journal has no room; others do not. */
  private publishes = false
  /** Operations that wait, and their bytes. */
  private inFlight = 0
  private inFlightBytes = 0
  /** What the socket held at the last ping. */
  private stalledBytes = 0

  constructor(socket: Socket, owner: ConnectionOwner) {
    this.socket = socket
    this.owner = owner
    this.who = socket.identity ?? NOBODY
    this.outgoing = new Outgoing(socket, this)
    socket.on('message', (data, isBinary) => this.receive(data, isBinary))
    socket.on('pong', () => {
      this.alive = true
    })
    socket.on('close', () => {
      this.closing = true
      this.deferred = []
      this.leaveIdentity()
      owner.closed(this)
      this.outgoing.end()
    })
    // A broken socket is followed by its close; ws itself answers what violates the WebSocket protocol.
    socket.on('error', () => undefined)
  }

  get identity(): Identity {
    return this.who
  }

  /** Who it is from now on. When that is over, so is the connection. */
  become(identity: Identity): void {
    this.leaveIdentity()
    this.who = identity
    this.leaveIdentity = identity.whenOver((error) => this.fail(0, error))
  }

  /** Where it comes from, for people. */
  get address(): string {
    return this.socket.address ?? 'local'
  }

  /** What comes waits until `letGo`. */
  hold(): void {
    this.isHeld = true
  }

  letGo(): void {
    this.isHeld = false
    this.goOn()
  }

  get clogged(): boolean {
    return this.outgoing.clogged
  }

  get congested(): boolean {
    return this.owner.congested
  }

  held(bytes: number): void {
    this.owner.held(bytes)
  }

  gathered(): void {
    this.owner.markDirty(this)
  }

  unloaded(): void {
    if (this.paused) this.goOn()
  }

  send(frame: DownFrame): void {
    if (!this.closing) this.outgoing.frame(encodeFrame(frame))
  }

  /** Answers a request; with LIMIT_EXCEEDED if the answer is too large for a message. */
  reply(request: number, value: unknown): void {
    if (this.closing) return
    const frame = encodeFrame([DOWN.reply, request, value])
    if (frame.length > LIMITS.messageBytes) {
      const details = { limit: 'messageBytes', value: frame.length, bound: LIMITS.messageBytes }
      this.fail(request, new LitetopicError('LIMIT_EXCEEDED', 'the answer is too large for a message', details))
      return
    }
    this.outgoing.frame(frame)
  }

  /** Answers a request, and calls `taken` once when the socket has taken the answer, or never will. */
  transfer(request: number, value: ReplyOf<typeof UP.fetch>, taken: () => void): void {
    if (this.closing) taken()
    else this.outgoing.transfer(encodeFetched(request, value), taken)
  }

  grantParts(handle: number, uploadId: string, parts: number): void {
    this.send([DOWN.partGrant, handle, uploadId, parts])
  }

  begun(bytes: number): void {
    this.inFlight++
    this.inFlightBytes += bytes
  }

  ended(bytes: number): void {
    this.inFlight--
    this.inFlightBytes -= bytes
    if (this.paused) this.goOn()
    if (this.inFlight === 0) this.owner.answered()
  }

  /** Is there an operation that has not been answered? Appends count only while they wait for their turn. */
  get isBusy(): boolean {
    return this.inFlight > 0
  }

  /** Reads on if nothing speaks against it any more. */
  goOn(): void {
    if (!this.paused || this.mustWait) return
    const { deferred } = this
    if (deferred.length > 0) {
      this.deferred = []
      this.handle(deferred)
      if (!this.paused || this.mustWait) return
    }
    this.paused = false
    this.alive = true
    this.owner.resumed(this)
    this.socket.resume()
  }

  ack(handle: number, producerEpoch: number, sequence: number, base: number): void {
    if (!this.closing) this.outgoing.ack(handle, producerEpoch, sequence, base)
  }

  refuse(handle: number, producerEpoch: number, sequence: number, error: LitetopicError): void {
    this.send([DOWN.refuse, handle, producerEpoch, sequence, error.code, error.message, error.details])
    if (ERRORS[error.code].closes) this.fail(0, error)
    else this.owner.rejected(error.code)
  }

  deliver(subscription: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    if (!this.closing) this.outgoing.deliver(subscription, flags, bytes, from, to)
  }

  deliverShared(subscription: number, batches: SharedBatches): void {
    if (!this.closing) this.outgoing.share(encodeShared(subscription, batches))
  }

  endSubscription(subscription: number, error: LitetopicError): void {
    this.send([DOWN.subscriptionEnd, subscription, error.code, error.message, error.details])
  }

  notice(handle: number, event: NoticeEvent, facts: NoticeFacts): void {
    const given = Object.entries(facts).filter(([, value]) => value !== undefined)
    this.send([DOWN.notice, handle, event, Object.fromEntries(given)])
  }

  whenUnclogged(resume: () => void): void {
    this.outgoing.whenUnclogged(resume)
  }

  /** Answers a request, or with request 0 says something about the connection, and closes it if the code says so. */
  fail(request: number, error: LitetopicError): void {
    this.owner.rejected(error.code)
    const closes = ERRORS[error.code].closes
    this.send([DOWN.error, closes ? 0 : request, error.code, error.message, error.details])
    if (closes) this.close(closeCode(error))
  }

  /** Says why, and closes, whatever the code says of that. */
  turnAway(error: LitetopicError): void {
    this.fail(0, error)
    this.close(closeCode(error))
  }

  /** Sends what is gathered. */
  flush(): void {
    this.outgoing.flush()
  }

  /** Cuts a silent peer off. One that is paused cannot be heard: it is cut off if it does not take what it is sent. */
  ping(): void {
    this.outgoing.shrink()
    const held = this.socket.bufferedAmount
    const isStuck = this.paused ? this.clogged && held >= this.stalledBytes && this.stalledBytes > 0 : !this.alive
    this.stalledBytes = held
    if (isStuck) {
      this.socket.terminate()
      return
    }
    this.alive = false
    this.socket.ping()
  }

  close(code: number = CLOSE.normal): void {
    if (this.closing) return
    this.flush()
    this.closing = true
    this.socket.close(code)
    // So that the peer's answer to the close is read.
    if (this.paused) this.socket.resume()
  }

  closeGoingAway(): void {
    this.close(CLOSE.goingAway)
  }

  terminate(): void {
    this.socket.terminate()
  }

  cut(): void {
    this.terminate()
  }

  private receive(data: Buffer, isBinary: boolean): void {
    if (this.closing) return
    this.alive = true
    let frames: UpFrame[]
    try {
      if (!isBinary) throw new LitetopicError('BAD_FRAME', 'messages are binary')
      if (data.length > this.owner.frameBytes) throw tooLarge(data.length, this.owner.frameBytes)
      frames = decodeUp(data)
    } catch (error) {
      this.fail(0, asLitetopicError(error))
      return
    }
    if (this.deferred.length > 0 || (this.owner.overloaded && frames.some(([type]) => type === UP.append))) {
      this.publishes = true
      for (const frame of frames) this.deferred.push(frame)
    } else this.handle(frames)
    if (!this.paused && this.mustWait) this.pause()
  }

  private handle(frames: readonly UpFrame[]): void {
    this.publishes = false
    for (const frame of frames) {
      if (this.closing) return
      if (this.isHeld) {
        this.deferred.push(frame)
        continue
      }
      if (PUBLISHING.has(frame[0])) this.publishes = true
      try {
        this.owner.frame(this, frame)
      } catch (error) {
        this.fail(requestOf(frame), asLitetopicError(error))
      }
    }
  }

  private pause(): void {
    this.paused = true
    this.socket.pause()
    this.owner.paused(this)
  }

  /** Are there reasons to read nothing more now: the journal, the socket, or what waits already? */
  private get mustWait(): boolean {
    if (this.isHeld || (this.publishes && this.owner.overloaded) || this.clogged) return true
    return this.inFlight > LIMITS.requestsInFlight || this.inFlightBytes > LIMITS.uncommittedBytes
  }
}

/** The request of a frame, or 0 for those that are none. */
function requestOf(frame: UpFrame): number {
  return frame[0] === UP.hello || frame[0] === UP.append || frame[0] === UP.credit ? 0 : frame[1]
}

function tooLarge(value: number, bound: number): LitetopicError {
  return new LitetopicError('FRAME_TOO_LARGE', `a message of ${value} bytes, at most ${bound}: send several`, {
    limit: 'frameBytes',
    value,
    bound,
    scope: 'connection',
  })
}
