/**
 * Finding record ids, ended streams, checkpoints and context versions: first what is in memory since the last flush,
 * then the table, and there first what is the topic's own, then what a fork shares, the nearest first. The answer is undefined or
 * null for what does not exist, or lies before the first offset kept.
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
  recordIdVersions,
  streamKey,
} from './keys.ts'
import { KINDS, shares } from './lineage.ts'
import { unseal } from './seal.ts'
import type { Table, TableEntry } from './store.ts'
import type { CheckpointEntry, ContextVersion, Effects, StreamState, TopicState } from './topic-state.ts'

/** Offset of the record with this id. Synchronous when the table need not be asked. */
export function findRecordId(table: Table, state: TopicState, id: string): number | null | Promise<number | null> {
  const offset = state.recent?.ids?.get(id) ?? state.flushing?.ids?.get(id)
  if (offset !== undefined) return offset >= state.firstOffset ? offset : null
  const places = placesOf(state, 'ids')
  return places.length === 0 ? null : newestWithId(table, state, places, id)
}

/** Of a topic that has been forked there may be several. */
async function newestWithId(
  table: Table,
  state: TopicState,
  places: readonly Place[],
  id: string,
): Promise<number | null> {
  for (const { epoch, upTo } of places) {
    const key = recordIdKey(epoch, id)
    let entry: TableEntry | undefined
    if (epoch === state.epoch && state.extra?.forkedTo === undefined) {
      const value = await table.get(key)
      entry = value && { key, value }
    } else {
      const found = await table.scan({ ...recordIdVersions(epoch, id, upTo), reverse: true, limit: 1 })
      entry = found[0]
    }
    const offset = entry === undefined ? null : open(entry.key, entry.value, state)
    if (typeof offset === 'number' && offset < upTo) return kept(state, offset)
  }
  return null
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
  const places = placesOf(state, 'streams')
  return places.length === 0 ? null : endedStream(table, state, places, streamId)
}

async function endedStream(
  table: Table,
  state: TopicState,
  places: readonly Place[],
  streamId: string,
): Promise<StreamState | null> {
  const keys = places.map(({ epoch }) => streamKey(epoch, streamId))
  const values = keys.length === 1 ? [await table.get(keys[0] as Buffer)] : await table.getMany(keys)
  for (const [i, value] of values.entries()) {
    if (value === undefined) continue
    const stream = streamOf(open(keys[i] as Buffer, value, state))
    if (stream.lastOffset < (places[i] as Place).upTo) return stream
  }
  return null
}

/** Offset of the newest checkpoint of this name, or of any when the name is null. */
export async function findCheckpoint(table: Table, state: TopicState, name: string | null): Promise<number | null> {
  const found = memory(state, (effects) => effects.checkpoints)
    .filter((entry) => name === null || entry.name === name)
    .at(-1)
  if (found !== undefined) return kept(state, found.offset)
  if (name === null) {
    const last = await listCheckpoints(table, state, state.nextOffset, 1)
    return last[0]?.offset ?? null
  }
  for (const place of placesOf(state, 'checkpoints')) {
    const isOwn = place.epoch === state.epoch
    const offset = isOwn ? await newestNamed(table, state, name) : await newestBelow(table, state, place, name)
    if (offset !== null) return kept(state, offset)
  }
  return null
}

async function newestNamed(table: Table, state: TopicState, name: string): Promise<number | null> {
  const key = checkpointNameKey(state.epoch, name)
  const value = await table.get(key)
  return value === undefined ? null : Number(open(key, value, state))
}

/** Of a parent the newest of that name may come behind the fork point: all are looked at. */
async function newestBelow(
  table: Table,
  state: TopicState,
  { epoch, upTo }: Place,
  name: string,
): Promise<number | null> {
  for (let to = upTo; ; ) {
    const page = await table.scan({
      ...checkpointRange(epoch, state.firstOffset, to),
      reverse: true,
      limit: LIMITS.pageItems,
    })
    const found = page.find(({ key, value }) => open(key, value, state) === name)
    if (found !== undefined) return numberInKey(found.key, 1)
    const last = page.at(-1)
    if (last === undefined || page.length < LIMITS.pageItems) return null
    to = numberInKey(last.key, 1)
  }
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
  // A flush may have moved entries from memory to the table meanwhile: an offset counts once.
  const seen = new Set(recent.map((entry) => entry.offset))
  for (const { epoch, upTo } of placesOf(state, 'checkpoints')) {
    if (recent.length >= limit) break
    const range = checkpointRange(epoch, state.firstOffset, Math.min(before, upTo))
    const stored = await table.scan({ ...range, reverse: true, limit })
    for (const { key, value } of stored) {
      const entry = { offset: numberInKey(key, 1), name: String(open(key, value, state)) }
      if (!seen.has(entry.offset)) recent.push(entry)
    }
  }
  return recent.slice(0, limit)
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
  for (const { epoch } of placesOf(state, 'context')) {
    let last = after
    for (let found = 0; found < limit; found++) {
      const [entry] = await table.scan({ ...contextAfter(epoch, last), limit: 1 })
      if (entry === undefined) break
      last = parseContextKey(entry.key).name
      names.add(last)
    }
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
  for (const { epoch, upTo } of placesOf(state, 'context')) {
    for (let before = Math.min(asOf, upTo); ; ) {
      const range = contextVersions(epoch, name, before)
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
  }
  return versions
}

/** Where entries of an index may lie that count for the topic: those of an epoch below an offset. */
interface Place {
  readonly epoch: number
  readonly upTo: number
}

/** Those that may have something of that kind, the topic itself first. */
function placesOf(state: TopicState, kind: keyof typeof KINDS): Place[] {
  const own = (state.counts?.[kind] ?? 0) > 0 ? [{ epoch: state.epoch, upTo: Number.MAX_SAFE_INTEGER }] : []
  if (state.extra?.fork === undefined) return own
  return [...own, ...shares(state).filter(({ kinds }) => (kinds & KINDS[kind]) !== 0)]
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
