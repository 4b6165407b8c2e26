/** Topics and forks as plain lists of records, each fork with a copy of what it shares; and whether a shard agrees with them. */

import { expect } from 'vitest'
import { ownerOf } from '../../storage/lineage.ts'
import {
  contextNames,
  findCheckpoint,
  findContext,
  findRecordId,
  findStream,
  listCheckpoints,
} from '../../storage/lookups.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { type Rig, shown, type TestRecord } from './shard-rig.ts'

export interface ForkTopic {
  readonly name: string
  readonly epoch: number
  /** Epochs that it shares records of, or whose forks it shares them of. */
  readonly ancestors: readonly number[]
  /** From offset 0 on, trimmed ones too. */
  readonly records: TestRecord[]
  firstOffset: number
}

export type ForkOperation =
  | { do: 'create'; epoch: number }
  | { do: 'fork'; epoch: number; parent: string; at: number }
  | { do: 'append'; records: readonly TestRecord[] }
  | { do: 'trim'; firstOffset: number }
  | { do: 'delete' }

/** One operation, and the number of the commit that it went into. */
export interface ForkEntry {
  readonly name: string
  readonly commit: number
  readonly operation: ForkOperation
}

export function forkModel(entries: readonly ForkEntry[]): Map<string, ForkTopic> {
  const topics = new Map<string, ForkTopic>()
  for (const { name, operation } of entries) {
    const topic = topics.get(name) as ForkTopic
    if (operation.do === 'create') {
      topics.set(name, { name, epoch: operation.epoch, ancestors: [], records: [], firstOffset: 0 })
    } else if (operation.do === 'fork') {
      const parent = topics.get(operation.parent) as ForkTopic
      const records = parent.records.slice(0, operation.at)
      const ancestors = [...parent.ancestors, parent.epoch]
      topics.set(name, { ...parent, name, epoch: operation.epoch, ancestors, records })
    } else if (operation.do === 'append') topic.records.push(...operation.records)
    else if (operation.do === 'trim') topic.firstOffset = operation.firstOffset
    else topics.delete(name)
  }
  return topics
}

interface ModelStream {
  state: string
  openOffset: number
  lastOffset: number
}

export function streamsOf({ records }: ForkTopic): Map<string, ModelStream> {
  const streams = new Map<string, ModelStream>()
  records.forEach((record, offset) => {
    if (record.kind !== 'stream') return
    const { openOffset } = streams.get(record.streamId) ?? { openOffset: offset }
    streams.set(record.streamId, { state: record.state, openOffset, lastOffset: offset })
  })
  return streams
}

/** Offset of the newest record that is kept of those that match; null if there is none. */
export function newestOf({ records, firstOffset }: ForkTopic, matches: (record: TestRecord) => boolean): number | null {
  const offset = records.findLastIndex(matches)
  return offset >= firstOffset && offset >= 0 ? offset : null
}

/** Everything that can be asked of a topic, compared. */
export async function expectTopic(rig: Rig, state: TopicState, topic: ForkTopic): Promise<void> {
  const { table } = rig.shard.store
  const { records, firstOffset, name, epoch } = topic
  expect({ epoch: state.epoch, firstOffset: state.firstOffset, next: state.nextOffset }, name).toEqual({
    epoch,
    firstOffset,
    next: records.length,
  })
  const all = records.map((record, offset) => shown(offset, record))
  const starts = [firstOffset, Math.floor((firstOffset + records.length) / 2), records.length]
  for (const from of starts) expect(await rig.read(state, from), `${name} from ${from}`).toEqual(all.slice(from))
  for (const asOf of starts) await expectContext(rig, state, topic, asOf)
  const checkpoints = records.flatMap((record, offset) =>
    record.kind === 'checkpoint' && offset >= firstOffset ? [{ name: record.name, offset }] : [],
  )
  expect(await listCheckpoints(table, state, records.length, 1000), name).toEqual(checkpoints.reverse())
  expect(await listCheckpoints(table, state, starts[1] as number, 2), name).toEqual(
    checkpoints.filter(({ offset }) => offset < (starts[1] as number)).slice(0, 2),
  )
  for (const wanted of ['c0', 'c1', null]) {
    const offset = newestOf(topic, (record) => record.kind === 'checkpoint' && (wanted ?? record.name) === record.name)
    expect(await findCheckpoint(table, state, wanted), `checkpoint ${wanted} of ${name}`).toBe(offset)
  }
  const ids = new Set(records.flatMap((record) => (record.kind === 'message' && record.id) || []))
  for (const id of [...ids, 'nobody']) {
    const offset = newestOf(topic, (record) => record.kind === 'message' && record.id === id)
    expect(await findRecordId(table, state, id), `id ${id} of ${name}`).toBe(offset)
  }
  await expectStreams(rig, state, topic)
  for (const [offset, record] of records.entries()) {
    if (record.kind !== 'large' || offset < firstOffset) continue
    const { uploadId, size } = record
    const content = await rig.shard.parts.read(ownerOf(state, offset).epoch, uploadId, 0, size)
    expect(Buffer.from(content).equals(contentOf(uploadId, size)), `content of ${uploadId}`).toBe(true)
  }
}

