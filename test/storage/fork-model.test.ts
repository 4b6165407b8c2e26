/**
 * Forks agree with copies: whatever is appended, trimmed, forked and deleted in whatever order, and wherever it is killed, a fork reads
 * as a copy of its parent would, and what nobody reads any more is gone in the end.
 */

import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { LitetopicError } from '../../protocol/index.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { recentUpload } from '../../storage/parts.ts'
import { streamsAt } from '../../storage/streams-at.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { Random } from '../random.ts'
import {
  contentOf,
  expectNothingElse,
  expectTopic,
  type ForkEntry,
  type ForkOperation,
  type ForkTopic,
  forkModel,
  newestOf,
  streamsOf,
} from './fork-model.ts'
import { Rig, type TestRecord, TIME_MS } from './shard-rig.ts'
import { SteppedStore } from './stepped-store.ts'

const NAMES = ['a', 'b', 'c', 'd', 'e']
const SIZES = [10, 10, 300, 5_000, 40_000]

class Player {
  private readonly random: Random
  store!: SteppedStore
  rig!: Rig
  private held = new Map<string, TopicState>()
  private entries: ForkEntry[] = []
  /** Topics that are being forked: they stay in memory. */
  private used: TopicState[] = []
  private acknowledged = 0
  private count = 0
  private forking: Promise<unknown>[] = []
  forks = 0

  constructor(random: Random) {
    this.random = random
  }

  async open(disk: MemoryDisk): Promise<void> {
    this.store = await SteppedStore.open(disk)
    this.rig = await this.store.run(Rig.open(this.store))
    this.held = new Map()
    this.forking = []
    this.used = []
    await this.store.run(this.dropUploads())
  }

  /** What was not committed when it was killed. */
  private async dropUploads(): Promise<void> {
    const { parts } = this.rig.shard
    const { uploads } = await parts.uploads(null, 1000, (error) => expect.fail(error.message))
    for (const { epoch, uploadId, name } of uploads) {
      const state = await this.load(name)
      const { offset } = await parts.stored(epoch, uploadId)
      if (state?.epoch === epoch && (offset !== null || recentUpload(state, uploadId) !== null)) continue
      await parts.remove(epoch, uploadId)
    }
  }

  get model(): Map<string, ForkTopic> {
    return forkModel(this.entries)
  }

  async step(): Promise<void> {
    const { random } = this
    const what = random.between(0, 99)
    if (what < 50) return this.act(random.pick(NAMES))
    if (what < 75) this.store.step(random.chance(0.5) ? 'journal' : 'table')
    else if (what < 86) for (let turns = random.between(1, 8); turns > 0; turns--) await turn()
    else if (what < 93) await this.settle()
    else if (what < 94) await this.store.run(this.rig.shard.quiesce())
    else if (what < 97) await this.crash()
    else await this.check()
  }

  /** All topics, those that are only in the table too. */
  async check(): Promise<void> {
    await this.settle()
    for (const [name, topic] of this.model) {
      const state = this.held.get(name) ?? (await this.rig.shard.load(name))
      expect(state, `${name} is there`).not.toBeNull()
      await expectTopic(this.rig, state as TopicState, topic)
    }
  }

  /** Everything is deleted, in any order. */
  async end(): Promise<void> {
    await this.settle()
    await this.check()
    await this.quiet()
    while (this.model.size > 0) {
      const name = this.random.pick([...this.model.keys()])
      const state = this.held.get(name) ?? (await this.rig.shard.load(name))
      this.delete(state as TopicState)
      if (this.random.chance(0.5)) await this.quiet()
      await this.check()
    }
    await this.quiet()
    const { journal } = this.store
    for await (const { number } of journal.entries()) expect(`entry ${number}`).toBe('truncated')
    expect(this.rig.failures).toEqual([])
  }

  private async quiet(): Promise<void> {
    await this.settle()
    await this.store.run(this.rig.shard.quiesce())
    await this.store.run(this.rig.shard.quiesce())
    await expectNothingElse(this.rig, this.model)
    await expectSound(this.store.crash(1, 1))
  }

