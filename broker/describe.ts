/** What is told about topics: one described in full, and pages of a list. */

import {
  type CheckpointInfo,
  LIMITS,
  LitetopicError,
  type ReplyOf,
  type TopicInfo,
  type UP,
} from '../protocol/index.ts'
import { listCheckpoints, type TopicState } from '../storage/index.ts'
import type { Grants } from './access/rights.ts'
import { RIGHT } from './access/rights.ts'
import { allCommitted, type Context } from './context.ts'
import { checkPieces, contextEntry, contextPage } from './context-entries.ts'
import { effectivePolicy, lingerInfo, policyInfo } from './policy.ts'
import { checkpointInfo } from './resume.ts'
import { streamInfo } from './stream-state.ts'
import type { Topic } from './topic.ts'

/** A topic as a list shows it. */
function summary(context: Context, state: TopicState, isResident: boolean): TopicInfo {
  const topic = context.registry.get(state.name)
  const policy = effectivePolicy(context.policies, state.name, state.policy)
  const attached = (topic?.holders ?? 0) > 0
  const kept = policy.lingerMs === Number.POSITIVE_INFINITY
  const { contentType, fork } = state.extra ?? {}
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
    residency: isResident ? 'resident' : 'dormant',
    closed: state.closeCommitted,
    ...(contentType !== undefined && { contentType }),
    ...(fork !== undefined && { forkedFrom: { name: fork.name, epoch: fork.links[0][0], offset: fork.links[0][1] } }),
  }
}

/**
 * Everything about a topic that fits an answer. Checkpoints and context entries are counted up to one page. `isResident`:
 * it was in memory before it was asked for.
 */
export async function description(context: Context, topic: Topic, isResident: boolean): Promise<TopicInfo> {
  const { state } = topic
  const { table } = context.shard.store
  const found = await listCheckpoints(table, state, state.committedTo, LIMITS.pageItems)
  const { entries } = await contextPage(context, topic, { limit: LIMITS.pageItems, bytes: Number.POSITIVE_INFINITY })
  await allCommitted(context, topic)
  const policy = effectivePolicy(context.policies, state.name, state.policy)
  const { clock } = context
  const lifeMs = topic.life?.endMs(topic.appendedMs, clock) ?? Number.POSITIVE_INFINITY
  const endsMs = Math.min(topic.holders === 0 ? topic.lingerUntilMs : Number.POSITIVE_INFINITY, lifeMs)
  return {
    ...summary(context, state, isResident),
    attachments: topic.attachments.length,
    streams: [...(state.openStreams?.values() ?? [])].map((stream) =>
      streamInfo(stream, topic.isLive(stream.streamId)),
    ),
    checkpoints: found.length,
    contextEntries: entries.length,
    exclusive: state.fenceHolder !== null,
    reclaimAtMs: Number.isFinite(endsMs) ? Math.round(clock.wallMs() + endsMs - clock.monotonicMs()) : null,
    policy: policyInfo(policy),
  }
}

/** A page of those topics that may be read, by prefix of whole segments, in byte order of name. */
export async function list(
  context: Context,
  grants: Grants,
  prefix: string,
  options: { after?: string; limit?: number },
): Promise<ReplyOf<typeof UP.list>> {
  const limit = pageLimit(options.limit)
  const { states, more } = await readableBy(context, grants, prefix, options.after ?? '', limit)
  const topics = states.map((state) => {
    const topic = context.registry.resident(state.name)
    return summary(context, topic?.state ?? state, topic !== undefined)
  })
  return { topics, more }
}

/** What several prefixes have between them is put in order; nearly always there is one. */
async function readableBy(
  context: Context,
  grants: Grants,
  prefix: string,
  after: string,
  limit: number,
): Promise<{ states: TopicState[]; more: boolean }> {
  const byName = new Map<string, TopicState>()
  let more = false
  for (const root of grants.readable(prefix)) {
    const page = await readablePage(context, grants, root, after, limit)
    for (const state of page.states) byName.set(state.name, state)
    more ||= page.more
  }
  const states = [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  return { states: states.slice(0, limit), more: more || states.length > limit }
}

/** Passes over what may not be read, a whole grant at a time. */
async function readablePage(
  context: Context,
  grants: Grants,
  root: string,
  after: string,
  limit: number,
): Promise<{ states: TopicState[]; more: boolean }> {
  const found: TopicState[] = []
  for (let from = after; ; ) {
    const { states, more } = await statesBy(context, root, from, limit - found.length)
    const hidden = states.find(({ name }) => (grants.rightsOn(name) & RIGHT.read) === 0)
    found.push(...states.slice(0, hidden === undefined ? states.length : states.indexOf(hidden)))
    const isOver = hidden === undefined && (!more || states.length === 0)
    if (isOver || found.length >= limit) return { states: found, more: !isOver }
    from = hidden === undefined ? (states.at(-1) as TopicState).name : grants.behindUnreadable(hidden.name)
  }
}

/** The topic of the prefix's own name comes first; names such as `support-x` may lie between it and those below it. */
async function statesBy(
  context: Context,
  prefix: string,
  after: string,
  limit: number,
): Promise<{ states: TopicState[]; more: boolean }> {
  const { shard } = context
  if (prefix === '') return shard.list('', after, limit)
  const comesAfter = (name: string): boolean => Buffer.compare(Buffer.from(after), Buffer.from(name)) < 0
  const [first] = comesAfter(prefix) ? (await shard.list(prefix, '', 1)).states : []
  const own = first?.name === prefix ? [first] : []
  const below = `${prefix}/`
  // One is asked for at least, to know whether there is more.
  const rest = await shard.list(below, comesAfter(below) ? '' : after, Math.max(limit - own.length, 1))
  const states = [...own, ...rest.states]
  return { states: states.slice(0, limit), more: rest.more || states.length > limit }
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
  const { name, asOf, after } = options
  if (name !== undefined) {
    const entry = await contextEntry(context, topic, name, asOf ?? topic.state.committedTo)
    if (entry !== null) checkPieces(entry)
    return { entries: entry === null ? [] : [entry], more: false }
  }
  const limit = pageLimit(options.limit)
  const page = await contextPage(context, topic, { asOf, after, limit, bytes: LIMITS.resumeInlineBytes })
  page.entries.forEach(checkPieces)
  return page
}

function pageLimit(limit: number = 100): number {
  if (limit > 0) return Math.min(limit, LIMITS.pageItems)
  throw new LitetopicError('BAD_REQUEST', 'a page has at least one item', { limit })
}
