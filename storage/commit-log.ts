/**
 * Group commit: operations of all topics are written into one journal entry in memory, and while one commit is under way
 * the next one gathers. An item given with an operation comes back when its commit is durable, or with the error.
 */

import {
  asLitetopicError,
  ByteWriter,
  FORM,
  invariant,
  LIMITS,
  type LitetopicError,
  pack,
  writeBatchHeader,
} from '../protocol/index.ts'
import {
  APPEND_EFFECTS,
  addEpochs,
  ENTRY_HEADER_BYTES,
  OPERATION,
  type OperationBody,
  writeEntryHeader,
} from './operations.ts'
import { SLAB_BYTES, type Slabs } from './slabs.ts'
import type { Journal } from './store.ts'
import { EPOCHS_PER_COMMIT, type TopicState } from './topic-state.ts'

/** Entries handed to the store at once. */
const ENTRIES_PER_APPEND = 4

/** More than an operation, and an introduction before it, need beside records, principal or body. */
const OPERATION_OVERHEAD_BYTES = 1024

/** Operations that may belong together; more than there are. */
const TOGETHER = 8

/** One append as the broker assigns it. */
export interface ShardAppend<Item> {
  /** Slot of the producer, or -1 for the broker's own records. */
  readonly slot: number
  readonly sequence: number
  readonly count: number
  /** Do its records change more than the log: ids, context, checkpoints, streams? */
  readonly effects: boolean
  readonly timeMs: number
  /** The records are `source[from, to)`. */
  readonly source: Uint8Array
  readonly from: number
  readonly to: number
  readonly item: Item | null
  readonly principal?: string
}

export interface CommitListener<Item> {
  /** A commit has its first operation. */
  begun?(): void
  /** The oldest commit that had begun is durable; its items are told next. */
  durable?(bytes: number): void
  /** The commit of these items is durable. */
  committed(items: readonly Item[]): void
  /** These items will not be committed, nor any later one. */
  failed(items: readonly Item[], error: LitetopicError): void
}

interface Gathered<Item> {
  readonly number: number
  readonly start: number
  end: number
  operations: number
  creates: number
  items: Item[]
}

export class CommitLog<Item> {
  private readonly journal: Journal
  readonly slabs: Slabs
  private readonly listener: CommitListener<Item>
  private readonly writer = new ByteWriter(0)
  private gathering: Gathered<Item> | null = null
  private sealed: Gathered<Item>[] = []
  private underWay: Gathered<Item>[] = []
  /** While a commit's items are given back, those that come to wait for it. */
  private late: Item[] | null = null
  private committing = false
  private scheduled = false
  private error: LitetopicError | null = null
  private waiting: { number: number; resolve: () => void; reject: (error: LitetopicError) => void }[] = []
  private nextNumber: number
  /** Number of the newest durable commit. */
  durable: number
  /** Operations and bytes written since the journal was truncated: { commit number, position, operations so far }. */
  private readonly extents: { number: number; start: number; operations: number }[] = []
  private operationsTotal = 0
  /** Bytes gathered or being committed. */
  uncommittedBytes = 0
  /** After a failure: epochs of the topics of which something was assigned that may not be stored; null before. */
  private unstored: Set<number> | null = null

  constructor(journal: Journal, slabs: Slabs, listener: CommitListener<Item>) {
    this.journal = journal
    this.slabs = slabs
    this.listener = listener
    this.durable = journal.last
    this.nextNumber = journal.last + 1
  }

  /** Number of the commit that the next operation will be part of, given the bytes it needs. */
  get number(): number {
    return this.gathering?.number ?? this.nextNumber
  }

  /** Operations already in that commit. */
  get index(): number {
    return this.gathering?.operations ?? 0
  }

  /** Number of the newest commit that has an operation. */
  get newest(): number {
    return this.index === 0 ? this.number - 1 : this.number
  }

  /** Throws STORE_UNAVAILABLE once it has failed. Call before changing any state. */
  check(): void {
    if (this.error !== null) throw this.error
  }

  /** Why nothing is written any more, or null. */
  get failure(): LitetopicError | null {
    return this.error
  }

  /** Has it failed with everything stored that was assigned to the topic of that epoch? Then its state may be told. */
  isSettled(epoch: number): boolean {
    return this.unstored !== null && !this.unstored.has(epoch)
  }

  /** Takes no more operations. What waits fails when it is known what becomes of the commit under way. */
  fail(error: LitetopicError): void {
    this.error ??= error
    if (!this.committing) this.failWaiting(this.error)
  }

