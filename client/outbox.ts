/**
 * What a session has written and the broker has not acknowledged, in order: the half of exactly-once that is the client's.
 * No I/O and no time in here.
 *
 * Operations are numbered when they are first sent, from 0 in each producer epoch, at most `appendsInFlight` of them
 * unacknowledged, and tokens only behind no other while the connection has much under way. After a lost connection they are
 * sent again with the same numbers, and the broker, which commits the last number together with its effect, acknowledges
 * again what it has already done.
 *
 * After a refusal the broker has done nothing from the refused operation on: it refuses whatever follows a missing number. So
 * - for the time being: the same operations are sent again with the same numbers, later, and not before those behind it
 *   have been refused too, so that no answer can be taken for that to another sending;
 * - for good: the refused one is given back to its owner, and those behind it, none of which can have been done, get new numbers
 *   in the next producer epoch. Those before it were accepted and will be acknowledged in the old epoch; the new one begins
 *   when they are, so that a connection lost in between leaves only numbers that the broker can recognise.
 *
 * After a new attachment the broker says what it remembers of the producer; see `attached`.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'
import type { Account, Operation, OperationOwner } from './operation.ts'
import { isPassing } from './passing.ts'

/** What the broker remembers of a producer: the last sequence it accepted. */
export interface KnownProducer {
  readonly producerEpoch: number
  readonly sequence: number
}

/** A gap that the client knows nothing of is answered by sending everything again, this often in a row. */
const GAPS_BORNE = 3

interface Waiter {
  readonly order: number
  error: LitetopicError | undefined
  readonly resolve: (error: LitetopicError | undefined) => void
}

export class Outbox {
  producerEpoch = 0
  /** Records written and not acknowledged. */
  bytes = 0
  private readonly account: Account
  private head: Operation | null = null
  private tail: Operation | null = null
  /** The first one not sent on this connection. */
  private unsent: Operation | null = null
  private nextSequence = 0
  private lastOrder = 0
  /** Order of the newest operation that is not tokens: tokens written after it must not get before it. */
  private barrier = 0
  /** An operation was refused for good while some before it are unanswered: nothing new is sent until they are. */
  private ending = false
  /** The sequence from which on everything is sent again when the owner says so, or -1. */
  private heldFrom = -1
  private releasing = false
  private gaps = 0
  private everAcknowledged = false
  /** The offset after the last record that was acknowledged, in the order of the log. */
  acknowledgedTo = 0
  private waiters: Waiter[] = []

  constructor(account: Account) {
    this.account = account
  }

  get empty(): boolean {
    return this.head === null
  }

  /** Adds an operation at the end; its records are counted as they are now. */
  add(operation: Operation, tokens: boolean): void {
    operation.order = ++this.lastOrder
    if (!tokens) this.barrier = operation.order
    if (this.tail === null) this.head = operation
    else this.tail.next = operation
    this.tail = operation
    this.unsent ??= operation
    this.grew(operation.records.length)
  }

  /** May `size` more bytes of tokens join this operation, which has not been sealed? */
  hasRoom(operation: Operation, size: number): boolean {
    return (
      operation.order > this.barrier &&
      operation.records.length + size <= LIMITS.appendBytes &&
      operation.count < LIMITS.appendRecords
    )
  }

  /** Records were added to an operation that has been added already. */
  grew(bytes: number): void {
    this.bytes += bytes
    this.account.bytes += bytes
  }

  /** The next operation to send, with its number, or null: nothing to send, or too much unanswered. */
  next(): Operation | null {
    if (this.heldFrom >= 0) return null
    const operation = this.unsent
    if (operation === null) return null
    if (operation.sequence < 0) {
      if (this.ending) return null
      const oldest = (this.head as Operation).sequence
      if (oldest >= 0 && (this.nextSequence - oldest >= LIMITS.appendsInFlight || this.mayGrow(operation))) return null
      operation.sequence = this.nextSequence++
      operation.owner.sealed(operation)
    }
    operation.inFlight = true
    this.account.sentBytes += operation.records.length
    this.unsent = operation.next
    return operation
  }

