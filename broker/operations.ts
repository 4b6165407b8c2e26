/**
 * Every verb, typed, whatever transport it came by. Access and limits are checked here and nowhere else; the files beside
 * this one do the work.
 */

import {
  type AppendEntry,
  type AttachOptions,
  checkId,
  checkPrefix,
  checkTopicName,
  type FromInfo,
  formatCursor,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  parseCursor,
  type ReplyOf,
  type RequestType,
  type UP,
} from '../protocol/index.ts'
import { findStream, type ProducerState } from '../storage/index.ts'
import { admitAttachment, admitSubscription, admitTopic, enter, forgetTurns, leave } from './admission.ts'
import { append } from './append.ts'
import type { Client } from './client.ts'
import { CallbackItem } from './committer.ts'
import { allCommitted, type Context, policyOf, whenTrue } from './context.ts'
import { checkpoints, contextEntries, description, list } from './describe.ts'
import { releaseFence, takeFence, tellFenced } from './fencing.ts'
import { type Fetched, Fetches, type FetchRequest } from './fetch.ts'
import { endedError, judgeCursor } from './outcomes.ts'
import { lingerInfo, policyInfo, storedPolicy } from './policy.ts'
import { positionOf } from './positions.ts'
import { findSlot } from './producers.ts'
import type { Reclaimer } from './reclaim.ts'
import { type ResumeRequest, resume } from './resume.ts'
import { streamInfo } from './stream-state.ts'
import { adoptStreams, type OpenRequest, openStream, stopStreams } from './streams.ts'
import { Subscription } from './subscription.ts'
import { Attachment, type Topic } from './topic.ts'
import { type TrimRequest, trim } from './trim.ts'
import type { PartFrame } from './upload.ts'
import type { UploadRequest } from './uploads.ts'

type Reply<R extends RequestType> = Promise<ReplyOf<R>>

export class Operations {
  private readonly context: Context
  private readonly reclaimer: Reclaimer
  private readonly fetches: Fetches
  /** Attached now. */
  attachments = 0

  constructor(context: Context, reclaimer: Reclaimer) {
    this.context = context
    this.reclaimer = reclaimer
    this.fetches = new Fetches(context)
  }

  /**
   * Attaches the client to a topic and creates it if it may. The attachment is there at once if the topic is resident or
   * new; `reply` comes when a creation is durable. Rejects with BAD_CURSOR, OFFSET_BEYOND_END, DIVERGED, BAD_NAME, NOT_FOUND, GONE, RECREATED or LIMIT_EXCEEDED.
   */
  async attach(
    client: Client,
    handle: number,
    name: string,
    options: AttachOptions,
  ): Promise<{ attachment: Attachment; reply: Promise<ReplyOf<typeof UP.attach>> }> {
    checkTopicName(name)
    if (options.producer !== undefined) checkId(options.producer, 'producer id')
    if (options.exclusive === true && (options.producer === undefined || options.observe === true)) {
      throw new LitetopicError('BAD_REQUEST', `to take topic ${name} for itself, an attachment must be able to write`)
    }
    const policy = storedPolicy(options.policy)
    return this.withTopic(name, (found) => {
      const { registry, shard, clock, scopes } = this.context
      const mayCreate = options.create !== false && options.observe !== true && options.epoch === undefined
      if (found === null && !mayCreate) throw missing(name, options)
      if (found !== null && (options.epoch ?? found.state.epoch) !== found.state.epoch) throw recreated(found)
      if (found !== null && options.cursor !== undefined) checkShared(this.context, found, options.cursor)
      const bounds = scopes.of(client, found ?? name)
      admitAttachment(bounds)
      if (found === null) admitTopic(bounds)
      const topic = found ?? registry.add(shard.create(name, clock.wallMs(), policy, null, client.principal ?? null))
      const attachment = this.attachTo(topic, client, handle, options)
      return { attachment, reply: this.attachReply(attachment, found === null) }
    })
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
    if (attachment.detached) return
    attachment.detached = true
    this.attachments--
    for (const subscription of attachment.subscriptions ?? []) subscription.close(null)
    for (const upload of attachment.uploads ?? []) upload.leave()
    attachment.topic.remove(attachment)
    leave(attachment.scopes, 'attachments')
    forgetTurns(attachment)
    this.reclaimer.detached(attachment)
  }

  append(attachment: Attachment, entry: AppendEntry, bytes: Uint8Array): void {
    append(this.context, attachment, entry, bytes)
  }

