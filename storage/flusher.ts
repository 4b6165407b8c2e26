/**
 * Moves topics' tails and effects from the journal into the table, oldest first and in small batches, and lets the
 * journal forget what the table has. It works when a tail is large enough, when a topic is about to leave memory, from
 * half of the journal's budget on, and when all is quiet. It also knows every topic that the table does not have as it
 * is: no other state of such a topic may be loaded.
 */

import { asLitetopicError, LIMITS, type LitetopicError } from '../protocol/index.ts'
import type { CommitLog } from './commit-log.ts'
import type { Counter } from './counter.ts'
import { Fifo } from './fifo.ts'
import { type AnyTopic, Graves, isLazy, type LazyTopic } from './graves.ts'
import { type Snapshot, settle, takeSnapshot } from './snapshot.ts'
import type { Table, TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'
import type { Usage } from './usage.ts'

/** From this share of the journal's budget on, the oldest topics are flushed without being asked. */
const PRESSURE = 0.5

interface Dirty {
  readonly since: number
  readonly topic: AnyTopic
}

export interface FlusherListener {
  /** Linger of the topic, stored beside its timer. */
  lingerMs(state: TopicState): number
  /** The topic has just been flushed; it may have become dirty again. */
  flushed(state: TopicState): void
  /** Deleted topics have been removed from the table; their epochs are marked as garbage. */
  buried(): void
  /** The journal was truncated: it is less full now. */
  truncated(): void
  /** A topic cannot be read, and is left aside. */
  flushFailed(error: LitetopicError): void
  /** Nothing more is flushed. */
  stopped(error: LitetopicError): void
}

export class Flusher {
  private readonly log: CommitLog<unknown>
  private readonly table: Table
  private readonly usage: Usage
  private readonly listener: FlusherListener
  /** Topics in the order in which they became dirty. An entry is stale when its topic has been flushed since. */
  private readonly queue = new Fifo<Dirty>()
  private readonly urgent = new Fifo<TopicState>()
  private readonly urgentSet = new Set<TopicState>()
  /** Topics that are dirty, or that a flush under way covers, by name. */
  private readonly working = new Map<string, AnyTopic>()
  readonly graves = new Graves()
  /** Topics that cannot be read, and the oldest commit with something of theirs, which the journal keeps. */
  private readonly aside = new Map<AnyTopic, number>()
  private readonly underWay = new Set<TopicState>()
  /** What the flush under way, or one that failed, needs of the journal; 0 for none. */
  private inFlightSince = 0
  /** The newest commit of which the flush under way has something. */
  private inFlightUpTo = 0
  /** Topics dirty since this commit or before are flushed without being asked. */
  private target = 0
  private queueTurn = false
  private truncatedTo = 0
  /** The truncation that the next commit makes durable, and up to where one is that was. */
  private forgetting: { readonly upTo: number; readonly since: number } | null = null
  private forgotten = 0
  private running: Promise<void> | null = null
  private rounds: (() => void)[] = []
  private stopped = false

  constructor(log: CommitLog<unknown>, table: Table, usage: Usage, listener: FlusherListener) {
    this.log = log
    this.table = table
    this.usage = usage
    this.listener = listener
  }

  /** Notes a topic that has become dirty. Called in commit order. */
  add(topic: AnyTopic, since: number): void {
    this.queue.push({ since, topic })
    this.working.set(topic.name, topic)
  }

  /** Notes that a topic was deleted. It is dirty, by its deletion if by nothing else. */
  addGrave(topic: AnyTopic): void {
    this.graves.add(topic)
    if (this.working.get(topic.name) === topic) this.working.delete(topic.name)
  }

  /** A topic of the journal has been loaded: this state is the one that counts. */
  loaded(lazy: LazyTopic, state: TopicState | null): void {
    if (this.working.get(lazy.name) !== lazy) return
    if (state === null || state.dirtySince === 0) this.working.delete(lazy.name)
    else this.working.set(lazy.name, state)
  }

  /** The topic that the name stands for, if the table does not have it as it is. */
  find(name: string): AnyTopic | undefined {
    return this.working.get(name)
  }

  /** Topics that the table does not have as they are. */
  topics(): IterableIterator<AnyTopic> {
    return this.working.values()
  }

  /** Flushes the topic soon, ahead of older ones. */
  hurry(state: TopicState): void {
    if (this.urgentSet.has(state) || this.aside.has(state)) return
    this.urgentSet.add(state)
    this.urgent.push(state)
    this.wake()
  }

  /** To be called after commits: starts work if there is some. */
  wake(): void {
    if (this.running !== null || this.stopped || !this.hasWork()) return
    this.running = this.run().finally(() => {
      this.running = null
      this.endRound()
      this.wake()
    })
  }

  /** Flushes all that is dirty or urgent now, whatever comes meanwhile, and truncates the journal. */
  async flushAll(): Promise<void> {
    const target = this.log.newest
    const urgent = this.urgent.added
    this.target = Math.max(this.target, target)
    const isLeft = (): boolean => {
      const oldest = this.inFlightSince === 0 ? this.front()?.since : this.inFlightSince
      return this.urgent.taken < urgent || (oldest !== undefined && oldest <= target)
    }
    while (!this.stopped && isLeft()) {
      this.wake()
      await new Promise<void>((resolve) => this.rounds.push(resolve))
    }
    if (!this.stopped) await this.truncate()
  }

  /** Waits for work under way and does no more. */
  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  private hasWork(): boolean {
    return this.urgent.length > 0 || this.isDue(this.front())
  }

  private isDue(front: Dirty | undefined): front is Dirty {
    return front !== undefined && (front.since <= this.target || this.log.fullness > PRESSURE)
  }

  private async run(): Promise<void> {
    try {
      while (!this.stopped && this.hasWork()) {
        await this.flushSome()
        await this.truncate()
        this.endRound()
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
    } catch (error) {
      this.stopped = true
      this.listener.stopped(asLitetopicError(error))
    }
  }

  private endRound(): void {
    for (const resolve of this.rounds.splice(0)) resolve()
  }

  private async flushSome(): Promise<void> {
    const snapshots: Snapshot[] = []
    const changes: TableChange[] = []
    const counters = new Set<Counter>()
    this.inFlightSince = this.oldest()
    for (let topics = 0, bytes = 0; topics < LIMITS.flushTopics && bytes < LIMITS.flushBytes; topics++) {
      const topic = this.next()
      if (topic === null) break
      const snapshot = await this.prepare(topic, changes, counters)
      if (snapshot === null) continue
      snapshots.push(snapshot)
      bytes += snapshot.bytes
    }
    const counted = await this.count(counters)
    await this.log.whenDurable(this.inFlightUpTo)
    if (counted.length + changes.length > 0) await this.table.write([...counted, ...changes])
    this.usage.settle()
    const buried = this.graves.buried()
    for (const snapshot of snapshots) this.finish(snapshot)
    this.inFlightSince = 0
    if (buried) this.listener.buried()
    for (const { state } of snapshots) this.listener.flushed(state)
  }

  /** Takes a snapshot of the topic, and adds its changes; before it, what deleted topics of its name have left. */
  private async prepare(topic: AnyTopic, changes: TableChange[], counters: Set<Counter>): Promise<Snapshot | null> {
    let state: TopicState | null
    try {
      state = isLazy(topic) ? await topic.load() : topic
      const told = (grave: AnyTopic): void => this.usage.touch(grave, counters)
      while (this.graves.isOpen(topic.name)) await this.graves.bury(topic.name, changes, told)
    } catch (error) {
      this.aside.set(topic, isLazy(topic) ? topic.since : topic.dirtySince || this.log.number)
      this.listener.flushFailed(asLitetopicError(error))
      return null
    }
    // Nothing may be awaited from here on: the topic could be deleted, and its grave be overlooked.
    this.inFlightUpTo = this.log.newest
    this.usage.touch(topic, counters)
    if (state === null || state.deleted || this.underWay.has(state) || isClean(state)) return null
    const asOf = { commit: this.log.number, operations: this.log.index }
    const snapshot = takeSnapshot(state, this.log.slabs, asOf, this.listener.lingerMs(state))
    this.underWay.add(state)
    this.working.set(state.name, state)
    for (const change of snapshot.changes) changes.push(change)
    return snapshot
  }

  /**
   * What stores the counters of the topics in this flush. It is written before their heads, and as of a later point: what of
   * the journal a counter may still need is then named in it, and kept, because of a topic that has not been flushed since.
   */
  private async count(counters: Set<Counter>): Promise<TableChange[]> {
    await this.usage.load(counters)
    this.inFlightUpTo = this.log.newest
    if (this.forgetting !== null && this.forgetting.since <= this.log.durable) {
      this.forgotten = this.forgetting.upTo
      this.forgetting = null
    }
    return this.usage.changes(counters, { commit: this.log.number, operations: this.log.index }, this.forgotten)
  }

  private finish(snapshot: Snapshot): void {
    const { state } = snapshot
    settle(snapshot)
    this.underWay.delete(state)
    if (state.dirtySince === 0 && this.working.get(state.name) === state) this.working.delete(state.name)
  }

  /** The next topic to flush, urgent and old ones in turn. Null also when it is in this flush already. */
  private next(): AnyTopic | null {
    const front = this.front()
    const urgent = this.urgent.peek()
    const old = this.isDue(front) ? front.topic : undefined
    this.queueTurn = !this.queueTurn
    const topic = old !== undefined && (urgent === undefined || this.queueTurn) ? old : urgent
    if (topic === undefined || this.underWay.has(topic as TopicState)) return null
    if (topic === urgent) {
      this.urgent.shift()
      this.urgentSet.delete(urgent)
    } else {
      this.queue.shift()
    }
    return topic
  }

  /** The oldest dirty topic. */
  private front(): Dirty | undefined {
    for (;;) {
      const dirty = this.queue.peek()
      if (dirty === undefined) return undefined
      const { topic, since } = dirty
      const state = isLazy(topic) ? topic.state : topic
      if (state === null || state.dirtySince === since) return dirty
      this.queue.shift()
    }
  }

  /** Number of the oldest commit that some dirty topic still needs. */
  private oldest(): number {
    let oldest = this.front()?.since ?? this.log.number
    for (const since of this.aside.values()) oldest = Math.min(oldest, since)
    return oldest
  }

  private async truncate(): Promise<void> {
    const oldest = this.inFlightSince === 0 ? this.oldest() : this.inFlightSince
    const upTo = Math.min(oldest - 1, this.log.durable)
    if (upTo <= this.truncatedTo) return
    this.truncatedTo = upTo
    await this.log.truncate(upTo)
    this.forgetting ??= { upTo, since: this.log.newest + 1 }
    this.listener.truncated()
  }
}

/** Has the table all of the topic, its time included? */
function isClean(state: TopicState): boolean {
  return state.dirtySince === 0 && state.dueMs === state.storedDueMs
}
