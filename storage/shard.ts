/**
 * A shard: the topics of one store. It turns a store's journal and table into topics that can be loaded, changed (see
 * `TopicChanges`), read and listed. The broker keeps the states it uses; the shard keeps none but those with work left.
 */

import { asLitetopicError, LitetopicError } from '../protocol/index.ts'
import { chunksFrom, chunkWith } from './chunks.ts'
import { CommitLog } from './commit-log.ts'
import { Flusher } from './flusher.ts'
import { Forks, kinshipOf } from './forks.ts'
import { Garbage, needsClearing } from './garbage.ts'
import { type AnyTopic, isLazy } from './graves.ts'
import { type LazyPlace, LazyState } from './lazy-state.ts'
import { listTopics, type OpenStreams, openStreamTopics } from './listing.ts'
import { type Loaded, Loader } from './loader.ts'
import { Parts } from './parts.ts'
import { replay } from './recovery.ts'
import { type ShardListener, silentListener } from './shard-listener.ts'
import { Slabs } from './slabs.ts'
import type { Store } from './store.ts'
import { closeInfo, openInfo, type StoreInfo } from './store-info.ts'
import { readMemory } from './tail.ts'
import { DueTimers } from './timers.ts'
import { TopicChanges } from './topic-changes.ts'
import { EPOCHS_PER_COMMIT, type TopicState } from './topic-state.ts'
import { Usage } from './usage.ts'
import { countPrefixes } from './usage-count.ts'
import { watchWrites } from './watched-store.ts'

/** More commits than a power cut can take from a journal that is not synced: those of hours. */
const COMMITS_LOST = 2 ** 26

export class Shard<Item> extends TopicChanges<Item> {
  readonly store: Store
  readonly log: CommitLog<Item>
  readonly timers: DueTimers
  readonly parts: Parts
  private readonly slabs: Slabs
  protected readonly flusher: Flusher
  protected readonly forks: Forks
  private readonly garbage: Garbage
  private readonly loader: Loader
  private info: StoreInfo
  private readonly listener: ShardListener<Item>
  /** What there is of topics and bytes. */
  readonly usage: Usage
  private counting: Promise<void> | null = null
  private closing = false

  private constructor(store: Store, info: StoreInfo, usage: Usage, slabs: Slabs, listener: ShardListener<Item>) {
    super()
    const watched = watchWrites(store, (error) => this.fail(error))
    this.store = watched
    this.info = info
    this.usage = usage
    this.listener = listener
    this.slabs = slabs
    this.log = new CommitLog(watched.journal, slabs, listener)
    this.timers = new DueTimers(watched.table)
    this.parts = new Parts(watched.table)
    this.forks = new Forks(watched.table)
    this.garbage = new Garbage(
      watched.table,
      this.forks,
      () => this.log.whenAllDurable(),
      (error) => listener.flushFailed(error),
    )
    this.flusher = new Flusher(this.log as CommitLog<unknown>, watched.table, usage, {
      lingerMs: (state) => listener.lingerMs(state),
      flushed: (state) => {
        this.forks.stored(state)
        this.forks.flushed(state)
        if (needsClearing(state)) this.collectTrimmed(state)
        listener.flushed(state)
      },
      buried: (graves) => this.buried(graves),
      truncated: () => listener.truncated(),
      flushFailed: (error) => listener.flushFailed(error),
      stopped: (error) => this.fail(error),
    })
    this.loader = new Loader(watched.table, this.flusher, this.log as CommitLog<unknown>)
    this.log.onDirty = (state) => this.flusher.add(state, state.dirtySince)
  }

  /** Identity of the data directory's history. */
  get incarnation(): string {
    return this.info.incarnation
  }

  /** Earlier incarnations, oldest first: those whose history may be shared. */
  get ancestors(): readonly string[] {
    return this.info.ancestors
  }

  /** The store has been given another history. */
  renewed(info: StoreInfo): void {
    this.info = info
  }

  /** Opens a store: reads its info, one counter and its journal, and nothing else. Rejects with STORE_CORRUPT or DATA_DIR_VERSION. */
  static async open<Item>(
    store: Store,
    listener: ShardListener<Item>,
    boot?: () => Promise<string>,
  ): Promise<Shard<Item>> {
    const info = await openInfo(store, boot, () => Shard.skipLostCommits(store))
    return Shard.replayed(store, info, listener)
  }

  /**
   * Without fsync a power cut may leave the table with the effects of commits that the journal has lost. What is committed under
   * their numbers again would be taken for one of them at the next replay, so they are skipped.
   */
  private static async skipLostCommits(store: Store): Promise<void> {
    let failure: LitetopicError | null = null
    const failed = (error: LitetopicError): void => {
      failure ??= error
    }
    const shard = await Shard.replayed<never>(store, { incarnation: '', ancestors: [] }, silentListener(failed))
    await shard.emptyJournal()
    await shard.flusher.stop()
    await shard.garbage.stop()
    if (failure !== null) throw failure
    await store.journal.skipTo(store.journal.last + COMMITS_LOST)
  }