  async openStream(attachment: Attachment, request: OpenRequest): Reply<typeof UP.openStream> {
    checkId(request.streamId, 'stream id')
    return openStream(this.context, attachment, request)
  }

  async stop(attachment: Attachment, streamId: string | null, reason: string | null): Reply<typeof UP.stop> {
    if (streamId !== null) checkId(streamId, 'stream id')
    usable(attachment.topic)
    return stopStreams(this.context, attachment, streamId, reason)
  }

  async stream(attachment: Attachment, streamId: string): Reply<typeof UP.stream> {
    const topic = usable(attachment.topic)
    const stream = await findStream(this.context.shard.store.table, topic.state, checkId(streamId, 'stream id'))
    const info = stream === null ? null : streamInfo(stream, topic.isLive(streamId))
    await allCommitted(this.context, topic)
    return { stream: info }
  }

  async trim(attachment: Attachment, request: TrimRequest): Reply<typeof UP.trim> {
    return trim(this.context, attachment, request)
  }

  /** Changes what is given of the topic's own policy. */
  async policy(attachment: Attachment, policy: PolicyInfo): Reply<typeof UP.policy> {
    const topic = usable(attachment.topic)
    const change = storedPolicy(policy)
    if (change !== null) {
      await new Promise<void>((resolve, reject) => {
        this.context.shard.setPolicy(topic.state, change, new CallbackItem(resolve, reject))
      })
      this.reclaimer.policyChanged(topic)
    }
    return { policy: policyInfo(policyOf(this.context, topic)) }
  }

  /** Begins a subscription; deliveries follow the reply. */
  async subscribe(
    attachment: Attachment,
    id: number,
    from: FromInfo,
    options: { raw?: boolean; creditBytes?: number },
  ): Promise<{ subscription: Subscription; reply: ReplyOf<typeof UP.subscribe> }> {
    const topic = usable(attachment.topic)
    const position = await positionOf(this.context, topic, from)
    usable(topic)
    if (attachment.detached) throw new LitetopicError('UNKNOWN_HANDLE', 'the handle was detached meanwhile')
    admitSubscription(attachment.scopes)
    const credit = options.creditBytes ?? LIMITS.creditBytes
    const subscription = new Subscription(
      attachment,
      id,
      position,
      { raw: options.raw ?? false, credit },
      this.context.shard,
    )
    enter(attachment.scopes, 'subscriptions')
    topic.addReader(subscription, this.context.crowds)
    attachment.subscriptions ??= new Set()
    attachment.subscriptions.add(subscription)
    const { firstOffset, committedTo } = topic.state
    return { subscription, reply: { next: position, firstOffset, nextOffset: committedTo } }
  }

  /** Begins an upload or goes on with it. `uploadBegun` is to be called behind the reply. */
  upload(attachment: Attachment, request: UploadRequest): Reply<typeof UP.upload> {
    return this.context.uploads.begin(attachment, request)
  }

  uploadBegun(attachment: Attachment, uploadId: string): void {
    this.context.uploads.begun(attachment, uploadId)
  }

  part(attachment: Attachment, frame: PartFrame): Reply<typeof UP.part> {
    return this.context.uploads.part(attachment, frame)
  }

  abandon(attachment: Attachment, uploadId: string): Reply<typeof UP.abandon> {
    return this.context.uploads.abandon(attachment, uploadId)
  }

  fetch(attachment: Attachment, request: FetchRequest): Promise<Fetched> {
    return this.fetches.fetch(attachment, request)
  }

  async resume(attachment: Attachment, request: ResumeRequest): Reply<typeof UP.resume> {
    return resume(this.context, usable(attachment.topic), request)
  }

  async checkpoints(
    attachment: Attachment,
    options: { before?: number; limit?: number },
  ): Reply<typeof UP.checkpoints> {
    return checkpoints(this.context, usable(attachment.topic), options)
  }

  async contextEntries(
    attachment: Attachment,
    options: { name?: string; asOf?: number; after?: string; limit?: number },
  ): Reply<typeof UP.context> {
    return contextEntries(this.context, usable(attachment.topic), options)
  }

  async describe(name: string): Reply<typeof UP.describe> {
    const isResident = this.context.registry.get(checkTopicName(name)) !== undefined
    return this.withTopic(name, (topic) => {
      if (topic === null) throw missing(name, {})
      return description(this.context, topic, isResident)
    })
  }

