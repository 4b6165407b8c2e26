/** When topics are flushed, what the journal keeps until then, and what a failure leaves. */

import { describe, expect, test } from 'vitest'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { decodeHead } from '../../storage/head.ts'
import { headKey, indexRange, numberInKey, recordIdKey } from '../../storage/keys.ts'
import { findRecordId } from '../../storage/lookups.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { memoryPlace } from './shard-place.ts'
import { Rig, type TestItem, type TestRecord, until } from './shard-rig.ts'
import { SteppedStore } from './stepped-store.ts'

const message = (text: string): TestRecord => ({ kind: 'message', text })
const nothing: TestItem = { committed() {}, failed() {} }

describe('the flusher', () => {
  test('leaves a topic alone until its tail is large enough for a chunk', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const state = await rig.create('t')
    while (state.tailBytes < LIMITS.chunkBytes - 2_000) await rig.append(state, [message('x'.repeat(1_000))])
    await rig.idle()
    expect([rig.flushed, await place.entries(INDEX.head)]).toEqual([[], []])
    await rig.append(state, [message('x'.repeat(2_000))])
    await until(() => rig.flushed.length > 0)
    expect([state.tail.length, state.chunkedTo]).toEqual([0, state.nextOffset])
  })

  test('works from half of the journal on, oldest topics first, and stops again', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const count = 700
    const states = await Promise.all(Array.from({ length: count }, (_, i) => rig.create(`t${i}`)))
    while (rig.shard.log.fullness < 0.5) {
      expect(rig.flushed).toEqual([])
      for (const state of states) rig.appendNow(state, [message('x'.repeat(2_000))], {}, nothing)
      await rig.shard.log.whenAllDurable()
    }
    rig.appendNow(states[0] as TopicState, [message('more')], {}, nothing)
    await until(() => rig.shard.log.fullness <= 0.5 && states.every((state) => state.flushing === null))
    await rig.idle()
    expect(rig.flushed.slice(0, 100)).toEqual(states.slice(0, 100).map(({ name }) => name))
    expect(await place.journal()).not.toContain(1)
    expect(rig.shard.log.fullness).toBeLessThanOrEqual(0.5)
  })

  test('counts operations as well as bytes', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const state = await rig.create('t')
    const old = await rig.create('old')
    const quarter = LIMITS.journalOperations / 4
    for (let i = 0; i < quarter; i++) rig.appendNow(state, [message('')], {}, nothing)
    await rig.shard.log.whenAllDurable()
    expect(rig.shard.log.fullness).toBeCloseTo(0.25, 2)
    expect(old.headStored).toBe(false)
    for (let i = 0; i < quarter; i++) rig.appendNow(state, [message('')], {}, nothing)
    await until(() => old.headStored)
  })

  test('prepares the next write while one is under way, and writes them one after the other', async () => {
    const disk = new MemoryDisk()
    const store = await SteppedStore.open(disk)
    const rig = await store.run(Rig.open(store))
    const [a, b] = [await store.run(rig.create('a')), await store.run(rig.create('b'))]
    for (const state of [a, b]) await store.run(rig.append(state, [message('x')]))
    rig.shard.flush(a)
    await rig.idle()
    rig.shard.flush(b)
    await rig.idle()
    expect([a.flushingBytes > 0, b.flushingBytes > 0]).toEqual([true, true])
    store.step('table')
    await rig.idle()
    expect([rig.flushed, disk.table.get(headKey('b'))]).toEqual([['a'], undefined])
    store.step('table')
    await rig.idle()
    expect(rig.flushed).toEqual(['a', 'b'])
  })

  test('leaves nothing of a topic that is deleted, and its name used again, while it is being written', async () => {
    const disk = new MemoryDisk()
    const store = await SteppedStore.open(disk)
    const rig = await store.run(Rig.open(store))
    const state = await store.run(rig.create('t'))
    state.dueMs = 77
    await store.run(rig.append(state, [{ kind: 'stream', state: 'open', streamId: 's' }]))
    rig.shard.flush(state)
    await rig.idle()
    expect(state.flushingBytes).toBeGreaterThan(0)
    const changed = Promise.all([rig.delete(state), rig.create('t')])
    await rig.idle()
    store.step('journal')
    const [, next] = await changed
    rig.shard.flush(next)
    await rig.idle()
    await store.run(rig.shard.quiesce())
    expect(decodeHead('t', disk.table.get(headKey('t')) as Uint8Array).state.epoch).toBe(next.epoch)
    for (const index of [INDEX.timer, INDEX.openStreams]) {
      expect([...disk.table.range(indexRange(index), false, 9)]).toEqual([])
    }
  })

  test('ends quiescing although publishers go on', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const states = await Promise.all(Array.from({ length: 50 }, (_, i) => rig.create(`t${i}`)))
    let publishing = true
    const publish = async (): Promise<void> => {
      for (let i = 0; publishing; i++) await rig.append(states[i % 50] as TopicState, [message('x')])
    }
    const publisher = publish()
    await rig.shard.quiesce()
    publishing = false
    await publisher
    expect(states.every((state) => state.headStored)).toBe(true)
    const flushes = rig.flushed.length
    await rig.append(states[0] as TopicState, [message('later')])
    await rig.idle()
    expect(rig.flushed).toHaveLength(flushes)
  })

  test('takes old topics in turn with urgent ones, however many of those there are', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    await rig.create('old')
    const hot = await Promise.all(Array.from({ length: 600 }, (_, i) => rig.create(`hot-${i}`)))
    for (const state of hot) rig.appendNow(state, [message('x'.repeat(LIMITS.chunkBytes))], {}, nothing)
    expect(rig.shard.log.fullness).toBeGreaterThan(0.5)
    await until(() => rig.flushed.includes('old'))
    expect(rig.flushed.length).toBeLessThan(100)
  })

  test('truncates the journal only behind what the table has and what is durable there', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    const [a, b] = [await store.run(rig.create('a')), await store.run(rig.create('b'))]
    await store.run(rig.append(b, [message('1')]))
    const numbers = async (): Promise<number[]> => {
      const found: number[] = []
      for await (const { number } of store.journal.entries()) found.push(number)
      return found
    }
    rig.shard.flush(a)
    await rig.idle()
    expect(await numbers()).toEqual([1, 2, 3])
    store.step('table')
    await rig.idle()
    expect(await numbers()).toEqual([2, 3])
    rig.shard.flush(b)
    await rig.idle()
    const later = rig.append(b, [message('2')])
    await rig.idle()
    expect(store.isWaiting).toBe(true)
    store.step('table')
    await rig.idle()
    store.step('journal')
    await later
    await rig.idle()
    expect(await numbers()).toEqual([4])
  })

  test('takes a topic once in a flush, although it is both urgent and old, and its time has changed', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    const state = await store.run(rig.create('t'))
    await store.run(rig.append(state, [{ kind: 'message', text: '1', id: 'id' }]))
    await rig.idle()
    state.dueMs = 5_000
    rig.shard.flush(state)
    const all = rig.shard.quiesce()
    const more = rig.append(state, [message('2')])
    await rig.idle()
    expect(await findRecordId(store.table, state, 'id')).toBe(0)
    await store.run(Promise.all([all, more]))
    await store.run(rig.append(state, [message('3')]))
    expect(await rig.read(state)).toEqual(['0: id 1', '1:  2', '2:  3'])
  })

  test('after a failed write of the table nothing is written any more, reads go on, and a start has everything', async () => {
    const disk = new MemoryDisk()
    const store = await openMemoryStore(disk)
    const rig = await Rig.open(store)
    const state = await rig.create('t')
    await rig.append(state, [{ kind: 'message', text: 'a', id: 'id' }])
    const write = store.table.write
    store.table.write = () => Promise.reject(new LitetopicError('STORE_UNAVAILABLE', 'the disk is full'))
    rig.shard.flush(state)
    await until(() => rig.failures.length > 0)
    const unavailable = { code: 'STORE_UNAVAILABLE' }
    await expect(rig.append(state, [message('b')])).rejects.toMatchObject(unavailable)
    store.table.write = write
    await rig.shard.quiesce()
    await expect(rig.append(state, [message('c')])).rejects.toMatchObject(unavailable)
    expect(await rig.read(state)).toEqual(['0: id a'])
    expect(await findRecordId(store.table, state, 'id')).toBe(0)
    expect(await rig.shard.load('t')).toBe(state)
    expect(disk.entries).toHaveLength(2)
    await rig.shard.close()
    expect(rig.failures.map(({ code }) => code)).toEqual(['STORE_UNAVAILABLE'])
    const after = await Rig.open(await openMemoryStore(disk))
    expect(await after.read((await after.shard.load('t')) as TopicState)).toEqual(['0: id a'])
  })

  test('leaves a topic aside whose head is damaged, keeps its commits, and flushes the others', async () => {
    const place = await memoryPlace()
    let rig = await place.open()
    const bad = await rig.create('bad')
    await rig.flush(bad)
    await rig.create('good')
    await rig.append(bad, [message('kept')])
    rig = await place.kill()
    const key = headKey('bad')
    const stored = (await place.store.table.get(key)) as Uint8Array
    await place.store.table.write([{ key, value: stored.map((byte, i) => (i === 9 ? byte ^ 1 : byte)) }])
    await rig.shard.quiesce()
    expect(rig.flushed).toEqual(['good'])
    expect(rig.failures.map(({ code }) => code)).toEqual(['STORE_CORRUPT'])
    await expect(rig.shard.load('bad')).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
    const good = (await rig.shard.load('good')) as TopicState
    await rig.append(good, [message('x')])
    await rig.shard.quiesce()
    expect((await place.journal()).length).toBeGreaterThan(0)
    await place.store.table.write([{ key, value: stored }])
    rig = await place.kill()
    expect(await rig.read((await rig.shard.load('bad')) as TopicState)).toEqual(['0:  kept'])
  })

  test('a trim that is not durable yet clears nothing', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    const state = await store.run(rig.create('t'))
    for (let n = 0; n < 4; n++) await store.run(rig.append(state, [message('x'.repeat(70_000))]))
    await store.run(rig.shard.quiesce())
    const chunks = async () => (await rig.shard.chunks(state, 0, 9, 9)).length
    const trims = [rig.trim(state, 2)]
    await rig.idle()
    trims.push(rig.trim(state, 3))
    store.step('journal')
    await trims[0]
    rig.shard.collectTrimmed(state)
    for (let i = 0; i < 9; i++) {
      await rig.idle()
      store.step('table')
    }
    expect([state.firstOffset, await chunks()]).toEqual([3, 4])
    await store.run(Promise.all([...trims, rig.shard.quiesce()]))
    expect(await chunks()).toBe(1)
  })

  test('an id that a flush under way stores again outlives the clearing of its trimmed record', async () => {
    const store = await SteppedStore.open(new MemoryDisk())
    const rig = await store.run(Rig.open(store))
    const state = await store.run(rig.create('t'))
    await store.run(rig.append(state, [{ kind: 'message', text: 'x'.repeat(1_000), id: 'again' }]))
    await store.run(rig.shard.quiesce())
    await store.run(rig.trim(state, 1))
    await store.run(rig.append(state, [{ kind: 'message', text: 'y', id: 'again' }]))
    await rig.idle()
    rig.shard.flush(state)
    await rig.idle()
    expect(state.flushing).not.toBeNull()
    rig.shard.collectTrimmed(state)
    await rig.idle()
    await store.run(rig.shard.quiesce())
    expect(await rig.shard.chunks(state, 0, 9, 9)).toEqual([])
    expect(await findRecordId(store.table, state, 'again')).toBe(1)
  })

  test('clears trimmed and deleted topics although an index entry of one of them is damaged', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const states = await Promise.all(['bad', 'good', 'deleted'].map((name) => rig.create(name)))
    for (const state of states) await rig.append(state, [{ kind: 'message', text: 'x'.repeat(1_000), id: 'one' }])
    await rig.shard.quiesce()
    const [bad, good, deleted] = states as [TopicState, TopicState, TopicState]
    const key = recordIdKey(bad.epoch, 'one')
    const entry = (await place.store.table.get(key)) as Uint8Array
    await place.store.table.write([{ key, value: entry.map((byte, i) => (i === 4 ? byte ^ 1 : byte)) }])
    for (const state of [bad, good]) {
      await rig.trim(state, 1)
      rig.shard.collectTrimmed(state)
    }
    await rig.delete(deleted)
    await rig.shard.quiesce()
    expect(new Set(rig.failures.map(({ code }) => code))).toEqual(new Set(['STORE_CORRUPT']))
    expect((await place.entries(INDEX.chunk)).map(({ key }) => numberInKey(key, 0))).toEqual([bad.epoch])
  })

  test('clears deleted topics many at a time, whatever each of them has left', async () => {
    const place = await memoryPlace()
    const rig = await place.open()
    const states = await Promise.all(Array.from({ length: 100 }, (_, i) => rig.create(`t${i}`)))
    const records: TestRecord[] = [{ kind: 'message', text: 'x'.repeat(1_000), id: 'one' }]
    for (const state of states) await rig.append(state, records)
    for (const state of states) await rig.flush(state)
    const { table } = place.store
    const { clear } = table
    // The first deletions begin the work; all others are behind it.
    let open = (): void => undefined
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    let steps = 0
    table.clear = async (ranges, limit) => {
      steps++
      await gate
      return clear.call(table, ranges, limit)
    }
    for (const state of states) await rig.delete(state)
    open()
    await rig.shard.quiesce()
    expect([await place.entries(INDEX.chunk), await place.entries(INDEX.recordId)]).toEqual([[], []])
    expect(await place.entries(INDEX.garbage)).toEqual([])
    expect(steps).toBeLessThan(25)
  })

  test('a garbage collection that fails is reported, and goes on after the next start', async () => {
    const place = await memoryPlace()
    let rig = await place.open()
    const state = await rig.create('t')
    await rig.append(state, [message('x'.repeat(1_000))])
    await rig.flush(state)
    await rig.delete(state)
    place.store.table.clear = () => Promise.reject(new LitetopicError('STORE_UNAVAILABLE', 'the disk is full'))
    await rig.shard.quiesce()
    expect(rig.failures).toHaveLength(1)
    expect(await place.entries(INDEX.chunk)).toHaveLength(1)
    rig = await place.kill()
    await rig.shard.quiesce()
    expect([await place.entries(INDEX.chunk), await place.entries(INDEX.garbage)]).toEqual([[], []])
  })
})
