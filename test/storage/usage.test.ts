/** Counters of topics and bytes: what they say after restarts, kills and damage, and what a start reads for them. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../protocol/index.ts'
import { headKey, usageKey } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { PLACES, type ShardPlace } from './shard-place.ts'
import { Rig, type TestRecord, until } from './shard-rig.ts'

const message = (size: number): TestRecord => ({ kind: 'message', text: 'x'.repeat(size) })

/** What the counters of prefixes say, after they have been completed. */
async function counted(rig: Rig, ...prefixes: string[]): Promise<Record<string, [number, number]>> {
  await rig.shard.usage.watch(prefixes)
  await rig.shard.countUsage()
  const found = [...rig.shard.usage.watched].map(([prefix, { topics, bytes, whole }]) => {
    expect(whole).toBe(true)
    return [prefix, [topics, bytes]]
  })
  return Object.fromEntries(found)
}

const bytesOf = (...states: TopicState[]): number => states.reduce((sum, { bytes }) => sum + bytes, 0)

describe.each(PLACES)('counters on %s', (_, open) => {
  let place: ShardPlace
  let rig: Rig

  beforeEach(async () => {
    place = await open()
    rig = await place.open()
  })

  afterEach(async () => {
    await rig.shard.close()
    await place.remove()
  })

  test.each(['kill', 'reopen'] as const)('are what they were after a %s, whatever was flushed', async (how) => {
    const flushed = await rig.create('a/1')
    await rig.append(flushed, [message(500)])
    await rig.flush(flushed)
    await rig.append(flushed, [message(10)])
    const unflushed = await rig.create('a/b/2')
    await rig.append(unflushed, [message(20)])
    const trimmed = await rig.create('b')
    await rig.append(trimmed, [message(1_000)])
    await rig.trim(trimmed, 1, trimmed.bytes)
    await rig.append(trimmed, [message(30)])
    await rig.delete(await rig.create('c/1'))
    await rig.delete(await rig.create('a/3'))
    rig = await place[how]()
    expect(await counted(rig, '', 'a', 'a/b', 'b', 'c')).toEqual({
      '': [3, bytesOf(flushed, unflushed, trimmed)],
      a: [2, bytesOf(flushed, unflushed)],
      'a/b': [1, unflushed.bytes],
      b: [1, trimmed.bytes],
      c: [0, 0],
    })
  })

  test('of nothing go, once the journal cannot bring back what was in them', async () => {
    const gone = await rig.create('gone/1')
    await rig.shard.quiesce()
    const kept = await rig.create('kept/1')
    await rig.delete(gone)
    rig.shard.flush(gone)
    await until(() => gone.dirtySince === 0)
    const other = await rig.create('other/1')
    await rig.flush(other)
    // The journal still has the deletion, because of the one that is not flushed, and not the creation.
    rig = await place.kill()
    expect(await counted(rig, 'gone', '')).toEqual({ gone: [0, 0], '': [2, 0] })
    const state = (await rig.shard.load('kept/1')) as TopicState
    await rig.shard.quiesce()
    for (let i = 0; i < 3; i++) {
      await rig.append(state, [message(i)])
      await rig.shard.quiesce()
    }
    expect(kept.bytes).toBe(0)
    const left = (await place.entries(INDEX.usage)).map(({ key }) => Buffer.from(key).toString('hex')).sort()
    const expected = [usageKey('total', ''), usageKey('segment', 'kept'), usageKey('segment', 'other')]
    expect(left).toEqual(expected.map((key) => key.toString('hex')))
  })

  test('that are damaged are told, keep nothing from being flushed, and are counted anew when they are needed', async () => {
    const state = await rig.create('a/1')
    await rig.append(state, [message(100)])
    await rig.shard.quiesce()
    const key = usageKey('segment', 'a')
    const value = Buffer.from((await place.store.table.get(key)) as Uint8Array)
    value[6] = (value[6] as number) ^ 1
    await place.store.table.write([{ key, value }])
    rig = await place.reopen()
    const again = (await rig.shard.load('a/1')) as TopicState
    await rig.append(again, [message(200)])
    await rig.flush(again)
    expect(rig.failures).toMatchObject([{ code: 'STORE_CORRUPT' }])
    rig = await place.kill()
    expect(await counted(rig, 'a')).toEqual({ a: [1, again.bytes] })
    await rig.append((await rig.shard.load('a/1')) as TopicState, [message(1)])
    await rig.shard.quiesce()
    rig = await place.kill()
    expect((await counted(rig, 'a')).a?.[0]).toBe(1)
    expect(rig.failures).toEqual([])
  })

  test('that the table never had are counted from the heads', async () => {
    const states: TopicState[] = []
    for (const name of ['a', 'a/b', 'a/b/c', 'a/bc', 'ab']) {
      const state = await rig.create(name)
      await rig.append(state, [message(name.length)])
      states.push(state)
    }
    await rig.shard.quiesce()
    const usage = await place.entries(INDEX.usage)
    await place.store.table.write(usage.map(({ key }) => ({ key, value: null })))
    rig = await place.kill()
    const [a, ab, abc, abc2, ab2] = states as [TopicState, TopicState, TopicState, TopicState, TopicState]
    expect(await counted(rig, '', 'a', 'a/b', 'none')).toEqual({
      '': [5, bytesOf(a, ab, abc, abc2, ab2)],
      a: [4, bytesOf(a, ab, abc, abc2)],
      'a/b': [2, bytesOf(ab, abc)],
      none: [0, 0],
    })
    // Nor does it begin in the middle.
    await rig.append((await rig.shard.load('a')) as TopicState, [message(1)])
    await rig.shard.quiesce()
    expect(await place.entries(INDEX.usage)).toEqual([])
  })
})

