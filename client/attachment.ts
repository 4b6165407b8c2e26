/**
 * A session's hold on its topic: attaches, and attaches again to the same incarnation after a lost connection; sends what the
 * outbox holds; tells writers and subscriptions what concerns them. Session, writers and readers are built on it.
 */

import {
  type AttachOptions,
  type DOWN,
  type Down,
  formatCursor,
  LIMITS,
  LitetopicError,
  type ReplyOf,
  type RequestType,
  UP,
  type UpFrame,
} from '../protocol/index.ts'
import { attachOptions } from './attach-options.ts'
import { type AttachReply, AttachRequest } from './attach-request.ts'
import type { Connection } from './connection.ts'
import { type Exchange, RequestQueue } from './exchange.ts'
import type { Link } from './link.ts'
import type { Operation, OperationOwner, SequencedRequest } from './operation.ts'
import { Outbox } from './outbox.ts'
import { isPassing, retryDelayMs } from './passing.ts'
import { Promised } from './promised.ts'
import { streamFenced, streamStopped, topicFenced, whyNotWritable } from './refusals.ts'
import type { Attached } from './router.ts'
import type { Companion, SubscriptionHost } from './subscription.ts'

/** A stream writer, as its attachment sees it. */
export interface Writing {
  readonly fence: number
  /** Its end is on its way: what the broker says of the stream may be its own doing. */
  readonly ending: boolean
  abort(error: LitetopicError): void
}

type StreamReply = ReplyOf<typeof UP.stream>

const NO_WRITERS: readonly Writing[] = []

export class Attachment implements Attached, SubscriptionHost {
  readonly connection: Connection
  readonly name: string
  readonly handle: number
  readonly outbox: Outbox
  epoch = -1
  /** The topic's fence that it writes under: once the topic's is another one, it may write no more. */
  private fence = 0
  created = false
  lingerMs: number | 'forever' = LIMITS.lingerMs
  /** The end of the topic, as far as is known here. */
  nextOffset = 0
  /** Is it attached on the present connection? */
  attached = false
  /** Has it asked to be, on the present connection, and not been answered? */
  private attaching = false
  dirty = false
  /** Why it is over, or null. */
  failure: LitetopicError | null = null
  /** Why it may not write any more though it is not over, or null. */
  private shutOut: LitetopicError | null = null
  private readonly options: AttachOptions
  // Made when they are needed: a client may have a million sessions, of which few do everything.
  private requests: RequestQueue | null = null
  private writers: Map<string, Writing> | null = null
  private companions: Set<Companion> | null = null
  private opening: Promised<void> | null = null
  private lostMs = 0
  /** Of the store that it was attached to last. */
  private incarnation = ''
  private room: Promised<void> | null = null
  private retryTimer: unknown

  /** Throws LIMIT_EXCEEDED. */
  constructor(connection: Connection, name: string, options: AttachOptions) {
    this.connection = connection
    this.name = name
    this.options = options
    this.outbox = new Outbox(connection.account)
    this.handle = connection.router.attachments.add(this)
  }

  /** Resolves once attached, however long that takes. Rejects with the broker's refusal. */
  open(): Promise<void> {
    this.opening = new Promised()
    const { promise } = this.opening
    this.connection.want()
    if (this.connection.isOpen) this.welcomed()
    return promise
  }

  /** The cursor that reads on at `next`. */
  cursor(next: number): string {
    return formatCursor({ incarnation: this.connection.incarnation, epoch: this.epoch, next })
  }

  /** Why nothing more can be written, or null. */
  get refusesWrites(): LitetopicError | null {
    return this.failure ?? this.shutOut
  }

  get isExclusive(): boolean {
    return this.options.exclusive === true
  }

  /** Asks until it is answered; what has been written before goes first. */
  ask<R extends RequestType>(type: R, frame: (request: number) => UpFrame): Promise<ReplyOf<R>> {
    if (this.failure !== null) return Promise.reject(this.failure)
    this.requests ??= new RequestQueue(this.connection.clock, (exchange) => this.sendRequest(exchange))
    return this.requests.ask(type, frame)
  }

  /** An operation of this owner, not added yet. */
  operation(owner: OperationOwner): Operation {
    return this.connection.account.take(owner)
  }

  /** Adds an operation behind all others and has it sent. `tokens`: tokens of parallel streams may still join others before it. */
  add(operation: Operation, tokens: boolean): void {
    this.outbox.add(operation, tokens)
    this.changed(operation.records.length)
  }

  /** So many more bytes wait to be sent. */
  changed(bytes: number): void {
    if (this.attached) this.connection.mark(this)
    this.connection.wrote(bytes)
  }