  /** Lets all writes through, and what follows from them. */
  private async settle(): Promise<void> {
    for (let idle = 0; idle < 6; idle = this.store.isWaiting ? 0 : idle + 1) {
      this.store.step('journal')
      this.store.step('table')
      await turn()
    }
    await this.store.run(Promise.all(this.forking))
    for (let idle = 0; idle < 6; idle = this.store.isWaiting ? 0 : idle + 1) {
      this.store.step('journal')
      this.store.step('table')
      await turn()
    }
  }

  private async act(name: string): Promise<void> {
    const { random, rig } = this
    await this.load(name)
    const state = this.held.get(name)
    if (state === undefined) {
      const parent = random.pick(NAMES)
      if (random.chance(0.3) || !this.model.has(parent)) this.create(name)
      else this.forking.push(this.fork(parent, name))
      return
    }
    const what = random.between(0, 99)
    if (what < 50) this.append(state)
    else if (what < 60) this.forking.push(this.appendLarge(state))
    else if (what < 75) this.trim(state)
    else if (what < 85) rig.shard.flush(state)
    else if (what < 95) this.leave(state)
    else this.delete(state)
  }

  /** The one state of the topic, as the broker would have it. */
  private async load(name: string): Promise<TopicState | null> {
    const loaded = this.held.has(name) ? null : await this.rig.shard.load(name)
    const state = this.held.get(name) ?? loaded
    if (state === null || state.deleted) return null
    this.held.set(name, state)
    return state
  }

  private leave(state: TopicState): void {
    if (this.rig.shard.isAtRest(state) && !this.used.includes(state)) this.held.delete(state.name)
  }

  private create(name: string): void {
    const state = this.rig.shard.create(name, TIME_MS, null, this.item())
    this.held.set(name, state)
    this.note(name, { do: 'create', epoch: state.epoch })
  }

  private async fork(parent: string, name: string): Promise<void> {
    const { random, rig } = this
    const state = await this.load(parent)
    if (state === null || this.held.has(name)) return
    this.used.push(state)
    const at = random.chance(0.3) ? state.committedTo : random.between(state.firstOffset, state.committedTo)
    await rig.shard.prepareFork(state, at)
    if (state.deleted) return
    const streams = await streamsAt(rig.shard.store.table, state, at)
    if (rig === this.rig) await this.load(name)
    const isTaken = this.held.has(name)
    this.used.splice(this.used.indexOf(state), 1)
    if (rig !== this.rig || state.deleted || isTaken || at < state.firstOffset) return
    const facts = { createdMs: TIME_MS, policy: null, extra: null, streams }
    const made = rig.shard.fork(state, at, name, facts, this.item())
    this.held.set(name, made)
    this.note(name, { do: 'fork', epoch: made.epoch, parent, at })
    this.forks++
  }

  private append(state: TopicState): void {
    const { random } = this
    const records: TestRecord[] = []
    const topic = this.model.get(state.name) as ForkTopic
    for (let left = random.between(1, 4); left > 0; left--) {
      records.push(this.record({ ...topic, records: [...topic.records, ...records] }, records.length === 0))
    }
    this.rig.appendNow(state, records, { timeMs: TIME_MS + ++this.count }, this.item())
    this.note(state.name, { do: 'append', records })
  }

  private async appendLarge(state: TopicState): Promise<void> {
    const { rig } = this
    const { epoch, name } = state
    const { parts } = rig.shard
    const uploadId = `u${++this.count}`
    const content = contentOf(uploadId, this.random.between(1, 500))
    this.used.push(state)
    const wanted = (): boolean => !state.deleted
    try {
      await parts.begin({ epoch, uploadId, name, producerId: 'p', tag: 'bytes', startedMs: TIME_MS }, wanted)
      await parts.write(epoch, uploadId, 0, content, wanted)
    } catch (error) {
      expect((error as LitetopicError).code).toBe('UPLOAD_UNKNOWN')
    }
    this.used.splice(this.used.indexOf(state), 1)
    if (rig !== this.rig) return
    if (state.deleted) {
      await parts.remove(epoch, uploadId)
      return
    }
    const sha256 = createHash('sha256').update(content).digest()
    const records: TestRecord[] = [{ kind: 'large', uploadId, size: content.length, sha256 }]
    if (this.random.chance(0.5)) records.push({ kind: 'message', text: 'behind' })
    rig.appendNow(state, records, { timeMs: TIME_MS + ++this.count }, this.item())
    this.note(name, { do: 'append', records })
  }

