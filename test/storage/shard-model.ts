/** What a shard must hold, as plain lists in memory: operations in the order in which they were written. */

import { expect } from 'vitest'
import { ByteReader, LIMITS, prefixCovers, unpack } from '../../protocol/index.ts'
import {
  indexRange,
  MARK_PART,
  numberInKey,
  openStreamsKey,
  partNumber,
  timerKey,
  usageKey,
} from '../../storage/keys.ts'
import {
  contextNames,
  findCheckpoint,
  findContext,
  findRecordId,
  findStream,
  listCheckpoints,
} from '../../storage/lookups.ts'
import type { TopicExtra, TopicPolicy } from '../../storage/operations.ts'
import { recentUpload } from '../../storage/parts.ts'
import { unseal } from '../../storage/seal.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { type Rig, shown, type TestRecord } from './shard-rig.ts'

export type ModelOperation =
  | { do: 'create'; epoch: number; extra: TopicExtra | null }
  | { do: 'append'; bytes: number; records: readonly TestRecord[]; slot: number; sequence: number; timeMs: number }
  | { do: 'producer'; slot: number; id: string; producerEpoch: number }
  | { do: 'advance'; slot: number; sequence: number; base: number }
  | { do: 'trim'; firstOffset: number; freed: number }
  | { do: 'policy'; policy: TopicPolicy }
  | { do: 'fence'; fence: number; holder: string | null }
  | { do: 'close'; slot: number; sequence: number; base: number }
  | { do: 'extra'; change: TopicExtra }
  | { do: 'delete' }

export interface ModelEntry {
  readonly name: string
  /** Number of the commit that it is part of. */
  readonly commit: number
  readonly operation: ModelOperation
}

interface Producer {
  id: string
  epoch: number
  sequence: number
  bases: number[]
}

/** One incarnation of a topic. */
export class ModelTopic {
  readonly epoch: number
  readonly records: TestRecord[] = []
  readonly producers: (Producer | undefined)[] = []
  extra: TopicExtra | null
  closed = false
  firstOffset = 0
  bytes = 0
  policy: TopicPolicy | null = null
  fence: { fence: number; holder: string | null } = { fence: 0, holder: null }

  constructor(epoch: number, extra: TopicExtra | null) {
    this.epoch = epoch
    this.extra = extra
  }

  apply(operation: ModelOperation): void {
    if (operation.do === 'append') {
      const base = this.records.length
      this.records.push(...operation.records)
      this.bytes += operation.bytes
      if (operation.slot >= 0) this.use(operation.slot, operation.sequence, base)
    }
    if (operation.do === 'producer') {
      this.producers[operation.slot] = { id: operation.id, epoch: operation.producerEpoch, sequence: -1, bases: [] }
    }
    if (operation.do === 'advance') this.use(operation.slot, operation.sequence, operation.base)
    if (operation.do === 'trim') {
      this.firstOffset = Math.max(this.firstOffset, operation.firstOffset)
      this.bytes -= operation.freed
    }
    if (operation.do === 'fence') this.fence = { fence: operation.fence, holder: operation.holder }
    if (operation.do === 'extra') this.extra = { ...this.extra, ...operation.change }
    if (operation.do === 'close') {
      this.closed = true
      if (operation.slot >= 0) this.use(operation.slot, operation.sequence, operation.base)
    }
    if (operation.do === 'policy') this.policy = { ...this.policy, ...operation.policy }
  }

  /** Offsets of the kept records for which `test` holds. */
  offsets(test: (record: TestRecord) => boolean): number[] {
    return this.records.flatMap((record, offset) => (offset >= this.firstOffset && test(record) ? [offset] : []))
  }

  /** Streams by id, as their newest record has them. */
  streams(): Map<string, { state: string; lastOffset: number }> {
    const streams = new Map<string, { state: string; lastOffset: number }>()
    this.records.forEach((record, offset) => {
      if (record.kind === 'stream') streams.set(record.streamId, { state: record.state, lastOffset: offset })
    })
    return streams
  }

  /** The pieces of a context entry as of an offset, as text. */
  context(name: string, asOf: number): string[] {
    let pieces: string[] = []
    for (const record of this.records.slice(0, asOf)) {
      if (record.kind !== 'context' || record.name !== name) continue
      if (record.op !== 'append') pieces = []
      if (record.op !== 'delete') pieces.push(record.text)
    }
    return pieces
  }

  private use(slot: number, sequence: number, base: number): void {
    const producer = this.producers[slot] as Producer
    producer.sequence = sequence
    producer.bases = [...producer.bases, base].slice(-LIMITS.appendsInFlight)
  }
}

/** The topics that are there after the operations of the commits up to `last`. */
export function modelOf(entries: readonly ModelEntry[], last: number): Map<string, ModelTopic> {
  const topics = new Map<string, ModelTopic>()
  for (const { name, commit, operation } of entries) {
    if (commit > last) break
    if (operation.do === 'create') topics.set(name, new ModelTopic(operation.epoch, operation.extra))
    else if (operation.do === 'delete') topics.delete(name)
    else topics.get(name)?.apply(operation)
  }
  return topics
}

