/**
 * One HTTP request as a client of the broker: the verbs as promises, and what is delivered handed to a reading. It attaches
 * to one topic at most, and is detached when the request ends, however it ends: a request IS an attachment while it runs.
 */

import {
  type FromInfo,
  invariant,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  type ReplyOf,
  type UP,
} from '../../protocol/index.ts'
import type { IssuedToken } from '../access/authority.ts'
import type { Right } from '../access/rights.ts'
import type { TokenRequest } from '../access/tokens.ts'
import type { Appending, AtomicAppend, AtomicAppended } from '../atomic-append.ts'
import type { AttachReply, AttachRequest } from '../attach.ts'
import type { Fetched, FetchRequest } from '../fetch.ts'
import type { ForkRequest } from '../fork.ts'
import type { ReadReply, ReadRequest } from '../read.ts'
import type { ResumeRequest } from '../resume.ts'
import type { OpenRequest } from '../streams.ts'
import type { Attachment } from '../topic.ts'
import type { TrimRequest } from '../trim.ts'
import type { PartFrame } from '../upload.ts'
import type { UploadRequest } from '../uploads.ts'
import { type Appended, CallerLink, type Reading } from './caller-link.ts'

export type { Appended, CallerOwner, Outlet, Reading } from './caller-link.ts'

export interface AppendRequest {
  /** How many records there are. */
  readonly count: number
  /** Of the producer that the attachment named; an anonymous one leaves them out. */
  readonly producerEpoch?: number
  readonly sequence?: number
  /** Fence of the stream that the records are of, if they are tokens or its end. */
  readonly fence?: number
}

/** A request has one attachment. */
const HANDLE = 0

export class Caller extends CallerLink {
  private subscriptions = 0
  /** Of the appends of an anonymous one, to tell their answers apart. */
  private sequence = 0

  /**
   * Attaches to a topic, once, and waits for nothing: verbs that follow wait as far as they must, and are refused if it is. See
   * `attach` for the options and errors. Throws STORE_UNAVAILABLE.
   */
  begin(name: string, options: AttachRequest): void {
    invariant(!this.hasBegun, 'a caller attaches once')
    this.hasBegun = true
    if (this.over === null) this.operations.attach(this, HANDLE, name, { brief: true, ...options }, this)
  }

  /**
   * Attaches to a topic, and creates it unless `create` is false. To append it names a producer or is `anonymous`; `observe` only
   * looks, and does not hold the topic. Rejects with BAD_NAME, BAD_REQUEST, NOT_FOUND, GONE, RECREATED, DIVERGED, LIMIT_EXCEEDED.
   */
  async attach(name: string, options: AttachRequest): Promise<AttachReply> {
    this.begin(name, options)
    return this.whenAttached()
  }

  /** The reply to the attach that was begun, when what it says is durable: at once, if it is. */
  whenAttached(): AttachReply | Promise<AttachReply> {
    if (this.attachReply !== null) return this.attachReply
    return new Promise((resolve, reject) => {
      if (this.over !== null) reject(this.over)
      else {
        this.repliers ??= []
        this.repliers.push({ resolve, reject })
      }
    })
  }

  /**
   * Appends encoded records, all or none, which must not change until it resolves: when they are durable. Waits while the disk does
   * not keep up. Rejects with LIMIT_EXCEEDED, BAD_FRAME, BAD_VALUE, BAD_REQUEST, CLOSED, FENCED, SEQUENCE_GAP, PRODUCER_*, STREAM_*,
   * RATE_LIMITED, STORE_UNAVAILABLE, or what its attach was refused with.
   */
  append(records: Uint8Array, { count, producerEpoch, sequence, fence = -1 }: AppendRequest): Promise<Appended> {
    return new Promise((resolve, reject) => {
      checkBounds(records.length, count)
      const pending = { producerEpoch: producerEpoch ?? 0, sequence: sequence ?? this.sequence++, resolve, reject }
      const entry = { ...pending, handle: HANDLE, fence, count, from: 0, to: records.length }
      this.appends.push(pending)
      const refused = (error: LitetopicError): void => {
        this.take(entry.producerEpoch, entry.sequence)?.reject(error)
      }
      const append = (attachment: Attachment): void => this.operations.append(attachment, entry, records)
      if (!this.owner.overloaded) this.whenUsable(append, refused)
      else this.owner.whenRelieved(() => this.whenUsable(append, refused))
    })
  }

