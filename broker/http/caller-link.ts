/**
 * What stands between a request and the broker: the attachment that it has, and what the broker tells of it. The verbs are in
 * caller.ts.
 */

import { asLitetopicError, invariant, LitetopicError } from '../../protocol/index.ts'
import type { Link } from '../../storage/index.ts'
import type { Identity } from '../access/identity.ts'
import type { Attaching, AttachReply } from '../attach.ts'
import type { Client, NoticeEvent, NoticeFacts, SharedBatches } from '../client.ts'
import type { Operations } from '../operations.ts'
import type { Subscription } from '../subscription.ts'
import type { Attachment } from '../topic.ts'

/** Where its requests go, and its response: what a caller needs of the HTTP server. */
export interface CallerOwner {
  /** Throws STORE_UNAVAILABLE while there are none. */
  readonly operations: Operations
  /** Are publishers to wait, because the disk does not keep up? */
  readonly overloaded: boolean
  /** Calls back when they need not wait any more, or the store is opened anew. */
  whenRelieved(resume: () => void): void
}

/** What the response can take. */
export interface Outlet {
  /** Holds more than it should. */
  readonly clogged: boolean
  /** Calls back once when it does not any more. */
  whenUnclogged(resume: () => void): void
  /** Ends it at once, and its connection. */
  cut(): void
}

/** Who takes what a subscription delivers. Nothing is delivered while the outlet is clogged. */
export interface Reading {
  /** The batch lies in `bytes[from, to)`: to be copied, or written out, at once. */
  deliver(bytes: Uint8Array, from: number, to: number, flags: number): void
  /** Batches that many readers are given alike; without it, each is given to `deliver`. */
  share?(batches: SharedBatches): void
  /** Nothing more comes: the topic is gone or trimmed, or the broker stops (SHUTTING_DOWN, STORE_UNAVAILABLE). */
  ended(error: LitetopicError): void
}

/** Where the first record is; `repeat` if it was there before. */
export interface Appended {
  readonly base: number
  readonly repeat: boolean
}

export interface PendingAppend {
  readonly producerEpoch: number
  readonly sequence: number
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: LitetopicError) => void
}

/** Made once: an error takes longer than a detach, and nearly always nobody is told. */
const ENDED = new LitetopicError('CONNECTION_CLOSED', 'the request ended before its answer')
const NO_LINKS: readonly Link[] = []

export abstract class CallerLink implements Client, Attaching {
  readonly identity: Identity
  readonly address: string
  /** Told what happens to the topic while it is attached. */
  onNotice: ((event: NoticeEvent, facts: NoticeFacts) => void) | null = null
  /** Told how many more parts of an upload it may send; 0 takes grants back. */
  onGrant: ((parts: number) => void) | null = null
  /** Told once that the broker stops, or opens its store anew: a response that would stay open is to end. */
  onStop: ((error: LitetopicError) => void) | null = null
  protected readonly owner: CallerOwner
  private readonly outlet: Outlet
  /** Those that it uses, from its first verb to its end. */
  private used: Operations | null = null
  protected attachment: Attachment | null = null
  protected attachReply: AttachReply | null = null
  protected hasBegun = false
  /** Why nothing can be done any more: its attach was refused, or the request has ended. */
  protected over: LitetopicError | null = null
  /** Verbs that wait until the topic can be used, and those that wait for the reply to the attach. */
  private waiters: ((error: LitetopicError | null) => void)[] | null = null
  protected repliers: { resolve(reply: AttachReply): void; reject(error: LitetopicError): void }[] | null = null
  protected readonly appends: PendingAppend[] = []
  /** Ids of those that it has begun. */
  protected uploads: string[] | null = null
  protected readings: Map<number, { reading: Reading; subscription: Subscription | null }> | null = null

  private leaveIdentity: () => void = () => undefined

  constructor(owner: CallerOwner, outlet: Outlet, identity: Identity, address: string) {
    this.owner = owner
    this.outlet = outlet
    this.identity = identity
    this.address = address
    this.leaveIdentity = identity.whenOver((error) => this.end(error))
  }

  /** Throws STORE_UNAVAILABLE while the store is opened anew. */
  protected get operations(): Operations {
    this.used ??= this.owner.operations
    return this.used
  }

  /** What the attached topic is forked from, the nearest first: none for one that is no fork. */
  get lineage(): readonly Link[] {
    return this.attachment?.topic.state.extra?.fork?.links ?? NO_LINKS
  }

  /** The request has ended, or needs its topic no more: detaches, and rejects what waits. Idempotent. */
  close(): void {
    if (this.over === null) this.finish(ENDED)
  }

  /** What would stay open ends for this reason; what is under way goes on. */
  stopLive(error: LitetopicError): void {
    for (const [id, { reading, subscription }] of [...(this.readings ?? [])]) {
      this.readings?.delete(id)
      subscription?.close(null)
      reading.ended(error)
    }
    this.onStop?.(error)
    this.onStop = null
  }

  /** Its core is no more: everything ends for this reason. */
  away(error: LitetopicError): void {
    if (this.used !== null) this.end(error)
  }

