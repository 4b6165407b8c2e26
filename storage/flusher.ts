/**
 * The one writer of the table. It moves topics' tails and effects from the journal into the table, in commit order and
 * in small batches, and lets the journal forget what the table has. It works when a tail is large enough, when a topic
 * is about to leave memory, from half of the journal's budget on, and when all is quiet.
 */

import { LIMITS, type LitetopicError } from '../protocol/index.ts'
import type { CommitLog } from './commit-log.ts'
import type { Garbage } from './garbage.ts'
import { headKey, openStreamsKey, timerKey } from './keys.ts'
import { type Snapshot, settle, takeSnapshot } from './snapshot.ts'
import type { Table, TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** From this share of the journal's budget on, the oldest topics are flushed without being asked. */
const PRESSURE = 0.5

/** A topic in the journal whose state must be loaded before it can be flushed. */
export interface LazyTopic {
  readonly since: number
  /** Null when the topic was deleted and nothing of it is left. */
  load(): Promise<TopicState | null>
}

/** A deleted topic whose keys are still in the table. */
export interface Tombstone {
  readonly name: string
  readonly epoch: number
  /** Its timer and index entries, as the table has them. */
  readonly dueMs: number
  readonly tableUsed: boolean
  readonly openStreams: boolean
}

interface Dirty {
  readonly since: number
  readonly topic: TopicState | LazyTopic
}

export interface FlusherListener {
  /** Linger of the topic, stored beside its timer. */
  lingerMs(state: TopicState): number
  /** The topic has just been flushed; it may have become dirty again. */
  flushed(state: TopicState): void
  /** The journal was truncated: it is less full now. */
  truncated(): void
  /** The table cannot be written; nothing more is flushed. */
  flushFailed(error: LitetopicError): void
}

export class Flusher {
  private readonly log: CommitLog<unknown>
  private readonly table: Table
  private readonly garbage: Garbage
  private readonly listener: FlusherListener
  /** Topics in the order in which they became dirty. */
  private queue: Dirty[] = []
  private queueHead = 0
  private urgent: TopicState[] = []
  private readonly urgentSet = new Set<TopicState>()
  /** Deleted topics by name whose head may still be in the table. It goes before the head of a successor comes. */
  private readonly graves = new Map<string, TopicState | LazyTopic>()
  private running: Promise<void> | null = null
  private everything = false
  private inFlightSince = 0
  private truncatedTo = 0
  private stopped = false

  constructor(log: CommitLog<unknown>, table: Table, garbage: Garbage, listener: FlusherListener) {
    this.log = log
    this.table = table
    this.garbage = garbage
    this.listener = listener
  }

  /** Notes a topic that has become dirty. Called in commit order. */
  add(topic: TopicState | LazyTopic, since: number): void {
    this.queue.push({ since, topic })
  }

  /** Notes a deleted topic. It is dirty, or becomes so by its deletion. */
  addGrave(name: string, topic: TopicState | LazyTopic): void {
    // A predecessor's grave stands for both: a successor whose head is stored would have removed it.
    if (!this.graves.has(name)) this.graves.set(name, topic)
  }

  /** Is the head of that name, if the table has one, of a deleted topic? */
  isGrave(name: string): boolean {
    return this.graves.has(name)
  }

  /** Flushes the topic soon, ahead of older ones. */
  hurry(state: TopicState): void {
    if (this.urgentSet.has(state)) return
    this.urgentSet.add(state)
    this.urgent.push(state)
    this.wake()
  }

  /** To be called after commits: starts work if there is some. */
  wake(): void {
    if (this.running !== null || this.stopped || !this.hasWork()) return
    this.running = this.run().finally(() => {
      this.running = null
      this.wake()
    })
  }

  /** Flushes all that is dirty now, and truncates the journal. */
  async flushAll(): Promise<void> {
    this.everything = true
    while (!this.stopped && (this.queueHead < this.queue.length || this.running !== null)) {
      this.wake()
      await this.running
    }
    await this.truncate()
  }

  /** Waits for work under way and does no more. */
  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  private hasWork(): boolean {
    if (this.urgent.length > 0) return true
    return this.queueHead < this.queue.length && (this.everything || this.log.fullness > PRESSURE)
  }

  private async run(): Promise<void> {
    try {
      while (!this.stopped && this.hasWork()) {
        await this.flushSome()
        await this.truncate()
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
      if (this.queueHead >= this.queue.length) this.everything = false
    } catch (error) {
      this.stopped = true
      this.listener.flushFailed(error as LitetopicError)
    }
  }

  private async flushSome(): Promise<void> {
    const snapshots: Snapshot[] = []
    const changes: TableChange[] = []
    let bytes = 0
    this.inFlightSince = this.oldest()
    for (let topics = 0; topics < LIMITS.flushTopics && bytes < LIMITS.flushBytes; topics++) {
      const next = this.next()
      if (next === null) break
      const state = 'load' in next ? await next.load() : next
      if (state === null || isClean(state)) continue
      const grave = this.graves.get(state.name)
      if (grave !== undefined) changes.push(...(await this.bury(grave)))
      if (state.deleted) continue
      const asOf = { commit: this.log.number, operations: this.log.index }
      const snapshot = takeSnapshot(state, this.log.slabs, asOf, this.listener.lingerMs(state))
      snapshots.push(snapshot)
      for (const change of snapshot.changes) changes.push(change)
      bytes += snapshot.bytes
    }
    await this.log.whenDurable(this.log.index === 0 ? this.log.number - 1 : this.log.number)
    if (changes.length > 0) await this.table.write(changes)
    for (const snapshot of snapshots) settle(snapshot)
    this.inFlightSince = 0
    for (const snapshot of snapshots) this.listener.flushed(snapshot.state)
  }

  private next(): TopicState | LazyTopic | null {
    const urgent = this.urgent.shift()
    if (urgent !== undefined) {
      this.urgentSet.delete(urgent)
      return urgent
    }
    if (!this.everything && this.log.fullness <= PRESSURE) return null
    const dirty = this.queue[this.queueHead]
    if (dirty === undefined) return null
    this.queueHead++
    if (this.queueHead > 4096 && this.queueHead * 2 > this.queue.length) {
      this.queue = this.queue.slice(this.queueHead)
      this.queueHead = 0
    }
    return dirty.topic
  }

  /** Changes that remove a deleted topic from the table; what it stored beside its head is cleared later, by epoch. */
  private async bury(grave: TopicState | LazyTopic): Promise<TableChange[]> {
    const state = 'load' in grave ? await grave.load() : grave
    if (state === null) return []
    this.graves.delete(state.name)
    state.dirtySince = 0
    if (!state.headStored) return []
    return buryChanges(
      {
        name: state.name,
        epoch: state.epoch,
        dueMs: state.storedDueMs,
        tableUsed: state.tableUsed,
        openStreams: state.openStreamsStored,
      },
      this.garbage,
    )
  }

  /** Number of the oldest commit that some dirty topic still needs. */
  private oldest(): number {
    while (this.queueHead < this.queue.length) {
      const { since, topic } = this.queue[this.queueHead] as Dirty
      if ('load' in topic || topic.dirtySince === since) return since
      this.queueHead++
    }
    return this.log.number
  }

  private async truncate(): Promise<void> {
    const oldest = this.inFlightSince === 0 ? this.oldest() : this.inFlightSince
    const upTo = Math.min(oldest - 1, this.log.durable)
    if (upTo <= this.truncatedTo) return
    this.truncatedTo = upTo
    await this.log.truncate(upTo)
    this.listener.truncated()
  }
}

export function buryChanges(tombstone: Tombstone, garbage: Garbage): TableChange[] {
  const changes: TableChange[] = [{ key: headKey(tombstone.name), value: null }]
  if (tombstone.dueMs !== 0) changes.push({ key: timerKey(tombstone.dueMs, tombstone.epoch), value: null })
  if (tombstone.openStreams) changes.push({ key: openStreamsKey(tombstone.epoch), value: null })
  if (tombstone.tableUsed) changes.push(garbage.add(tombstone.epoch))
  return changes
}

/** Has the table all of the topic, its time included? */
function isClean(state: TopicState): boolean {
  return state.dirtySince === 0 && (state.deleted || state.dueMs === state.storedDueMs)
}