  private record(topic: ForkTopic, isFirst: boolean): TestRecord {
    const { random } = this
    const text = `${++this.count}${'x'.repeat(random.pick(SIZES))}`
    const kind = random.between(0, 8)
    if (kind === 0 && isFirst) {
      const id = `id${random.between(0, 3)}`
      const isKept = newestOf(topic, (record) => record.kind === 'message' && record.id === id) !== null
      return { kind: 'message', text, id: isKept ? undefined : id }
    }
    if (kind === 1) return { kind: 'checkpoint', name: `c${random.between(0, 1)}` }
    if (kind <= 4) {
      const op = random.pick(['set', 'append', 'append', 'delete'] as const)
      return { kind: 'context', op, name: `n${random.between(0, 2)}`, text: op === 'delete' ? '' : text }
    }
    if (kind > 6) return { kind: 'message', text }
    const open = [...streamsOf(topic)].find(([, { state }]) => ['open', 'lost', 'resumed'].includes(state))
    if (open === undefined) return { kind: 'stream', state: 'open', streamId: `s${this.count}` }
    return { kind: 'stream', state: random.pick(['lost', 'resumed', 'done', 'stopped']), streamId: open[0] }
  }

  /** None of a stream that is open. */
  private trim(state: TopicState): void {
    const wanted = this.random.between(state.firstOffset, state.committedTo)
    const open = [...(state.openStreams?.values() ?? [])].map(({ openOffset }) => openOffset)
    const firstOffset = Math.min(wanted, ...open)
    if (firstOffset <= state.firstOffset) return
    const { shard } = this.rig
    const item = this.item()
    const committed = (): void => {
      item.committed()
      shard.collectTrimmed(state)
    }
    shard.trim(state, -1, 0, firstOffset, 0, TIME_MS, { committed, failed: item.failed })
    this.note(state.name, { do: 'trim', firstOffset })
  }

  private delete(state: TopicState): void {
    this.rig.shard.delete(state, this.item())
    this.held.delete(state.name)
    this.note(state.name, { do: 'delete' })
  }

  private async crash(): Promise<void> {
    const { acknowledged, random } = this
    const disk = this.store.crash(random.next(), random.next())
    disk.inUse = false
    await expectSound(disk)
    await this.open(disk)
    const { last } = this.store.journal
    expect(last, 'acknowledged commits are there').toBeGreaterThanOrEqual(acknowledged)
    this.entries = this.entries.filter(({ commit }) => commit <= last)
    await this.check()
  }

  private note(name: string, operation: ForkOperation): void {
    this.entries.push({ name, commit: this.rig.shard.log.newest, operation })
  }

  private item(): { committed(): void; failed(): void } {
    const { log } = this.rig.shard
    return {
      committed: () => {
        this.acknowledged = Math.max(this.acknowledged, log.durable)
      },
      failed: () => expect.fail('nothing fails here'),
    }
  }
}

async function expectSound(disk: MemoryDisk): Promise<void> {
  const { damages } = await verifyStore(await openMemoryStore(disk.copy()))
  expect(damages).toEqual([])
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test('forks read as copies would, and nothing is left behind', { timeout: 900_000 }, async () => {
  const runs = Number(process.env.RUNS ?? 40)
  const first = Number(process.env.SEED ?? 1)
  let forks = 0
  for (let seed = first; seed < first + runs; seed++) {
    const player = new Player(new Random(seed))
    try {
      await player.open(new MemoryDisk())
      for (let steps = 0; steps < 250; steps++) await player.step()
      await player.end()
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
    forks += player.forks
  }
  expect(forks).toBeGreaterThan(runs)
})
