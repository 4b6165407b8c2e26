/**
 * Gives back the space of deleted topics and trimmed records, in bounded steps. A deleted topic leaves a garbage key with
 * its epoch in the same write that removes its head, and before it, so that a crash cannot make the step forgotten.
 */

import { asLitetopicError, isLitetopicError, LitetopicError, pack, unpack } from '../protocol/index.ts'
import type { Forks, Kinship } from './forks.ts'
import { chunkRange, epochRange, garbageKey, indexRange, numberInKey } from './keys.ts'
import { PARTS_PER_STEP } from './parts.ts'
import { SEAL_BYTES, seal, unseal } from './seal.ts'
import { INDEX, type Table, type TableChange, type TableEntry, type TableRange } from './store.ts'
import { firstOffsetOf } from './tail.ts'
import { TopicState } from './topic-state.ts'
import { TrimmedIndexes } from './trimmed-indexes.ts'

/** Keys deleted, and chunks read, in one step. Each step syncs at least one write. */
export const KEYS_PER_STEP = 1000
const CHUNKS_PER_STEP = 16
/** Deleted topics that are looked for at once. */
const MARKS_AT_ONCE = 20_000

/** Indexes whose keys begin with an epoch, and go with it. */
export const EPOCH_INDEXES = [
  INDEX.chunk,
  INDEX.stream,
  INDEX.recordId,
  INDEX.context,
  INDEX.checkpoint,
  INDEX.checkpointName,
  INDEX.part,
  INDEX.upload,
] as const

/** An epoch marked as garbage. */
interface Marked extends Kinship {
  readonly epoch: number
}

interface Marks {
  readonly keys: readonly Uint8Array[]
  readonly kin: readonly Marked[]
  /** Where the last one lies; null if there is none. */
  readonly last: Uint8Array | null
}

/** The change that marks an epoch's keys as garbage; to be written before the removal of the head. */
export function garbageMark(epoch: number, kinship: Kinship | null = null): TableChange {
  const key = garbageKey(epoch)
  const payload = kinship === null ? new Uint8Array(0) : pack([kinship.parent, kinship.forked])
  return { key, value: seal(key, payload) }
}

/** What a mark says. Throws STORE_CORRUPT. */
export function readMark({ key, value }: TableEntry): Marked {
  const payload = unseal(key, value, 'a mark of garbage')
  const epoch = numberInKey(key, 0)
  if (payload.length === 0) return { epoch, parent: 0, forked: false }
  const packed = unpack(payload)
  if (!Array.isArray(packed))
    throw new LitetopicError('STORE_CORRUPT', `the mark of garbage of epoch ${epoch} is no list`)
  const [parent, forked] = packed as [number, boolean]
  return { epoch, parent, forked }
}

/** Are there chunks, or may there be, that lie wholly before the first offset kept? */
export function needsClearing(state: TopicState): boolean {
  return state.clearedTo < Math.min(state.firstOffset, state.chunkedTo)
}

export class Garbage {
  private readonly table: Table
  private readonly forks: Forks
  private readonly durable: () => Promise<void>
  private readonly failed: (error: LitetopicError) => void
  private running: Promise<void> | null = null
  /** There may be marks; at first because of what was there before. */
  private marked = true
  private readonly trimmed = new Set<TopicState>()
  private clearing: TopicState | null = null
  private stopped = false

  /** `durable` resolves when all operations written so far are. */
  constructor(table: Table, forks: Forks, durable: () => Promise<void>, failed: (error: LitetopicError) => void) {
    this.table = table
    this.forks = forks
    this.durable = durable
    this.failed = failed
  }

  /** Notes that epochs have been marked in the table. */
  mark(): void {
    this.marked = true
  }

  /** Notes that records of the topic below its first offset may be deleted. */
  trim(state: TopicState): void {
    if (needsClearing(state)) this.trimmed.add(state)
  }

  /** Is something of the topic to be deleted still? What that spares it asks this state. */
  isClearing(state: TopicState): boolean {
    return !this.stopped && (this.trimmed.has(state) || this.clearing === state)
  }