  private end(error: LitetopicError): void {
    this.stopLive(error)
    if (this.over === null) this.finish(error)
  }

  // What the broker tells a client.

  get clogged(): boolean {
    return this.outlet.clogged
  }

  whenUnclogged(resume: () => void): void {
    this.outlet.whenUnclogged(resume)
  }

  cut(): void {
    this.outlet.cut()
  }

  // The memory of what waits is that of its body, which is bounded for all requests together.
  begun(): void {}

  ended(): void {}

  get isGone(): boolean {
    return this.over !== null
  }

  attached(attachment: Attachment): void {
    if (this.over !== null) {
      this.operations.detach(attachment)
      return
    }
    this.attachment = attachment
    this.runWaiters(null)
  }

  answered(reply: AttachReply): void {
    const { attachment } = this
    if (attachment === null || attachment.detached) return
    this.attachReply = reply
    for (const { resolve } of this.repliers ?? []) resolve(reply)
    this.repliers = null
    this.operations.tellFenced(attachment)
  }

  refused(error: LitetopicError): void {
    this.attachment = null
    this.operations.refuse(error, (refusal) => {
      if (this.over === null) this.finish(refusal)
    })
  }

  ack(_handle: number, producerEpoch: number, sequence: number, base: number, repeat: boolean): void {
    this.take(producerEpoch, sequence)?.resolve({ base, repeat })
  }

  refuse(_handle: number, producerEpoch: number, sequence: number, error: LitetopicError): void {
    this.take(producerEpoch, sequence)?.reject(error)
  }

  deliver(subscription: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    this.readings?.get(subscription)?.reading.deliver(bytes, from, to, flags)
  }

  deliverShared(subscription: number, batches: SharedBatches): void {
    const reading = this.readings?.get(subscription)?.reading
    if (reading?.share !== undefined) {
      reading.share(batches)
      return
    }
    const { bytes, starts, size, flags } = batches
    for (let i = 0; i < starts.length; i++) {
      reading?.deliver(bytes, starts[i] as number, starts[i + 1] ?? size, flags)
    }
  }

  endSubscription(subscription: number, error: LitetopicError): void {
    this.readings?.get(subscription)?.reading.ended(error)
  }

  notice(_handle: number, event: NoticeEvent, facts: NoticeFacts): void {
    this.onNotice?.(event, facts)
  }

  grantParts(_handle: number, _uploadId: string, parts: number): void {
    this.onGrant?.(parts)
  }

  /** Does it when the topic can be used. */
  protected on<T>(verb: (attachment: Attachment) => Promise<T>): Promise<T> {
    const { attachment } = this
    if (attachment !== null && !attachment.topic.isDormant) return this.told(verb(attachment))
    return new Promise((resolve, reject) => {
      this.whenUsable((usable) => resolve(this.told(verb(usable))), reject)
    })
  }

  /** What it rejects with is told when what that follows from is durable. */
  protected told<T>(answer: Promise<T>): Promise<T> {
    return answer.catch(
      (error: unknown) => new Promise<T>((_, reject) => this.operations.refuse(asLitetopicError(error), reject)),
    )
  }

  protected whenUsable(run: (attachment: Attachment) => void, refused: (error: LitetopicError) => void): void {
    const { attachment, over } = this
    const again = (error: LitetopicError | null): void => {
      if (error === null) this.whenUsable(run, refused)
      else refused(error)
    }
    if (over !== null) refused(over)
    else if (attachment === null) {
      invariant(this.hasBegun, 'a caller attaches before it uses a topic')
      this.waiters ??= []
      this.waiters.push(again)
    } else if (attachment.topic.isDormant) this.operations.wake(attachment, again)
    else run(attachment)
  }

  private runWaiters(error: LitetopicError | null): void {
    const { waiters } = this
    this.waiters = null
    for (const waiter of waiters ?? []) waiter(error)
  }

  protected take(producerEpoch: number, sequence: number): PendingAppend | undefined {
    const { appends } = this
    const at = appends.findIndex((append) => append.sequence === sequence && append.producerEpoch === producerEpoch)
    return at < 0 ? undefined : appends.splice(at, 1)[0]
  }

  /** What has become a message is kept. What cannot be deleted now goes when its time is over. */
  private leaveNothing(attachment: Attachment, uploads: readonly string[]): void {
    for (const id of uploads) this.operations.abandon(attachment, id).catch(() => undefined)
    if (this.attachReply?.created === true) this.operations.undo(attachment).catch(() => undefined)
  }

  private finish(error: LitetopicError): void {
    this.over = error
    this.leaveIdentity()
    if (this.attachment !== null) {
      if (this.uploads !== null) this.leaveNothing(this.attachment, this.uploads)
      this.operations.detach(this.attachment)
    }
    this.attachment = null
    this.runWaiters(error)
    for (const { reject } of this.repliers ?? []) reject(error)
    for (const { reject } of this.appends.splice(0)) reject(error)
    this.repliers = null
  }
}