  /** Is there room for more, or should who writes wait? */
  get hasRoom(): boolean {
    return (
      this.outbox.bytes <= LIMITS.sessionBufferBytes && this.connection.account.bytes <= LIMITS.connectionBufferBytes
    )
  }

  /** Resolves when there is room again, or nothing to wait for any more. */
  whenRoom(): Promise<void> {
    if (this.failure !== null || this.hasRoom) return Promise.resolve()
    if (this.room === null) {
      this.room = new Promised()
      this.connection.waitForRoom(this)
    }
    return this.room.promise
  }

  letIn(): boolean {
    if (this.failure === null && !this.hasRoom) return false
    this.wakeAll()
    return true
  }

  /** Those who wait for room look again: one of them has nothing to wait for any more. */
  wakeAll(): void {
    this.room?.resolve()
    this.room = null
  }

  /** The writer of a stream in this session; another one of the same stream is taken over. */
  addWriter(streamId: string, writer: Writing): void {
    this.writers ??= new Map()
    const before = this.writers.get(streamId)
    this.writers.set(streamId, writer)
    before?.abort(new LitetopicError('FENCED', `stream ${streamId} was taken over in this session`, { streamId }))
  }

  removeWriter(streamId: string, writer: Writing): void {
    if (this.writers?.get(streamId) === writer) this.writers.delete(streamId)
  }

  addCompanion(companion: Companion): void {
    this.companions ??= new Set()
    this.companions.add(companion)
  }

  removeCompanion(companion: Companion): void {
    this.companions?.delete(companion)
  }

  async drained(): Promise<LitetopicError | undefined> {
    const uploads = [...(this.companions ?? [])].map(({ settled }) => settled)
    const outcomes = await Promise.all([this.outbox.drained(), ...uploads])
    return outcomes.find((error) => error !== undefined)
  }

  /** Ends it here and frees the handle; the topic lives on. Resolves when the broker has let go of it, or cannot be asked. */
  async detach(error: LitetopicError): Promise<void> {
    if (this.failure !== null) return
    const { connection, handle } = this
    // Behind an attach that is on its way, the broker takes the detach in its turn.
    if (!this.attached && !this.attaching) {
      this.fail(error)
      return
    }
    this.flushNow()
    this.end(error)
    await new Promise<void>((resolve) => this.askToDetach(resolve))
    connection.forget(this, handle)
  }

  /** Gives the topic's fence back, if it has it, before the connection is closed. */
  leave(): void {
    if (this.attached && this.isExclusive) this.askToDetach(() => {})
  }

  // What the connection tells.

  welcomed(): void {
    if (this.failure !== null) return
    const { epoch, fence, incarnation } = this
    const before = { epoch, fence, incarnation, fences: this.writers?.values() ?? NO_WRITERS }
    const options = attachOptions(this.options, before, this.outbox, this.connection.incarnation)
    this.attaching = true
    this.connection.exchange(new AttachRequest(this, options))
  }

  lost(): void {
    if (this.failure !== null) return
    if (this.attached) this.lostMs = this.connection.clock.nowMs()
    this.attached = this.attaching = false
    this.connection.clock.clearTimeout(this.retryTimer)
    this.outbox.linkLost()
    for (const companion of this.companions ?? []) companion.lost()
  }

  flush(link: Link): void {
    if (!this.attached) return
    const { outbox, handle } = this
    for (let operation = outbox.next(); operation !== null; operation = outbox.next()) {
      if (operation.request === null) link.append(handle, outbox.producerEpoch, operation)
      else this.connection.exchange(this.sequenced(operation.request, operation.sequence))
    }
  }

  acknowledged(producerEpoch: number, sequence: number, base: number): void {
    const { outbox } = this
    outbox.acknowledged(producerEpoch, sequence, base)
    if (!outbox.empty) this.connection.mark(this)
  }

  refused(producerEpoch: number, sequence: number, error: LitetopicError): void {
    if (this.outbox.refused(producerEpoch, sequence, error)) {
      const { clock } = this.connection
      this.retryTimer = clock.setTimeout(
        () => {
          this.outbox.release()
          if (this.attached) this.connection.mark(this)
        },
        retryDelayMs(error, clock.random()),
      )
    } else if (this.attached) this.connection.mark(this)
  }

