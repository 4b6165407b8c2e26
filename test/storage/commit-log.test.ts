/** Group commit: what goes into one journal entry, in which order it is given back, and what happens when it fails. */

import { describe, expect, test } from 'vitest'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { SLAB_BYTES } from '../../storage/slabs.ts'
import type { Store } from '../../storage/store.ts'
import { EPOCHS_PER_COMMIT, type TopicState } from '../../storage/topic-state.ts'
import { memoryPlace } from './shard-place.ts'
import { Rig, type TestItem, type TestRecord, TIME_MS } from './shard-rig.ts'
import { SteppedStore } from './stepped-store.ts'

const message = (text: string): TestRecord => ({ kind: 'message', text })
const nothing: TestItem = { committed() {}, failed() {} }

async function sizes(store: Store): Promise<number[]> {
  const found: number[] = []
  for await (const { bytes } of store.journal.entries()) found.push(bytes.length)
  return found
}

describe('a commit', () => {
  test('holds the operations of many topics, and the next one gathers while it is under way', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    const given: string[] = []
    const item = (name: string): TestItem => ({ committed: () => given.push(name), failed: () => given.push('failed') })
    const a = rig.shard.create('a', TIME_MS, null, item('create a'))
    const b = rig.shard.create('b', TIME_MS, null, item('create b'))
    await rig.idle()
    rig.appendNow(a, [message('1')], {}, item('append a'))
    rig.appendNow(b, [message('1')], {}, item('append b'))
    expect(given).toEqual([])
    store.step('journal')
    await rig.idle()
    expect(given).toEqual(['create a', 'create b'])
    expect([a.committedTo, rig.shard.log.durable, store.journal.last]).toEqual([0, 1, 1])
    store.step('journal')
    await rig.idle()
    expect(given).toEqual(['create a', 'create b', 'append a', 'append b'])
    expect([a.committedTo, rig.shard.log.durable, rig.shard.log.uncommittedBytes]).toEqual([1, 2, 0])
  })

  test('is handed to the store before those are told who waited for the one before it', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    let handedOver = 0
    const append = store.journal.append.bind(store.journal)
    store.journal.append = (first, entries) => {
      handedOver = first
      return append(first, entries)
    }
    const seen: number[] = []
    const item = (): TestItem => ({ committed: () => seen.push(handedOver), failed() {} })
    const state = rig.shard.create('t', TIME_MS, null, item())
    await rig.idle()
    rig.appendNow(state, [message('1')], {}, item())
    await store.run(rig.shard.log.whenAllDurable())
    expect(seen).toEqual([2, 2])
  })

  test('gives back what waits for it after its own items, also what comes while those are given back', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    const { log } = rig.shard
    const given: string[] = []
    const item = (name: string, then?: () => void): TestItem => ({
      committed() {
        given.push(name)
        then?.()
      },
      failed: () => given.push('failed'),
    })
    log.afterCommit(item('nothing is under way'))
    expect(given).toEqual(['nothing is under way'])
    const again = (): void => log.afterCommit(item('behind all'))
    const state = rig.shard.create('t', TIME_MS, null, item('first', again))
    // Three entries that become durable together.
    for (let i = 0; i < 3; i++) {
      rig.appendNow(state, [message('x'.repeat(200_000))], {}, item(`append ${i}`))
      rig.appendNow(state, [message('x'.repeat(200_000))], {}, item(`append ${i}`))
      log.afterCommit(item(`after ${i}`))
    }
    await store.run(log.whenAllDurable())
    expect(given.slice(1)).toEqual([
      'first',
      ...['append 0', 'append 0', 'after 0', 'append 1', 'append 1', 'after 1', 'append 2', 'append 2', 'after 2'],
      'behind all',
    ])
  })

  test('is at most as large as an entry may be, and never straddles two slabs', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const state = await rig.create('t')
    const lengths = [LIMITS.appendBytes - 4, 100_000, 250_000, 17, LIMITS.appendBytes - 4, 1]
    for (let i = 0; i < 60; i++) rig.appendNow(state, [message('x'.repeat(lengths[i % 6] as number))], {}, nothing)
    await rig.shard.log.whenAllDurable()
    const found = await sizes(place.store)
    expect(Math.max(...found)).toBeLessThanOrEqual(LIMITS.journalEntryBytes)
    expect(Math.max(...found)).toBeGreaterThan(LIMITS.journalEntryBytes / 2)
    expect(found.reduce((sum, size) => sum + size)).toBeGreaterThan(SLAB_BYTES)
    const flushed = 60 - state.tail.length
    state.tail.forEach((position, i) => {
      expect((position % SLAB_BYTES) + (lengths[(flushed + i) % 6] as number)).toBeLessThanOrEqual(SLAB_BYTES)
    })
    expect((await rig.read(state)).map((text) => text.length)).toEqual(
      Array.from({ length: 60 }, (_, i) => `${i}:  `.length + (lengths[i % 6] as number)),
    )
  })

  test('has room for a long principal at its very end', async () => {
    const place = await memoryPlace()
    let rig = await place.open()
    const state = await rig.create('t')
    const principal = '\u{10000}'.repeat(2_000)
    for (let i = 0; i < 200; i++) rig.appendNow(state, [message(`${i}`.padEnd(3_000))], { principal }, nothing)
    await rig.shard.log.whenAllDurable()
    rig = await place.kill()
    expect(await rig.read((await rig.shard.load('t')) as TopicState)).toHaveLength(200)
  })

  test('creates at most so many topics, the next goes into the next commit, and all epochs differ', async () => {
    const place = await memoryPlace()
    let rig = await place.open()
    await rig.create('first')
    const states: TopicState[] = []
    for (let i = 0; i < EPOCHS_PER_COMMIT + 3; i++) states.push(rig.shard.create(`${i}`, TIME_MS, null, null))
    await rig.shard.log.whenAllDurable()
    const epochs = states.map(({ epoch }) => epoch)
    expect(new Set(epochs).size).toBe(EPOCHS_PER_COMMIT + 3)
    expect(epochs[0]).toBe(2 * EPOCHS_PER_COMMIT)
    expect(epochs[EPOCHS_PER_COMMIT]).toBe(3 * EPOCHS_PER_COMMIT)
    expect(await place.journal()).toEqual([1, 2, 3])
    rig = await place.kill()
    for (const state of [states[0], states[4_000], states.at(-1)]) {
      expect((await rig.shard.load(state?.name ?? ''))?.epoch).toBe(state?.epoch)
    }
  })

  test('creates what belongs together in the next commit, where it has as many topics as it can have', async () => {
    const place = await memoryPlace()
    const { shard } = await place.open()
    for (let i = 0; i < EPOCHS_PER_COMMIT; i++) shard.create(`${i}`, TIME_MS, null, null)
    let last: TopicState | undefined
    shard.together(0, () => {
      last = shard.create('last', TIME_MS, null, null)
    })
    expect(last?.epoch).toBe(2 * EPOCHS_PER_COMMIT)
    await shard.log.whenAllDurable()
  })

  test('creates topics with the longest names in the commit that their epochs name', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const state = await rig.create('t')
    for (let i = 0; i < 2_000; i++) {
      const created = rig.shard.create(`${i}-`.padEnd(255, 'x'), TIME_MS, { maxBytes: i }, null)
      expect(Math.floor(created.epoch / EPOCHS_PER_COMMIT)).toBe(created.dirtySince)
      rig.appendNow(state, [message('x'.repeat(i % 700))], {}, nothing)
    }
    await rig.shard.log.whenAllDurable()
    expect((await sizes(place.store)).length).toBeGreaterThan(2)
  })
})