  /** The broker has committed it. Answers of an earlier epoch or to what is no longer here are ignored. */
  acknowledged(producerEpoch: number, sequence: number, base: number): void {
    const operation = this.find(producerEpoch, sequence)
    if (operation === null) return
    this.gaps = 0
    this.everAcknowledged = true
    if (base >= this.acknowledgedTo) this.acknowledgedTo = base + 1
    operation.owner.acknowledged(operation, base)
    this.remove(operation, undefined)
    this.account.give(operation)
    if (this.ending) this.maybeRenumber()
    if (this.waiters.length > 0) this.settle()
  }

  /**
   * The broker refuses it. True if it is to be tried again later: call `release` then. Otherwise its owner has been told.
   * Refusals that only follow from an earlier one are ignored.
   */
  refused(producerEpoch: number, sequence: number, error: LitetopicError): boolean {
    const operation = this.find(producerEpoch, sequence)
    if (operation === null) return false
    this.landed(operation)
    if (this.heldFrom >= 0 && sequence >= this.heldFrom) {
      this.maybeRelease()
      return false
    }
    if (this.mayPass(operation, error)) {
      this.heldFrom = sequence
      return true
    }
    this.giveUp(operation, error)
    return false
  }

  /** Sends what was held back after a passing refusal, as soon as all of it has been answered. */
  release(): void {
    this.releasing = this.heldFrom >= 0
    this.maybeRelease()
  }

  /** The connection is gone: everything must be sent again on the next one. */
  linkLost(): void {
    this.unsent = this.head
    this.gaps = 0
    this.letGo()
    for (let at = this.head; at !== null; at = at.next) this.landed(at)
  }

  /**
   * Attached again; `known` is what the broker remembers, `awayMs` how long the connection was gone. An operation sent before and not
   * answered is in doubt. What the broker remembers settles it, because it commits a number together with its effect:
   * - it knows this epoch, up to the operation before the oldest in doubt or further: sent again with their numbers, those
   *   that were done are recognised;
   * - it is behind that, or knows only earlier epochs: it has lost what it had acknowledged (a store that does not fsync, a
   *   backup), and so none in doubt has been done either: new numbers, in a new epoch;
   * - it knows nothing and never acknowledged anything: nothing has been done, the same numbers start from 0. Unless we were away
   *   for so long that it may have forgotten the producer in between;
   * - it knows nothing but has acknowledged something: it has forgotten the producer, which may have happened after doing
   *   what is in doubt. Sending it again could double it, so its owners get PRODUCER_UNKNOWN; what was never sent goes on.
   */
  attached(known: KnownProducer | null, awayMs: number): void {
    const oldest = this.head === null || this.head.sequence < 0 ? this.nextSequence : this.head.sequence
    if (known === null) {
      if (!this.everAcknowledged && awayMs < LIMITS.producerKeepMs) return
      this.failInDoubt()
      this.renumber()
      return
    }
    const isBehind = known.producerEpoch === this.producerEpoch ? known.sequence < oldest - 1 : oldest > 0
    if (known.producerEpoch <= this.producerEpoch && isBehind) this.renumber()
  }

  /** Takes back what the owner wrote and was never sent; its owner is not told. Those who wait for it get `error`, if any. */
  withdraw(owner: OperationOwner, error?: LitetopicError): void {
    for (let operation = this.head; operation !== null; ) {
      const next: Operation | null = operation.next
      if (operation.owner === owner && operation.sequence < 0) this.remove(operation, error)
      operation = next
    }
    this.settle()
  }