  /**
   * Writes an append: the envelope and the records, copied. Returns the position of its batch; its size is in
   * `batchBytes`.
   */
  append(state: TopicState, append: ShardAppend<Item>): number {
    const { source, from, to, principal, item } = append
    const size = to - from
    const extras = principal === undefined ? 0 : principal.length * 3
    const gathering = this.begin(state, size + extras + OPERATION_OVERHEAD_BYTES)
    const out = this.writer
    out.bytes[out.length++] = OPERATION.append
    out.varint(state.epoch)
    out.varint(append.slot + 1)
    out.varint(append.sequence)
    out.bytes[out.length++] = append.effects ? APPEND_EFFECTS : 0
    const start = out.length
    const envelope = principal === undefined ? undefined : { principal }
    writeBatchHeader(out, FORM.raw, state.nextOffset, append.count, append.timeMs, size, envelope)
    out.slice(source, from, to)
    this.batchBytes = out.length - start
    if (item !== null) gathering.items.push(item)
    this.finish(gathering)
    return this.slabBase + start
  }

  /** Bytes of the batch written last. */
  batchBytes = 0
  private slabBase = 0

  /** Writes any other operation on the topic. */
  write<K extends keyof OperationBody>(state: TopicState, type: K, body: OperationBody[K], item: Item | null): void {
    const packed = pack(body)
    // A creation and a deletion name the topic themselves; but the counters of a principal need that one's, too.
    const isNamed = type === 'create' || (type === 'delete' && state.principal === null)
    const gathering = this.begin(state, packed.length + OPERATION_OVERHEAD_BYTES, isNamed)
    this.put(type, packed)
    if (item !== null) gathering.items.push(item)
    this.finish(gathering)
    if (isNamed) {
      state.introduced = true
      this.mark(state)
    }
  }

  /** Has the next few operations, one creation at most, with so many bytes of records, ids and principals in all, go into the same commit. */
  reserve(bytes: number): void {
    if (this.gathering !== null && this.gathering.creates >= EPOCHS_PER_COMMIT) this.seal()
    this.begin(null, bytes + TOGETHER * OPERATION_OVERHEAD_BYTES)
  }

  /** Reserves the epoch of a topic that is about to be created by the next `write`. */
  nextEpoch(): number {
    // So that the creation goes into the commit that its epoch names.
    this.reserve(0)
    const gathering = this.begin(null, 0)
    return gathering.number * EPOCHS_PER_COMMIT + gathering.creates++
  }

  /** Gives the item back when all that was written so far is durable, after the items of that; at once if it is. */
  afterCommit(item: Item): void {
    this.check()
    const newest = this.gathering ?? this.sealed.at(-1) ?? this.underWay.at(-1)
    if (newest !== undefined) newest.items.push(item)
    else if (this.late !== null) this.late.push(item)
    else this.listener.committed([item])
  }

  /** Resolves when the commit of that number is durable. */
  whenDurable(number: number): Promise<void> {
    if (number <= this.durable) return Promise.resolve()
    if (this.error !== null) return Promise.reject(this.error)
    return new Promise((resolve, reject) => this.waiting.push({ number, resolve, reject }))
  }

  /** Notes an entry that replay found, so that the journal's budget counts it. */
  noteReplayed(number: number, start: number, operations: number): void {
    this.extents.push({ number, start, operations })
    this.operationsTotal += operations
  }

  /** How full the journal is against its budget, 1 being full. */
  get fullness(): number {
    const first = this.extents[0]
    if (first === undefined) return 0
    const bytes = this.slabs.position - first.start
    return Math.max(bytes / LIMITS.journalBytes, this.operationsTotal / LIMITS.journalOperations)
  }

  /** Forgets the entries up to `number`: their effects are in the table and synced. */
  async truncate(number: number): Promise<void> {
    let dropped = 0
    for (const extent of this.extents) {
      if (extent.number > number) break
      this.operationsTotal -= extent.operations
      dropped++
    }
    if (dropped === 0) return
    this.extents.splice(0, dropped)
    this.slabs.release(this.extents[0]?.start ?? this.slabs.position)
    await this.journal.truncate(number)
  }

  /** Resolves when all that was written so far is durable. Rejects with STORE_UNAVAILABLE when it failed. */
  whenAllDurable(): Promise<void> {
    return this.whenDurable(this.newest)
  }

  private begin(state: TopicState | null, bytes: number, isNamed = false): Gathered<Item> {
    this.check()
    let gathering = this.gathering
    if (gathering !== null && this.writer.length + bytes > gathering.end) {
      invariant(bytes <= LIMITS.journalEntryBytes - ENTRY_HEADER_BYTES, 'an operation fits into a journal entry')
      this.seal()
      gathering = null
    }
    gathering ??= this.open()
    if (state !== null && !isNamed) {
      if (!state.introduced) this.introduce(state)
      this.mark(state)
    }
    return gathering
  }

