/**
 * Every verb, typed, whatever transport it came by; those that name a topic are in named-operations.ts. Access and limits are checked here
 * and nowhere else; the files beside this one do the work.
 */

import {
  type AppendEntry,
  checkId,
  type FromInfo,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  type ReplyOf,
  type UP,
} from '../protocol/index.ts'
import { findStream, type Link } from '../storage/index.ts'
import type { Authority } from './access/authority.ts'
import type { Visitor } from './access/gate.ts'
import { RIGHT } from './access/rights.ts'
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
import { checkpoints, contextEntries } from './describe.ts'
import { releaseFence, tellFenced } from './fencing.ts'
import { type Fetched, Fetches, type FetchRequest } from './fetch.ts'
import { NamedOperations, type Reply, using } from './named-operations.ts'
import { increment } from './observe/counts.ts'
import { policyInfo, storedPolicy } from './policy.ts'
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
import { WakerVerbs } from './wakes/verbs.ts'
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

export class Operations extends NamedOperations {
  private readonly fetches: Fetches
  private readonly attached: Attachments
  /** The verbs of Durable Streams subscriptions. */
  readonly wakers: WakerVerbs

  constructor(context: Context, reclaimer: Reclaimer, wakers: Wakers, authority: Authority) {
    super(context, reclaimer, authority)
    this.wakers = new WakerVerbs(wakers, context.gate)
    this.fetches = new Fetches(context)
    this.attached = new Attachments(context, reclaimer)
  }

  /** How many attachments there are. */
  get attachments(): number {
    return this.attached.count
  }

  /** Attaches the client to a topic, and creates it if it may; see `Attachments.attach`. */
  attach(client: Client, handle: number, name: string, options: AttachRequest, attaching: Attaching): void {
    const refusal = this.context.gate.refusalOf(client, name, options.exclusive === true ? 'write' : null)
    if (refusal !== null) attaching.refused(refusal)
    else this.attached.attach(client, handle, name, options, attaching)
  }

  /** Attaches to a topic that is in memory, at once, and tells nothing of it; see `Attachments.enter`. */
  enter(client: Client, handle: number, name: string, options: AttachRequest): Attachment | null {
    // A refusal takes the ordinary way, where it is said.
    const { identity } = client
    const mayWrite = identity.over === null && (identity.rightsOn(name) & RIGHT.write) !== 0
    return mayWrite ? this.attached.enter(client, handle, name, options) : null
  }

  /** Makes the attachment's topic resident again, and tells when it is; with STORE_CORRUPT or STORE_UNAVAILABLE if it cannot be. */
  wake({ topic }: Attachment, told: (error: LitetopicError | null) => void): void {
    this.context.registry.whenFound(topic.name, told)
  }

  /** To be called behind the reply to an attach: tells who comes back that it has been shut out meanwhile. */
  tellFenced(attachment: Attachment): void {
    tellFenced(attachment)
  }

  /**
   * Detaches for good: lets go of the topic's fence, if it has it, and, unless it was a single request, of its producer. Resolves when the
   * fence is let go of durably.
   */
  async leave(attachment: Attachment): Reply<typeof UP.detach> {
    // A single request only comes to let go.
    if (attachment.request !== null) this.context.gate.allowOn(attachment, 'write')
    const released = releaseFence(this.context, attachment)
    attachment.isOver = attachment.request === null
    this.detach(attachment)
    await released
    return {}
  }

  /** Tells of a refusal when what it follows from is durable. */
  refuse(error: LitetopicError, tell: (error: LitetopicError) => void): void {
    whenTrue(this.context, error, tell)
  }

  /** Its client may not read the topic any more. */
  endReading(attachment: Attachment): void {
    for (const reader of [...(attachment.subscriptions ?? [])]) {
      reader.close(this.context.gate.refuse(attachment.client, attachment.topic.name, 'read'))
    }
  }

  /** Ends the attachment, its subscriptions, and its part in uploads. */
  detach(attachment: Attachment): void {
    this.attached.detach(attachment)
  }

  append(attachment: Attachment, entry: AppendEntry, bytes: Uint8Array): void {
    if ((attachment.rights & RIGHT.write) !== 0) append(this.context, attachment, entry, bytes)
    else {
      const { client, handle, topic } = attachment
      client.refuse(handle, entry.producerEpoch, entry.sequence, this.context.gate.refuse(client, topic.name, 'write'))
    }
  }

  /** Appends, closes, or both, in one commit; see `atomicAppend`. */
  async atomicAppend(attachment: Attachment, request: AtomicAppend): Promise<AtomicAppended> {
    this.context.gate.allowOn(attachment, 'write')
    return using(usable(attachment.topic), () => atomicAppend(this.context, attachment, request))
  }

