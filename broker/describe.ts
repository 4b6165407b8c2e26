/** What is told about topics: one described in full, and pages of a list. */

import {
  type CheckpointInfo,
  LIMITS,
  LitetopicError,
  type ReplyOf,
  type TopicInfo,
  type UP,
} from '../protocol/index.ts'
import { contextNames, listCheckpoints, type TopicState } from '../storage/index.ts'
import type { Context } from './context.ts'
import { effectivePolicy, lingerInfo, policyInfo } from './policy.ts'
import { checkpointInfo, contextEntry } from './resume.ts'
import { streamInfo } from './stream-state.ts'
import type { Topic } from './topic.ts'

/** A topic as a list shows it. */
export function summary(context: Context, state: TopicState): TopicInfo {
  const topic = context.registry.get(state.name)
  const policy = effectivePolicy(context.policies, state.name, state.policy)
  const attached = (topic?.holders ?? 0) > 0
  const kept = policy.lingerMs === Number.POSITIVE_INFINITY
  return {
    name: state.name,
    epoch: state.epoch,
    firstOffset: state.firstOffset,
    nextOffset: state.committedTo,
    bytes: Math.max(state.bytes, 0),
    createdMs: state.createdMs,
    lastAppendMs: state.lastAppendMs,
    lingerMs: lingerInfo(policy),
    hold: attached ? 'attached' : kept ? 'kept' : 'lingering',
    residency: topic === undefined ? 'dormant' : 'resident',
  }
}

/** Everything about a topic that fits an answer. */
export function description(context: Context, topic: Topic): TopicInfo {
  const { state } = topic
  const policy = effectivePolicy(context.policies, state.name, state.policy)
  const lingering = topic.holders === 0 && Number.isFinite(topic.lingerUntilMs)
  const { clock } = context
  return {
    ...summary(context, state),
    attachments: topic.attachments.size,
    streams: [...(state.openStreams?.values() ?? [])].map((stream) =>
      streamInfo(stream, topic.isLive(stream.streamId)),
    ),
    checkpoints: (state.counts?.checkpoints ?? 0) + (state.recent?.checkpoints?.length ?? 0),
    contextEntries: (state.counts?.context ?? 0) + (state.recent?.context?.length ?? 0),
    closed: state.closed,
    reclaimAtMs: lingering ? Math.round(clock.wallMs() + topic.lingerUntilMs - clock.monotonicMs()) : null,
    policy: policyInfo(policy),
  }
}

/** A page of topics by prefix, in byte order of name. */
export async function list(
  context: Context,
  prefix: string,
  options: { after?: string; limit?: number },
): Promise<ReplyOf<typeof UP.list>> {
  const limit = pageLimit(options.limit)
  const { states, more } = await context.shard.list(prefix, options.after ?? '', limit)
  const topics = states.map((state) => summary(context, context.registry.get(state.name)?.state ?? state))
  return { topics, more }
}

/** A page of checkpoints, newest first. */
export async function checkpoints(
  context: Context,
  topic: Topic,
  options: { before?: number; limit?: number },
): Promise<ReplyOf<typeof UP.checkpoints>> {
  const limit = pageLimit(options.limit)
  const before = Math.min(options.before ?? topic.state.committedTo, topic.state.committedTo)
  const entries = await listCheckpoints(context.shard.store.table, topic.state, before, limit + 1)
  const infos: CheckpointInfo[] = []
  let bytes = 0
  for (const { offset } of entries.slice(0, limit)) {
    const info = await checkpointInfo(context, topic, offset)
    bytes += info.state?.value.length ?? 0
    if (bytes > LIMITS.resumeInlineBytes && infos.length > 0) break
    infos.push(info)
  }
  return { checkpoints: infos, more: infos.length < entries.length }
}

/** One context entry by name, or a page of them in byte order of name, as of an offset. */
export async function contextEntries(
  context: Context,
  topic: Topic,
  options: { name?: string; asOf?: number; after?: string; limit?: number },
): Promise<ReplyOf<typeof UP.context>> {
  const asOf = options.asOf ?? topic.state.committedTo
  if (options.name !== undefined) {
    const entry = await contextEntry(context, topic, options.name, asOf)
    return { entries: entry === null ? [] : [entry], more: false }
  }
  const limit = pageLimit(options.limit)
  const names = await contextNames(context.shard.store.table, topic.state, options.after ?? '', limit + 1)
  const found = await Promise.all(names.slice(0, limit).map((name) => contextEntry(context, topic, name, asOf)))
  return { entries: found.filter((entry) => entry !== null), more: names.length > limit }
}

function pageLimit(limit: number = 100): number {
  if (limit > 0) return Math.min(limit, LIMITS.pageItems)
  throw new LitetopicError('BAD_REQUEST', 'a page has at least one item', { limit })
}
