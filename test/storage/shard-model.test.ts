/**
 * A shard agrees with plain lists in memory, whatever is done in whatever order, and wherever it is killed: what was
 * acknowledged is there after a start, and what is there is the beginning of what was written.
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import {
  expectModel,
  expectNoLitter,
  expectStoredUsage,
  type ModelEntry,
  type ModelOperation,
  type ModelTopic,
  modelOf,
} from './shard-model.ts'
import { Rig, type TestRecord, TIME_MS } from './shard-rig.ts'
import { SteppedStore } from './stepped-store.ts'

const NAMES = ['a', 'a/b', 'ab']
const CONTEXT_NAMES = ['n', 'n2', 'nn'] as const
/** Kinds of records that only begin an append: an id that comes again, a large message. */
const ONLY_FIRST: ReadonlySet<number> = new Set([1, 10])
const SIZES = [10, 300, 5_000, 40_000]

type Step =
  | { do: 'create' | 'delete' | 'flush' | 'leave' | 'due' | 'policy' | 'extra' | 'take' | 'let go'; topic: number }
  | { do: 'append'; topic: number; kinds: readonly number[]; size: number; producer: number }
  | { do: 'advance' | 'close'; topic: number; producer: number }
  | { do: 'trim'; topic: number; share: number }
  | { do: 'step'; journal: boolean }
  | { do: 'turns'; count: number }
  | { do: 'quiesce' | 'check' | 'settle' }
  | { do: 'crash'; journalShare: number; tableShare: number }

const topic = fc.nat(NAMES.length - 1)
const share = fc.double({ min: 0, max: 1, noNaN: true })
const producer = fc.integer({ min: -1, max: 1 })
const of = <T extends string>(name: T) => fc.constant(name)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: of('create'), topic }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: of('append'),
      topic,
      kinds: fc.array(fc.nat(10), { minLength: 1, maxLength: 3 }),
      size: fc.nat(SIZES.length - 1),
      producer,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: of('advance'), topic, producer }) },
  { weight: 1, arbitrary: fc.record({ do: of('close'), topic, producer }) },
  { weight: 3, arbitrary: fc.record({ do: of('trim'), topic, share }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom('delete', 'flush', 'flush', 'leave', 'due', 'policy', 'extra', 'take', 'let go' as const),
      topic,
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: of('step'), journal: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: of('turns'), count: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 4, arbitrary: fc.record({ do: of('settle') }) },
  { weight: 1, arbitrary: fc.record({ do: of('quiesce') }) },
  { weight: 2, arbitrary: fc.record({ do: of('check') }) },
  { weight: 2, arbitrary: fc.record({ do: of('crash'), journalShare: share, tableShare: share }) },
)

/** Does the steps on a shard, and writes down what it did. */
class Player {
  store!: SteppedStore
  rig!: Rig
  /** The topics that the broker has in memory. */
  held = new Map<string, TopicState>()
  entries: ModelEntry[] = []
  /** Number of the newest commit that something was acknowledged of. */
  acknowledged = 0
  count = 0
  private opened = 0

  async open(disk: MemoryDisk): Promise<void> {
    this.store = await SteppedStore.open(disk)
    this.rig = await this.store.run(Rig.open(this.store))
    // Now these, now those: what nobody watches is stored all the same.
    const watched = [['', 'a', 'a/b', 'ab'], ['a'], [], ['a/b', '']][this.opened++ % 4] as string[]
    await this.store.run(this.rig.shard.usage.watch(watched))
    void this.rig.shard.countUsage()
    this.held = new Map()
  }

  /** The topics as of everything written, durable or not. */
  model(last: number = Number.POSITIVE_INFINITY): Map<string, ModelTopic> {
    return modelOf(this.entries, last)
  }

  async take(step: Step): Promise<void> {
    if (step.do === 'step') this.store.step(step.journal ? 'journal' : 'table')
    else if (step.do === 'turns') for (let i = 0; i < step.count; i++) await turn()
    else if (step.do === 'settle') await this.settle()
    else if (step.do === 'quiesce') await this.store.run(this.rig.shard.quiesce())
    else if (step.do === 'check') await expectModel(this.rig, this.model(), this.held, NAMES)
    else if (step.do === 'crash') await this.crash(step.journalShare, step.tableShare)
    else if ('topic' in step) await this.act(step, NAMES[step.topic] as string)
  }

  /** Lets all writes through, and what follows from them. */
  private async settle(): Promise<void> {
    for (let idle = 0; idle < 4; idle = this.store.isWaiting ? 0 : idle + 1) {
      this.store.step('journal')
      this.store.step('table')
      await turn()
    }
  }