describe('a count while topics change', () => {
  const many = (i: number): string => `p/q/${String(i).padStart(4, '0')}`

  test('counts each topic once, as it is', async () => {
    const disk = new MemoryDisk()
    let rig = await Rig.open(await openMemoryStore(disk))
    const topics = LIMITS.pageItems + 500
    for (let i = 0; i < topics; i++) rig.shard.create(many(i), 0, null, null)
    await rig.shard.quiesce()
    await rig.shard.close()
    const store = await openMemoryStore(disk)
    rig = await Rig.open(store)
    const { table } = store
    const scan = table.scan.bind(table)
    let pages = 0
    // Behind the read of each page, and before it is counted.
    table.scan = async (range) => {
      const page = await scan(range)
      if (range.gte[0] === INDEX.head && pages++ < 2) await change(rig, many, pages)
      return page
    }
    const all = await counted(rig, 'p/q', 'p')
    expect(pages).toBe(2)
    table.scan = scan
    let bytes = 0
    let found = 0
    for (let after = ''; ; ) {
      const { states, more } = await rig.shard.list('p/q/', after, 500)
      found += states.length
      bytes += bytesOf(...states)
      after = states.at(-1)?.name ?? ''
      if (!more) break
    }
    expect(all).toEqual({ p: [found, bytes], 'p/q': [found, bytes] })
    await rig.shard.close()
  })

  /** Appends to, deletes, recreates and flushes topics of every page, some of them twice. */
  async function change(rig: Rig, name: (i: number) => string, page: number): Promise<void> {
    // The last one of the second time has been counted by its head.
    for (const i of [3, 3, 20 + page, LIMITS.pageItems - 1, LIMITS.pageItems, LIMITS.pageItems + 400]) {
      const state = (await rig.shard.load(name(i))) as TopicState
      await rig.append(state, [message(700)])
      await rig.flush(state)
    }
    for (const i of [5, LIMITS.pageItems + 7]) {
      const state = await rig.shard.load(name(i))
      if (state !== null) await rig.delete(state)
      if (state !== null) await rig.append(await rig.create(name(i)), [message(10)])
    }
    for (const i of [9, LIMITS.pageItems + 9]) {
      const state = await rig.shard.load(name(i))
      if (state !== null) await rig.delete(state)
    }
    for (const between of ['0002x', '1200x']) {
      if ((await rig.shard.load(`p/q/${between}`)) === null)
        await rig.append(await rig.create(`p/q/${between}`), [message(5)])
    }
    await rig.shard.quiesce()
  }
})

