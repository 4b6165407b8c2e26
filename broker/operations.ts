/**
 * Every verb, typed, whatever transport it came by. Access and limits are checked here and nowhere else; the files beside
 * this one do the work.
 */

import {
  type AppendEntry,
  checkId,
  checkPrefix,
  checkTopicName,
  type FromInfo,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  type ReplyOf,
  type RequestType,
  type UP,
} from '../protocol/index.ts'
import { findStream, type Link } from '../storage/index.ts'
import { admitSubscription, enter } from './admission.ts'
import { append } from './append.ts'
import {
  type Appending,
  type AtomicAppend,
  type AtomicAppended,
  atomicAppend,
  atomicAppendNow,
} from './atomic-append.ts'
import { type Attaching, Attachments, type AttachRequest } from './attach.ts'
import type { Client } from './client.ts'
import { CallbackItem } from './committer.ts'
import { allCommitted, type Context, policyOf, whenTrue } from './context.ts'
import { checkpoints, contextEntries, description, list } from './describe.ts'
import { releaseFence, tellFenced } from './fencing.ts'
import { type Fetched, Fetches, type FetchRequest } from './fetch.ts'
import { type ForkRequest, fork } from './fork.ts'
import { increment } from './observe/counts.ts'
import { missing, recreated } from './outcomes.ts'
import { effectivePolicy, policyInfo, storedPolicy } from './policy.ts'
import { positionOf } from './positions.ts'
import { type ReadReply, type ReadRequest, type Rest, read, readNow, restNow } from './read.ts'
import type { Reclaimer } from './reclaim.ts'
import { type ResumeRequest, resume } from './resume.ts'
import { streamInfo } from './stream-state.ts'
import { keepStream, type OpenRequest, openStream, stopStreams } from './streams.ts'
import { Subscription } from './subscription.ts'
import type { Attachment, Topic } from './topic.ts'
import { type TrimRequest, trim } from './trim.ts'
import type { PartFrame } from './upload.ts'
import type { UploadRequest } from './uploads.ts'
import type { Wakers } from './wakes/wakers.ts'

const NO_LINKS: readonly Link[] = []

/** What a read that waits for nothing has found, and what topic it is of. */
export interface FoundAtOnce {
  readonly rest: Rest
  readonly epoch: number
  /** What it is forked from, the nearest first. */
  readonly lineage: readonly Link[]
  /** Undefined for that of a topic for which none was given. */
  readonly contentType: string | undefined
}

type Reply<R extends RequestType> = Promise<ReplyOf<R>>

export class Operations {
  private readonly context: Context
  private readonly reclaimer: Reclaimer
  private readonly fetches: Fetches
  private readonly attached: Attachments
  /** The verbs of Durable Streams subscriptions, which are of no client. */
  readonly wakers: Wakers

  constructor(context: Context, reclaimer: Reclaimer, wakers: Wakers) {
    this.wakers = wakers
    this.context = context
    this.reclaimer = reclaimer
    this.fetches = new Fetches(context)
    this.attached = new Attachments(context, reclaimer)
  }

  /** How many attachments there are. */
  get attachments(): number {
    return this.attached.count
  }

  /** Attaches the client to a topic, and creates it if it may; see `Attachments.attach`. */
  attach(client: Client, handle: number, name: string, options: AttachRequest, attaching: Attaching): void {
    this.attached.attach(client, handle, name, options, attaching)
  }

  /** Attaches to a topic that is in memory, at once, and tells nothing of it; see `Attachments.enter`. */
  enter(client: Client, handle: number, name: string, options: AttachRequest): Attachment | null {
    return this.attached.enter(client, handle, name, options)
  }

  /** Makes the attachment's topic resident again, and tells when it is; with STORE_CORRUPT or STORE_UNAVAILABLE if it cannot be. */
  wake({ topic }: Attachment, told: (error: LitetopicError | null) => void): void {
    this.context.registry.whenFound(topic.name, told)
  }

