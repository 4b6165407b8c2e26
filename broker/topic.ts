/**
 * A resident topic: its state, who is attached, who reads and who writes it, and what is waiting for its turn. It does no
 * I/O; operations change it, the committer tells it what is durable.
 */

import { LitetopicError } from '../protocol/index.ts'
import { EMPTY, extended, type TopicState, without } from '../storage/index.ts'
import type { Client } from './client.ts'
import { CROWD_READERS, Crowd, type CrowdReader, type Crowds } from './crowd.ts'
import type { Life } from './life.ts'
import type { Scope } from './scopes.ts'

/** A subscription, as the topic sees it. */
export interface Reader extends CrowdReader {
  /** Has it got all there is, so that it needs nothing until there is more? */
  readonly isCaughtUp: boolean
  /** A batch at the end of the topic was committed. */
  offer(position: number, size: number, base: number, next: number): void
  /** The topic is closed: it ends when it has got all there is. */
  finish(): void
  /** Ends it; with an error, the reader is told why. */
  close(error: LitetopicError | null): void
}

/** An upload, as its attachment sees it. */
export interface Sending {
  /** Nobody sends it any more. */
  leave(): void
}

/** What a single request has of an attachment: it is over soon, and writes no stream as a connection does. */
export interface RequestFacts {
  /** Appends without a producer. */
  readonly anonymous: boolean
  /** The lease that it gives to streams it opens or writes; undefined for the one they have, or the default. */
  readonly leaseMs: number | undefined
}

/** Who writes a stream without a connection, and for how long it is live behind each append. */
export interface Lease {
  readonly producerId: string | null
  readonly leaseMs: number
}

/** A stream whose writer is not connected. */
export interface Grace {
  /** Monotonic time at which it is lost. */
  readonly lostAtMs: number
  /** Until then it is live, for its writer needs no connection; null where the writer is gone. */
  readonly lease: Lease | null
}

/** One client's use of a topic, under a handle of the client's choosing. */
export class Attachment {
  readonly client: Client
  readonly handle: number
  readonly topic: Topic
  /** Null on an attachment that may not write, or is anonymous. */
  readonly producerId: string | null
  /** Of a single request; null for a connection, or what stays open like one. */
  readonly request: RequestFacts | null
  /** Does not hold the topic. */
  readonly observe: boolean
  /** What its client may do to the topic, as a sum of RIGHT; again with each token that it shows. */
  rights: number
  /** The topic's fence that it writes under: once the topic's is another one, it may write no more. */
  readonly fence: number
  /** Has written: holds the topic however long it is silent. Set by `Topic.noteWrite`. */
  wrote = false
  detached = false
  /** Its client has detached it, and so sends nothing of its producer again. */
  isOver = false
  /** Ids of the streams it writes. */
  writes: Set<string> | null = null
  subscriptions: Set<Reader> | null = null
  uploads: Set<Sending> | null = null
  /** What of its client, topic and prefixes is bound, and counts what it does. */
  readonly scopes: readonly Scope[]

  constructor(
    client: Client,
    handle: number,
    topic: Topic,
    facts: {
      producerId: string | null
      request: RequestFacts | null
      observe: boolean
      fence: number
      scopes: readonly Scope[]
    },
  ) {
    this.client = client
    this.handle = handle
    this.topic = topic
    this.rights = client.identity.rightsOn(topic.name)
    this.producerId = facts.producerId
    this.request = facts.request
    this.observe = facts.observe
    this.fence = facts.fence
    this.scopes = facts.scopes
  }

  /** Appends without a producer. */
  get anonymous(): boolean {
    return this.request?.anonymous ?? false
  }

  /** Whose its uploads are: its producer's, or of an anonymous one nobody's in particular; null if it may not write. */
  get uploader(): string | null {
    return this.producerId ?? (this.anonymous ? '' : null)
  }

  /** Is it shut out from writing by an exclusive session of another producer, now or since it attached? */
  get isFenced(): boolean {
    const { fence, fenceHolder } = this.topic.state
    return fence !== this.fence || (fenceHolder !== null && fenceHolder !== this.producerId)
  }

  /** Throws FENCED if it is shut out from writing. */
  checkFence(): void {
    if (!this.isFenced) return
    const { name, state } = this.topic
    const why = state.fence === this.fence ? 'is held by an exclusive session' : 'was taken by an exclusive session'
    throw new LitetopicError('FENCED', `topic ${name} ${why}: others may read it, not write`, { fence: state.fence })
  }
}

/**
 * A topic that somebody uses, or has used a moment ago. While it is attached and nothing happens to it, it is dormant: its state
 * is in the table only, and what is left here is who is attached and what holds it. It must be woken before it is used.
 */
export class Topic {
  readonly name: string
  private resident: TopicState | null
  /** Operations under way that need its state. */
  uses = 0
  /** The one that there is, or all: a list of its own costs a topic 56 bytes, and most have one. */
  private attached: Attachment | readonly Attachment[] = EMPTY
  /** How many attachments hold the topic, and how many of those have written. */
  holders = 0
  private writing = 0
  /** All subscriptions, live ones and those that catch up. */
  subscriptions: readonly Reader[] = EMPTY
  /** Delivers to them while they are many. */
  crowd: Crowd | null = null
  /** Writers of open streams that are connected, by stream id. */
  writers: Map<string, Attachment> | null = null
  /** Operations that wait for one that waits for the table; null when none does. */
  private lane: (() => void | Promise<void>)[] | null = null
  /** Monotonic time of the last operation, append and attach. */
  lastUsedMs: number
  appendedMs = 0
  attachedMs = 0
  // Null for never: if one were ever Infinity, V8 would keep this field in 16 bytes of its own in every topic.
  private lingerUntil: number | null = null
  private retainAt: number | null = null
  /** When it ends by its policy; null if it does not. */
  life: Life | null = null
  /** Retention waits for its turn. */
  retaining = false
  /** The bucket of the timers that it is in, or -1. */
  wakeBucket = -1
  /** Open streams whose writer is not connected, unless they are lost already. */
  graces: Map<string, Grace> | null = null
  /** Changes of its fence that are not durable yet. */
  fencesUnderWay = 0
  /** What became of it, if it is no more. */
  end: 'deleted' | 'reclaimed' | null = null