  /**
   * The same, told instead of promised, where nothing need be waited for but the commit; false where something must, and nothing was
   * done. The records are messages without ids. Throws what it is refused with.
   */
  appendAtOnce(attachment: Attachment, request: AtomicAppend, appending: Appending): boolean {
    const { topic } = attachment
    if (topic.busy || topic.state.closed || (attachment.rights & RIGHT.write) === 0) return false
    atomicAppendNow(this.context, attachment, request, appending)
    return true
  }

  async openStream(attachment: Attachment, request: OpenRequest): Reply<typeof UP.openStream> {
    this.context.gate.allowOn(attachment, 'write')
    checkId(request.streamId, 'stream id')
    return using(attachment.topic, () => openStream(this.context, attachment, request))
  }

  async stop(attachment: Attachment, streamId: string | null, reason: string | null): Reply<typeof UP.stop> {
    const { gate } = this.context
    gate.allowOn(attachment, 'stop')
    if (streamId !== null) checkId(streamId, 'stream id')
    gate.note('stop', attachment.client, { topic: attachment.topic.name, stream: streamId })
    return using(usable(attachment.topic), () => stopStreams(this.context, attachment, streamId, reason))
  }

  /** Renews the lease of a stream whose writer has nothing to append. */
  async keepStream(attachment: Attachment, streamId: string, fence: number): Reply<typeof UP.stream> {
    this.context.gate.allowOn(attachment, 'write')
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
    this.context.gate.allowOn(attachment, 'manage')
    return using(attachment.topic, () => trim(this.context, attachment, request))
  }

  /** Changes what is given of the topic's own policy. */
  async policy(attachment: Attachment, policy: PolicyInfo): Reply<typeof UP.policy> {
    this.context.gate.allowOn(attachment, 'manage')
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
      // Its client may have shown another token meanwhile.
      this.context.gate.allowOn(attachment, 'read')
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
  readAtOnce(
    visitor: Visitor,
    name: string,
    from: { epoch: number; next: number } | null,
    maxBytes: number,
  ): FoundAtOnce | null {
    if ((visitor.identity.rightsOn(name) & RIGHT.read) === 0) return null
    const topic = this.attached.visit(name)
    if (topic === null || (from !== null && from.epoch !== topic.state.epoch)) return null
    this.reclaimer.touched(topic)
    const rest = restNow(this.context, topic, from?.next ?? null, maxBytes)
    if (rest === null) return null
    this.context.gate.note('attach', visitor, { topic: name })
    this.gaveFrom(rest.position, rest.nextOffset, rest.pieces)
    const { epoch, extra } = topic.state
    return { rest, epoch, lineage: extra?.fork?.links ?? NO_LINKS, contentType: extra?.contentType }
  }

  /** Begins an upload or goes on with it. `uploadBegun` is to be called behind the reply. */
  async upload(attachment: Attachment, request: UploadRequest): Reply<typeof UP.upload> {
    this.context.gate.allowOn(attachment, 'write')
    return using(attachment.topic, () => this.context.uploads.begin(attachment, request))
  }

  uploadBegun(attachment: Attachment, uploadId: string): void {
    this.context.uploads.begun(attachment, uploadId)
  }

  async part(attachment: Attachment, frame: PartFrame): Reply<typeof UP.part> {
    this.context.gate.allowOn(attachment, 'write')
    return using(attachment.topic, () => this.context.uploads.part(attachment, frame))
  }

  async abandon(attachment: Attachment, uploadId: string): Reply<typeof UP.abandon> {
    this.context.gate.allowOn(attachment, 'write')
    return using(attachment.topic, () => this.context.uploads.abandon(attachment, uploadId))
  }

  async fetch(attachment: Attachment, request: FetchRequest): Promise<Fetched> {
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

  /** Deletes the attachment's topic, if nothing has ever been stored in it and nobody else has it: it was created for nothing. */
  async undo({ topic }: Attachment): Promise<void> {
    if (topic.end !== null || topic.isDormant || topic.attachments.length > 1) return
    const { nextOffset, producers } = topic.state
    if (nextOffset === 0 && producers === null) await this.reclaimer.delete(topic, 'deleted')
  }

  /** The topic, which is being read: that begins its time to live anew. Throws ACCESS_DENIED or GONE. */
  private readable(attachment: Attachment): Topic {
    this.context.gate.allowOn(attachment, 'read')
    const { topic } = attachment
    this.reclaimer.touched(usable(topic))
    return topic
  }
}

function usable(topic: Topic): Topic {
  if (topic.ended !== null) throw topic.ended
  return topic
}