/** Everything that can be asked of the shard is as the model has it. `held` are the states that the broker holds. */
export async function expectModel(
  rig: Rig,
  model: ReadonlyMap<string, ModelTopic>,
  held: ReadonlyMap<string, TopicState>,
  allNames: readonly string[],
): Promise<void> {
  expect(await listed(rig)).toEqual([...model.keys()].sort())
  for (const [prefix, counter] of rig.shard.usage.watched) {
    const { topics, bytes, whole } = counter
    if (whole) expect({ prefix, topics, bytes }).toEqual({ prefix, ...usageOf(model, covers(prefix)) })
  }
  for (const name of allNames) {
    const topic = model.get(name)
    const state = held.get(name) ?? (await rig.shard.load(name))
    if (topic === undefined) expect(state, `${name} is gone`).toBeNull()
    else await expectTopic(rig, state as TopicState, topic)
  }
}

const covers =
  (prefix: string) =>
  (name: string): boolean =>
    prefixCovers(prefix, name)

function usageOf(
  model: ReadonlyMap<string, ModelTopic>,
  counts: (name: string, topic: ModelTopic) => boolean,
): { topics: number; bytes: number } {
  const counted = [...model].filter(([name, topic]) => counts(name, topic))
  return { topics: counted.length, bytes: counted.reduce((sum, [, topic]) => sum + topic.bytes, 0) }
}

/** When all is flushed, the table has the counters as a recount gives them, and of what is gone at most a 0. */
export async function expectStoredUsage(rig: Rig, model: ReadonlyMap<string, ModelTopic>): Promise<void> {
  const entries = await rig.shard.store.table.scan(indexRange(INDEX.usage))
  const found = new Map(
    entries.map(({ key, value }) => {
      const [topics, bytes] = unpack(unseal(key, value, 'a counter')) as [number, number]
      return [Buffer.from(key).toString('hex'), { topics, bytes }]
    }),
  )
  const expected = new Map<string, { topics: number; bytes: number }>()
  const expectOf = (key: Buffer, counts: (name: string, topic: ModelTopic) => boolean): void =>
    void expected.set(key.toString('hex'), usageOf(model, counts))
  expectOf(usageKey('total', ''), () => true)
  for (const [name, { extra }] of model) {
    const principal = extra?.principal
    const segment = name.split('/')[0] as string
    expectOf(usageKey('segment', segment), covers(segment))
    if (principal !== undefined) {
      expectOf(usageKey('principal', principal), (_, topic) => topic.extra?.principal === principal)
    }
  }
  for (const [key, usage] of expected) expect([key, found.get(key)]).toEqual([key, usage])
  for (const [key, usage] of found) expect([key, usage]).toEqual([key, expected.get(key) ?? { topics: 0, bytes: 0 }])
}

async function listed(rig: Rig): Promise<string[]> {
  const names: string[] = []
  for (;;) {
    const { states, more } = await rig.shard.list('', names.at(-1) ?? '', 2)
    names.push(...states.map((state) => state.name))
    if (!more) return names
  }
}

async function expectTopic(rig: Rig, state: TopicState, topic: ModelTopic): Promise<void> {
  expect([state.epoch, state.firstOffset, state.nextOffset]).toEqual([
    topic.epoch,
    topic.firstOffset,
    topic.records.length,
  ])
  expect(state.policy).toEqual(topic.policy)
  expect([state.bytes, state.closed]).toEqual([topic.bytes, topic.closed])
  expect(state.extra).toEqual(topic.extra)
  expect({ fence: state.fence, holder: state.fenceHolder }).toEqual(topic.fence)
  expect(producersOf(state)).toEqual(Array.from(topic.producers, (producer) => producer ?? null))
  const kept = topic.records.flatMap((record, i) => (i >= topic.firstOffset ? [shown(i, record)] : []))
  const committed = kept.slice(0, Math.max(0, state.committedTo - topic.firstOffset))
  if (state.committedTo > state.firstOffset) expect(await rig.read(state)).toEqual(committed)
  await expectLookups(rig, state, topic)
  await expectContext(rig, state, topic)
}

function producersOf(state: TopicState): unknown[] {
  return (state.producers ?? []).map(
    (producer) =>
      producer && { id: producer.id, epoch: producer.epoch, sequence: producer.sequence, bases: producer.bases },
  )
}

