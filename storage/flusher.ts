/**
 * Moves topics' tails and effects from the journal into the table, oldest first and in small batches, and lets the
 * journal forget what the table has. It works when a tail is large enough, when a topic is about to leave memory, from
 * half of the journal's budget on, and when all is quiet. It also knows every topic that the table does not have as it
 * is: no other state of such a topic may be loaded.
 */

import { asLitetopicError, LIMITS, type LitetopicError } from '../protocol/index.ts'
import type { CommitLog } from './commit-log.ts'
import { Fifo } from './fifo.ts'
import { Flight } from './flight.ts'
import { type AnyTopic, Graves, isLazy, type LazyTopic } from './graves.ts'
import { type Snapshot, settle, takeSnapshot } from './snapshot.ts'
import { SplitMap } from './split-map.ts'
import type { Table, TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'
import type { Usage } from './usage.ts'

/** From this share of the journal's budget on, the oldest topics are flushed without being asked. */
const PRESSURE = 0.5

/** Writes of the table that are prepared or under way at once: one is prepared while another waits for the disk. */
const FLIGHTS = 3

/**
 * Below this share there is time for what nobody asked for: small writes, one after the other, so that commits seldom wait
 * for the disk.
 */
const HASTE = 0.7
const CALM_TOPICS = 64

/** Batches of tails that are copied before the loop gets its turn: a millisecond or two. Commits wait for that long. */
const BATCHES_PER_TURN = 1_000

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
  buried(graves: readonly AnyTopic[]): void
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
  private readonly working = new SplitMap<AnyTopic>()
  readonly graves = new Graves()
  /** Topics that cannot be read, and the oldest commit with something of theirs, which the journal keeps. */
  private readonly aside = new Map<AnyTopic, number>()
  private readonly underWay = new Set<TopicState>()
  /** Writes of the table that are not over, or that failed, the oldest first. */
  private readonly flights: Flight[] = []
  /** Topics dirty since this commit or before are flushed without being asked. */
  private target = 0
  private queueTurn = false
  private truncatedTo = 0
  private truncation: Promise<void> = Promise.resolve()
  private truncating = false
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

  /** Has the table all of the topic that counts, with no write of it under way or asked for? Another state of it may be loaded then. */
  isAtRest(state: TopicState): boolean {
    return state.dirtySince === 0 && !this.underWay.has(state) && !this.urgentSet.has(state)
  }

  /** Is it left aside, because it cannot be brought into the table? */
  isAside(state: TopicState): boolean {
    return this.aside.has(state)
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
    const isOld = (since: number | undefined): boolean => since !== undefined && since <= target
    const isLeft = (): boolean =>
      this.urgent.taken < urgent || isOld(this.front()?.since) || this.flights.some(({ since }) => isOld(since))
    while (!this.stopped && isLeft()) {
      this.wake()
      await new Promise<void>((resolve) => this.rounds.push(resolve))
    }
    await this.flights.at(-1)?.over
    if (!this.stopped) this.truncate()
    await this.truncation
  }

  /** Waits for work under way and does no more. */
  async stop(): Promise<void> {
    this.stopped = true
    this.endRound()
    await this.running
    await this.flights.at(-1)?.over
    await this.truncation
  }

  private hasWork(): boolean {
    return this.urgent.length > 0 || this.isDue(this.front())
  }

  private get isCalm(): boolean {
    return this.urgent.length === 0 && this.log.fullness < HASTE
  }

  private isDue(front: Dirty | undefined): front is Dirty {
    return front !== undefined && (front.since <= this.target || this.log.fullness > PRESSURE)
  }

  private async run(): Promise<void> {
    try {
      while (!this.stopped && this.hasWork()) {
        // Counters leave memory between writes only, so that what is on its way is never read as it was before.
        const isFull = this.flights.length >= (this.usage.isCrowded || this.isCalm ? 1 : FLIGHTS)
        if (isFull || !(await this.depart())) await this.flights[0]?.over
        else await nextTurn()
      }
    } catch (error) {
      this.fail(error)
    }
  }

  private fail(error: unknown): void {
    if (this.stopped) return
    this.stopped = true
    this.listener.stopped(asLitetopicError(error))
    this.endRound()
  }

  private endRound(): void {
    for (const resolve of this.rounds.splice(0)) resolve()
  }

  /** Sends the next write of the table on its way. False when it is empty: the next topic is in an earlier one. */
  private async depart(): Promise<boolean> {
    const before = this.flights.at(-1)?.over
    const flight = new Flight(this.oldest())
    this.flights.push(flight)
    const most = this.isCalm ? CALM_TOPICS : LIMITS.flushTopics
    let topics = 0
    let batches = 0
    for (; topics < most && flight.bytes < LIMITS.flushBytes; topics++) {
      const topic = this.next()
      if (topic === null) break
      batches += await this.prepare(topic, flight)
      if (batches >= BATCHES_PER_TURN) {
        batches = 0
        await nextTurn()
      }
    }
    const counted = await this.count(flight)
    flight.over = this.write(flight, counted, before).catch((error: unknown) => this.fail(error))
    return topics > 0
  }

  /** Writes it when the journal has all of it and the write before it is over. */
  private async write(flight: Flight, counted: TableChange[], before: Promise<void> | undefined): Promise<void> {
    await this.log.whenDurable(flight.upTo)
    await before
    if (this.flights[0] !== flight) return // the one before it failed
    const { changes, snapshots, graves } = flight
    if (counted.length + changes.length > 0) await this.table.write([...counted, ...changes])
    this.flights.shift()
    if (this.flights.length === 0) this.usage.settle()
    this.graves.buried(graves)
    for (const snapshot of snapshots) this.finish(snapshot)
    if (graves.length > 0) this.listener.buried(graves)
    for (const { state } of snapshots) this.listener.flushed(state)
    this.truncate()
    this.endRound()
  }

  /** Adds what brings the topic up to date; before it, what deleted topics of its name have left. Resolves with the batches copied. */
  private async prepare(topic: AnyTopic, flight: Flight): Promise<number> {
    let state: TopicState | null
    try {
      state = isLazy(topic) ? await topic.load() : topic
      const told = (grave: AnyTopic): void => {
        flight.graves.push(grave)
        this.usage.touch(grave, flight.counters)
      }
      while (this.graves.isOpen(topic.name)) await this.graves.bury(topic.name, flight.changes, told)
    } catch (error) {
      this.aside.set(topic, isLazy(topic) ? topic.since : topic.dirtySince || this.log.number)
      this.listener.flushFailed(asLitetopicError(error))
      return 0
    }
    // Nothing may be awaited from here on: the topic could be deleted, and its grave be overlooked.
    flight.upTo = this.log.newest
    this.usage.touch(topic, flight.counters)
    if (state === null || state.deleted || this.underWay.has(state) || isClean(state)) return 0
    const asOf = { commit: this.log.number, operations: this.log.index }
    const { changes, snapshots } = flight
    const before = changes.length
    const snapshot = takeSnapshot(state, this.log.slabs, asOf, this.listener.lingerMs(state), changes)
    snapshots.push(snapshot)
    for (let i = before; i < changes.length; i++) flight.bytes += bytesOf(changes[i] as TableChange)
    this.underWay.add(state)
    this.working.set(state.name, state)
    return snapshot.batches
  }

  /**
   * What stores the counters of the topics in this flush. It is written before their heads, and as of a later point: what of
   * the journal a counter may still need is then named in it, and kept, because of a topic that has not been flushed since.
   */
  private async count(flight: Flight): Promise<TableChange[]> {
    await this.usage.load(flight.counters)
    flight.upTo = this.log.newest
    if (this.forgetting !== null && this.forgetting.since <= this.log.durable) {
      this.forgotten = this.forgetting.upTo
      this.forgetting = null
    }
    const asOf = { commit: this.log.number, operations: this.log.index }
    return this.usage.changes(flight.counters, asOf, this.forgotten)
  }

  private finish(snapshot: Snapshot): void {
    const { state } = snapshot
    settle(snapshot)
    this.underWay.delete(state)
    if (state.dirtySince === 0 && this.working.get(state.name) === state) this.working.delete(state.name)
  }

  /**
   * The next topic to flush, urgent and old ones in turn. Null also when it, or a deleted one of its name, is in a write that
   * is not over: what the table has of that is not known yet.
   */
  private next(): AnyTopic | null {
    const front = this.front()
    const urgent = this.urgent.peek()
    const old = this.isDue(front) ? front.topic : undefined
    this.queueTurn = !this.queueTurn
    const topic = old !== undefined && (urgent === undefined || this.queueTurn) ? old : urgent
    if (topic === undefined || this.isUnderWay(topic)) return null
    if (this.graves.of(topic.name).some((grave) => this.isUnderWay(grave))) return null
    if (topic === urgent) {
      this.urgent.shift()
      this.urgentSet.delete(urgent)
    } else {
      this.queue.shift()
    }
    return topic
  }

  private isUnderWay(topic: AnyTopic): boolean {
    const state = isLazy(topic) ? topic.state : topic
    return state !== null && this.underWay.has(state)
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

  /** Has the journal forget what it can. Nobody waits for it: the next write of the table need not. */
  private truncate(): void {
    if (this.truncating) return
    this.truncating = true
    this.truncation = this.forget()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.truncating = false
      })
  }

  private async forget(): Promise<void> {
    for (;;) {
      // A write on its way needs what was needed when it began; the first of them began first.
      const upTo = Math.min((this.flights[0]?.since ?? this.oldest()) - 1, this.log.durable)
      if (upTo <= this.truncatedTo) return
      this.truncatedTo = upTo
      await this.log.truncate(upTo)
      this.forgetting ??= { upTo, since: this.log.newest + 1 }
      this.listener.truncated()
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function bytesOf({ key, value }: TableChange): number {
  return key.length + (value?.length ?? 0)
}

/** Has the table all of the topic, its time included? */
function isClean(state: TopicState): boolean {
  return state.dirtySince === 0 && state.dueMs === state.storedDueMs && !state.wantsChunks
}