test('one of nothing stays while a power cut may undo the truncation of what was in it', async () => {
  const disk = new MemoryDisk()
  const store = await openMemoryStore(disk)
  const rig = await Rig.open(store)
  const gone = await rig.create('gone/1')
  const kept = await rig.create('kept/1')
  await rig.shard.quiesce()
  const { journal } = store
  const truncate = journal.truncate.bind(journal)
  let before = disk.copy()
  journal.truncate = (number) => {
    before = disk.copy()
    return truncate(number)
  }
  await rig.append(kept, [message(1)])
  // Flushed in the turn of its deletion: the counter is as of the middle of a commit.
  const deleted = rig.delete(gone)
  rig.shard.flush(gone)
  await deleted
  await rig.shard.quiesce()
  expect(disk.entries).toEqual([])
  // Flushed again and again, and nothing committed that would make the truncation durable.
  for (let i = 1; i <= 3; i++) {
    kept.dueMs = i
    rig.shard.flush(kept)
    await until(() => kept.storedDueMs === i)
  }
  const left = disk.copy()
  left.entries = before.entries
  left.floor = before.floor
  const after = await Rig.open(await openMemoryStore(left))
  expect(await counted(after, 'gone', 'kept')).toEqual({ gone: [0, 0], kept: [1, kept.bytes] })
  await after.shard.close()
  await rig.shard.close()
})

describe('what counters cost', () => {
  test('a start looks up no more of them, however many there are', async () => {
    const reads = async (topics: number): Promise<number> => {
      const disk = new MemoryDisk()
      const before = await Rig.open(await openMemoryStore(disk))
      for (let i = 0; i < topics; i++) before.shard.create(`user-${i}/chat`, 0, null, null)
      await before.shard.quiesce()
      await before.shard.close()
      const store = await openMemoryStore(disk)
      let count = 0
      for (const method of ['get', 'getMany', 'scan'] as const) {
        const inner = store.table[method].bind(store.table) as (argument: unknown) => Promise<never>
        store.table[method] = (argument: unknown) => {
          count += Array.isArray(argument) ? argument.length : 1
          return inner(argument)
        }
      }
      const rig = await Rig.open(store)
      await rig.shard.usage.watch(['user-1', ''])
      await rig.shard.countUsage()
      const found = count
      await rig.shard.close()
      return found
    }
    expect(await reads(2_000)).toBe(await reads(2))
  })

  test('those that leave memory because there are many lose nothing', async () => {
    const disk = new MemoryDisk()
    let rig = await Rig.open(await openMemoryStore(disk))
    const segments = LIMITS.usageCounters + 500
    const states = Array.from({ length: segments }, (_, i) => rig.shard.create(`user-${i}/chat`, 0, null, null))
    await rig.shard.quiesce()
    const sample = [0, 1, 250, 400, LIMITS.usageCounters, segments - 1]
    for (const i of sample) await rig.append(states[i] as TopicState, [message(i % 100)])
    await rig.shard.quiesce()
    await rig.append(states[1] as TopicState, [message(50)])
    await rig.shard.close()
    rig = await Rig.open(await openMemoryStore(disk))
    const found = await counted(rig, '', ...sample.map((i) => `user-${i}`))
    for (const i of sample) expect(found[`user-${i}`]).toEqual([1, states[i]?.bytes])
    expect(found['']).toEqual([segments, bytesOf(...states)])
    await rig.shard.close()
  })
})

test('a head that cannot be read is told, and not counted', async () => {
  const disk = new MemoryDisk()
  let rig = await Rig.open(await openMemoryStore(disk))
  for (const name of ['a/b/1', 'a/b/2']) await rig.append(await rig.create(name), [message(10)])
  await rig.shard.close()
  const value = disk.table.get(headKey('a/b/1')) as Uint8Array
  value[10] = (value[10] as number) ^ 1
  disk.table.set(headKey('a/b/1'), value)
  rig = await Rig.open(await openMemoryStore(disk))
  expect((await counted(rig, 'a/b'))['a/b']?.[0]).toBe(1)
  expect(rig.failures).toMatchObject([{ code: 'STORE_CORRUPT' }])
  await rig.shard.close()
})
