/** Salvage keeps what is sound, up to the first damage of each topic; what it makes is sound, and nothing in it is invented. */

import { describe, expect, test } from 'vitest'
import { LitetopicError } from '../../protocol/index.ts'
import { decodeHead, encodeHead } from '../../storage/head.ts'
import { unpackInlineTail } from '../../storage/inline-tail.ts'
import { chunkKey, contextKey, epochRange, headKey, recordIdKey } from '../../storage/keys.ts'
import { findCheckpoint, findContext, findRecordId, findStream } from '../../storage/lookups.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { INDEX, type StoreSnapshot, type TableEntry, type TableRange } from '../../storage/store.ts'
import { type Salvaged, type SalvageReport, salvageStore } from '../../storage/verify/salvage.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { entriesOf, flip, fullDisk, indexOf } from './damaged-disk.ts'
import { Rig } from './shard-rig.ts'

const whole = await fullDisk()
const T = 4096
/** All records of each topic, also trimmed ones of which a chunk is left. */
const original = await logsOf(whole.copy(), true)

interface Outcome {
  readonly copy: MemoryDisk
  readonly salvaged: ReadonlyMap<string, Salvaged>
  readonly report: SalvageReport
}

async function logsOf(disk: MemoryDisk, trimmed = false): Promise<Map<string, string[]>> {
  const rig = await Rig.open(await openMemoryStore(disk.copy()))
  const logs = new Map<string, string[]>()
  for (const { name } of (await rig.shard.list('', '', 99)).states) {
    const state = await rig.shard.load(name)
    if (state !== null) logs.set(name, await rig.read(state, trimmed ? 0 : state.firstOffset))
  }
  return logs
}

/** Salvages, and holds what comes of it against what must always be so. */
async function salvage(disk: MemoryDisk, openSource = openMemoryStore): Promise<Outcome> {
  const copy = new MemoryDisk()
  const [source, target] = [await openSource(disk), await openMemoryStore(copy)]
  const salvaged = new Map<string, Salvaged>()
  const report = await salvageStore(source, target, { salvaged: (topic) => salvaged.set(topic.topic, topic) })
  expect((await verifyStore(target)).damages).toEqual([])
  await target.close()
  const logs = await logsOf(copy)
  expect([...logs.keys()].sort()).toEqual(
    [...salvaged.keys()].filter((name) => salvaged.get(name)?.outcome !== 'lost').sort(),
  )
  for (const [name, lines] of logs) {
    const from = Number.parseInt(lines[0] ?? '0', 10)
    expect(lines, name).toEqual(original.get(name)?.slice(from, from + lines.length))
    if (lines.length > 0) expect(from + lines.length).toBe(salvaged.get(name)?.to)
  }
  return { copy, salvaged, report }
}

function damaged(key: Uint8Array): MemoryDisk {
  const disk = whole.copy()
  const value = disk.table.get(key) as Uint8Array
  disk.table.set(key, flip(value, value.length - 1))
  return disk
}

/** A store in which LevelDB cannot read a range, when it goes through it to copy it. */
function unreadable(index: number, epoch = T): typeof openMemoryStore {
  return async (disk) => {
    const store = await openMemoryStore(disk)
    const bad = epochRange(index, epoch)
    const snapshot = (): StoreSnapshot => {
      const sound = store.snapshot()
      const iterate = async function* (range: TableRange): AsyncGenerator<TableEntry> {
        yield* sound.iterate(range)
        if (Buffer.compare(range.gte, bad.gte) === 0) throw new LitetopicError('STORE_CORRUPT', 'a bad block')
      }
      return { ...sound, iterate }
    }
    return Object.assign(Object.create(store) as typeof store, { snapshot })
  }
}

test('what LevelDB cannot read where nobody looks costs nothing but itself', async () => {
  const { salvaged, report } = await salvage(whole.copy(), unreadable(INDEX.recordId))
  expect(salvaged.get('t')).toMatchObject({ outcome: 'cut', missing: 0 })
  expect(report).toMatchObject({ kept: 4, cut: 1, lost: 0, report: { damages: [{ unit: 'table', topic: 't' }] } })
})

