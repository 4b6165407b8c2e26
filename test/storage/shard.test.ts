/** Topics on a shard: what is written is read, from the journal, from heads and chunks, and after a start on what is left. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../protocol/index.ts'
import { findContext, findRecordId, findStream, listCheckpoints } from '../../storage/lookups.ts'
import { SLAB_BYTES } from '../../storage/slabs.ts'
import { INDEX } from '../../storage/store.ts'
import type { StoredTimer } from '../../storage/timers.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { PLACES, type ShardPlace } from './shard-place.ts'
import { type Rig, shown, type TestRecord, TIME_MS } from './shard-rig.ts'

const message = (text: string): TestRecord => ({ kind: 'message', text })
const big = (bytes: number): TestRecord => message('x'.repeat(bytes))
const numbered = (count: number, size: number): TestRecord[] =>
  Array.from({ length: count }, (_, i) => message(`${i}${'.'.repeat(size)}`))
const shownAll = (records: readonly TestRecord[], from = 0): string[] =>
  records.map((record, i) => shown(i, record)).slice(from)

describe.each(PLACES)('a shard on %s', (_, makePlace) => {
  let place: ShardPlace
  let rig: Rig

  beforeEach(async () => {
    place = await makePlace()
    rig = await place.open()
  })

  afterEach(async () => {
    await place.store.close()
    await place.remove()
  })

  async function load(name: string): Promise<TopicState> {
    const state = await rig.shard.load(name)
    expect(state, name).not.toBeNull()
    return state as TopicState
  }

  /** Appends each record by itself. */
  async function appendEach(state: TopicState, records: readonly TestRecord[]): Promise<void> {
    await Promise.all(records.map((record) => rig.append(state, [record])))
  }

  test('records are read from memory before any flush, from every offset', async () => {
    const state = await rig.create('t')
    const records = numbered(20, 10)
    await appendEach(state, records)
    for (let from = 0; from <= 20; from++) expect(await rig.read(state, from)).toEqual(shownAll(records, from))
    expect(rig.shard.readMemory(state, 20)).toHaveLength(0)
  })

  test('a small tail is flushed into the head, a larger one into chunks, and both are read from every offset', async () => {
    const state = await rig.create('t')
    const records = numbered(6, 20)
    await appendEach(state, records)
    await rig.flush(state)
    expect([state.chunkedTo, state.flushedTo, state.tail.length]).toEqual([0, 6, 0])
    expect(await place.entries(INDEX.chunk)).toEqual([])
    for (let i = 0; i < 4; i++) {
      const more = numbered(30, 1_000)
      await appendEach(state, more)
      records.push(...more)
      for (let from = 0; from < records.length; from += 7) {
        expect(await rig.read(state, from)).toEqual(shownAll(records, from))
      }
      await rig.flush(state)
      expect([state.chunkedTo, state.inline]).toEqual([records.length, null])
    }
    await appendEach(state, [message('last')])
    records.push(message('last'))
    for (let from = 0; from < records.length; from += 3) {
      expect(await rig.read(state, from)).toEqual(shownAll(records, from))
    }
    rig = await place.reopen()
    expect(await rig.read(await load('t'))).toEqual(shownAll(records))
  })

  test('a tail of exactly the inline limit stays in the head, one byte more becomes a chunk', async () => {
    const bytesOf = (state: TopicState): number => state.bytes
    const probe = await rig.create('probe')
    await rig.append(probe, [big(200)])
    const overhead = bytesOf(probe) - 200
    for (const [extra, chunks] of [
      [0, 0],
      [1, 1],
    ] as const) {
      const state = await rig.create(`t${extra}`)
      await rig.append(state, [big(LIMITS.inlineTailBytes - overhead + extra)])
      expect(bytesOf(state)).toBe(LIMITS.inlineTailBytes + extra)
      await rig.flush(state)
      expect(await place.entries(INDEX.chunk)).toHaveLength(chunks)
    }
  })

  test('chunks hold about chunkBytes, and a batch larger than that has a chunk of its own', async () => {
    const state = await rig.create('t')
    const records = [...numbered(100, 1_500), big(200_000), ...numbered(3, 10)]
    for (const record of records) rig.appendNow(state, [record], {}, { committed() {}, failed() {} })
    await rig.commit((item) => rig.shard.log.afterCommit(item))
    await rig.flush(state)
    const sizes = (await place.entries(INDEX.chunk)).map(({ value }) => value.length)
    expect(sizes.filter((size) => size > LIMITS.chunkBytes + 4)).toHaveLength(1)
    expect(sizes.length).toBeLessThan(7)
    expect(await rig.read(state)).toEqual(shownAll(records))
  })

  test('what only the journal has is there after a start', async () => {
    const state = await rig.create('t')
    rig.shard.setProducer(state, 2, 'p', 7, TIME_MS)
    await rig.append(state, [message('a'), message('b')], { slot: 2, sequence: 0, principal: 'me' })
    await rig.append(state, [{ kind: 'message', text: 'c', id: 'id-1' }], { slot: 2, sequence: 1 })
    await rig.commit((item) => rig.shard.advance(state, 2, 2, -1, TIME_MS + 9, item))
    await rig.commit((item) => rig.shard.setPolicy(state, { lingerMs: 5 }, item))
    rig = await place.kill()
    expect(rig.shard.unloadedNames()).toEqual(['t'])
    const found = await load('t')
    expect(found.producers).toEqual([
      null,
      null,
      { id: 'p', epoch: 7, sequence: 2, lastUsedMs: TIME_MS + 9, bases: [0, 2, -1] },
    ])
    expect([found.epoch, found.nextOffset, found.committedTo, found.policy]).toEqual([
      state.epoch,
      3,
      3,
      { lingerMs: 5 },
    ])
    expect(await rig.read(found)).toEqual(['0:  a', '1:  b', '2: id-1 c'])
    expect(await rig.shard.load('t')).toBe(found)
  })

  test('operations of the same commit behind a flush are replayed, earlier ones are not applied twice', async () => {
    const state = await rig.create('t')
    await rig.append(state, [message('first')])
    rig.shard.setProducer(state, 0, 'p', 1, TIME_MS)
    const before = rig.append(state, [message('before')], { slot: 0, sequence: 0 })
    rig.shard.flush(state)
    expect(state.introduced).toBe(false)
    const after = rig.append(state, [message('after')], { slot: 0, sequence: 1 })
    await Promise.all([before, after])
    await rig.flush(state)
    rig = await place.kill()
    const found = await load('t')
    expect(await rig.read(found)).toEqual(['0:  first', '1:  before', '2:  after'])
    expect(found.producers?.[0]?.bases).toEqual([1, 2])
  })

  test('a start with some topics flushed, some not, and some since then again, has them all', async () => {
    const states = await Promise.all(['a', 'b', 'c', 'd'].map((name) => rig.create(name)))
    for (const state of states) await appendEach(state, numbered(5, 200))
    for (const state of states.slice(0, 2)) await rig.flush(state)
    for (const state of states.slice(1, 3)) await appendEach(state, numbered(5, 200))
    for (let starts = 0; starts < 3; starts++) {
      rig = await place.kill()
      for (const [name, count] of [
        ['a', 5],
        ['b', 10],
        ['c', 10],
        ['d', 5],
      ] as const) {
        const found = await load(name)
        const records = [...numbered(5, 200), ...numbered(5, 200)].slice(0, count)
        expect(await rig.read(found)).toEqual(shownAll(records))
        if (starts === name.charCodeAt(0) % 3) await rig.flush(found)
      }
    }
  })

  test('ids, context, checkpoints and ended streams are found before, during and after a flush, and after a start', async () => {
    const state = await rig.create('t')
    await rig.append(state, [
      { kind: 'message', text: 'm', id: 'id-1' },
      { kind: 'context', op: 'set', name: 'n', text: 'one' },
      { kind: 'checkpoint', name: 'c' },
      { kind: 'stream', state: 'open', streamId: 's1' },
      { kind: 'stream', state: 'failed', streamId: 's1' },
      { kind: 'stream', state: 'open', streamId: 's2' },
      { kind: 'context', op: 'append', name: 'n', text: 'two' },
    ])
    const check = async (topic: TopicState): Promise<void> => {
      const { table } = rig.shard.store
      expect(await findRecordId(table, topic, 'id-1')).toBe(0)
      expect(await findStream(table, topic, 's1')).toMatchObject({ state: 'failed', openOffset: 3, lastOffset: 4 })
      expect(await findStream(table, topic, 's2')).toMatchObject({ state: 'open', fence: 5 })
      expect(await listCheckpoints(table, topic, 9, 9)).toEqual([{ name: 'c', offset: 2 }])
      const pieces = async (asOf: number) =>
        (await findContext(table, topic, 'n', asOf))?.map((version) => version.data.value)
      expect([await pieces(1), await pieces(6), await pieces(7)]).toEqual([undefined, ['one'], ['one', 'two']])
    }
    await check(state)
    rig.shard.flush(state)
    expect(state.flushing).not.toBeNull()
    await check(state)
    await rig.flush(state)
    expect([state.flushing, state.recent]).toEqual([null, null])
    await check(state)
    rig = await place.kill()
    await check(await load('t'))
    rig = await place.reopen()
    await check(await load('t'))
    expect(await rig.shard.openStreamTopics(-1, 10)).toEqual([{ epoch: state.epoch, name: 't' }])
  })

  test('a topic with room for streams, counts and names from all of UTF-8 is the same after a start', async () => {
    const state = await rig.create('t')
    const names = ['ÿ', '\u{10000}', '\uffff', 'a', 'ab', 'abc', ' ']
    for (const name of names) await rig.append(state, [{ kind: 'context', op: 'set', name, text: name }])
    await rig.flush(state)
    rig = await place.reopen()
    const found = await load('t')
    for (const name of names) {
      const versions = await findContext(rig.shard.store.table, found, name, 99)
      expect(versions?.map((version) => version.data.value)).toEqual([name])
    }
  })

  test('appends of the largest size fill entries and slabs, and all are there after a start', async () => {
    const state = await rig.create('t')
    const records = Array.from({ length: 40 }, (_, i) => big(LIMITS.appendBytes - 8 - i))
    await appendEach(state, records)
    expect(rig.shard.log.durable).toBeGreaterThan((2 * SLAB_BYTES) / LIMITS.journalEntryBytes)
    const lengths = async (topic: TopicState) => (await rig.read(topic)).map((text) => text.length)
    const expected = shownAll(records).map((text) => text.length)
    expect(await lengths(state)).toEqual(expected)
    rig = await place.kill()
    expect(await lengths(await load('t'))).toEqual(expected)
    rig = await place.reopen()
    expect(await lengths(await load('t'))).toEqual(expected)
  })

  test('the journal is empty after a close, and commit numbers go on', async () => {
    const state = await rig.create('t')
    await appendEach(state, numbered(3, 10))
    const { durable } = rig.shard.log
    rig = await place.reopen()
    expect(await place.journal()).toEqual([])
    expect(rig.shard.unloadedNames()).toEqual([])
    await rig.append(await load('t'), [message('next')])
    expect(await place.journal()).toEqual([durable + 1])
    expect(rig.shard.incarnation).toMatch(/^[0-9a-f]{12}$/)
  })

  test('timers are found when they are due, in order, and pushed forward without a moment without one', async () => {
    const due = [5_000, 1_000, 2 ** 40, 3_000]
    for (const [i, dueMs] of due.entries()) {
      const state = await rig.create(`t${i}`)
      state.dueMs = dueMs
      await rig.flush(state)
    }
    const { timers } = rig.shard
    expect(await timers.next()).toBe(1_000)
    const { timers: found } = await timers.due(3_000, 10)
    expect(found.map((timer) => [timer.name, timer.dueMs, timer.lingerMs])).toEqual([
      ['t1', 1_000, LIMITS.lingerMs],
      ['t3', 3_000, LIMITS.lingerMs],
    ])
    await timers.postpone(found.map((timer) => ({ ...timer, laterMs: timer.dueMs + 100_000 })))
    expect((await timers.due(2 ** 41, 10)).timers.map((timer) => timer.dueMs)).toEqual([
      5_000,
      101_000,
      103_000,
      2 ** 40,
    ])
    const { last: first } = await timers.due(2 ** 41, 1)
    const behind = first as StoredTimer
    expect((await timers.due(2 ** 41, 1, behind)).timers.map((timer) => timer.dueMs)).toEqual([101_000])
    expect(await timers.next(behind)).toBe(101_000)
    await timers.drop(found.slice(0, 1).map((timer) => ({ ...timer, dueMs: 101_000 })))
    const state = await load('t0')
    state.dueMs = 7_000
    await rig.flush(state)
    await rig.shard.quiesce()
    expect((await timers.due(2 ** 41, 10)).timers.map((timer) => timer.dueMs)).toEqual([7_000, 103_000, 2 ** 40])
  })
})