  private async act(step: Extract<Step, { topic: number }>, name: string): Promise<void> {
    const state = this.held.get(name) ?? (await this.rig.shard.load(name))
    if (state === null) {
      expect(this.model().has(name), `${name} is lost`).toBe(false)
      if (step.do !== 'create') return
      const extra = [null, { principal: 'u1' }, { principal: 'u2', contentType: 'a/b' }][++this.count % 3] ?? null
      const created = this.rig.shard.create(name, TIME_MS, null, this.item(), extra)
      this.held.set(name, created)
      this.note(name, { do: 'create', epoch: created.epoch, extra })
      return
    }
    this.held.set(name, state)
    const { shard } = this.rig
    if (step.do === 'append' && !state.closed) this.append(state, step)
    if (step.do === 'advance') this.advance(state, step.producer)
    if (step.do === 'close') this.close(state, step.producer)
    if (step.do === 'extra') this.setExtra(state)
    if (step.do === 'flush') shard.flush(state)
    if (step.do === 'due') state.dueMs = TIME_MS + ++this.count
    if (step.do === 'leave') this.leave(state)
    if (step.do === 'policy') {
      const policy = { maxRecords: ++this.count }
      shard.setPolicy(state, policy, this.item())
      this.note(name, { do: 'policy', policy })
    }
    if (step.do === 'take') this.setFence(state, state.fence + 1, `p${++this.count}`)
    if (step.do === 'let go') this.setFence(state, state.fence, null)
    if (step.do === 'trim') this.trim(state, step.share)
    if (step.do === 'delete') {
      shard.delete(state, this.item())
      this.held.delete(name)
      this.note(name, { do: 'delete' })
    }
  }

  private append(state: TopicState, step: Step & { do: 'append' }): void {
    const records = step.kinds.map((kind, i) =>
      this.record(state, i > 0 && ONLY_FIRST.has(kind) ? 0 : kind, SIZES[step.size] as number),
    )
    const { slot, sequence } = this.sequence(state, step.producer)
    const timeMs = TIME_MS + ++this.count
    this.rig.appendNow(state, records, { slot, sequence, timeMs }, this.item())
    const content = records.reduce((sum, record) => sum + (record.kind === 'large' ? record.size : 0), 0)
    const bytes = this.rig.shard.log.batchBytes + content
    this.note(state.name, { do: 'append', bytes, records, slot, sequence, timeMs })
  }

  private record(state: TopicState, kind: number, size: number): TestRecord {
    const text = `${++this.count}${'x'.repeat(size)}`
    const name = CONTEXT_NAMES[kind % 3] as string
    const open = [...(state.openStreams?.keys() ?? [])][0]
    if (kind === 1) return { kind: 'message', text, id: this.freeId(state) }
    if (kind === 2) return { kind: 'message', text, id: `id-${this.count}` }
    if (kind === 3) return { kind: 'checkpoint', name: this.count % 2 === 0 ? 'c' : 'c2' }
    if (kind === 4 && open !== undefined) return { kind: 'stream', state: 'done', streamId: open }
    if (kind === 4 || kind === 5) return { kind: 'stream', state: 'open', streamId: `s${this.count}` }
    if (kind === 6) return { kind: 'context', op: 'set', name, text }
    if (kind === 7) return { kind: 'context', op: 'append', name, text }
    if (kind === 8) return { kind: 'context', op: 'delete', name, text: '' }
    if (kind === 10) return { kind: 'large', uploadId: `u${this.count}`, size: size * 100 }
    return { kind: 'message', text }
  }

  /** One of few ids, so that they come again once their records are trimmed; none that a kept record has. */
  private freeId(state: TopicState): string {
    const id = `again-${this.count % 3}`
    const kept =
      this.model()
        .get(state.name)
        ?.offsets((record) => record.kind === 'message' && record.id === id) ?? []
    return kept.length === 0 ? id : `id-${this.count}`
  }

  /** The next sequence of a producer, which is written down if it is new. */
  private sequence(state: TopicState, slot: number): { slot: number; sequence: number } {
    if (slot < 0) return { slot, sequence: 0 }
    if (!state.producers?.[slot] || this.count % 7 === 0) {
      const producerEpoch = ++this.count
      this.rig.shard.setProducer(state, slot, `p${slot}`, producerEpoch, TIME_MS)
      this.note(state.name, { do: 'producer', slot, id: `p${slot}`, producerEpoch })
    }
    return { slot, sequence: (state.producers?.[slot]?.sequence ?? -1) + 1 }
  }