  private static async replayed<Item>(
    store: Store,
    info: StoreInfo,
    listener: ShardListener<Item>,
  ): Promise<Shard<Item>> {
    const slabs = new Slabs()
    const usage = await Usage.open(store, (error) => listener.flushFailed(error))
    const replayed = await replay(store.journal, slabs)
    const shard = new Shard<Item>(store, info, usage, slabs, listener)
    for (const { number, start, operations } of replayed.entries) shard.log.noteReplayed(number, start, operations)
    const place: LazyPlace = {
      table: shard.store.table,
      slabs,
      loaded: (lazy, state) => shard.flusher.loaded(lazy, state),
    }
    for (const topic of replayed.topics) {
      const lazy = new LazyState(topic, place)
      shard.flusher.add(lazy, topic.since)
      usage.noteReplayed(topic)
      if (topic.parent !== 0) shard.forks.add(topic.parent, topic.epoch)
      if (topic.deleted) shard.flusher.addGrave(lazy)
    }
    return shard
  }

  /**
   * The topic of that name, or null. Reads the table at most once per call; asks the caller to keep the state. Rejects with
   * STORE_UNAVAILABLE when nothing can be written any more and it is not certain that the topic's deletion is stored.
   */
  async load(name: string): Promise<TopicState | null> {
    const [loaded = null] = await this.loadAll([name])
    if (loaded instanceof Error) throw loaded
    return loaded
  }

  /** The same for many, in their order; each fails by itself. */
  async loadAll(names: readonly string[]): Promise<Loaded[]> {
    const all = await this.loader.load(names)
    for (const loaded of all) {
      if (loaded !== null && !(loaded instanceof Error) && needsClearing(loaded)) this.collectTrimmed(loaded)
    }
    return all
  }

  /** Is the creation of the topic durable? Until then a crash may undo it, and another topic get its epoch. */
  isCreated(state: TopicState): boolean {
    return this.createdIn(state) <= this.log.durable
  }

  /** Number of the commit that created the topic. */
  createdIn({ epoch }: TopicState): number {
    return Math.floor(epoch / EPOCHS_PER_COMMIT)
  }

  /** Frees what trims made superfluous, as soon as they are durable. */
  collectTrimmed(state: TopicState): void {
    this.garbage.trim(state)
    void this.garbage.collect()
  }

  /** Committed batches from the one that holds `from` on; null when they must be read from the table. */
  readMemory(state: TopicState, from: number): Uint8Array | null {
    return readMemory(state, this.slabs, from)
  }

  /** Bytes of one batch in memory, by its position: the slab, and where in it. */
  slabAt(position: number): Buffer {
    return this.slabs.at(position)
  }

  /**
   * The chunk that holds the offset, from the table. A chunk missed is looked for again in memory, where a flush may
   * not have taken it from yet. Rejects with TRIMMED or GONE if the topic was cut off meanwhile, else STORE_CORRUPT.
   */
  async readChunk(state: TopicState, from: number): Promise<Uint8Array> {
    const batches = await chunkWith(this.store.table, state, from)
    if (batches !== null) return batches
    const memory = this.readMemory(state, from)
    if (memory !== null) return memory
    if (state.deleted) throw new LitetopicError('GONE', `topic ${state.name} was deleted`, { outcome: 'gone' })
    const { firstOffset } = state
    if (from < firstOffset) {
      throw new LitetopicError('TRIMMED', `topic ${state.name} has been trimmed to offset ${firstOffset}`, {
        firstOffset,
      })
    }
    throw new LitetopicError('STORE_CORRUPT', `topic ${state.name} has no chunk with offset ${from}`, {
      topic: state.name,
      offset: from,
    })
  }

  /** Batches of chunks that begin the log, for deciding what retention may drop. Rejects with STORE_CORRUPT. */
  chunks(state: TopicState, from: number, to: number, limit: number): Promise<Uint8Array[]> {
    return chunksFrom(this.store.table, state, from, to, limit)
  }

  /**
   * Brings all before an offset into the table, in chunks and indexes, where a fork finds it. Resolves also when the topic has been
   * deleted meanwhile. Rejects with STORE_UNAVAILABLE, and with STORE_CORRUPT for a topic that cannot be flushed.
   */
  async prepareFork(state: TopicState, at: number): Promise<void> {
    this.log.check()
    // Before chunks are written: a start after a crash then knows that there may be some.
    if ((state.extra?.forkedTo ?? -1) < at) this.setExtra(state, { forkedTo: at }, null)
    while (state.chunkedTo < at && !state.deleted) {
      this.log.check()
      if (this.flusher.isAside(state)) {
        throw new LitetopicError('STORE_CORRUPT', `topic ${state.name} cannot be brought into the table`)
      }
      state.wantsChunks = true
      const flushed = this.forks.whenFlushed(state)
      this.flusher.hurry(state)
      await flushed
    }
  }