  /**
   * Appends, closes, or both, in one commit with the producer's sequence and a Stream-Seq; see `atomicAppend`. Waits while the disk
   * does not keep up. An anonymous attachment gives 0 for epoch and sequence.
   */
  atomicAppend(request: AtomicAppend): Promise<AtomicAppended> {
    const append = (): Promise<AtomicAppended> => this.on((at) => this.operations.atomicAppend(at, request))
    if (!this.owner.overloaded) return append()
    return new Promise<void>((resolve) => this.owner.whenRelieved(resolve)).then(append)
  }

  /**
   * The same with its attach, told instead of promised, where the topic is in memory and nothing need be waited for but the commit;
   * false where it is not so, and nothing was done. The records are messages without ids. Throws what it is refused with.
   */
  appendAtOnce(name: string, producer: string | undefined, request: AtomicAppend, appending: Appending): boolean {
    invariant(!this.hasBegun, 'a caller attaches once')
    this.hasBegun = true
    const { operations } = this
    const options = { brief: true, create: false, producer, anonymous: producer === undefined }
    const attachment = this.owner.overloaded ? null : operations.enter(this, HANDLE, name, options)
    this.attachment = attachment
    return attachment !== null && operations.appendAtOnce(attachment, request, appending)
  }

  openStream(request: OpenRequest): Promise<ReplyOf<typeof UP.openStream>> {
    return this.on((attachment) => this.operations.openStream(attachment, request))
  }

  /** Stops a stream, or with null all that are open. */
  stop(streamId: string | null, reason: string | null): Promise<ReplyOf<typeof UP.stop>> {
    return this.on((attachment) => this.operations.stop(attachment, streamId, reason))
  }

  /** Renews the lease of a stream that it writes. */
  keepStream(streamId: string, fence: number): Promise<ReplyOf<typeof UP.stream>> {
    return this.on((attachment) => this.operations.keepStream(attachment, streamId, fence))
  }

  stream(streamId: string): Promise<ReplyOf<typeof UP.stream>> {
    return this.on((attachment) => this.operations.stream(attachment, streamId))
  }

  trim(request: TrimRequest): Promise<ReplyOf<typeof UP.trim>> {
    return this.on((attachment) => this.operations.trim(attachment, request))
  }

  /** Changes what is given of the topic's own policy, and tells what holds. */
  policy(change: PolicyInfo): Promise<ReplyOf<typeof UP.policy>> {
    return this.on((attachment) => this.operations.policy(attachment, change))
  }

  /** What would hold for a topic of that name with this policy of its own. Throws BAD_REQUEST or STORE_UNAVAILABLE. */
  policyFor(name: string, own: PolicyInfo): PolicyInfo {
    return this.operations.policyFor(this, name, own)
  }

  resume(request: ResumeRequest): Promise<ReplyOf<typeof UP.resume>> {
    return this.on((attachment) => this.operations.resume(attachment, request))
  }

  checkpoints(options: { before?: number; limit?: number }): Promise<ReplyOf<typeof UP.checkpoints>> {
    return this.on((attachment) => this.operations.checkpoints(attachment, options))
  }

  context(options: {
    name?: string
    asOf?: number
    after?: string
    limit?: number
  }): Promise<ReplyOf<typeof UP.context>> {
    return this.on((attachment) => this.operations.contextEntries(attachment, options))
  }

  /** What there is now, from a position on: at once, where it is in memory. */
  read(request: ReadRequest): ReadReply | Promise<ReadReply> {
    const { attachment } = this
    const isUsable = attachment !== null && !attachment.topic.isDormant && attachment.topic.end === null
    const now = isUsable ? this.operations.readNow(attachment, request) : null
    return now ?? this.on((usable) => this.operations.read(usable, request))
  }

