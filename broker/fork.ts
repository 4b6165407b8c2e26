/**
 * Forking: a new topic that shares the records of another one up to some point. What it is to share is brought into the table first;
 * then the fork is created at once, with the records that it is to begin with.
 */

import {
  ByteReader,
  checkContentType,
  checkTopicName,
  type FromInfo,
  formatCursor,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  parseCursor,
  RecordWalker,
  type ReplyOf,
  type UP,
} from '../protocol/index.ts'
import { FORK_BYTES, streamsAt } from '../storage/index.ts'
import { admitFirst, admitRate, admitTopic } from './admission.ts'
import { closeBytes, closeNow } from './atomic-append.ts'
import type { Client } from './client.ts'
import { AppendItem, CallbackItem } from './committer.ts'
import { allCommitted, type Context } from './context.ts'
import { endedError, recreated } from './outcomes.ts'
import { kept, storedPolicy } from './policy.ts'
import { positionOf } from './positions.ts'
import type { Topic } from './topic.ts'

export type ForkReply = ReplyOf<typeof UP.fork>

export interface ForkRequest {
  /** Name of the fork. */
  readonly as: string
  /** The first record that the fork does not share. Default: the end. */
  readonly at?: FromInfo
  /** The incarnation meant of the topic to be forked. */
  readonly epoch?: number
  /** Default: the policy that the topic itself was given. */
  readonly policy?: PolicyInfo
  /** It lingers for ever, unless this policy, or the configuration for its prefix, says how long. Default false. */
  readonly keep?: boolean
  /** Default: that of the topic. */
  readonly contentType?: string
  /** Records that the fork begins with, in one commit with its creation. Default: none. */
  readonly first?: { readonly records: Uint8Array; readonly count: number }
  /** It takes no records behind those. Default false. */
  readonly close?: boolean
}

/**
 * Creates the fork, or finds that it is there, forked from the same topic at the same place. Resolves when that is durable. Rejects
 * with TOPIC_EXISTS, BAD_NAME, LIMIT_EXCEEDED, GONE, RECREATED, or what a position is refused with.
 */
export async function fork(context: Context, client: Client, topic: Topic, request: ForkRequest): Promise<ForkReply> {
  const { registry, shard } = context
  const { as, epoch, contentType, first } = request
  checkTopicName(as)
  if (contentType !== undefined) checkContentType(contentType)
  if (first !== undefined) checkRecords(first.records, first.count)
  if (epoch !== undefined && epoch !== topic.state.epoch) throw recreated(topic)
  const known = await registry.find(as)
  if (known !== null) return repeated(context, topic, known, request)
  // What was written before it was asked belongs to the end.
  await allCommitted(context, topic)
  const at = await positionOf(context, topic, request.at ?? { live: true })
  checkDepth(topic)
  await shard.prepareFork(topic.state, at)
  if (topic.ended !== null) throw topic.ended
  const streams = await streamsAt(shard.store.table, topic.state, at)
  return new Promise((resolve, reject) => {
    registry.whenFound(as, (failure, found) => {
      try {
        if (failure !== null) throw failure
        if (found !== null) {
          repeated(context, topic, found, request).then(resolve, reject)
          return
        }
        const made = create(context, client, topic, at, request, streams)
        answer(context, made, true).then(resolve, reject)
      } catch (error) {
        reject(error)
      }
    })
  })
}

function create(
  context: Context,
  client: Client,
  topic: Topic,
  at: number,
  request: ForkRequest,
  streams: Awaited<ReturnType<typeof streamsAt>>,
): Topic {
  const { clock, policies, registry, scopes, shard, counts } = context
  const { state } = topic
  if (topic.ended !== null) throw topic.ended
  if (at < state.firstOffset) throw endedError(topic, 'trimmed', shard.incarnation)
  const { as, first, close } = request
  const bounds = scopes.of(client, as)
  const size = first?.records.length ?? 0
  admitTopic(bounds)
  if (first !== undefined) {
    const nowMs = clock.monotonicMs()
    admitFirst(scopes.of(client, { name: as, state: { bytes: 0 } }), first.records, first.count, nowMs)
    admitRate({ scopes: bounds }, first.count, size, nowMs)
  }
  const { principal } = client.identity
  const contentType = request.contentType ?? state.extra?.contentType
  const extra = { ...(principal !== undefined && { principal }), ...(contentType !== undefined && { contentType }) }
  const given = request.policy === undefined ? state.policy : storedPolicy(request.policy)
  const policy = request.keep === true ? kept(policies, as, given) : given
  const facts = { createdMs: clock.wallMs(), policy, extra, streams, givenBytes: size }
  let made: Topic | undefined
  shard.together(FORK_BYTES + size + (close === true ? closeBytes(streams.length) : 0), () => {
    counts.topics.created++
    made = registry.add(shard.fork(state, at, as, facts, null))
    if (first !== undefined) appendFirst(context, made, first, principal)
    if (close !== true) return
    const place = { slot: -1, sequence: 0, base: made.state.nextOffset }
    closeNow(context, made, place, new CallbackItem(ignore, ignore))
  })
  const fork = made as unknown as Topic
  // Who asked for it is to find it, also where topics go as soon as nobody is attached.
  fork.lingerUntilMs = Math.max(fork.lingerUntilMs, clock.monotonicMs() + context.streamGraceMs)
  return fork
}