  /** Resolves when all that was added so far has been answered, with the first error if any of it was not acknowledged. */
  drained(): Promise<LitetopicError | undefined> {
    if (this.head === null) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      this.waiters.push({ order: this.lastOrder, error: undefined, resolve })
    })
  }

  /** Nothing new may be sent: what never was fails. What was is for the broker to answer. */
  failUnsent(error: LitetopicError): void {
    for (let operation = this.head; operation !== null; ) {
      const { next }: Operation = operation
      if (operation.sequence < 0) this.failOne(operation, error)
      operation = next
    }
    this.settle()
  }

  /** The session is over: everything fails. */
  fail(error: LitetopicError): void {
    while (this.head !== null) this.failOne(this.head, error)
    this.settle()
  }

  /**
   * While the broker has much to answer, tokens wait for those before them, and more of them join meanwhile: an append costs as much
   * as several tokens, and what is sent sooner would only wait there.
   */
  private mayGrow(operation: Operation): boolean {
    return this.account.sentBytes > LIMITS.connectionSentBytes && this.hasRoom(operation, 1)
  }

  /** It is not, or no longer, on its way. */
  private landed(operation: Operation): void {
    if (!operation.inFlight) return
    operation.inFlight = false
    this.account.sentBytes -= operation.records.length
  }

  private mayPass(operation: Operation, error: LitetopicError): boolean {
    // Answers to requests may be late: that to the first of a new producer, from which this one follows, is still to come.
    const follows = error.code === 'PRODUCER_UNKNOWN' && operation !== this.head && this.head?.inFlight === true
    return error.code === 'SEQUENCE_GAP' || follows ? ++this.gaps <= GAPS_BORNE : isPassing(error)
  }

  private giveUp(operation: Operation, error: LitetopicError): void {
    this.gaps = 0
    for (let at = operation.next; at !== null; at = at.next) {
      this.landed(at)
      at.sequence = -1
    }
    this.unsent = operation.next
    this.letGo()
    this.remove(operation, error)
    this.ending = true
    this.maybeRenumber()
    operation.owner.refused(operation, error)
    this.settle()
  }

  private maybeRelease(): void {
    if (!this.releasing) return
    const held = this.find(this.producerEpoch, this.heldFrom)
    for (let at = held; at !== null; at = at.next) if (at.inFlight) return
    this.unsent = held
    this.letGo()
  }

  private letGo(): void {
    this.heldFrom = -1
    this.releasing = false
  }

  private failInDoubt(): void {
    const error = new LitetopicError(
      'PRODUCER_UNKNOWN',
      'the broker has forgotten this producer: what was sent before the connection was lost may or may not be stored',
    )
    while (this.head !== null && this.head.sequence >= 0) this.failOne(this.head, error)
    this.settle()
  }

  private failOne(operation: Operation, error: LitetopicError): void {
    this.remove(operation, error)
    operation.owner.refused(operation, error)
  }

  /** The next epoch begins when nothing of the old one is unanswered. */
  private maybeRenumber(): void {
    if (this.ending && (this.head === null || this.head.sequence < 0)) this.renumber()
  }

  private renumber(): void {
    this.producerEpoch++
    this.nextSequence = 0
    this.ending = false
    this.letGo()
    this.unsent = this.head
    for (let at = this.head; at !== null; at = at.next) at.sequence = -1
  }

  private find(producerEpoch: number, sequence: number): Operation | null {
    if (producerEpoch !== this.producerEpoch) return null
    for (let at = this.head; at !== null && at.sequence >= 0; at = at.next) if (at.sequence === sequence) return at
    return null
  }

  private remove(operation: Operation, error: LitetopicError | undefined): void {
    let before: Operation | null = null
    for (let at = this.head; at !== operation; at = at?.next ?? null) before = at
    if (before === null) this.head = operation.next
    else before.next = operation.next
    if (this.tail === operation) this.tail = before
    if (this.unsent === operation) this.unsent = operation.next
    this.landed(operation)
    this.grew(-operation.records.length)
    if (error === undefined) return
    for (const waiter of this.waiters) if (operation.order <= waiter.order) waiter.error ??= error
  }

  private settle(): void {
    const oldest = this.head === null ? Number.POSITIVE_INFINITY : this.head.order
    for (let waiter = this.waiters[0]; waiter !== undefined && waiter.order < oldest; waiter = this.waiters[0]) {
      this.waiters.shift()
      waiter.resolve(waiter.error)
    }
  }
}
