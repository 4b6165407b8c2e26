/** What forks cost, what they keep and give back, and how they are copied; that they read as copies would is in fork-model.test.ts. */

import { describe, expect, test } from 'vitest'
import { beginHistory, copySnapshot } from '../../storage/copy.ts'
import { epochRange, numberInKey } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { INDEX, type Store, type TableEntry, type TableScan } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { salvageStore } from '../../storage/verify/salvage.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { flip, message, RECORDS } from './damaged-disk.ts'
import { Rig } from './shard-rig.ts'

const long = (text: string) => message(text.padEnd(30_000, '.'))

async function chunksOf(rig: Rig, { epoch }: TopicState): Promise<number> {
  return (await rig.shard.store.table.scan(epochRange(INDEX.chunk, epoch))).length
}

async function keysOf(rig: Rig, index: number): Promise<number> {
  const keys = { gte: Buffer.of(index), lt: Buffer.of(index + 1) }
  return (await rig.shard.store.table.scan({ ...keys, limit: 100_000 })).length
}

/** A store that counts its looks at an index. */
async function watched(): Promise<{ store: Store; looks: Map<number, number> }> {
  const store = await openMemoryStore(new MemoryDisk())
  const looks = new Map<number, number>()
  const scan = (asked: TableScan): ReturnType<Store['table']['scan']> => {
    const index = asked.gte[0] as number
    looks.set(index, (looks.get(index) ?? 0) + 1)
    return store.table.scan(asked)
  }
  const { table } = store
  const counting = { get: table.get, getMany: table.getMany, write: table.write, clear: table.clear }
  const bound = Object.fromEntries(Object.entries(counting).map(([name, call]) => [name, call.bind(table)]))
  return { store: { ...storeOf(store), table: { ...(bound as unknown as Store['table']), scan } }, looks }
}

function storeOf(store: Store): Store {
  const { durability, location, journal } = store
  return {
    durability,
    location,
    journal,
    table: store.table,
    snapshot: () => store.snapshot(),
    diskBytes: () => store.diskBytes(),
    compact: () => store.compact(),
    probe: () => store.probe(),
    close: () => store.close(),
  }
}

describe('a fork costs', () => {
  test('a head and a key, however much it shares, and its parent one flush for all at the same place', async () => {
    const disk = new MemoryDisk()
    const rig = await Rig.open(await openMemoryStore(disk))
    const parent = await rig.create('parent')
    for (let i = 0; i < 20; i++) await rig.append(parent, [long(`${i}`), { kind: 'checkpoint', name: `c${i}` }])
    await rig.fork(parent, 40, 'first')
    await rig.shard.quiesce()
    const { flushes } = parent
    const before = disk.copy().table
    for (let i = 0; i < 1_000; i++) await rig.fork(parent, 40, `fork/${i}`)
    await rig.shard.quiesce()
    const added = disk.table
      .range({ gte: Buffer.of(0), lt: Buffer.of(0xff) }, false, Number.POSITIVE_INFINITY)
      .filter(({ key }) => before.get(key) === undefined)
    expect(added.filter(({ key }) => key[0] === INDEX.head)).toHaveLength(1_000)
    expect(added.filter(({ key }) => key[0] === INDEX.fork)).toHaveLength(1_000)
    // And the counter of their first segment.
    expect(added).toHaveLength(2_001)
    const bytes = added.reduce((sum, { key, value }) => sum + key.length + value.length, 0)
    expect(bytes / 1_000).toBeLessThan(128)
    expect(parent.flushes).toBe(flushes)
  })

  test('nothing where there are none: deleting and trimming other topics asks for no forks', async () => {
    const { store, looks } = await watched()
    const rig = await Rig.open(store)
    for (let i = 0; i < 10; i++) {
      const state = await rig.create(`t${i}`)
      await rig.append(state, [long('a'), long('b'), long('c')])
      await rig.flush(state)
      await rig.trim(state, 2)
      if (i % 2 === 0) await rig.delete(state)
    }
    await rig.shard.quiesce()
    expect(looks.get(INDEX.fork) ?? 0).toBe(0)
    expect(looks.get(INDEX.hidden) ?? 0).toBe(0)
  })
})