  /** To be called behind the reply to an attach: tells who comes back that it has been shut out meanwhile. */
  tellFenced(attachment: Attachment): void {
    tellFenced(attachment)
  }

  /** Detaches for good: lets go of the topic's fence, if it has it. Resolves when that is durable. */
  async leave(attachment: Attachment): Reply<typeof UP.detach> {
    const released = releaseFence(this.context, attachment)
    this.detach(attachment)
    await released
    return {}
  }

  /** Tells of a refusal when what it follows from is durable. */
  refuse(error: LitetopicError, tell: (error: LitetopicError) => void): void {
    whenTrue(this.context, error, tell)
  }

  /** Ends the attachment, its subscriptions, and its part in uploads. */
  detach(attachment: Attachment): void {
    this.attached.detach(attachment)
  }

  append(attachment: Attachment, entry: AppendEntry, bytes: Uint8Array): void {
    append(this.context, attachment, entry, bytes)
  }

  /** Appends, closes, or both, in one commit; see `atomicAppend`. */
  atomicAppend(attachment: Attachment, request: AtomicAppend): Promise<AtomicAppended> {
    return using(usable(attachment.topic), () => atomicAppend(this.context, attachment, request))
  }

  /**
   * The same, told instead of promised, where nothing need be waited for but the commit; false where something must, and nothing was
   * done. The records are messages without ids. Throws what it is refused with.
   */
  appendAtOnce(attachment: Attachment, request: AtomicAppend, appending: Appending): boolean {
    const { topic } = attachment
    if (topic.busy || topic.state.closed) return false
    atomicAppendNow(this.context, attachment, request, appending)
    return true
  }

  async openStream(attachment: Attachment, request: OpenRequest): Reply<typeof UP.openStream> {
    checkId(request.streamId, 'stream id')
    return using(attachment.topic, () => openStream(this.context, attachment, request))
  }

  async stop(attachment: Attachment, streamId: string | null, reason: string | null): Reply<typeof UP.stop> {
    if (streamId !== null) checkId(streamId, 'stream id')
    return using(usable(attachment.topic), () => stopStreams(this.context, attachment, streamId, reason))
  }

  /** Renews the lease of a stream whose writer has nothing to append. */
  async keepStream(attachment: Attachment, streamId: string, fence: number): Reply<typeof UP.stream> {
    checkId(streamId, 'stream id')
    return using(usable(attachment.topic), () => keepStream(this.context, attachment, streamId, fence))
  }

  async stream(attachment: Attachment, streamId: string): Reply<typeof UP.stream> {
    checkId(streamId, 'stream id')
    return using(this.readable(attachment), async (topic) => {
      const stream = await findStream(this.context.shard.store.table, topic.state, streamId)
      const info = stream === null ? null : streamInfo(stream, topic.isLive(streamId))
      await allCommitted(this.context, topic)
      return { stream: info }
    })
  }

  async trim(attachment: Attachment, request: TrimRequest): Reply<typeof UP.trim> {
    return using(attachment.topic, () => trim(this.context, attachment, request))
  }

  /** Changes what is given of the topic's own policy. */
  async policy(attachment: Attachment, policy: PolicyInfo): Reply<typeof UP.policy> {
    const { shard, steadyWallMs } = this.context
    const change = storedPolicy(policy)
    return using(usable(attachment.topic), async (topic) => {
      if (change !== null) {
        // A time to live that is set today does not begin when the topic was used last.
        if (change.ttlMs !== undefined) shard.setExtra(topic.state, { usedMs: Math.ceil(steadyWallMs()) }, null)
        await new Promise<void>((resolve, reject) => {
          shard.setPolicy(topic.state, change, new CallbackItem(resolve, reject))
        })
        this.reclaimer.policyChanged(topic)
      }
      return { policy: policyInfo(policyOf(this.context, topic)) }
    })
  }