  notice(frame: Down<typeof DOWN.notice>): void {
    const [, , what, { streamId = '', fence = 0, reason }] = frame
    switch (what) {
      case 'deleted':
      case 'reclaimed':
        void this.detach(new LitetopicError('GONE', `topic ${this.name} was ${what}`, { reason: what }))
        return
      case 'stopped':
        this.writers?.get(streamId)?.abort(streamStopped(streamId, reason))
        return
      case 'fenced': {
        // One that comes before the reply to an attach comes again behind it.
        if (streamId === '' && this.attached) this.fencedBy(fence)
        const writer = this.writers?.get(streamId)
        if (writer !== undefined && writer.fence !== fence) writer.abort(streamFenced(streamId, fence))
        return
      }
      case 'trimmed':
        return
    }
  }

  fail(error: LitetopicError): void {
    if (this.failure !== null) return
    this.end(error)
    this.connection.forget(this, this.handle)
  }

  private end(error: LitetopicError): void {
    this.failure = error
    this.attached = false
    this.connection.clock.clearTimeout(this.retryTimer)
    this.opening?.reject(error)
    this.opening = null
    for (const writer of [...(this.writers?.values() ?? [])]) writer.abort(error)
    this.outbox.fail(error)
    this.requests?.fail(error)
    for (const companion of [...(this.companions ?? [])]) companion.ended(error)
    this.letIn()
  }

  onAttached(reply: AttachReply): void {
    this.attaching = false
    if (this.failure !== null) return
    const isFirst = this.epoch < 0
    if (isFirst) this.created = reply.created
    if (isFirst) this.fence = reply.fence ?? 0
    this.epoch = reply.epoch
    this.incarnation = this.connection.incarnation
    this.lingerMs = reply.lingerMs
    this.nextOffset = Math.max(this.nextOffset, reply.nextOffset)
    this.attached = true
    if (!isFirst) this.outbox.attached(reply.producer, this.connection.clock.nowMs() - this.lostMs)
    this.opening?.resolve()
    this.opening = null
    for (const companion of this.companions ?? []) companion.attached()
    for (const [streamId, writer] of this.writers ?? []) this.askAbout(streamId, writer)
    this.requests?.resume()
    if (!this.outbox.empty) this.connection.mark(this)
  }

  /**
   * An exclusive session has the topic, under this fence. If it took it since this one attached, nothing is written here any more.
   * What has been sent is for the broker to answer, which may have stored it before.
   */
  private fencedBy(fence: number): void {
    if (fence === this.fence || this.refusesWrites !== null) return
    const error = topicFenced(this.name, fence)
    this.shutOut = error
    for (const writer of [...(this.writers?.values() ?? [])]) if (!writer.ending) writer.abort(error)
    for (const companion of [...(this.companions ?? [])]) companion.shutOut?.(error)
    this.outbox.failUnsent(error)
    this.letIn()
  }

  private askToDetach(done: () => void): void {
    const { handle } = this
    const frame = (request: number): UpFrame => [UP.detach, request, handle]
    this.connection.exchange({ type: UP.detach, frame, answered: done, refused: done, lost: done })
  }

  onRefused(error: LitetopicError): void {
    this.attaching = false
    if (!isPassing(error)) {
      this.fail(error)
      return
    }
    const { clock } = this.connection
    this.retryTimer = clock.setTimeout(
      () => {
        if (this.connection.isOpen && !this.attached) this.welcomed()
      },
      retryDelayMs(error, clock.random()),
    )
  }

  /** A stop or a takeover may have happened while the connection was gone, and a writer that waits for a model would not notice. */
  private askAbout(streamId: string, writer: Writing): void {
    if (writer.ending) return
    const found = ({ stream }: StreamReply): void => {
      if (writer.ending) return
      const error = whyNotWritable(streamId, writer.fence, stream)
      if (error !== null) writer.abort(error)
    }
    this.ask(UP.stream, (request) => [UP.stream, request, this.handle, streamId]).then(found, (error: unknown) => {
      // Whatever makes this fail makes the writer's next append fail.
      if (!(error instanceof LitetopicError)) throw error
    })
  }

  private sendRequest(exchange: Exchange): boolean {
    if (!this.attached) return false
    this.flushNow()
    this.connection.exchange(exchange)
    return true
  }

  /** So that a request finds done what was written before it. */
  private flushNow(): void {
    if (this.dirty) this.connection.flushOne(this)
  }

  private sequenced(request: SequencedRequest, sequence: number): Exchange {
    const { producerEpoch } = this.outbox
    return {
      type: request.type,
      frame: (number) => request.frame(number, this.handle, producerEpoch, sequence),
      answered: (reply) => {
        request.answered(reply)
        this.acknowledged(producerEpoch, sequence, -1)
      },
      refused: (error) => this.refused(producerEpoch, sequence, error),
      lost: () => {},
    }
  }
}