describe('what a topic has', () => {
  test('is given back behind the fork point when it is deleted, and all of it with the last fork', async () => {
    const rig = await Rig.open(await openMemoryStore(new MemoryDisk()))
    const parent = await rig.create('parent')
    for (let i = 0; i < 12; i++) await rig.append(parent, [long(`${i}`)])
    await rig.flush(parent)
    for (let i = 12; i < 24; i++) await rig.append(parent, [long(`${i}`)])
    const fork = await rig.fork(parent, 6, 'fork')
    const deeper = await rig.fork(fork, 3, 'deeper')
    const shared = await rig.read(fork)
    await rig.shard.quiesce()
    const whole = await chunksOf(rig, parent)
    await rig.delete(parent)
    await rig.shard.quiesce()
    expect(await rig.shard.isHidden('parent')).toBe(true)
    const left = await chunksOf(rig, parent)
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThanOrEqual(whole / 2)
    expect(await rig.read(fork)).toEqual(shared)
    await rig.delete(fork)
    await rig.shard.quiesce()
    expect(await rig.shard.isHidden('fork')).toBe(true)
    expect(await rig.read(deeper)).toEqual(shared.slice(0, 3))
    await rig.delete(deeper)
    await rig.shard.quiesce()
    for (const name of ['parent', 'fork', 'deeper']) expect(await rig.shard.isHidden(name), name).toBe(false)
    for (const index of [INDEX.chunk, INDEX.fork, INDEX.hidden, INDEX.hiddenName, INDEX.garbage]) {
      expect(await keysOf(rig, index), index.toString(16)).toBe(0)
    }
  })

  test('is hidden from when it is deleted, not only from when that is flushed, and its name is free', async () => {
    const rig = await Rig.open(await openMemoryStore(new MemoryDisk()))
    const parent = await rig.create('a')
    await rig.append(parent, [message('shared')])
    const fork = await rig.fork(parent, 1, 'b')
    expect(await rig.shard.isHidden('a')).toBe(false)
    const deleted = rig.delete(parent)
    expect(await rig.shard.isHidden('a')).toBe(true)
    await deleted
    const next = await rig.create('a')
    await rig.append(next, [message('new')])
    expect(await rig.read(fork)).toEqual(['0:  shared'])
    expect(await rig.read(next)).toEqual(['0:  new'])
  })

  test('is not waited for in vain by who forks it while it is deleted', async () => {
    const rig = await Rig.open(await openMemoryStore(new MemoryDisk()))
    const parent = await rig.create('a')
    await rig.append(parent, [message('one')])
    const prepared = rig.shard.prepareFork(parent, 1)
    await rig.delete(parent)
    await prepared
    await rig.shard.quiesce()
    expect(await rig.shard.isHidden('a')).toBe(false)
  })

  test('of what is trimmed, is kept below the fork point alone', async () => {
    const rig = await Rig.open(await openMemoryStore(new MemoryDisk()))
    const parent = await rig.create('parent')
    for (let i = 0; i < 24; i++) await rig.append(parent, [long(`${i}`)])
    const fork = await rig.fork(parent, 6, 'fork')
    const shared = await rig.read(fork)
    await rig.shard.quiesce()
    const whole = await chunksOf(rig, parent)
    await rig.trim(parent, 24)
    rig.shard.collectTrimmed(parent)
    await rig.shard.quiesce()
    const left = await chunksOf(rig, parent)
    expect([left > 0, left <= whole / 2]).toEqual([true, true])
    expect(await rig.read(fork)).toEqual(shared)
    await rig.delete(fork)
    await rig.shard.quiesce()
    rig.shard.collectTrimmed(parent)
    await rig.shard.quiesce()
    expect(await chunksOf(rig, parent)).toBe(0)
  })
})