  /** Works until nothing is left, or `stop`. Never rejects: a failure is reported, and ends the work until the next start. */
  collect(): Promise<void> {
    if (this.running !== null) return this.running
    if (this.stopped || !this.pending) return Promise.resolve()
    this.running = this.run()
      .catch((error: unknown) => {
        this.stopped = true
        this.failed(asLitetopicError(error))
      })
      .finally(() => {
        this.running = null
      })
    return this.running
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  get isStopped(): boolean {
    return this.stopped
  }

  private get pending(): boolean {
    return this.marked || this.trimmed.size > 0
  }

  private async run(): Promise<void> {
    while (this.pending && !this.stopped) {
      for (const state of this.trimmed) {
        this.trimmed.delete(state)
        this.clearing = state
        if (!this.stopped && !state.deleted) await this.clearSound(state)
        this.clearing = null
      }
      if (this.marked) await this.clearMarked()
    }
  }

  /**
   * Clears what the marks say, and then deletes the marks, many at a time: a look at an index steps over all that was deleted behind
   * it and not yet compacted, so that looks for a few epochs each would cost the more the more has been deleted.
   */
  private async clearMarked(): Promise<void> {
    this.marked = false
    const { gte, lt } = indexRange(INDEX.garbage)
    for (let from = gte; !this.stopped; ) {
      const { keys, kin, last } = await this.marks(from, lt)
      if (last === null) return
      await this.clearEpochs(keys.map((key) => numberInKey(key, 0)))
      for (let at = 0; at < keys.length && !this.stopped; at += KEYS_PER_STEP) {
        await this.table.write(keys.slice(at, at + KEYS_PER_STEP).map((key) => ({ key, value: null })))
      }
      for (let at = 0; at < kin.length && !this.stopped; at += KEYS_PER_STEP) {
        await this.clearKin(kin.slice(at, at + KEYS_PER_STEP))
      }
      from = behind(last)
    }
  }

  /** Keys of marks, in order, and apart from them the marks of topics that have to do with forks. */
  private async marks(gte: Uint8Array, lt: Uint8Array): Promise<Marks> {
    const keys: Uint8Array[] = []
    const kin: Marked[] = []
    let last: Uint8Array | null = null
    for (let from = gte; keys.length + kin.length < MARKS_AT_ONCE; from = behind(last as Uint8Array)) {
      const page = await this.table.scan({ gte: from, lt, limit: KEYS_PER_STEP })
      for (const entry of page) {
        last = entry.key
        if (entry.value.length === SEAL_BYTES) keys.push(entry.key)
        else kin.push(...this.soundMark(entry))
      }
      if (page.length < KEYS_PER_STEP) break
    }
    return { keys, kin, last }
  }

  /** One that is damaged is reported, and stays: whose parent it names is not known. */
  private soundMark(entry: TableEntry): Marked[] {
    try {
      return [readMark(entry)]
    } catch (error) {
      if (!isLitetopicError(error)) throw error
      this.failed(error)
      return []
    }
  }

  /** Clears epochs that no fork reads, and removes all of these marks: what is hidden gets one again with the end of its last fork. */
  private async clearKin(marks: readonly Marked[]): Promise<void> {
    const free: Marked[] = []
    const shared: Marked[] = []
    for (const mark of marks) {
      const isShared = mark.forked && (await this.forks.isShared(mark.epoch))
      if (isShared) await this.clearUnshared(mark.epoch)
      ;(isShared ? shared : free).push(mark)
    }
    await this.clearEpochs(free.map(({ epoch }) => epoch))
    if (this.stopped) return
    const released = await this.forks.release(free, garbageMark)
    if (released.length > 0) this.marked = true
    const unmarked = ({ epoch }: Marked): TableChange => ({ key: garbageKey(epoch), value: null })
    // One that is shared no more gets a new mark here; those by which that is found out go last.
    await this.table.write([...shared.map(unmarked), ...released, ...free.map(unmarked)])
  }

  private async clearEpochs(epochs: readonly number[]): Promise<void> {
    for (const index of EPOCH_INDEXES) {
      const step = index === INDEX.part ? PARTS_PER_STEP : KEYS_PER_STEP
      let ranges: TableRange[] = epochs.map((epoch) => epochRange(index, epoch))
      while (ranges.length > 0 && !this.stopped) {
        ranges = ranges.slice(await this.table.clear(ranges, step))
        await turn()
      }
    }
  }

  /** A topic that is damaged is reported, and keeps what it has; it must not keep others from being cleared. */
  private async clearSound(state: TopicState): Promise<void> {
    try {
      await this.clearTrimmed(state)
    } catch (error) {
      if (!isLitetopicError(error, 'STORE_CORRUPT')) throw error
      this.failed(error)
    }
  }

  /** Of a hidden topic, what no fork shares is as good as trimmed. */
  private async clearUnshared(epoch: number): Promise<void> {
    const hidden = await this.forks.hidden(epoch)
    if (hidden === null) return
    const state = new TopicState(hidden.name, epoch, 0, null, { forkedTo: hidden.sharedTo })
    state.firstOffset = state.chunkedTo = Number.MAX_SAFE_INTEGER
    await this.clearSound(state)
  }

  /** Deletes the chunks that lie wholly below the first offset, and before them the index entries that they alone needed. */
  private async clearTrimmed(state: TopicState): Promise<void> {
    // What is being flushed now is not looked at: it is above chunkedTo still.
    const to = Math.min(state.firstOffset, state.chunkedTo)
    await this.durable()
    const shared = await this.forks.sharedTo(state)
    const indexes = new TrimmedIndexes(this.table, state, { from: shared, to })
    for (let from = Math.max(state.clearedTo, shared); !this.stopped; ) {
      const chunks = await this.table.scan({ ...chunkRange(state.epoch, from, to), limit: CHUNKS_PER_STEP })
      const superfluous: TableChange[] = []
      for (const chunk of chunks) {
        const batches = readable(chunk, state)
        from = numberInKey(chunk.key, 1) + 1
        // The one that the fork point lies in is read by forks.
        if (shared > 0 && (batches === null || firstOffsetOf(batches) < shared)) continue
        superfluous.push({ key: chunk.key, value: null })
        if (batches !== null) indexes.add(batches)
      }
      await indexes.clear()
      await this.table.write(superfluous)
      if (chunks.length < CHUNKS_PER_STEP) {
        if (shared === 0) state.clearedTo = to
        return
      }
      await turn()
    }
  }
}

/** The chunk's batches; null for a damaged one. It is trimmed: nobody may read it, and it must not keep others from going. */
function readable({ key, value }: TableEntry, state: TopicState): Uint8Array | null {
  try {
    return unseal(key, value, `a chunk of topic ${state.name}`)
  } catch (error) {
    if (isLitetopicError(error, 'STORE_CORRUPT')) return null
    throw error
  }
}

/** The first key that may lie behind this one. */
function behind(key: Uint8Array): Uint8Array {
  return Buffer.concat([key, Buffer.of(0)])
}

/** Lets other work of the process go on between steps. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
