/**
 * Attaching clients to topics and detaching them. A client may attach a million topics at once, so nothing here makes a promise:
 * who attaches is told.
 */

import {
  type AttachOptions,
  asLitetopicError,
  checkContentType,
  checkId,
  checkTopicName,
  formatCursor,
  LitetopicError,
  parseCursor,
  type ReplyOf,
  type UP,
} from '../protocol/index.ts'
import type { ProducerState, TopicExtra, TopicPolicy } from '../storage/index.ts'
import { RIGHT } from './access/rights.ts'
import { admitAttachment, admitFirst, admitTopic, enter, forgetTurns, leave } from './admission.ts'
import type { Client } from './client.ts'
import type { CommitItem } from './commit-item.ts'
import { type Context, policyOf } from './context.ts'
import { takeFence } from './fencing.ts'
import { checkLease } from './leases.ts'
import { endedError, exists, judgeCursor, missing, recreated } from './outcomes.ts'
import { kept, lingerInfo, storedPolicy } from './policy.ts'
import { Portions } from './portions.ts'
import { findSlot } from './producers.ts'
import type { Reclaimer } from './reclaim.ts'
import { adoptStreams } from './streams.ts'
import { Attachment, type RequestFacts, type Topic } from './topic.ts'

/** More than a creation takes, and the room that an append asks for beside its records. */
const CREATION_BYTES = 16 * 1024

/** Topics that are let go of in one turn of the loop: 2 ms. A connection that ends may have had a million. */
const DETACHED_PER_TURN = 500

export type AttachReply = ReplyOf<typeof UP.attach>

export interface AttachRequest extends AttachOptions {
  /** It is a single request: the streams that it opens or writes have a lease, unless their producer is connected otherwise. */
  readonly brief?: boolean
  /** Of a single request: may append without a producer. What is sent twice is stored twice. It opens no stream. */
  readonly anonymous?: boolean
  /** Creates the topic, or is refused with TOPIC_EXISTS. */
  readonly mustCreate?: boolean
  /** If this creates the topic, it lingers for ever, unless the configuration says how long those of its prefix do. */
  readonly keep?: boolean
  /**
   * If this creates the topic: what is appended as soon as it is attached, so as to be in one commit with the creation. What is refused
   * of it for the bounds of a scope makes no topic.
   */
  readonly first?: { readonly records: Uint8Array; readonly count: number }
  /** Of a single request: the lease; see `checkLease`. */
  readonly leaseMs?: number
}

/** Who attaches: told of the attachment and then of the reply, or that it is refused, also in between. */
export interface Attaching {
  /** Is it gone meanwhile? Then no topic is made for it. */
  readonly isGone?: boolean
  attached(attachment: Attachment): void
  answered(reply: AttachReply): void
  /** The attachment that it was told of, if any, is detached. */
  refused(error: LitetopicError): void
}

export class Attachments {
  private readonly context: Context
  private readonly reclaimer: Reclaimer
  private readonly leaving = new Portions<Attachment>(DETACHED_PER_TURN, (attachment) => this.letGo(attachment))
  /** How many there are. */
  count = 0

  constructor(context: Context, reclaimer: Reclaimer) {
    this.context = context
    this.reclaimer = reclaimer
  }

  /**
   * Attaches the client to a topic and creates it if it may. The attachment is there at once if the topic is resident; the reply
   * comes when a creation is durable. Refuses with BAD_CURSOR, OFFSET_BEYOND_END, DIVERGED, BAD_NAME, BAD_REQUEST, NOT_FOUND, GONE,
   * RECREATED, LIMIT_EXCEEDED, or ACCESS_DENIED if it were to be created and the client may not write.
   */
  attach(client: Client, handle: number, name: string, options: AttachRequest, attaching: Attaching): void {
    let policy: TopicPolicy | null
    try {
      checkOptions(name, options)
      policy = storedPolicy(options.policy)
    } catch (error) {
      attaching.refused(asLitetopicError(error))
      return
    }
    this.context.registry.whenFound(name, (failure, known) => {
      let attachment: Attachment
      let found: Topic | null
      try {
        if (failure !== null) throw failure
        found = this.reclaimer.alive(known)
        if (found === null && attaching.isGone === true) throw gone(name)
        const topic = found ?? this.create(client, name, options, policy)
        if (found !== null) this.admit(client, found, options)
        attachment = this.add(topic, client, handle, options)
      } catch (error) {
        attaching.refused(asLitetopicError(error))
        return
      }
      attaching.attached(attachment)
      this.answer(new Answer(this, this.context, attachment, found === null, attaching))
    })
  }

