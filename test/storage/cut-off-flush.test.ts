/**
 * Changes of one table write are applied in order, but not as one: a flush may be cut off after any of them. What it left
 * in the table must be found and made right, or cleared, after the next start.
 */

import { expect, test } from 'vitest'
import { findRecordId } from '../../storage/lookups.ts'
import { MemoryDisk } from '../../storage/memory/memory-store.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { Rig, type TestRecord } from './shard-rig.ts'
import { SteppedStore } from './stepped-store.ts'

const message = (text: string): TestRecord => ({ kind: 'message', text })
const records: TestRecord[] = [
  { kind: 'message', text: 'a', id: 'id' },
  { kind: 'context', op: 'set', name: 'n', text: 'one' },
  { kind: 'checkpoint', name: 'c' },
  { kind: 'stream', state: 'open', streamId: 's' },
  { kind: 'stream', state: 'done', streamId: 's' },
  { kind: 'stream', state: 'open', streamId: 'open' },
  message('x'.repeat(1_000)),
]
/** More changes than any flush here has. */
const CHANGES = 14

class Scene {
  store!: SteppedStore
  rig!: Rig

  async open(disk: MemoryDisk): Promise<Rig> {
    this.store = await SteppedStore.open(disk)
    this.rig = await this.store.run(Rig.open(this.store))
    return this.rig
  }

  /** Begins to flush, and crashes when so many changes are in the table. */
  async cutOff(state: TopicState, changes: number): Promise<Rig> {
    const write = this.store.table.write
    let cut: MemoryDisk | undefined
    this.store.table.write = (all) => {
      void write(all)
      cut ??= this.store.crash(1, Math.min(1, changes / all.length))
      return new Promise(() => undefined)
    }
    this.rig.shard.flush(state)
    await this.rig.idle()
    if (cut === undefined) throw new Error('nothing was flushed')
    return this.open(cut)
  }

  async load(): Promise<TopicState> {
    return (await this.rig.shard.load('t')) as TopicState
  }

  /** How many entries each index of the table has; timers that are left over are dropped when they are due. */
  async used(...but: string[]): Promise<string[]> {
    const found: string[] = []
    for (const [name, index] of Object.entries(INDEX)) {
      const entries = await this.store.table.scan({ gte: Buffer.of(index), lt: Buffer.of(index + 1) })
      if (entries.length > 0 && !['info', 'usage', ...but].includes(name)) found.push(name)
    }
    return found
  }
}

async function sceneWithTopic(): Promise<{ scene: Scene; state: TopicState }> {
  const scene = new Scene()
  const rig = await scene.open(new MemoryDisk())
  const state = await scene.store.run(rig.create('t'))
  state.dueMs = 5_000
  await scene.store.run(rig.append(state, records))
  return { scene, state }
}

test.each(Array.from({ length: CHANGES }, (_, i) => i))('a first flush cut off after %i changes', async (changes) => {
  for (const then of ['flush', 'end the stream', 'delete']) {
    const { scene, state } = await sceneWithTopic()
    const rig = await scene.cutOff(state, changes)
    const found = await scene.load()
    expect(await rig.read(found)).toHaveLength(records.length)
    expect(await findRecordId(scene.store.table, found, 'id')).toBe(0)
    if (then === 'delete') await scene.store.run(rig.delete(found))
    if (then === 'end the stream') {
      await scene.store.run(rig.append(found, [{ kind: 'stream', state: 'stopped', streamId: 'open' }]))
    }
    await scene.store.run(rig.shard.quiesce())
    if (then === 'delete') expect(await scene.used('timer')).toEqual([])
    else expect(await rig.read(found)).toHaveLength(found.nextOffset)
    const open = await rig.shard.openStreamTopics(-1, 9)
    expect(open.map(({ name }) => name)).toEqual(then === 'flush' ? ['t'] : [])
  }
})

test.each(Array.from({ length: CHANGES }, (_, i) => i))('a burial cut off after %i changes', async (changes) => {
  for (const again of [false, true]) {
    const { scene, state } = await sceneWithTopic()
    await scene.store.run(scene.rig.shard.quiesce())
    await scene.store.run(scene.rig.delete(state))
    let next = state
    if (again) next = await scene.store.run(scene.rig.create('t'))
    const rig = await scene.cutOff(next, changes)
    expect((await rig.shard.load('t'))?.epoch).toBe(again ? next.epoch : undefined)
    await scene.store.run(rig.shard.quiesce())
    expect(await scene.used()).toEqual(again ? ['head'] : [])
    expect(await rig.shard.load('t').then((found) => found?.nextOffset)).toBe(again ? 0 : undefined)
  }
})

test('a flush of a new time cut off anywhere leaves the topic with a timer', async () => {
  for (let changes = 0; changes < 5; changes++) {
    const { scene, state } = await sceneWithTopic()
    await scene.store.run(scene.rig.shard.quiesce())
    await scene.rig.idle()
    state.dueMs = 9_000
    const rig = await scene.cutOff(state, changes)
    const found = await scene.load()
    const due = (await rig.shard.timers.due(99_000, 9)).timers.map(({ dueMs }) => dueMs)
    expect(due, `after ${changes} changes`).toContain(found.storedDueMs)
  }
})

test('timers pushed forward are never gone in between', async () => {
  const { scene } = await sceneWithTopic()
  await scene.store.run(scene.rig.shard.quiesce())
  const { timers } = scene.rig.shard
  const { timers: due } = await timers.due(9_000, 9)
  void timers.postpone(due.map((timer) => ({ ...timer, laterMs: 8_000 })))
  for (const share of [0, 0.5, 1]) {
    const after = await new Scene().open(scene.store.crash(1, share))
    expect((await after.shard.timers.due(9_000, 9)).timers.length, `${share} of it`).toBeGreaterThan(0)
  }
})
