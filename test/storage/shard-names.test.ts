/** Names of topics: used again in all orders of deletion and flush, listed in order, and cleared away when they are gone. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { findCheckpoint, findContext, findRecordId } from '../../storage/lookups.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { PLACES, type ShardPlace } from './shard-place.ts'
import { type Rig, type TestRecord, until } from './shard-rig.ts'

const message = (text: string): TestRecord => ({ kind: 'message', text })
/** One record of each kind that leaves something in an index. */
const everything = (n: number): TestRecord[] => [
  { kind: 'message', text: `${n}`, id: `id-${n}` },
  { kind: 'context', op: 'set', name: 'n', text: `set ${n}` },
  { kind: 'checkpoint', name: 'c' },
  { kind: 'stream', state: 'open', streamId: `s${n}` },
  { kind: 'stream', state: 'done', streamId: `s${n}` },
  { kind: 'stream', state: 'open', streamId: `open-${n}` },
]
const TOPIC_INDEXES = Object.entries(INDEX).filter(([name]) => name !== 'info' && name !== 'usage')

describe.each(PLACES)('names on %s', (_, makePlace) => {
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

  /** Indexes of the table that have something. */
  async function used(): Promise<string[]> {
    const names: string[] = []
    for (const [name, index] of TOPIC_INDEXES) if ((await place.entries(index)).length > 0) names.push(name)
    return names
  }

  async function topicWithEverything(name: string, n: number): Promise<TopicState> {
    const state = await rig.create(name)
    state.dueMs = 1_000 + n
    await rig.append(state, everything(n))
    await rig.append(state, [message('x'.repeat(1_000))])
    return state
  }

  // Each letter is a step: create, flush, delete, kill (the process), quiesce.
  const orders = ['cdcdc', 'cfdc', 'cfdcf', 'cfdcfdc', 'cfdkc', 'cfdckf', 'cfdcfkdc', 'cdkcfdkc', 'cfdcdcfk', 'cfkdcqk']
  test.each([...orders, 'cfdcfkd', 'cdcfkdk', 'cfdqkc', 'cdcfkdkf', 'cfdckdkc'])(
    'a name goes through %s, and is what it was made last',
    async (order) => {
      let state: TopicState | null = null
      let n = 0
      for (const step of order) {
        if (step === 'c') state = await topicWithEverything('t', ++n)
        if (step === 'f' && state !== null) await rig.flush(state)
        if (step === 'd') await rig.delete(state as TopicState)
        if (step === 'd') state = null
        if (step === 'q') await rig.shard.quiesce()
        if (step === 'k') rig = await place.kill()
        if (step === 'k') state = await rig.shard.load('t')
        await expectTopic(state, n)
      }
      await rig.shard.quiesce()
      await expectTopic(state, n)
      rig = await place.reopen()
      state = await rig.shard.load('t')
      await expectTopic(state, n)
      if (state !== null) await rig.delete(state)
      await rig.shard.quiesce()
      expect(await used()).toEqual([])
      expect(await place.journal()).toEqual([])
    },
  )

  async function expectTopic(state: TopicState | null, n: number): Promise<void> {
    const { states } = await rig.shard.list('', '', 10)
    expect(states.map(({ name, epoch }) => [name, epoch])).toEqual(state === null ? [] : [['t', state.epoch]])
    if (state === null) {
      expect(await rig.shard.load('t')).toBeNull()
      return
    }
    expect((await rig.read(state)).slice(0, 2)).toEqual([`0: id-${n} ${n}`, `1: set n set ${n}`])
    expect(await findRecordId(rig.shard.store.table, state, `id-${n - 1}`)).toBeNull()
    expect(await findRecordId(rig.shard.store.table, state, `id-${n}`)).toBe(0)
  }

  test('a topic that is deleted while its flush is under way is gone, and leaves nothing', async () => {
    const state = await topicWithEverything('t', 1)
    rig.shard.flush(state)
    await rig.delete(state)
    expect(await rig.shard.load('t')).toBeNull()
    await rig.shard.quiesce()
    expect(await rig.shard.load('t')).toBeNull()
    expect(await used()).toEqual([])
  })

  test('a topic that is loaded while the flusher loads it is one and the same', async () => {
    const state = await rig.create('t')
    await rig.append(state, [message('a')])
    rig = await place.kill()
    const quiet = rig.shard.quiesce()
    const loaded = await Promise.all([rig.shard.load('t'), rig.shard.load('t')])
    const found = loaded[0] as TopicState
    expect(loaded[1]).toBe(found)
    await rig.append(found, [message('b')])
    await quiet
    await rig.append(found, [message('c')])
    rig = await place.kill()
    expect(await rig.read((await rig.shard.load('t')) as TopicState)).toEqual(['0:  a', '1:  b', '2:  c'])
  })

  test('a topic whose only change is being flushed is not read from the table meanwhile', async () => {
    const state = await rig.create('t')
    await rig.shard.quiesce()
    await rig.idle()
    await rig.commit((item) => rig.shard.setPolicy(state, { lingerMs: 7 }, item))
    rig.shard.flush(state)
    expect(state.dirtySince).toBe(0)
    expect(await rig.shard.load('t')).toBe(state)
    await until(() => state.flushes === 2)
    expect((await rig.shard.load('t'))?.policy).toEqual({ lingerMs: 7 })
  })

  test('topics are listed in pages, in byte order, flushed or not, without deleted ones', async () => {
    const names = ['a', 'a-b', 'a/b', 'a0', 'ab', 'b', 'b/c', 'b/d', 'c', 'c/1', 'c/10', 'c/2']
    const states = await Promise.all(names.map((name) => rig.create(name)))
    for (const [i, state] of states.entries()) if (i % 2 === 0) await rig.flush(state)
    await rig.delete(states[2] as TopicState)
    await rig.delete(states[5] as TopicState)
    const left = names.filter((name) => name !== 'a/b' && name !== 'b')
    for (const kill of [false, true]) {
      if (kill) rig = await place.kill()
      for (const limit of [1, 2, 3, 20]) {
        for (const prefix of ['', 'a', 'b', 'c/1', 'd']) {
          const found: string[] = []
          for (let more = true; more; ) {
            const page = await rig.shard.list(prefix, found.at(-1) ?? '', limit)
            expect(page.states.length).toBeLessThanOrEqual(limit)
            found.push(...page.states.map(({ name }) => name))
            more = page.more
          }
          expect(found).toEqual(left.filter((name) => name.startsWith(prefix)))
        }
      }
      expect((await rig.shard.list('b', 'a', 9)).states.map(({ name }) => name)).toEqual(['b/c', 'b/d'])
      expect((await rig.shard.list('b', 'c', 9)).states).toEqual([])
    }
  })

  test('many topics that are deleted and not removed yet are stepped over in few reads', async () => {
    const states = await Promise.all(
      Array.from({ length: 3_000 }, (_, i) => rig.create(`t${String(i).padStart(4, '0')}`)),
    )
    await rig.shard.quiesce()
    await Promise.all(states.slice(0, -1).map((state) => rig.delete(state)))
    const scans = vi.spyOn(rig.shard.store.table, 'scan')
    const page = await rig.shard.list('', '', 1)
    expect(page.states.map(({ name }) => name)).toEqual(['t2999'])
    expect(scans.mock.calls.length).toBeLessThan(12)
  })

  test('who is to stop does not first clear all that is deleted; the next start does', async () => {
    const states = await Promise.all(Array.from({ length: 200 }, (_, i) => rig.create(`t${i}`)))
    for (const state of states) await rig.append(state, [{ kind: 'message', text: 'x'.repeat(500) }])
    await rig.shard.quiesce()
    await Promise.all(states.map((state) => rig.delete(state)))
    const { table } = rig.shard.store
    const clear = table.clear.bind(table)
    const clears = vi.spyOn(table, 'clear').mockImplementation((...args) => {
      void rig.shard.stopClearing()
      return clear(...args)
    })
    await rig.shard.quiesce()
    expect(clears).toHaveBeenCalledTimes(1)
    expect((await used()).length).toBeGreaterThan(0)
    rig = await place.reopen()
    await rig.shard.quiesce()
    expect(await used()).toEqual([])
  })

  test('a page of the table is not cut short by topics in memory that come later', async () => {
    const stored = await Promise.all(Array.from({ length: 9 }, (_, i) => rig.create(`a${i}`)))
    await rig.shard.quiesce()
    for (const state of stored.slice(0, 6)) await rig.delete(state)
    for (let i = 0; i < 9; i++) await rig.create(`z${i}`)
    const page = await rig.shard.list('', '', 4)
    expect(page.states.map(({ name }) => name)).toEqual(['a6', 'a7', 'a8', 'z0'])
  })

  test('trimming clears chunks and index entries, and keeps the context as of the first offset', async () => {
    const state = await rig.create('t')
    for (let n = 0; n < 40; n++) {
      await rig.append(state, everything(n))
      await rig.append(state, [message('x'.repeat(5_000))])
    }
    await rig.flush(state)
    const chunks = await place.entries(INDEX.chunk)
    const first = 30 * 7
    await rig.trim(state, first)
    rig.shard.collectTrimmed(state)
    await rig.shard.quiesce()
    const left = await place.entries(INDEX.chunk)
    expect(left.length).toBeLessThan(chunks.length / 2)
    expect((await rig.read(state)).length).toBe(70)
    expect((await place.entries(INDEX.recordId)).length).toBeLessThan(25)
    expect((await place.entries(INDEX.checkpoint)).length).toBeLessThan(25)
    const { table } = rig.shard.store
    const pieces = async (asOf: number) => (await findContext(table, state, 'n', asOf))?.map(({ data }) => data.value)
    expect([await pieces(first), await pieces(first + 2)]).toEqual([['set 29'], ['set 30']])
    expect([await findRecordId(table, state, 'id-3'), await findRecordId(table, state, 'id-31')]).toEqual([null, 217])
    expect(await findCheckpoint(table, state, 'c')).toBe(39 * 7 + 2)
    await rig.trim(state, 280)
    rig.shard.collectTrimmed(state)
    await rig.shard.quiesce()
    expect([await place.entries(INDEX.chunk), await place.entries(INDEX.recordId)]).toEqual([[], []])
    expect(await place.entries(INDEX.checkpointName)).toEqual([])
    expect(await place.entries(INDEX.context)).toHaveLength(1)
    expect(await pieces(280)).toEqual(['set 39'])
  })

  test('an id that is stored again after its record was trimmed is found, whatever is cleared', async () => {
    const state = await rig.create('t')
    await rig.append(state, [{ kind: 'message', text: 'x'.repeat(1_000), id: 'again' }])
    await rig.flush(state)
    await rig.trim(state, 1)
    expect(await findRecordId(rig.shard.store.table, state, 'again')).toBeNull()
    await rig.append(state, [{ kind: 'message', text: 'y'.repeat(1_000), id: 'again' }])
    await rig.flush(state)
    rig.shard.collectTrimmed(state)
    await rig.shard.quiesce()
    expect(await place.entries(INDEX.chunk)).toHaveLength(1)
    expect(await findRecordId(rig.shard.store.table, state, 'again')).toBe(1)
  })

  test.each([false, true])('what was trimmed before its flush is cleared after it (killed: %s)', async (kill) => {
    let state = await rig.create('t')
    await rig.append(state, [message('x'.repeat(50_000))])
    await rig.trim(state, 1, state.bytes)
    rig.shard.collectTrimmed(state)
    await rig.append(state, [message('y'.repeat(20_000))])
    await until(() => state.chunkedTo === 2)
    if (kill) rig = await place.kill()
    if (kill) state = (await rig.shard.load('t')) as TopicState
    await rig.shard.quiesce()
    expect(await place.entries(INDEX.chunk)).toHaveLength(1)
    expect(state.bytes).toBeLessThan(21_000)
    expect((await rig.read(state)).length).toBe(1)
    await expect(rig.shard.readChunk(state, 0)).rejects.toMatchObject({ code: 'TRIMMED', details: { firstOffset: 1 } })
  })

  test('a topic that is deleted while its deleted predecessor is looked up stays deleted', async () => {
    await rig.flush(await topicWithEverything('t', 1))
    await rig.delete((await rig.shard.load('t')) as TopicState)
    await rig.append(await rig.create('t'), [message('second')])
    rig = await place.kill()
    const second = (await rig.shard.load('t')) as TopicState
    rig.shard.flush(second)
    await rig.delete(second)
    await rig.shard.quiesce()
    expect([await used(), await place.journal()]).toEqual([[], []])
    rig = await place.kill()
    expect(await rig.shard.load('t')).toBeNull()
  })
})
