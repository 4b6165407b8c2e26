/**
 * A shard: the topics of one store. It turns a store's journal and table into topics that can be loaded, appended to,
 * read, listed and deleted. The broker keeps the states it uses; the shard keeps none but those with work left.
 */

import { randomBytes } from 'node:crypto'
import { invariant, LIMITS, LitetopicError, pack, unpack } from '../protocol/index.ts'
import { applyAppend, applyEffects, applyPolicy, applyProducer, applySequence, applyTrim } from './apply.ts'
import { type CommitListener, CommitLog } from './commit-log.ts'
import { Flusher, type FlusherListener, type LazyTopic } from './flusher.ts'
import { Garbage } from './garbage.ts'
import { decodeHead } from './head.ts'
import { chunkRange, headRange, indexRange, nameOfHeadKey, numberInKey, openStreamsKey } from './keys.ts'
import type { TopicPolicy } from './operations.ts'
import { loadHead, loadUnloaded, replay, type Unloaded } from './recovery.ts'
import { seal, unseal } from './seal.ts'
import { Slabs } from './slabs.ts'
import { INDEX, type Store, type TableEntry } from './store.ts'
import { readMemory } from './tail.ts'
import { DueTimers } from './timers.ts'
import { TopicState } from './topic-state.ts'

const INFO_KEY = Buffer.of(INDEX.info)
const INFO_FORMAT = 1

export interface ShardListener<Item> extends CommitListener<Item>, FlusherListener {}

/** One append as the broker assigns it. */
export interface ShardAppend<Item> {
  /** Slot of the producer, or -1 for the broker's own records. */
  readonly slot: number
  readonly sequence: number
  readonly count: number
  /** Do its records change more than the log: ids, context, checkpoints, streams? */
  readonly effects: boolean
  readonly timeMs: number
  readonly source: Uint8Array
  readonly from: number
  readonly to: number
  readonly item: Item | null
  readonly principal?: string
}

export class Shard<Item> {
  readonly store: Store
  /** Identity of the data directory's history. */
  readonly incarnation: string
  readonly log: CommitLog<Item>
  readonly timers: DueTimers
  private readonly slabs: Slabs
  private readonly flusher: Flusher
  private readonly garbage: Garbage
  /** Topics that the journal names and that nobody has loaded since the start, by name. */
  private readonly unloaded = new Map<string, LazyState>()
  /** Topics without a head in the table, for listing. */
  private readonly unstored = new Map<string, TopicState | Unloaded>()

  private constructor(store: Store, incarnation: string, slabs: Slabs, listener: ShardListener<Item>) {
    this.store = store
    this.incarnation = incarnation
    this.slabs = slabs
    this.log = new CommitLog(store.journal, slabs, listener)
    this.garbage = new Garbage(store.table)
    this.timers = new DueTimers(store.table)
    this.flusher = new Flusher(this.log as CommitLog<unknown>, store.table, this.garbage, {
      lingerMs: (state) => listener.lingerMs(state),
      flushed: (state) => {
        this.unstored.delete(state.name)
        listener.flushed(state)
      },
      truncated: () => listener.truncated(),
      flushFailed: (error) => listener.flushFailed(error),
    })
    this.log.onDirty = (state) => this.flusher.add(state, state.dirtySince)
  }

  /** Opens a store: reads its info and its journal, and nothing else. Rejects with STORE_CORRUPT. */
  static async open<Item>(store: Store, listener: ShardListener<Item>): Promise<Shard<Item>> {
    const slabs = new Slabs()
    const replayed = await replay(store.journal, slabs)
    const shard = new Shard<Item>(store, await readIncarnation(store), slabs, listener)
    for (const { number, start, operations } of replayed.entries) shard.log.noteReplayed(number, start, operations)
    for (const topic of replayed.topics) shard.addUnloaded(topic)
    return shard
  }

  /** The topic of that name, or null. Reads the table at most once per call; asks the caller to keep the state. */
  load(name: string): Promise<TopicState | null> {
    const lazy = this.unloaded.get(name)
    if (lazy !== undefined) return lazy.load()
    if (this.flusher.isGrave(name)) return Promise.resolve(null)
    return loadHead(this.store.table, name).then((head) => head?.state ?? null)
  }