  async list(prefix: string, options: { after?: string; limit?: number }): Reply<typeof UP.list> {
    return list(this.context, checkPrefix(prefix), options)
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

  /**
   * Calls `use` with the topic of that name made resident, or with null. What happens while the table is asked is seen:
   * the topic may be created, deleted or dormant again by then. So `use` must decide before it waits for anything.
   */
  private async withTopic<T>(name: string, use: (topic: Topic | null) => T | Promise<T>): Promise<T> {
    const { registry } = this.context
    let topic = registry.get(name) ?? null
    while (topic === null) {
      const found = await registry.find(name)
      topic = registry.get(name) ?? null
      if (found === null) break
    }
    return use(topic)
  }

  private attachTo(topic: Topic, client: Client, handle: number, options: AttachOptions): Attachment {
    const observe = options.observe === true
    const producerId = observe ? null : (options.producer ?? null)
    const scopes = this.context.scopes.of(client, topic)
    // One that attaches again names the fence it had, and gets no other.
    if (options.exclusive === true && options.fence === undefined) takeFence(this.context, topic, producerId ?? '')
    const fence = options.fence ?? topic.state.fence
    const attachment = new Attachment(client, handle, topic, { producerId, observe, fence, scopes })
    enter(scopes, 'attachments')
    topic.add(attachment, this.context.clock.monotonicMs())
    this.attachments++
    const slot = producerId === null ? -1 : findSlot(topic.state, producerId)
    if (slot >= 0 && (topic.state.producers?.[slot]?.sequence ?? -1) >= 0 && !attachment.isFenced) {
      topic.noteWrite(attachment)
      adoptStreams(this.context, attachment, slot)
    }
    if (!observe) this.reclaimer.attached(topic)
    return attachment
  }

  private attachReply(attachment: Attachment, created: boolean): Promise<ReplyOf<typeof UP.attach>> {
    const { topic, producerId } = attachment
    const { shard } = this.context
    const known = (): ProducerState | null => {
      const slot = producerId === null ? -1 : findSlot(topic.state, producerId)
      const producer = slot < 0 ? null : (topic.state.producers?.[slot] ?? null)
      return producer !== null && producer.sequence >= 0 ? producer : null
    }
    const answer = (): ReplyOf<typeof UP.attach> => {
      const { state } = topic
      const producer = known()
      return {
        epoch: state.epoch,
        created,
        firstOffset: state.firstOffset,
        nextOffset: state.committedTo,
        fence: attachment.fence,
        cursor: formatCursor({ incarnation: shard.incarnation, epoch: state.epoch, next: state.committedTo }),
        lingerMs: lingerInfo(policyOf(this.context, topic)),
        producer: producer === null ? null : { producerEpoch: producer.epoch, sequence: producer.sequence },
      }
    }
    const { state } = topic
    const isCommitted = state.committedTo === state.nextOffset && topic.fencesUnderWay === 0
    // When nothing can be written any more, all that is committed can still be read; but of a producer's last sequence it is
    // not certain that it is stored.
    const isReadable = shard.log.failure !== null && (shard.log.isSettled(state.epoch) || known() === null)
    if (shard.isCreated(state) && (isCommitted || isReadable)) return Promise.resolve(answer())
    return new Promise((resolve, reject) => {
      shard.log.afterCommit(new CallbackItem(() => resolve(answer()), reject))
    })
  }
}

function usable(topic: Topic): Topic {
  if (topic.ended !== null) throw topic.ended
  return topic
}

function missing(name: string, options: AttachOptions): LitetopicError {
  if (options.epoch === undefined)
    return new LitetopicError('NOT_FOUND', `topic ${name} does not exist`, { topic: name })
  return new LitetopicError('GONE', `topic ${name} was deleted or reclaimed`, { topic: name, outcome: 'gone' })
}

/** Has this store all that the client was told is stored? What has been trimmed since it had. */
function checkShared({ shard }: Context, topic: Topic, text: string): void {
  const { outcome, commonOffset } = judgeCursor(topic.state, shard, parseCursor(text))
  if (outcome === 'continued' || outcome === 'trimmed') return
  throw endedError(topic, outcome, shard.incarnation, commonOffset)
}

function recreated(topic: Topic): LitetopicError {
  const { name, state } = topic
  return new LitetopicError('RECREATED', `topic ${name} was created anew since`, {
    topic: name,
    epoch: state.epoch,
    outcome: 'recreated',
  })
}