  /** The policy that would be in force for a topic of that name with this of its own. Throws BAD_REQUEST. */
  policyFor(name: string, own: PolicyInfo): PolicyInfo {
    return policyInfo(effectivePolicy(this.context.policies, name, storedPolicy(own)))
  }

  /** Begins a subscription; deliveries follow the reply. */
  async subscribe(
    attachment: Attachment,
    id: number,
    from: FromInfo,
    options: { raw?: boolean; creditBytes?: number },
  ): Promise<{ subscription: Subscription; reply: ReplyOf<typeof UP.subscribe> }> {
    return using(this.readable(attachment), async (topic) => {
      const position = await positionOf(this.context, topic, from)
      usable(topic)
      if (attachment.detached) throw new LitetopicError('UNKNOWN_HANDLE', 'the handle was detached meanwhile')
      admitSubscription(attachment.scopes)
      const given = { raw: options.raw ?? false, credit: options.creditBytes ?? LIMITS.creditBytes }
      const subscription = new Subscription(attachment, id, position, given, this.context)
      enter(attachment.scopes, 'subscriptions')
      topic.addReader(subscription, this.context.crowds)
      attachment.subscriptions ??= new Set()
      attachment.subscriptions.add(subscription)
      const { firstOffset, committedTo } = topic.state
      return { subscription, reply: { next: position, firstOffset, nextOffset: committedTo } }
    })
  }

  /** What there is now, from a position on, up to a number of bytes. */
  async read(attachment: Attachment, request: ReadRequest): Promise<ReadReply> {
    return this.gave(await using(this.readable(attachment), (topic) => read(this.context, topic, request)))
  }

  /** The same at once; null where that cannot be. */
  readNow(attachment: Attachment, request: ReadRequest): ReadReply | null {
    const reply = readNow(this.context, this.readable(attachment), request)
    return reply === null ? null : this.gave(reply)
  }

  private gave(reply: ReadReply): ReadReply {
    this.gaveFrom(reply.position, reply.next, reply.batches)
    return reply
  }

  private gaveFrom(from: number, to: number, pieces: readonly Uint8Array[]): void {
    let bytes = 0
    for (const piece of pieces) bytes += piece.length
    this.context.counts.gave('stored', to - from, bytes)
  }

  /**
   * All that is committed of a topic from an offset on, or from its start, and what it is, if it is in memory and about `maxBytes` at
   * most. Begins its time to live anew, and its linger, as an attachment does. Null where it is not so. Throws LIMIT_EXCEEDED.
   */
  readAtOnce(name: string, from: { epoch: number; next: number } | null, maxBytes: number): FoundAtOnce | null {
    const topic = this.attached.visit(name)
    if (topic === null || (from !== null && from.epoch !== topic.state.epoch)) return null
    this.reclaimer.touched(topic)
    const rest = restNow(this.context, topic, from?.next ?? null, maxBytes)
    if (rest === null) return null
    this.gaveFrom(rest.position, rest.nextOffset, rest.pieces)
    const { epoch, extra } = topic.state
    return { rest, epoch, lineage: extra?.fork?.links ?? NO_LINKS, contentType: extra?.contentType }
  }

  /** Begins an upload or goes on with it. `uploadBegun` is to be called behind the reply. */
  upload(attachment: Attachment, request: UploadRequest): Reply<typeof UP.upload> {
    return using(attachment.topic, () => this.context.uploads.begin(attachment, request))
  }

  uploadBegun(attachment: Attachment, uploadId: string): void {
    this.context.uploads.begun(attachment, uploadId)
  }

  part(attachment: Attachment, frame: PartFrame): Reply<typeof UP.part> {
    return using(attachment.topic, () => this.context.uploads.part(attachment, frame))
  }

  abandon(attachment: Attachment, uploadId: string): Reply<typeof UP.abandon> {
    return using(attachment.topic, () => this.context.uploads.abandon(attachment, uploadId))
  }