  /** Was a topic of that name deleted that forks still read? It says so too for a moment after the last of them is gone. */
  async isHidden(name: string): Promise<boolean> {
    for (const { epoch } of this.flusher.graves.of(name)) if (await this.forks.isShared(epoch)) return true
    return this.forks.isNameHidden(name)
  }

  /** Topics in byte order of name: heads of the table, and topics that have none yet. Deleted ones are left out. */
  list(prefix: string, after: string, limit: number): Promise<{ states: TopicState[]; more: boolean }> {
    return this.flusher.graves.reading(() => listTopics(this.store.table, this.flusher, prefix, after, limit))
  }

  /** Topics whose head says that they have open streams, by epoch. */
  openStreamTopics(
    afterEpoch: number,
    limit: number,
    damaged?: (error: LitetopicError) => void,
  ): Promise<OpenStreams[]> {
    return openStreamTopics(this.store.table, afterEpoch, limit, damaged)
  }

  /** Topics that the journal names and nobody has loaded: they may have been live when the broker stopped. */
  unloadedNames(): string[] {
    return [...this.flusher.topics()].filter(isLazy).map(({ name }) => name)
  }

  /** Completes the counters of watched prefixes that are not stored. Resolves when it is done, or the shard is closed. */
  countUsage(): Promise<void> {
    this.counting ??= this.countWatched()
    return this.counting
  }

  /** Brings what the journal has into the table, before anybody uses the shard. */
  async emptyJournal(): Promise<void> {
    for (const name of this.unloadedNames()) {
      const state = await this.load(name)
      // One that was created since the last flush has no timer yet, and would never go.
      if (state !== null && state.dueMs === 0) state.dueMs = 1
    }
    await this.flusher.flushAll()
  }

  /** Lets the flusher see whether there is work; call it after commits. */
  wakeFlusher(): void {
    this.flusher.wake()
    void this.garbage.collect()
  }

  /** May the state leave memory? Until then no other one of the topic may be loaded. Its time counts only if that is `storedDueMs`. */
  isAtRest(state: TopicState): boolean {
    return this.flusher.isAtRest(state) && !this.garbage.isClearing(state)
  }

  /** Flushes the topic soon. The listener hears when it is done. */
  flush(state: TopicState): void {
    this.flusher.hurry(state)
  }

  /** Brings everything into the table, empties the journal, and gives the space of deleted data back. */
  async quiesce(): Promise<void> {
    await this.flusher.flushAll()
    await this.garbage.collect()
    if (!this.garbage.isStopped) await this.store.compact()
  }

  /** Clears no more of what is deleted, of which there may be hours: the next start goes on with it. Resolves when the step under way is done. */
  stopClearing(): Promise<void> {
    return this.garbage.stop()
  }

  /** Commits and flushes what there is, and closes the store. What could not be flushed stays in the journal. */
  async close(): Promise<void> {
    this.closing = true
    try {
      await this.counting
      await this.log.whenAllDurable().catch(ignoreReported)
      await this.flusher.flushAll().catch(ignoreReported)
      await this.flusher.stop()
      this.forks.fail(new LitetopicError('STORE_UNAVAILABLE', 'the store is closing'))
      await this.garbage.stop()
      await this.parts.stop()
      await closeInfo(this.store, this.info).catch(ignoreReported)
    } finally {
      await this.store.close()
    }
  }

  private buried(graves: readonly AnyTopic[]): void {
    this.garbage.mark()
    for (const grave of graves) {
      const state = isLazy(grave) ? grave.state : grave
      if (state === null || kinshipOf(state) === null) continue
      this.forks.stored(state)
      void this.garbage.collect()
    }
  }

  private countWatched(): Promise<void> {
    const { flusher, listener, store, usage } = this
    const failed = (error: LitetopicError): void => listener.flushFailed(error)
    return countPrefixes({ table: store.table, flusher, failed, stopped: () => this.closing }, usage.watched)
  }

  /** Once something cannot be written nothing more is, of the journal or of the table: they would not agree any more. */
  private fail(cause: LitetopicError): void {
    if (this.closing || this.log.failure !== null) return
    const error =
      cause.code === 'STORE_UNAVAILABLE'
        ? cause
        : new LitetopicError('STORE_UNAVAILABLE', `the store cannot be brought up to date: ${cause.message}`, {}, cause)
    this.log.fail(error)
    this.forks.fail(error)
    void this.flusher.stop()
    void this.garbage.stop()
    this.listener.broken(error)
  }
}

/** For failures of the store that the listener has been told of. */
function ignoreReported(error: unknown): void {
  if (asLitetopicError(error).code === 'INTERNAL') throw error
}