test('a topic that LevelDB cannot read is lost, and no other', async () => {
  const { salvaged, report } = await salvage(whole.copy(), unreadable(INDEX.context))
  expect(salvaged.get('t')).toMatchObject({ outcome: 'lost', to: null })
  expect(report).toMatchObject({ kept: 4, cut: 0, lost: 1 })
})

test('nothing is left of what was copied of a topic before it could not be read', async () => {
  const disk = new MemoryDisk()
  const rig = await Rig.open(await openMemoryStore(disk))
  const state = await rig.create('t')
  for (let i = 0; i < 300; i++) await rig.append(state, [{ kind: 'message', text: 'x', id: `id-${i}` }])
  await rig.append(state, [{ kind: 'context', op: 'set', name: 'n', text: 'one' }])
  await rig.shard.quiesce()
  const copy = new MemoryDisk()
  const { lost } = await salvageStore(await unreadable(INDEX.context)(disk.copy()), await openMemoryStore(copy))
  expect(lost).toBe(1)
  expect(entriesOf(copy).map(({ key }) => indexOf(key))).toEqual(['info'])
})

test('of a sound store everything is kept, in a history of its own', async () => {
  const { copy, report } = await salvage(whole.copy())
  expect(report).toMatchObject({ kept: 5, cut: 0, lost: 0, report: { damages: [] } })
  expect(await logsOf(copy)).toEqual(await logsOf(whole))
  const rig = await Rig.open(await openMemoryStore(copy))
  const before = await Rig.open(await openMemoryStore(whole.copy()))
  expect(rig.shard.incarnation).toBe(report.incarnation)
  expect(rig.shard.ancestors).toEqual([before.shard.incarnation])
  for (const name of ['t', 'journal']) {
    const state = await rig.shard.load(name)
    expect(state?.branches).toEqual([{ incarnation: before.shard.incarnation, next: state?.nextOffset }])
    expect(state?.dueMs).toBeGreaterThan(0)
  }
  const { table } = rig.shard.store
  const state = (await rig.shard.load('t')) as NonNullable<Awaited<ReturnType<typeof rig.shard.load>>>
  expect(await findContext(table, state, 'n', 99)).toHaveLength(2)
  expect(await findRecordId(table, state, 'id-2')).toBe(11)
  expect((await rig.create('new')).epoch).toBeGreaterThan(2 ** 32 * 4096)
})

test('whatever single value is damaged, the copy is sound, and no other topic loses anything', async () => {
  for (const { key, value } of entriesOf(whole)) {
    const disk = whole.copy()
    disk.table.set(key, flip(value, Math.floor(value.length / 2)))
    const { salvaged, report } = await salvage(disk)
    const hurt = [...salvaged.values()].filter(({ outcome }) => outcome !== 'kept')
    expect(hurt.length, indexOf(key)).toBeLessThanOrEqual(1)
    if (report.report.damageCount === 0) expect(hurt).toEqual([])
    // Only what holds records can lose any; all else is made anew from them.
    if (!['head', 'chunk', 'part'].includes(indexOf(key)))
      expect(hurt.map(({ missing }) => missing)).not.toContain(null)
    if (!['head', 'chunk', 'part'].includes(indexOf(key))) for (const { missing } of hurt) expect(missing).toBe(0)
  }
})

test('whatever single key is gone, the copy is sound', async () => {
  for (const { key } of entriesOf(whole)) {
    const disk = whole.copy()
    disk.table.delete(key)
    await salvage(disk)
  }
})

test('of a damaged journal what lies before the damage is kept', async () => {
  for (const entry of whole.entries.keys()) {
    const disk = whole.copy()
    disk.entries[entry] = flip(disk.entries[entry] as Uint8Array, 30)
    const { salvaged } = await salvage(disk)
    expect(salvaged.get('t')).toMatchObject({ outcome: 'kept' })
  }
})