function appendFirst(
  { clock, shard }: Context,
  topic: Topic,
  { records, count }: { readonly records: Uint8Array; readonly count: number },
  principal: string | undefined,
): void {
  const item = new AppendItem(topic, null, 0, 0, topic.state.nextOffset, count)
  item.position = shard.append(topic.state, {
    slot: -1,
    sequence: 0,
    count,
    effects: true,
    timeMs: clock.wallMs(),
    source: records,
    from: 0,
    to: records.length,
    item,
    principal,
  })
  item.size = shard.log.batchBytes
}

/** The request was answered before, and the answer lost; or the name is taken. */
async function repeated(context: Context, topic: Topic, known: Topic, request: ForkRequest): Promise<ForkReply> {
  const found = known.state.extra?.fork
  const [epoch, upTo] = found?.links[0] ?? []
  const at = await wantedOffset(context, topic, request.at)
  const isSame = epoch === topic.state.epoch && (at === null || at === upTo)
  if (isSame && (found?.givenBytes ?? 0) === (request.first?.records.length ?? 0)) return answer(context, known, false)
  const what = found === undefined ? 'is no fork' : `is a fork of ${found.name} at offset ${upTo}`
  throw new LitetopicError('TOPIC_EXISTS', `topic ${known.name} exists, and ${what}: choose another name`, {
    topic: known.name,
  })
}

/** Null for wherever it was forked. */
async function wantedOffset(context: Context, topic: Topic, at: FromInfo | undefined): Promise<number | null> {
  if (at === undefined || at.live === true) return null
  // What is named itself needs no look at a topic that may have been trimmed since.
  if (at.offset !== undefined) return at.offset
  if (at.cursor !== undefined) return parseCursor(at.cursor).next
  return positionOf(context, topic, at)
}

function answer({ shard }: Context, { state }: Topic, created: boolean): Promise<ForkReply> {
  const { incarnation } = shard
  const { epoch, firstOffset, nextOffset, extra } = state
  const offset = extra?.fork?.links[0][1] ?? 0
  const cursor = formatCursor({ incarnation, epoch, next: nextOffset })
  const reply = { epoch, created, offset, firstOffset, nextOffset, cursor }
  return new Promise((resolve, reject) => {
    shard.log.afterCommit(new CallbackItem(() => resolve(reply), reject))
  })
}

/** Throws BAD_FRAME, BAD_VALUE or LIMIT_EXCEEDED. */
function checkRecords(records: Uint8Array, count: number): void {
  if (records.length > LIMITS.appendBytes) {
    const details = { limit: 'appendBytes', value: records.length, bound: LIMITS.appendBytes }
    throw new LitetopicError('LIMIT_EXCEEDED', 'the records that a fork begins with are one append', details)
  }
  const walker = new RecordWalker(new ByteReader(records))
  let found = 0
  for (; walker.next(); found++) walker.checkData()
  if (found !== count || count === 0)
    throw new LitetopicError('BAD_FRAME', `${found} records where ${count} were named`)
}

/** A fork must know of all that it descends from. */
function checkDepth({ name, state }: Topic): void {
  const value = (state.extra?.fork?.links.length ?? 0) + 1
  if (value <= LIMITS.forkDepth) return
  const details = { limit: 'forkDepth', value, bound: LIMITS.forkDepth }
  throw new LitetopicError('LIMIT_EXCEEDED', `topic ${name} is a fork of ${value - 1} forks one of another`, details)
}

function ignore(): void {}