  private open(): Gathered<Item> {
    this.slabs.makeRoom()
    const start = this.slabs.position
    this.slabBase = Math.floor(start / SLAB_BYTES) * SLAB_BYTES
    this.writer.bytes = this.slabs.at(start)
    this.writer.length = start - this.slabBase + ENTRY_HEADER_BYTES
    // While gathering, `end` is the bound within the slab; once sealed, where the entry ends.
    const end = start - this.slabBase + LIMITS.journalEntryBytes
    this.gathering = { number: this.nextNumber++, start, end, operations: 0, creates: 0, items: [] }
    this.listener.begun?.()
    if (!this.scheduled) {
      this.scheduled = true
      setImmediate(() => {
        this.scheduled = false
        void this.run()
      })
    }
    return this.gathering
  }

  private introduce(state: TopicState): void {
    const { epoch, name, principal } = state
    // The rest of its extra is in its head, or in its creation.
    this.put('introduce', pack([epoch, name, principal === null ? null : { principal }]))
    const gathering = this.gathering
    invariant(gathering !== null, 'an entry is gathering')
    gathering.operations++
    state.introduced = true
  }

  private put(type: keyof typeof OPERATION, packed: Uint8Array): void {
    this.writer.u8(OPERATION[type])
    this.writer.varint(packed.length)
    this.writer.raw(packed)
  }

  /** The topic is to be flushed: the table has not all of it. */
  mark(state: TopicState): void {
    if (state.dirtySince !== 0) return
    state.dirtySince = this.number
    this.onDirty(state)
  }

  /** Told when a topic has its first operation that is not in the table. */
  onDirty: (state: TopicState) => void = () => undefined

  private finish(gathering: Gathered<Item>): void {
    gathering.operations++
    const position = this.slabBase + this.writer.length
    this.uncommittedBytes += position - this.slabs.position
    this.slabs.position = position
  }

  private seal(): void {
    const gathering = this.gathering
    if (gathering === null) return
    const length = this.writer.length
    gathering.end = this.slabBase + length
    const from = gathering.start - this.slabBase
    writeEntryHeader(this.slabs.at(gathering.start), from, length, gathering.number, gathering.operations)
    this.slabs.position = gathering.end
    this.noteReplayed(gathering.number, gathering.start, gathering.operations)
    this.sealed.push(gathering)
    this.gathering = null
  }

  /**
   * Commits until nothing is left, one after the other: the store takes one write at a time anyway. The next one is handed over before
   * those are told who waited for the last, so that the disk is at work meanwhile.
   */
  private async run(): Promise<void> {
    if (this.committing) return
    this.committing = true
    try {
      for (let stored = this.storeNext(); stored !== null; ) {
        const batch = this.underWay
        try {
          await stored
        } catch (error) {
          this.error ??= asLitetopicError(error)
          break
        }
        stored = this.storeNext()
        this.deliver(batch)
        this.wake()
      }
    } finally {
      this.committing = false
    }
    if (this.error !== null) this.failWaiting(this.error)
  }

  /** Hands over what is gathered; null if that is nothing, or nothing is written any more. */
  private storeNext(): Promise<void> | null {
    this.underWay = []
    if (this.error !== null) return null
    if (this.sealed.length === 0) this.seal()
    const first = this.sealed[0]
    if (first === undefined) return null
    this.underWay = this.sealed.splice(0, ENTRIES_PER_APPEND)
    const entries = this.underWay.map(({ start, end }) => this.slabs.slice(start, end))
    return this.journal.append(first.number, entries)
  }

  private deliver(batch: Gathered<Item>[]): void {
    const late: Item[] = []
    this.late = late
    for (const entry of batch) {
      this.durable = entry.number
      this.uncommittedBytes -= entry.end - entry.start
      this.listener.durable?.(entry.end - entry.start)
      this.listener.committed(entry.items)
    }
    while (late.length > 0) this.listener.committed(late.splice(0))
    this.late = null
  }

  private wake(): void {
    if (this.waiting.length === 0) return
    const ready = this.waiting.filter((wait) => wait.number <= this.durable)
    this.waiting = this.waiting.filter((wait) => wait.number > this.durable)
    for (const wait of ready) wait.resolve()
  }

  private failWaiting(error: LitetopicError): void {
    this.seal()
    const lost = [...this.underWay.splice(0), ...this.sealed.splice(0)]
    this.unstored ??= new Set()
    for (const { start, end } of lost) addEpochs(this.slabs.at(start), start % SLAB_BYTES, end - start, this.unstored)
    this.uncommittedBytes = 0
    const items = lost.flatMap((entry) => entry.items)
    if (items.length > 0) this.listener.failed(items, error)
    for (const wait of this.waiting.splice(0)) wait.reject(error)
  }
}