describe('a topic', () => {
  test('is cut at the first damaged chunk, and what its records had done until then is made anew', async () => {
    const second = entriesOf(whole).filter(({ key }) => key[0] === INDEX.chunk && key[7] !== 99)[1]?.key as Uint8Array
    const { copy, salvaged } = await salvage(damaged(second))
    const to = salvaged.get('t')?.to as number
    expect(salvaged.get('t')).toMatchObject({ outcome: 'cut', missing: 13 - to })
    expect(to).toBeGreaterThan(3)
    const rig = await Rig.open(await openMemoryStore(copy))
    const state = (await rig.shard.load('t')) as NonNullable<Awaited<ReturnType<typeof rig.shard.load>>>
    const { table } = rig.shard.store
    expect(state).toMatchObject({ firstOffset: 3, nextOffset: to, producers: null })
    expect([...(state.openStreams?.keys() ?? [])]).toEqual(['open'])
    expect(await findStream(table, state, 's')).toMatchObject({ state: 'done', lastOffset: 7 })
    expect(await findCheckpoint(table, state, 'c')).toBe(5)
    expect(await findRecordId(table, state, 'id-2')).toBeNull()
    // The value that was set before the first record kept, and appended to since.
    expect((await findContext(table, state, 'n', 99))?.map(({ op }) => op)).toEqual(['set', 'append'])
    expect(await rig.append(state, [{ kind: 'message', text: 'on' }])).toBe(to)
  })

  test('keeps all records when only an index is damaged, and gets that back', async () => {
    const { copy, salvaged } = await salvage(damaged(recordIdKey(T, 'id-2')))
    expect(salvaged.get('t')).toMatchObject({ outcome: 'cut', to: 13, missing: 0 })
    const { state } = decodeHead('t', copy.table.get(headKey('t')) as Uint8Array)
    expect(await findRecordId((await openMemoryStore(copy)).table, state, 'id-2')).toBe(11)
  })

  test('whose context entry cannot be read from before its first record has none until it is set again', async () => {
    const { copy } = await salvage(damaged(contextKey(T, 'n', 2)))
    const { state } = decodeHead('t', copy.table.get(headKey('t')) as Uint8Array)
    expect(await findContext((await openMemoryStore(copy)).table, state, 'n', 99)).toBeNull()
  })

  test('without a head is made anew from its chunks, or lost if it has none', async () => {
    const { salvaged } = await salvage(damaged(headKey('t')))
    expect(salvaged.get('t')).toMatchObject({ outcome: 'cut', to: 12, missing: null })
    const small = await salvage(damaged(headKey('small')))
    expect(small.salvaged.get('small')).toEqual({ topic: 'small', outcome: 'lost', to: null, missing: null })
  })

  test('is cut where the content of a large message is damaged', async () => {
    const part = entriesOf(whole).find(({ key }) => key[0] === INDEX.part && Buffer.from(key).includes('large'))
    const { salvaged } = await salvage(damaged(part?.key as Uint8Array))
    expect(salvaged.get('large')).toEqual({ topic: 'large', outcome: 'cut', to: 1, missing: 3 })
  })

  test('has the bytes of what is kept, each counted once', async () => {
    const headOf = (disk: MemoryDisk) => decodeHead('large', disk.table.get(headKey('large')) as Uint8Array).state
    const { epoch, bytes } = headOf(whole)
    const { copy, salvaged } = await salvage(whole.copy(), unreadable(INDEX.chunk, epoch))
    expect(salvaged.get('large')).toMatchObject({ outcome: 'cut', missing: 0 })
    expect(headOf(copy).bytes).toBe(bytes)
  })

  test('is cut at a hole', async () => {
    const disk = whole.copy()
    const key = headKey('t')
    const { state, asOf } = decodeHead('t', disk.table.get(key) as Uint8Array)
    state.nextOffset = 41
    disk.table.set(
      key,
      encodeHead(key, state, {
        asOf,
        chunkedTo: 40,
        inline: unpackInlineTail(state.inline ?? ''),
        tableUsed: true,
      }),
    )
    expect((await salvage(disk)).salvaged.get('t')).toMatchObject({ outcome: 'cut', to: 12 })
    const gap = whole.copy()
    gap.table.delete(
      entriesOf(gap).find((entry) => entry.key[0] === INDEX.chunk && entry.key[7] !== 99)?.key ?? chunkKey(T, 0),
    )
    expect((await salvage(gap)).salvaged.get('t')).toMatchObject({ outcome: 'cut', to: 3 })
  })
})