  /** A new topic, in memory and in the commit that gathers now. The caller has made sure that the name is free. */
  create(name: string, createdMs: number, policy: TopicPolicy | null, item: Item | null): TopicState {
    this.log.check()
    const epoch = this.log.nextEpoch()
    const state = new TopicState(name, epoch, createdMs, policy)
    this.log.write(state, 'create', [epoch, name, createdMs, policy, null], item)
    this.unloaded.delete(name)
    this.unstored.set(name, state)
    return state
  }

  /** Appends records at the topic's next offset and returns the position of their batch in memory. */
  append(state: TopicState, append: ShardAppend<Item>): number {
    const { slot, sequence, count, timeMs, source, from, to } = append
    const { log } = this
    const flags = append.effects ? 1 : 0
    const base = state.nextOffset
    const position = log.append(
      state,
      slot,
      sequence,
      flags,
      count,
      timeMs,
      source,
      from,
      to,
      append.item,
      append.principal,
    )
    applyAppend(state, slot, sequence, base, count, timeMs, position, log.batchBytes)
    if (append.effects) applyEffects(state, source, from, to, base, slot)
    if (state.tailBytes - state.flushingBytes >= LIMITS.chunkBytes) this.flusher.hurry(state)
    return position
  }

  /** Gives a producer a slot, or a new producer epoch in it. */
  setProducer(state: TopicState, slot: number, id: string, producerEpoch: number, timeMs: number): void {
    this.log.write(state, 'producer', [state.epoch, slot, id, producerEpoch, timeMs], null)
    applyProducer(state, slot, id, producerEpoch, timeMs)
  }

  /** Uses a sequence without a record. `base` is what a repeat is answered with, or -1. */
  advance(state: TopicState, slot: number, sequence: number, base: number, timeMs: number, item: Item): void {
    this.log.write(state, 'advance', [state.epoch, slot, sequence, base], item)
    applySequence(state, slot, sequence, base, timeMs)
  }

  setPolicy(state: TopicState, policy: TopicPolicy, item: Item): void {
    this.log.write(state, 'policy', [state.epoch, policy], item)
    applyPolicy(state, policy)
  }

  /** Makes `firstOffset` the first one kept. `slot` is -1 for the broker's own retention. */
  trim(
    state: TopicState,
    slot: number,
    sequence: number,
    firstOffset: number,
    freedBytes: number,
    timeMs: number,
    item: Item,
  ): void {
    this.log.write(state, 'trim', [state.epoch, slot, sequence, firstOffset, freedBytes], item)
    applyTrim(state, firstOffset, freedBytes)
    if (slot >= 0) applySequence(state, slot, sequence, firstOffset, timeMs)
  }

  /** Frees what durable trims made superfluous. */
  collectTrimmed(state: TopicState): void {
    this.garbage.trim(state)
    void this.garbage.collect()
  }