/** Of a large message: one part. */
export function contentOf(uploadId: string, size: number): Buffer {
  return Buffer.alloc(size, uploadId)
}

async function expectStreams(rig: Rig, state: TopicState, topic: ForkTopic): Promise<void> {
  const streams = streamsOf(topic)
  const isOpen = ({ state: now }: ModelStream): boolean => ['open', 'lost', 'resumed'].includes(now)
  const open = [...streams].filter(([, stream]) => isOpen(stream)).map(([streamId]) => streamId)
  expect([...(state.openStreams?.keys() ?? [])].sort(), `open streams of ${topic.name}`).toEqual(open.sort())
  for (const [streamId, stream] of streams) {
    const found = await findStream(rig.shard.store.table, state, streamId)
    const { openOffset } = stream
    expect(found, `stream ${streamId} of ${topic.name}`).toMatchObject({ streamId, openOffset })
    // What its records were that are trimmed, a fork may not know.
    if (stream.lastOffset >= topic.firstOffset) expect(found, `${streamId} of ${topic.name}`).toMatchObject(stream)
  }
  expect(await findStream(rig.shard.store.table, state, 'nobody')).toBeNull()
}

async function expectContext(rig: Rig, state: TopicState, { records, name }: ForkTopic, asOf: number): Promise<void> {
  const entries = new Map<string, string[]>()
  for (const record of records.slice(0, asOf)) {
    if (record.kind !== 'context') continue
    if (record.op === 'set') entries.set(record.name, [record.text])
    if (record.op === 'append') entries.set(record.name, [...(entries.get(record.name) ?? []), record.text])
    if (record.op === 'delete') entries.delete(record.name)
  }
  const { table } = rig.shard.store
  const found = new Map<string, string[]>()
  for (const entry of await contextNames(table, state, '', 1000)) {
    const versions = await findContext(table, state, entry, asOf)
    if (versions !== null)
      found.set(
        entry,
        versions.map(({ data }) => String(data.value)),
      )
  }
  expect(found, `context of ${name} as of ${asOf}`).toEqual(entries)
}

/** Once all is quiet: the table has nothing but of topics that there are, and of those whose records they share. */
export async function expectNothingElse(rig: Rig, model: ReadonlyMap<string, ForkTopic>): Promise<void> {
  const { table } = rig.shard.store
  const needed = new Set([...model.values()].flatMap(({ epoch, ancestors }) => [epoch, ...ancestors]))
  const live = new Set([...model.values()].map(({ epoch }) => epoch))
  const epochs = async (index: number): Promise<Set<number>> => {
    const found = await table.scan({ gte: Buffer.of(index), lt: Buffer.of(index + 1), limit: 100_000 })
    return new Set(found.map(({ key }) => Buffer.from(key).readUIntBE(2, 6)))
  }
  for (const index of [
    INDEX.chunk,
    INDEX.stream,
    INDEX.recordId,
    INDEX.context,
    INDEX.checkpoint,
    INDEX.part,
    INDEX.fork,
  ]) {
    for (const epoch of await epochs(index)) expect(needed, `index ${index.toString(16)}`).toContain(epoch)
  }
  const hidden = [...needed].filter((epoch) => !live.has(epoch))
  expect([...(await epochs(INDEX.hidden))].sort(), 'hidden topics').toEqual(hidden.sort())
  const names = await table.scan({
    gte: Buffer.of(INDEX.hiddenName),
    lt: Buffer.of(INDEX.hiddenName + 1),
    limit: 100_000,
  })
  expect(names.length, 'names of hidden topics').toBe(hidden.length)
  expect([...(await epochs(INDEX.garbage))]).toEqual([])
}