async function expectLookups(rig: Rig, state: TopicState, topic: ModelTopic): Promise<void> {
  const { table } = rig.shard.store
  const ids = topic.records.flatMap((record) => (record.kind === 'message' && record.id ? [record.id] : []))
  for (const id of [...new Set(ids), 'no such id']) {
    const offset = topic.offsets((record) => record.kind === 'message' && record.id === id).at(-1) ?? null
    expect(await findRecordId(table, state, id), `id ${id}`).toBe(offset)
  }
  for (const [streamId, expected] of topic.streams()) {
    expect(await findStream(table, state, streamId), `stream ${streamId}`).toMatchObject(expected)
  }
  expect(await findStream(table, state, 'no such stream')).toBeNull()
  await expectUploads(rig, state, topic)
  const checkpoints = topic.offsets((record) => record.kind === 'checkpoint').reverse()
  const found = await listCheckpoints(table, state, state.nextOffset, 100)
  expect(found.map(({ offset }) => offset)).toEqual(checkpoints)
  expect((await listCheckpoints(table, state, state.nextOffset, 2)).map(({ offset }) => offset)).toEqual(
    checkpoints.slice(0, 2),
  )
  expect(await findCheckpoint(table, state, null)).toBe(checkpoints[0] ?? null)
  for (const name of ['c', 'c2']) {
    const newest = topic.offsets((record) => record.kind === 'checkpoint' && record.name === name).at(-1)
    expect(await findCheckpoint(table, state, name), `checkpoint ${name}`).toBe(newest ?? null)
  }
}

/** Every large message that is kept is found by its upload. */
async function expectUploads(rig: Rig, state: TopicState, topic: ModelTopic): Promise<void> {
  for (const offset of topic.offsets((record) => record.kind === 'large')) {
    const { uploadId } = topic.records[offset] as TestRecord & { kind: 'large' }
    const found = recentUpload(state, uploadId) ?? (await rig.shard.parts.stored(state.epoch, uploadId)).offset
    expect(found, `upload ${uploadId}`).toBe(offset)
  }
}

async function expectContext(rig: Rig, state: TopicState, topic: ModelTopic): Promise<void> {
  const { table } = rig.shard.store
  const names = topic.records.flatMap((record) => (record.kind === 'context' ? [record.name] : []))
  const found = await contextNames(table, state, '', 100)
  for (const name of new Set(names)) {
    for (const asOf of asOfs(topic)) {
      const versions = await findContext(table, state, name, asOf)
      const pieces = versions?.map((version) => version.data.value) ?? []
      expect(pieces, `context ${name} as of ${asOf}`).toEqual(topic.context(name, asOf))
    }
    if (topic.context(name, topic.records.length).length > 0) expect(found).toContain(name)
  }
}

/** Some offsets from the first kept to the end. */
function asOfs({ firstOffset, records }: ModelTopic): number[] {
  const step = Math.max(1, Math.floor((records.length - firstOffset) / 4))
  const offsets = [records.length]
  for (let offset = firstOffset; offset < records.length; offset += step) offsets.push(offset)
  return offsets
}

/** Once all is quiet: the table has nothing of deleted topics and trimmed chunks, and the journal nothing at all. */
export async function expectNoLitter(rig: Rig, model: ReadonlyMap<string, ModelTopic>): Promise<void> {
  const { table, journal } = rig.shard.store
  expect(rig.shard.unloadedNames()).toEqual([])
  for await (const { number } of journal.entries()) expect(`entry ${number}`).toBe('truncated')
  const states = new Map<number, TopicState>()
  for (const name of model.keys()) {
    const state = (await rig.shard.load(name)) as TopicState
    states.set(state.epoch, state)
    if (state.dueMs === 0) continue
    expect(await table.get(timerKey(state.dueMs, state.epoch)), `the timer of ${name}`).toBeDefined()
  }
  for (const [index, number] of Object.entries(INDEX)) {
    // A timer that is left over after a crash is dropped when it falls due.
    if (index === 'info' || index === 'head' || index === 'timer' || index === 'usage') continue
    const entries = await table.scan({ gte: Buffer.of(number), lt: Buffer.of(number + 1), limit: 10_000 })
    for (const key of entries.map((entry) => Buffer.from(entry.key))) {
      const state = states.get(numberInKey(key, 0))
      expect(state, `${index} ${key.toString('hex')} is of a topic that is there`).toBeDefined()
      if (index === 'part')
        expect(await keptUpload(rig, state as TopicState, key), 'a part of a kept record').toBe(true)
      if (state === undefined || (index !== 'chunk' && index !== 'checkpoint')) continue
      const bound = index === 'chunk' ? state.firstOffset : await firstChunked(rig, state)
      expect(numberInKey(key, 1), index).toBeGreaterThanOrEqual(Math.min(bound, state.chunkedTo))
    }
  }
  for (const state of states.values()) {
    const open = await table.get(openStreamsKey(state.epoch))
    expect(open !== undefined, `${state.name} has open streams`).toBe((state.openStreams?.size ?? 0) > 0)
  }
}

/** Is the key the mark of a record that is kept? Here no other keys of parts are written. */
async function keptUpload(rig: Rig, state: TopicState, key: Buffer): Promise<boolean> {
  if (partNumber(key) !== MARK_PART) return false
  const { offset } = await rig.shard.parts.stored(state.epoch, key.subarray(8, -8).toString())
  return offset !== null && offset >= (await firstChunked(rig, state))
}

/** The first offset that is in a chunk still: chunks go as wholes, and index entries with them. */
async function firstChunked(rig: Rig, state: TopicState): Promise<number> {
  const [chunk] = await rig.shard.chunks(state, 0, Number.MAX_SAFE_INTEGER, 1)
  return chunk === undefined ? state.chunkedTo : new ByteReader(chunk, 1).varint()
}