  constructor(state: TopicState, nowMs: number) {
    this.name = state.name
    this.resident = state
    this.lastUsedMs = nowMs
  }

  /** Why later operations fail, once the topic is deleted. Made when it is asked for: an error takes longer than a deletion. */
  get ended(): LitetopicError | null {
    if (this.end === null) return null
    return new LitetopicError('GONE', `topic ${this.name} was ${this.end}`, { outcome: 'gone' })
  }

  /** In the order in which they attached. */
  get attachments(): readonly Attachment[] {
    return this.attached instanceof Attachment ? [this.attached] : this.attached
  }

  get isAttached(): boolean {
    return this.attached !== EMPTY
  }

  /** Only while it is not dormant. */
  get state(): TopicState {
    if (this.resident === null) throw new LitetopicError('INTERNAL', `topic ${this.name} was used while it was dormant`)
    return this.resident
  }

  get isDormant(): boolean {
    return this.resident === null
  }

  /** Does nothing that is under way need its state? */
  get isIdle(): boolean {
    if (this.uses > 0 || this.busy || this.retaining || this.fencesUnderWay > 0 || this.crowd?.waits === true)
      return false
    if (this.hasStreams) return false
    if (!this.subscriptions.every(isCaughtUp)) return false
    return this.attached instanceof Attachment ? !isSending(this.attached) : !this.attached.some(isSending)
  }

  /** Has it streams that have not ended? */
  get hasStreams(): boolean {
    return (this.state.openStreams?.size ?? 0) > 0 || (this.graces?.size ?? 0) > 0
  }

  /** Forgets its state. Only while it `isIdle`, and the table has all of it. */
  sleep(): void {
    this.resident = null
  }

  /** Takes its state, which has just been read. */
  wake(state: TopicState, nowMs: number): void {
    this.resident = state
    this.lastUsedMs = nowMs
  }

  /** When its linger ends; Infinity while attached. */
  get lingerUntilMs(): number {
    return this.lingerUntil ?? Number.POSITIVE_INFINITY
  }

  set lingerUntilMs(atMs: number) {
    this.lingerUntil = wholeOrNull(atMs)
  }

  /** When the oldest records are to be trimmed for their age; Infinity for never. */
  get retainAtMs(): number {
    return this.retainAt ?? Number.POSITIVE_INFINITY
  }

  set retainAtMs(atMs: number) {
    this.retainAt = wholeOrNull(atMs)
  }

  add(attachment: Attachment, nowMs: number): void {
    const { attachments } = this
    this.attached = attachments.length === 0 ? attachment : extended(attachments, attachment)
    if (attachment.observe) return
    this.holders++
    this.attachedMs = nowMs
  }

  remove(attachment: Attachment): void {
    const left = without(this.attachments, attachment)
    this.attached = left.length === 1 ? (left[0] as Attachment) : left
    if (attachment.observe) return
    this.holders--
    if (attachment.wrote) this.writing--
  }

  addReader(reader: Reader, crowds: Crowds): void {
    this.subscriptions = extended(this.subscriptions, reader)
    if (this.subscriptions.length > CROWD_READERS) this.crowd ??= new Crowd(crowds, this.subscriptions)
  }

  removeReader(reader: Reader): void {
    this.subscriptions = without(this.subscriptions, reader)
    if (this.subscriptions.length <= CROWD_READERS) this.crowd = null
  }

  noteWrite(attachment: Attachment): void {
    if (attachment.wrote || attachment.detached) return
    attachment.wrote = true
    this.writing++
  }

  /** Does one that has written hold it? */
  get hasWriter(): boolean {
    return this.writing > 0
  }

  isLive(streamId: string): boolean {
    return this.writers?.has(streamId) === true || (this.graces?.get(streamId)?.lease ?? null) !== null
  }

  /**
   * Runs an operation in its turn: at once if no other waits for the table, which is nearly always. An operation that
   * returns a promise makes later ones wait. It must not reject.
   */
  run(operation: () => void | Promise<void>): void {
    if (this.lane !== null) {
      this.lane.push(operation)
      return
    }
    this.began(operation())
  }

  /** The same for an operation that was begun without `run`, while the topic was not busy: what it has returned. */
  began(result: void | Promise<void>): void {
    if (result === undefined) return
    this.lane = []
    void result.then(() => this.drain())
  }

  get busy(): boolean {
    return this.lane !== null
  }

  private async drain(): Promise<void> {
    for (;;) {
      const operation = this.lane?.shift()
      if (operation === undefined) break
      await operation()
    }
    this.lane = null
  }
}

function isCaughtUp(reader: Reader): boolean {
  return reader.isCaughtUp
}

function isSending({ uploads }: Attachment): boolean {
  return uploads !== null && uploads.size > 0
}

function wholeOrNull(ms: number): number | null {
  return ms === Number.POSITIVE_INFINITY ? null : Math.ceil(ms)
}
