/**
 * The table in a LevelDB directory of its own. Every write is synced, deletions too: a sync covers only the log file it
 * goes to, so what an unsynced write left in an older one would not be durable with a later write.
 */

import { LIMITS } from '../../protocol/index.ts'
import type { Table, TableChange, TableEntry, TableRange, TableScan } from '../store.ts'
import { DeletedRanges } from './deleted-ranges.ts'
import { GatheredReads } from './gathered-reads.ts'
import { keysWithin } from './keys-within.ts'
import type { LevelHandle } from './level-handle.ts'
import { WriteQueue, type WriteState } from './write-queue.ts'

/** Below and above all keys: no index has these bytes. See LevelJournal.compact for what they are for. */
const EDGES = [Buffer.of(0x00), Buffer.of(0xff)] as const
/** A table no larger than this is compacted as a whole; it takes a second or two. */
const COMPACT_WHOLE_BYTES = 128 * 1024 * 1024

export class LevelTable implements Table {
  readonly #db: LevelHandle
  readonly #state: WriteState
  readonly #queue: WriteQueue
  readonly #sync: boolean
  readonly #reads: GatheredReads
  readonly #deleted = new DeletedRanges()
  /** Something was written since the last compaction, or may have been before the store was opened. */
  #changed = true
  /** Where the latest clear began and ended, as long as no key was put there since. */
  #cleared: TableRange | undefined

  constructor(db: LevelHandle, state: WriteState, sync: boolean) {
    this.#db = db
    this.#state = state
    this.#queue = new WriteQueue(state)
    this.#reads = new GatheredReads(db)
    this.#sync = sync
  }

  /**
   * On a thread of its own, although `getSync` is ten times faster when the block is in memory (2 against 13 to 25 µs): when it
   * is not, that would hold up every connection for as long as the disk takes.
   */
  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#reads.get(key)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return keys.length === 0 ? [] : this.#db.getMany(keys)
  }

  async write(changes: readonly TableChange[]): Promise<void> {
    await this.#queue.run(async () => {
      if (changes.length === 0) return
      await this.#write(changes)
    })
  }

  async scan(scan: TableScan): Promise<TableEntry[]> {
    return this.#db.scan(scan, scan.reverse === true, scan.limit ?? LIMITS.pageItems)
  }

  async clear(ranges: readonly TableRange[], limit: number): Promise<number> {
    return this.#queue.run(async () => {
      const { keys, within, done } = await keysWithin(ranges, limit, (range, most) =>
        this.#db.keys(this.#notYetCleared(range), most),
      )
      if (within === undefined) return done
      await this.#write(keys.map((key) => ({ key, value: null })))
      this.#cleared = { gte: within.gte.slice(), lt: within.lt }
      return done
    })
  }

  /** Gives space of deleted keys back: of all, or in a large table where keys were deleted. `bytes` is what it takes now. */
  async compact(bytes: number): Promise<void> {
    const ranges = this.#deleted.take()
    if (bytes > COMPACT_WHOLE_BYTES) {
      for (const range of ranges) await this.#db.compact(range)
      return
    }
    if (!this.#changed) return
    this.#changed = false
    const edges = EDGES.map((key) => ({ key, value: key }))
    for (let pass = 0; pass < 2; pass++) {
      await this.#queue.run(() => this.#state.attempt(() => this.#db.write(edges, false)))
      await this.#db.compact({ gte: EDGES[0], lt: EDGES[1] })
    }
  }

  /** Resolves when the writes called for so far are done. */
  drained(): Promise<void> {
    return this.#queue.drained()
  }

  /** A clear that goes on where the one before it stopped need not step over all that was deleted. */
  #notYetCleared(range: TableRange): TableRange {
    const cleared = this.#cleared
    return cleared !== undefined &&
      Buffer.compare(range.gte, cleared.gte) === 0 &&
      Buffer.compare(cleared.lt, range.lt) < 0
      ? { gte: cleared.lt, lt: range.lt }
      : range
  }

  async #write(changes: readonly TableChange[]): Promise<void> {
    await this.#state.attempt(() => this.#db.write(changes, this.#sync))
    this.#changed = true
    for (const { key, value } of changes) {
      if (value === null) this.#deleted.add(key)
      else if (this.#cleared !== undefined && isWithin(key, this.#cleared)) this.#cleared = undefined
    }
  }
}

function isWithin(key: Uint8Array, { gte, lt }: TableRange): boolean {
  return Buffer.compare(key, gte) >= 0 && Buffer.compare(key, lt) < 0
}