  /**
   * Attaches the client to a topic that is in memory, and tells nothing of it: for a request that asks for one thing, which needs no
   * look at the table. Null where the topic is not there, or its creation is not durable. Throws LIMIT_EXCEEDED.
   */
  enter(client: Client, handle: number, name: string, options: AttachRequest): Attachment | null {
    const topic = this.inMemory(name)
    if (topic === null) return null
    this.admit(client, topic, options)
    return this.add(topic, client, handle, options)
  }

  /** The same for a request that is over before anything else happens: a look at the topic, which is as an attach and a detach. */
  visit(name: string): Topic | null {
    const topic = this.inMemory(name)
    if (topic === null) return null
    admitAttachment(this.context.scopes.of(null, topic))
    this.reclaimer.visited(topic)
    return topic
  }

  /** Ends the attachment, its subscriptions, and its part in uploads. Where many end at once, their topics are let go of a moment later. */
  detach(attachment: Attachment): void {
    if (attachment.detached) return
    attachment.detached = true
    this.count--
    leave(attachment.scopes, 'attachments')
    forgetTurns(attachment)
    this.leaving.add(attachment)
  }

  private letGo(attachment: Attachment): void {
    for (const subscription of attachment.subscriptions ?? []) subscription.close(null)
    for (const upload of attachment.uploads ?? []) upload.leave()
    attachment.topic.remove(attachment)
    this.reclaimer.detached(attachment)
  }

  private inMemory(name: string): Topic | null {
    const { registry, shard } = this.context
    const topic = this.reclaimer.alive(registry.resident(name) ?? null)
    return topic !== null && shard.isCreated(topic.state) ? topic : null
  }

  private create(client: Client, name: string, options: AttachRequest, own: TopicPolicy | null): Topic {
    const { registry, shard, clock, scopes, policies, counts } = this.context
    const { create, observe, epoch, keep, first } = options
    if (create === false || observe === true || epoch !== undefined) throw missing(name, epoch !== undefined)
    this.context.gate.allow(client, name, 'write')
    const bounds = scopes.of(client, name)
    admitAttachment(bounds)
    admitTopic(bounds)
    const policy = keep === true ? kept(policies, name, own) : own
    if (first !== undefined) {
      const { records, count } = first
      if (count > 0) admitFirst(scopes.of(client, { name, state: { bytes: 0 } }), records, count, clock.monotonicMs())
      shard.log.reserve(records.length + CREATION_BYTES)
    }
    counts.topics.created++
    return registry.add(shard.create(name, clock.wallMs(), policy, null, topicExtra(client, options)))
  }

  private admit(client: Client, topic: Topic, { epoch, cursor, mustCreate }: AttachRequest): void {
    if (mustCreate === true) throw exists(topic)
    if (epoch !== undefined && epoch !== topic.state.epoch) throw recreated(topic)
    if (cursor !== undefined) checkShared(this.context, topic, cursor)
    admitAttachment(this.context.scopes.of(client, topic))
  }

  private add(topic: Topic, client: Client, handle: number, options: AttachRequest): Attachment {
    const { context } = this
    const observe = options.observe === true
    // Who may not write is no producer: it must not pass for another one that has streams open.
    const mayWrite = (client.identity.rightsOn(topic.name) & RIGHT.write) !== 0
    const producerId = observe || !mayWrite ? null : (options.producer ?? null)
    const scopes = context.scopes.of(client, topic)
    // One that attaches again names the fence it had, and gets no other.
    if (options.exclusive === true && options.fence === undefined) takeFence(context, topic, producerId ?? '')
    const fence = options.fence ?? topic.state.fence
    const request = options.brief === true ? requestFacts(options, producerId) : null
    const attachment = new Attachment(client, handle, topic, { producerId, request, observe, fence, scopes })
    enter(scopes, 'attachments')
    context.gate.note('attach', client, { topic: topic.name })
    topic.add(attachment, context.clock.monotonicMs())
    this.count++
    const slot = producerId === null || request !== null ? -1 : findSlot(topic.state, producerId)
    if (slot >= 0 && (topic.state.producers?.[slot]?.sequence ?? -1) >= 0 && !attachment.isFenced) {
      topic.noteWrite(attachment)
      adoptStreams(context, attachment, slot)
    }
    if (!observe) this.reclaimer.attached(topic)
    return attachment
  }

