/**
 * Finding record ids, ended streams, checkpoints and context versions: first what is in memory since the last flush,
 * then the table. The answer is undefined or null for what does not exist, or lies before the first offset kept.
 */

import { type DataInfo, LIMITS, unpack } from '../protocol/index.ts'
import { streamOf } from './head.ts'
import {
  byteOrder,
  checkpointNameKey,
  checkpointRange,
  contextAfter,
  contextVersions,
  numberInKey,
  parseContextKey,
  recordIdKey,
  streamKey,
} from './keys.ts'
import { unseal } from './seal.ts'
import type { Table, TableEntry } from './store.ts'
import type { CheckpointEntry, ContextVersion, Effects, StreamState, TopicState } from './topic-state.ts'

/** Offset of the record with this id. Synchronous when the table need not be asked. */
export function findRecordId(table: Table, state: TopicState, id: string): number | null | Promise<number | null> {
  const offset = state.recent?.ids?.get(id) ?? state.flushing?.ids?.get(id)
  if (offset !== undefined) return offset >= state.firstOffset ? offset : null
  if ((state.counts?.ids ?? 0) === 0) return null
  return getValue(table, recordIdKey(state.epoch, id), `a record id of topic ${state.name}`).then((value) =>
    typeof value === 'number' && value >= state.firstOffset ? value : null,
  )
}

/** The stream of this id, open or ended. Synchronous when the table need not be asked. */
export function findStream(
  table: Table,
  state: TopicState,
  streamId: string,
): StreamState | null | Promise<StreamState | null> {
  const known =
    state.openStreams?.get(streamId) ?? state.recent?.ended?.get(streamId) ?? state.flushing?.ended?.get(streamId)
  if (known !== undefined) return known
  if ((state.counts?.streams ?? 0) === 0) return null
  const key = streamKey(state.epoch, streamId)
  return getValue(table, key, `a stream of topic ${state.name}`).then((value) =>
    value === undefined ? null : streamOf(value),
  )
}

/** Offset of the newest checkpoint of this name, or of any when the name is null. */
export async function findCheckpoint(table: Table, state: TopicState, name: string | null): Promise<number | null> {
  const found = memory(state, (effects) => effects.checkpoints)
    .filter((entry) => name === null || entry.name === name)
    .at(-1)
  if (found !== undefined) return kept(state, found.offset)
  if ((state.counts?.checkpoints ?? 0) === 0) return null
  if (name === null) {
    const newest = await listCheckpoints(table, state, state.nextOffset, 1)
    return newest[0]?.offset ?? null
  }
  const key = checkpointNameKey(state.epoch, name)
  const value = await getValue(table, key, `a checkpoint of topic ${state.name}`)
  return typeof value === 'number' ? kept(state, value) : null
}

/** Checkpoints before an offset, newest first. */
export async function listCheckpoints(
  table: Table,
  state: TopicState,
  before: number,
  limit: number,
): Promise<CheckpointEntry[]> {
  const recent = memory(state, (effects) => effects.checkpoints)
    .filter((entry) => entry.offset < before && entry.offset >= state.firstOffset)
    .reverse()
  if (recent.length >= limit || (state.counts?.checkpoints ?? 0) === 0) return recent.slice(0, limit)
  const range = checkpointRange(state.epoch, state.firstOffset, before)
  const stored = await table.scan({ ...range, reverse: true, limit })
  // A flush may have moved entries from memory to the table meanwhile: an offset counts once.
  const seen = new Set(recent.map((entry) => entry.offset))
  const older = stored
    .map(({ key, value }) => ({ offset: numberInKey(key, 1), name: String(open(key, value, state)) }))
    .filter((entry) => !seen.has(entry.offset))
  return [...recent, ...older].slice(0, limit)
}

/** The pieces of a context entry as of an offset: the last value set before it and what was appended since; null if none. */
export async function findContext(
  table: Table,
  state: TopicState,
  name: string,
  asOf: number,
): Promise<ContextVersion[] | null> {
  const recent = memory(state, (effects) => effects.context).filter(
    (version) => version.name === name && version.offset < asOf,
  )
  const versions = fold(recent) ?? (await foldStored(table, state, name, asOf, recent))
  return versions.length > 0 ? versions : null
}

/** Names of context entries after `after`, in byte order; some may have been deleted as of an offset. */
export async function contextNames(table: Table, state: TopicState, after: string, limit: number): Promise<string[]> {
  const names = new Set(
    memory(state, (effects) => effects.context)
      .map((version) => version.name)
      .filter((name) => byteOrder(name, after) > 0),
  )
  let last = after
  let found = 0
  while ((state.counts?.context ?? 0) > 0 && found < limit) {
    const [entry] = await table.scan({ ...contextAfter(state.epoch, last), limit: 1 })
    if (entry === undefined) break
    last = parseContextKey(entry.key).name
    names.add(last)
    found++
  }
  return [...names].sort(byteOrder).slice(0, limit)
}

/** The versions since the last set, oldest first; null when the list does not say, an empty list when it was deleted. */
function fold(versions: readonly ContextVersion[]): ContextVersion[] | null {
  for (let i = versions.length - 1; i >= 0; i--) {
    const version = versions[i] as ContextVersion
    if (version.op === 'delete') return versions.slice(i + 1)
    if (version.op === 'set') return versions.slice(i)
  }
  return null
}

async function foldStored(
  table: Table,
  state: TopicState,
  name: string,
  asOf: number,
  recent: ContextVersion[],
): Promise<ContextVersion[]> {
  let versions = [...recent]
  let before = asOf
  while ((state.counts?.context ?? 0) > 0) {
    const range = contextVersions(state.epoch, name, before)
    const page = await table.scan({ ...range, reverse: true, limit: LIMITS.pageItems })
    const known = new Set(versions.map((version) => version.offset))
    const older = page
      .map((entry) => contextOf(entry, state))
      .filter((version) => !known.has(version.offset))
      .reverse()
    versions = [...older, ...versions].sort((a, b) => a.offset - b.offset)
    const folded = fold(versions)
    if (folded !== null) return folded
    if (page.length < LIMITS.pageItems) break
    before = versions[0]?.offset ?? 0
  }
  return versions
}

function contextOf({ key, value }: TableEntry, state: TopicState): ContextVersion {
  const { name, offset } = parseContextKey(key)
  const [op, tag, data] = open(key, value, state) as [ContextVersion['op'], DataInfo['tag'], DataInfo['value']]
  return { name, offset, op, data: { tag, value: data } }
}

function memory<T>(state: TopicState, of: (effects: Effects) => T[] | undefined): T[] {
  const flushing = state.flushing === null ? undefined : of(state.flushing)
  const recent = state.recent === null ? undefined : of(state.recent)
  return [...(flushing ?? []), ...(recent ?? [])]
}

function kept(state: TopicState, offset: number): number | null {
  return offset >= state.firstOffset ? offset : null
}

function open(key: Uint8Array, value: Uint8Array, state: TopicState): unknown {
  return unpack(unseal(key, value, `an index entry of topic ${state.name}`))
}

async function getValue(table: Table, key: Uint8Array, what: string): Promise<unknown> {
  const value = await table.get(key)
  return value === undefined ? undefined : unpack(unseal(key, value, what))
}