  /** Reads on for as long as there is more: deliveries begin with `start`. The bound is the outlet: it takes what it can. */
  async subscribe(
    from: FromInfo,
    options: { raw?: boolean },
    reading: Reading,
  ): Promise<ReplyOf<typeof UP.subscribe> & { start(): void; close(): void }> {
    const id = this.subscriptions++
    this.readings ??= new Map()
    const { readings } = this
    readings.set(id, { reading, subscription: null })
    try {
      const given = { raw: options.raw, creditBytes: 0 }
      const { subscription, reply } = await this.on((at) => this.operations.subscribe(at, id, from, given))
      // It may have been ended while its position was looked for.
      if (readings.has(id)) readings.set(id, { reading, subscription })
      else subscription.close(null)
      subscription.onClose = () => readings.delete(id)
      const start = (): void => subscription.grant(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
      return { ...reply, start, close: () => subscription.close(null) }
    } catch (error) {
      readings.delete(id)
      throw error
    }
  }

  /**
   * Begins an upload; `onGrant` is told how many parts may be sent. It is deleted when the request ends, unless it has become a
   * message by then.
   */
  async upload(request: UploadRequest): Promise<ReplyOf<typeof UP.upload>> {
    this.uploads = [...(this.uploads ?? []), request.uploadId]
    const reply = await this.on((attachment) => this.operations.upload(attachment, request))
    if (this.attachment !== null) this.operations.uploadBegun(this.attachment, request.uploadId)
    return reply
  }

  /** One part that was granted, whose bytes are copied at once; resolves when it is durable. */
  part(part: PartFrame): Promise<ReplyOf<typeof UP.part>> {
    return this.on((attachment) => this.operations.part(attachment, part))
  }

  abandon(uploadId: string): Promise<ReplyOf<typeof UP.abandon>> {
    return this.on((attachment) => this.operations.abandon(attachment, uploadId))
  }

  /** A piece of a large message; `taken` is to be called once it is sent, or never will be. */
  fetch(request: FetchRequest): Promise<Fetched> {
    return this.on((attachment) => this.operations.fetch(attachment, request))
  }

  /** Lets go of the topic's fence, if it has it, and detaches. Resolves when that is durable. */
  leave(): Promise<ReplyOf<typeof UP.detach>> {
    return this.on((attachment) => this.operations.leave(attachment))
  }

  describe(name: string): Promise<ReplyOf<typeof UP.describe>> {
    return this.told(this.operations.describe(this, name))
  }

  list(prefix: string, options: { after?: string; limit?: number }): Promise<ReplyOf<typeof UP.list>> {
    return this.told(this.operations.list(this, prefix, options))
  }

  /** A new topic that shares the records of this one up to some point. */
  fork(name: string, request: ForkRequest): Promise<ReplyOf<typeof UP.fork>> {
    return this.told(this.operations.fork(this, name, request))
  }

  /** Throws ACCESS_DENIED: for a request that asks for several verbs, so that none is done if one may not be. */
  require(name: string, right: Right): void {
    this.operations.require(this, name, right)
  }

  /** A token for somebody else, who may do some of what it may itself. */
  issueToken(request: TokenRequest): Promise<IssuedToken> {
    return this.told(this.operations.issueToken(this, request))
  }

  /** Was a topic of that name deleted whose records forks still share? */
  isHidden(name: string): Promise<boolean> {
    return this.told(this.operations.isHidden(this, name))
  }

  /** Deletes a topic; with an epoch, only that incarnation. */
  delete(name: string, epoch: number | null): Promise<ReplyOf<typeof UP.delete>> {
    return this.told(this.operations.delete(this, name, epoch))
  }
}

/** Throws BAD_REQUEST for an append of no records, and LIMIT_EXCEEDED for one beyond its bounds. */
export function checkBounds(size: number, count: number): void {
  if (count === 0) throw new LitetopicError('BAD_REQUEST', 'an append of no records')
  for (const [limit, value] of [
    ['appendBytes', size],
    ['appendRecords', count],
  ] as const) {
    const bound = LIMITS[limit]
    if (value <= bound) continue
    const details = { limit, value, bound }
    throw new LitetopicError('LIMIT_EXCEEDED', `an append of ${value} exceeds ${limit} (${bound})`, details)
  }
}