  private answer(answer: Answer): void {
    if (answer.isTrue) answer.committed()
    else {
      try {
        answer.wait()
      } catch (error) {
        answer.failed(asLitetopicError(error))
      }
    }
  }
}

/** The answer to an attach, which is given when what it tells is durable. */
class Answer implements CommitItem {
  private readonly attachments: Attachments
  private readonly context: Context
  private readonly attachment: Attachment
  private readonly created: boolean
  private readonly attaching: Attaching
  private waits = false

  constructor(
    attachments: Attachments,
    context: Context,
    attachment: Attachment,
    created: boolean,
    attaching: Attaching,
  ) {
    this.attachments = attachments
    this.context = context
    this.attachment = attachment
    this.created = created
    this.attaching = attaching
  }

  /** Is all of it durable already? */
  get isTrue(): boolean {
    const { shard } = this.context
    const { state, fencesUnderWay } = this.attachment.topic
    const isCommitted = state.committedTo === state.nextOffset && fencesUnderWay === 0
    // When nothing can be written any more, all that is committed can still be read; but of a producer's last sequence it is
    // not certain that it is stored.
    const isReadable = shard.log.failure !== null && (shard.log.isSettled(state.epoch) || this.producer === null)
    return shard.isCreated(state) && (isCommitted || isReadable)
  }

  /** Is given when all is durable that was written so far, be it of other topics; until then its own needs its state. */
  wait(): void {
    this.waits = true
    this.attachment.topic.uses++
    this.context.shard.log.afterCommit(this)
  }

  committed(): void {
    this.noteEnd()
    const { attachment, context, producer } = this
    const { state } = attachment.topic
    const { incarnation } = context.shard
    const contentType = state.extra?.contentType
    const { closeCommitted } = state
    this.attaching.answered({
      epoch: state.epoch,
      created: this.created,
      firstOffset: state.firstOffset,
      nextOffset: state.committedTo,
      fence: attachment.fence,
      cursor: formatCursor({ incarnation, epoch: state.epoch, next: state.committedTo }),
      lingerMs: lingerInfo(policyOf(context, attachment.topic)),
      producer: producer === null ? null : { producerEpoch: producer.epoch, sequence: producer.sequence },
      ...(contentType !== undefined && { contentType }),
      ...(closeCommitted && { closed: true }),
    })
  }

  failed(error: LitetopicError): void {
    this.noteEnd()
    this.attachments.detach(this.attachment)
    this.attaching.refused(error)
  }

  private noteEnd(): void {
    if (this.waits) this.attachment.topic.uses--
    this.waits = false
  }

  /** What is known of the producer that attaches. */
  private get producer(): ProducerState | null {
    const { topic, producerId } = this.attachment
    const slot = producerId === null ? -1 : findSlot(topic.state, producerId)
    const producer = slot < 0 ? null : (topic.state.producers?.[slot] ?? null)
    return producer !== null && producer.sequence >= 0 ? producer : null
  }
}

function gone(name: string): LitetopicError {
  return new LitetopicError('CONNECTION_CLOSED', `who was to create topic ${name} is gone`, { topic: name })
}

function requestFacts({ observe, anonymous, leaseMs }: AttachRequest, producerId: string | null): RequestFacts {
  return { anonymous: observe !== true && producerId === null && anonymous === true, leaseMs }
}

/** What the client gives a topic that it creates. */
function topicExtra({ identity: { principal } }: Client, { contentType }: AttachOptions): TopicExtra | null {
  if (principal === undefined && contentType === undefined) return null
  return { ...(principal !== undefined && { principal }), ...(contentType !== undefined && { contentType }) }
}

/** Throws BAD_NAME or BAD_REQUEST. */
function checkOptions(name: string, { producer, exclusive, observe, contentType, leaseMs }: AttachRequest): void {
  checkTopicName(name)
  if (leaseMs !== undefined) checkLease(leaseMs)
  if (contentType !== undefined) checkContentType(contentType)
  if (producer !== undefined) checkId(producer, 'producer id')
  if (exclusive === true && (producer === undefined || observe === true)) {
    throw new LitetopicError('BAD_REQUEST', `to take topic ${name} for itself, an attachment must be able to write`)
  }
}

/** Has this store all that the client was told is stored? What has been trimmed since it had. */
function checkShared({ shard }: Context, topic: Topic, text: string): void {
  const { outcome, commonOffset } = judgeCursor(topic.state, shard, parseCursor(text))
  if (outcome === 'continued' || outcome === 'trimmed') return
  throw endedError(topic, outcome, shard.incarnation, commonOffset)
}