  private advance(state: TopicState, producer: number): void {
    if (producer < 0) return
    const { slot, sequence } = this.sequence(state, producer)
    this.rig.shard.advance(state, slot, sequence, -1, TIME_MS, this.item())
    this.note(state.name, { do: 'advance', slot, sequence, base: -1 })
  }

  private setExtra(state: TopicState): void {
    const change = { streamSeq: `${++this.count}` }
    this.rig.shard.setExtra(state, change, this.item())
    this.note(state.name, { do: 'extra', change })
  }

  /** With the end of its open streams, a message and the text of a sequence: all of it, or nothing. */
  private close(state: TopicState, producer: number): void {
    if (state.closed) return
    const { slot, sequence } = this.sequence(state, producer)
    const base = state.nextOffset
    const ends = [...(state.openStreams?.keys() ?? [])].map(
      (streamId): TestRecord => ({ kind: 'stream', state: 'stopped', streamId }),
    )
    const records: TestRecord[] = [{ kind: 'message', text: 'x'.repeat(100_000) }, ...ends]
    const timeMs = TIME_MS + ++this.count
    this.rig.shard.together(200_000, () => {
      this.rig.appendNow(state, records, { timeMs }, this.item())
      this.note(state.name, {
        do: 'append',
        bytes: this.rig.shard.log.batchBytes,
        records,
        slot: -1,
        sequence: 0,
        timeMs,
      })
      this.setExtra(state)
      this.rig.shard.closeTopic(state, slot, sequence, base, timeMs, this.item())
      this.note(state.name, { do: 'close', slot, sequence, base })
    })
  }

  private trim(state: TopicState, share: number): void {
    const firstOffset = Math.round(state.firstOffset + share * (state.committedTo - state.firstOffset))
    if (firstOffset <= state.firstOffset) return
    const { shard } = this.rig
    const item = this.item()
    const committed = (): void => {
      item.committed()
      shard.collectTrimmed(state)
    }
    const freed = Math.round(share * state.bytes)
    shard.trim(state, -1, 0, firstOffset, freed, TIME_MS, { committed, failed: item.failed })
    this.note(state.name, { do: 'trim', firstOffset, freed })
  }

  private setFence(state: TopicState, fence: number, holder: string | null): void {
    this.rig.shard.setFence(state, fence, holder, this.item())
    this.note(state.name, { do: 'fence', fence, holder })
  }

  /** What the broker does with a topic that nobody uses: it is flushed, and then forgotten. */
  private leave(state: TopicState): void {
    if (state.dirtySince !== 0 || state.dueMs !== state.storedDueMs) this.rig.shard.flush(state)
    else if (this.rig.shard.isAtRest(state)) this.held.delete(state.name)
  }

  private async crash(journalShare: number, tableShare: number): Promise<void> {
    const { acknowledged } = this
    const disk = this.store.crash(journalShare, tableShare)
    disk.inUse = false
    await expectSound(disk)
    await this.open(disk)
    const { last } = this.store.journal
    expect(last, 'acknowledged commits are there').toBeGreaterThanOrEqual(acknowledged)
    this.entries = this.entries.filter((entry) => entry.commit <= last)
    await expectModel(this.rig, this.model(), this.held, NAMES)
  }

  private note(name: string, operation: ModelOperation): void {
    this.entries.push({ name, commit: this.rig.shard.log.number, operation })
  }

  /** An item whose commit counts as acknowledged from when it is given back. */
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

/** What a crash leaves is no damage. The content of the large messages here was never uploaded. */
async function expectSound(disk: MemoryDisk): Promise<void> {
  const { damages } = await verifyStore(await openMemoryStore(disk.copy()))
  expect(damages.filter(({ unit }) => unit !== 'part')).toEqual([])
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test('whatever is done, and wherever it is killed, a shard holds what plain lists hold', {
  timeout: 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 150, size: 'max' }), async (steps) => {
      const player = new Player()
      await player.open(new MemoryDisk())
      for (const step of steps) await player.take(step)
      await player.store.run(player.rig.shard.quiesce())
      await player.store.run(player.rig.shard.countUsage())
      await expectStoredUsage(player.rig, player.model())
      await expectModel(player.rig, player.model(), player.held, NAMES)
      player.held.clear()
      await expectModel(player.rig, player.model(), player.held, NAMES)
      await expectNoLitter(player.rig, player.model())
      await expectSound(player.store.crash(1, 1))
      expect(player.rig.failures).toEqual([])
    }),
    { numRuns: Number(process.env.RUNS ?? 500) },
  )
})