  delete(state: TopicState, item: Item): void {
    this.log.write(state, 'delete', [state.epoch, state.name], item)
    state.deleted = true
    this.unloaded.delete(state.name)
    this.unstored.delete(state.name)
    this.flusher.addGrave(state.name, state)
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
   * not have taken it from yet, before it is called STORE_CORRUPT.
   */
  async readChunk(state: TopicState, from: number): Promise<Uint8Array> {
    const [entry] = await this.store.table.scan({ ...chunkRange(state.epoch, from), limit: 1 })
    if (entry !== undefined) return unseal(entry.key, entry.value, `a chunk of topic ${state.name}`)
    const memory = this.readMemory(state, from)
    if (memory !== null) return memory
    if (state.deleted) throw new LitetopicError('GONE', `topic ${state.name} was deleted`)
    throw new LitetopicError('STORE_CORRUPT', `topic ${state.name} has no chunk with offset ${from}`, {
      topic: state.name,
      offset: from,
    })
  }

  /** Chunks that begin the log, for deciding what retention may drop. */
  chunks(state: TopicState, from: number, to: number, limit: number): Promise<TableEntry[]> {
    return this.store.table.scan({ ...chunkRange(state.epoch, from, to), limit })
  }

  /** Topics in byte order of name: heads of the table, and topics that have none yet. Deleted ones are left out. */
  async list(prefix: string, after: string, limit: number): Promise<{ states: TopicState[]; more: boolean }> {
    const found = new Map<string, TopicState | Unloaded>()
    for (const [name, topic] of this.unstored) {
      if (name.startsWith(prefix) && byteOrder(name, after) > 0) found.set(name, topic)
    }
    let last = after
    for (;;) {
      const page = await this.store.table.scan({ ...headRange(prefix, last), limit: limit + 1 })
      for (const { key, value } of page) {
        const name = nameOfHeadKey(key)
        last = name
        if (found.has(name) || this.flusher.isGrave(name)) continue
        found.set(name, this.unloaded.get(name)?.topic ?? decodeHead(name, value).state)
      }
      if (page.length <= limit || found.size > limit) break
    }
    const names = [...found.keys()].sort(byteOrder).slice(0, limit + 1)
    const states: TopicState[] = []
    for (const name of names.slice(0, limit)) {
      const topic = found.get(name) as TopicState | Unloaded
      const state = topic instanceof TopicState ? topic : await this.load(name)
      if (state !== null && !state.deleted) states.push(state)
    }
    return { states, more: names.length > limit }
  }

  /** Topics whose head says that they have open streams, by epoch. */
  async openStreamTopics(afterEpoch: number, limit: number): Promise<{ epoch: number; name: string }[]> {
    const { lt } = indexRange(INDEX.openStreams)
    const entries = await this.store.table.scan({ gte: openStreamsKey(afterEpoch + 1), lt, limit })
    return entries.map(({ key, value }) => ({
      epoch: numberInKey(key, 0),
      name: String(unpack(unseal(key, value, 'an entry of the open streams'))),
    }))
  }

  /** Topics that the journal names and nobody has loaded: they may have been live when the broker stopped. */
  unloadedNames(): string[] {
    return [...this.unloaded.keys()]
  }

  /** Lets the flusher see whether there is work; call it after commits. */
  wakeFlusher(): void {
    this.flusher.wake()
    if (this.garbage.pending) void this.garbage.collect()
  }

  /** Flushes the topic soon. The listener hears when it is done. */
  flush(state: TopicState): void {
    this.flusher.hurry(state)
  }

  /** Brings everything into the table, empties the journal, and gives the space of deleted data back. */
  async quiesce(): Promise<void> {
    await this.flusher.flushAll()
    await this.garbage.collect()
    await this.store.compact()
  }

  /** Commits and flushes what there is, and closes the store. */
  async close(): Promise<void> {
    await this.log.drain().catch(() => undefined)
    await this.flusher.flushAll()
    await this.flusher.stop()
    await this.garbage.stop()
    await this.store.close()
  }

  private addUnloaded(topic: Unloaded): void {
    const lazy = new LazyState(topic, async () => {
      const state = await loadUnloaded(this.store.table, this.slabs, topic)
      if (this.unloaded.get(topic.name) === lazy) this.unloaded.delete(topic.name)
      if (this.unstored.get(topic.name) === topic && state !== null) this.unstored.set(topic.name, state)
      return state
    })
    this.flusher.add(lazy, topic.since)
    if (topic.deleted) {
      this.flusher.addGrave(topic.name, lazy)
      this.unloaded.delete(topic.name)
      this.unstored.delete(topic.name)
    } else {
      this.unloaded.set(topic.name, lazy)
      this.unstored.set(topic.name, topic)
    }
  }
}

/** A topic that is loaded at most once, whoever asks first. */
class LazyState implements LazyTopic {
  readonly topic: Unloaded
  private readonly read: () => Promise<TopicState | null>
  private loaded: Promise<TopicState | null> | null = null

  constructor(topic: Unloaded, read: () => Promise<TopicState | null>) {
    this.topic = topic
    this.read = read
  }

  get since(): number {
    return this.topic.since
  }

  load(): Promise<TopicState | null> {
    this.loaded ??= this.read()
    return this.loaded
  }
}

async function readIncarnation(store: Store): Promise<string> {
  const stored = await store.table.get(INFO_KEY)
  if (stored !== undefined) {
    const info = unpack(unseal(INFO_KEY, stored, 'the store info')) as [format: number, incarnation: string]
    invariant(info[0] === INFO_FORMAT, 'the store info has a format known here')
    return info[1]
  }
  const incarnation = randomBytes(6).toString('hex')
  await store.table.write([{ key: INFO_KEY, value: seal(INFO_KEY, pack([INFO_FORMAT, incarnation])) }])
  return incarnation
}

function byteOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