describe('a copy', () => {
  /** Topics `parent`, deleted if it is to be, and `fork`, which shares 10 of its records. */
  async function source(isDeleted: boolean): Promise<{ disk: MemoryDisk; expected: string[]; incarnation: string }> {
    const disk = new MemoryDisk()
    const rig = await Rig.open(await openMemoryStore(disk))
    const parent = await rig.create('parent')
    await rig.append(parent, RECORDS)
    const fork = await rig.fork(parent, 9, 'fork')
    await rig.append(fork, [message('own')])
    if (isDeleted) await rig.delete(parent)
    const expected = await rig.read(fork)
    return { disk, expected, incarnation: rig.shard.incarnation }
  }

  test.each([true, false])('of a store has its forks, and what they share (parent deleted: %s)', async (isDeleted) => {
    const { disk, expected, incarnation } = await source(isDeleted)
    const store = await openMemoryStore(disk.copy())
    const target = new MemoryDisk()
    const copied = await openMemoryStore(target)
    const snapshot = store.snapshot()
    await copySnapshot(snapshot, copied, { piece: async () => undefined })
    await snapshot.close()
    await beginHistory(copied)
    const rig = await Rig.open(await openMemoryStore(target))
    const fork = (await rig.shard.load('fork')) as TopicState
    expect(await rig.read(fork)).toEqual(expected)
    expect(fork.branches).toEqual([{ incarnation, next: 10 }])
    expect((await verifyStore(rig.shard.store)).damages).toEqual([])
    await rig.delete(fork)
    await rig.shard.quiesce()
    expect(await keysOf(rig, INDEX.fork)).toBe(0)
    expect(await keysOf(rig, INDEX.hidden)).toBe(0)
    // A fork made in the copy shares the history that its parent has.
    if (isDeleted) return
    const parent = (await rig.shard.load('parent')) as TopicState
    const later = await rig.fork(parent, 4, 'later')
    expect(later.branches).toEqual([{ incarnation, next: 4 }])
  })

  test.each([true, false])('by salvage stands by itself (parent deleted: %s)', async (isDeleted) => {
    const { disk, expected } = await source(isDeleted)
    const target = new MemoryDisk()
    const salvaged = await openMemoryStore(target)
    const report = await salvageStore(await openMemoryStore(disk.copy()), salvaged)
    expect(report).toMatchObject({ cut: 0, lost: 0, report: { damages: [] } })
    const rig = await Rig.open(salvaged)
    const fork = (await rig.shard.load('fork')) as TopicState
    expect(fork.extra?.fork).toBeUndefined()
    expect(await rig.read(fork)).toEqual(expected)
    expect((await verifyStore(rig.shard.store)).damages).toEqual([])
    expect(await keysOf(rig, INDEX.fork)).toBe(0)
  })

  test('by salvage ends where what it shares is damaged', async () => {
    const { disk } = await source(true)
    const damaged = disk.copy()
    const rig = await Rig.open(await openMemoryStore(damaged))
    await rig.shard.quiesce()
    const { table } = rig.shard.store
    const [hidden] = await table.scan({ gte: Buffer.of(INDEX.hidden), lt: Buffer.of(INDEX.hidden + 1) })
    const epoch = numberInKey((hidden as TableEntry).key, 0)
    const [chunk] = (await table.scan(epochRange(INDEX.chunk, epoch))) as [TableEntry]
    damaged.table.set(chunk.key, flip(chunk.value, 40))
    const { damages } = await verifyStore(await openMemoryStore(damaged.copy()))
    expect(damages).toMatchObject([{ unit: 'chunk', topic: 'parent' }])
    const target = await openMemoryStore(new MemoryDisk())
    const outcomes: unknown[] = []
    await salvageStore(await openMemoryStore(damaged.copy()), target, { salvaged: (topic) => outcomes.push(topic) })
    expect(outcomes).toEqual([{ topic: 'fork', outcome: 'cut', to: 0, missing: 10 }])
  })
})