describe('a failed commit', () => {
  /** A store whose journal takes so many entries and then fails. */
  async function failing(entries: number): Promise<Store> {
    const store = await openMemoryStore(new MemoryDisk())
    const append = store.journal.append.bind(store.journal)
    store.journal.append = async (first, batch) => {
      if (first + batch.length - 1 > entries) throw new Error('no space left on device')
      await append(first, batch)
    }
    return store
  }

  test('fails all that waits and all that comes later, and acknowledges nothing', async () => {
    const rig = await Rig.open(await failing(1))
    const state = await rig.create('t')
    const unavailable = { code: 'STORE_UNAVAILABLE' }
    const waiting = [
      rig.append(state, [message('a')]),
      rig.append(state, [message('b'.repeat(200_000))]),
      rig.append(state, [message('c'.repeat(200_000))]),
      rig.append(state, [message('d'.repeat(200_000))]),
      rig.commit((item) => rig.shard.log.afterCommit(item)),
      rig.shard.log.whenAllDurable(),
    ]
    const results = await Promise.allSettled(waiting)
    for (const result of results) expect(result).toMatchObject({ status: 'rejected', reason: unavailable })
    expect(state.committedTo).toBe(0)
    expect(rig.shard.log.uncommittedBytes).toBe(0)
    const later: (() => unknown)[] = [
      () => rig.appendNow(state, [message('e')], {}, nothing),
      () => rig.shard.create('u', TIME_MS, null, null),
      () => rig.shard.log.afterCommit(nothing),
      () => rig.shard.delete(state, nothing),
      () => rig.shard.setPolicy(state, {}, nothing),
    ]
    for (const operation of later) expect(operation).toThrow(LitetopicError)
    await expect(rig.shard.log.whenDurable(9)).rejects.toMatchObject(unavailable)
    expect(state.deleted).toBe(false)
    await rig.shard.close()
    expect(rig.failures.every((error) => error.code === 'STORE_UNAVAILABLE')).toBe(true)
  })

  test('leaves what was durable before to be read', async () => {
    const rig = await Rig.open(await failing(3))
    const state = await rig.create('t')
    await rig.append(state, [message('a')])
    await rig.append(state, [message('b')])
    await expect(rig.append(state, [message('c')])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    expect(await rig.read(state)).toEqual(['0:  a', '1:  b'])
    expect((await rig.shard.list('', '', 9)).states).toEqual([state])
  })
})