  fetch(attachment: Attachment, request: FetchRequest): Promise<Fetched> {
    return using(this.readable(attachment), () => this.fetches.fetch(attachment, request))
  }

  async resume(attachment: Attachment, request: ResumeRequest): Reply<typeof UP.resume> {
    const reply = await using(this.readable(attachment), (topic) => resume(this.context, topic, request))
    increment(this.context.counts.resumes, reply.outcome)
    return reply
  }

  async checkpoints(
    attachment: Attachment,
    options: { before?: number; limit?: number },
  ): Reply<typeof UP.checkpoints> {
    return using(this.readable(attachment), (topic) => checkpoints(this.context, topic, options))
  }

  async contextEntries(
    attachment: Attachment,
    options: { name?: string; asOf?: number; after?: string; limit?: number },
  ): Reply<typeof UP.context> {
    return using(this.readable(attachment), (topic) => contextEntries(this.context, topic, options))
  }

  async describe(name: string): Reply<typeof UP.describe> {
    const isResident = this.context.registry.resident(checkTopicName(name)) !== undefined
    return this.withTopic(name, (topic) => {
      if (topic === null) throw missing(name, false)
      return using(topic, () => description(this.context, topic, isResident))
    })
  }

  async list(prefix: string, options: { after?: string; limit?: number }): Reply<typeof UP.list> {
    return list(this.context, checkPrefix(prefix), options)
  }

  /** Deletes the attachment's topic, if nothing has ever been stored in it and nobody else has it: it was created for nothing. */
  async undo({ topic }: Attachment): Promise<void> {
    if (topic.end !== null || topic.isDormant || topic.attachments.length > 1) return
    const { nextOffset, producers } = topic.state
    if (nextOffset === 0 && producers === null) await this.reclaimer.delete(topic, 'deleted')
  }

  /** Deletes the topic; with an epoch, only that incarnation. */
  async delete(name: string, epoch: number | null): Reply<typeof UP.delete> {
    return this.withTopic(checkTopicName(name), async (topic) => {
      if (topic === null) {
        // Perhaps it is just being deleted.
        await allCommitted(this.context, null)
        return { deleted: false }
      }
      if (epoch !== null && topic.state.epoch !== epoch) throw recreated(topic)
      await this.reclaimer.delete(topic, 'deleted')
      return { deleted: true }
    })
  }

  /** The topic, which is being read: that begins its time to live anew. Throws GONE. */
  private readable({ topic }: Attachment): Topic {
    this.reclaimer.touched(usable(topic))
    return topic
  }

  /** A new topic that shares the records of this one up to some point; see `fork.ts`. */
  async fork(client: Client, name: string, request: ForkRequest): Reply<typeof UP.fork> {
    return this.withTopic(checkTopicName(name), (topic) => {
      if (topic === null) throw missing(name, request.epoch !== undefined)
      return using(topic, () => fork(this.context, client, topic, request))
    })
  }

  /** Was a topic of that name deleted whose records forks still share? It says so for a moment longer. */
  async isHidden(name: string): Promise<boolean> {
    return this.context.shard.isHidden(checkTopicName(name))
  }

  /** Calls `use` with the topic of that name made resident, or with null. It must decide before it waits for anything. */
  private withTopic<T>(name: string, use: (topic: Topic | null) => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.context.registry.whenFound(name, (failure, topic) => {
        try {
          if (failure !== null) throw failure
          resolve(use(this.reclaimer.alive(topic)))
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}

/** Keeps the topic resident until the work is done. */
async function using<T>(topic: Topic, work: (topic: Topic) => Promise<T>): Promise<T> {
  topic.uses++
  try {
    return await work(topic)
  } finally {
    topic.uses--
  }
}

function usable(topic: Topic): Topic {
  if (topic.ended !== null) throw topic.ended
  return topic
}
