/**
 * The store in memory: the reference for the contract, the store of most tests, and of a broker whose data may go with
 * its process. What a store keeps lies on a MemoryDisk, which outlives the store that is opened on it.
 */

import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { checkAppend, checkSkip } from '../journal-checks.ts'
import type {
  Durability,
  Journal,
  JournalEntry,
  Store,
  StoreSnapshot,
  Table,
  TableChange,
  TableEntry,
  TableRange,
  TableScan,
} from '../store.ts'
import { SortedMap } from './sorted-map.ts'

export interface MemoryStoreOptions {
  /** What the store says of itself; nothing in memory survives the process. Default `os`. */
  readonly durability?: Durability
}

/** What a memory store keeps. One store at a time is open on it. */
export class MemoryDisk {
  /** Entries of the journal; the first has number `floor + 1`. */
  entries: Uint8Array[] = []
  /** Number up to which the journal has been truncated. */
  floor = 0
  table = new SortedMap()
  inUse = false

  /** What a process would find that starts after the present one was killed. */
  copy(): MemoryDisk {
    const copy = new MemoryDisk()
    copy.entries = this.entries.slice()
    copy.floor = this.floor
    copy.table = this.table.copy()
    return copy
  }
}

/** Opens a store on `disk`, by default an empty one. Rejects with DATA_DIR_IN_USE while another store is open on it. */
export async function openMemoryStore(
  disk: MemoryDisk = new MemoryDisk(),
  options: MemoryStoreOptions = {},
): Promise<Store> {
  if (disk.inUse) throw new LitetopicError('DATA_DIR_IN_USE', 'another store is open on this memory disk')
  disk.inUse = true
  return new MemoryStore(disk, options.durability ?? 'os')
}

class MemoryStore implements Store {
  readonly durability: Durability
  readonly location = 'memory'
  readonly journal: Journal
  readonly table: Table
  readonly #disk: MemoryDisk
  readonly #whileOpen = (): void => {
    if (!this.#open) throw new LitetopicError('STORE_UNAVAILABLE', 'the store is closed')
  }
  #open = true

  constructor(disk: MemoryDisk, durability: Durability) {
    this.durability = durability
    this.#disk = disk
    this.journal = new MemoryJournal(disk, this.#whileOpen)
    this.table = new MemoryTable(disk, this.#whileOpen)
  }

  snapshot(): StoreSnapshot {
    this.#whileOpen()
    const { entries, floor, table } = this.#disk.copy()
    return {
      floor: async () => floor,
      async *entries() {
        let number = floor
        for (const bytes of entries) yield { number: ++number, bytes: bytes.slice() }
      },
      async *iterate(range) {
        let from = range.gte
        for (;;) {
          const page = table.range({ gte: from, lt: range.lt }, false, LIMITS.pageItems)
          for (const { key, value } of page) yield { key: key.slice(), value: value.slice() }
          const last = page.at(-1)
          if (last === undefined) return
          from = Buffer.concat([last.key, Buffer.of(0)])
        }
      },
      close: async () => undefined,
    }
  }

  async diskBytes(): Promise<number> {
    return 0
  }

  async compact(): Promise<void> {}

  async probe(): Promise<void> {}

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    this.#disk.inUse = false
  }
}

class MemoryJournal implements Journal {
  readonly #disk: MemoryDisk
  readonly #whileOpen: () => void

  constructor(disk: MemoryDisk, whileOpen: () => void) {
    this.#disk = disk
    this.#whileOpen = whileOpen
  }

  get last(): number {
    return this.#disk.floor + this.#disk.entries.length
  }

  async append(first: number, entries: readonly Uint8Array[]): Promise<void> {
    this.#whileOpen()
    checkAppend(this.last + 1, first, entries)
    for (const entry of entries) this.#disk.entries.push(entry.slice())
  }

  async *entries(): AsyncGenerator<JournalEntry> {
    this.#whileOpen()
    let number = this.#disk.floor
    for (const bytes of this.#disk.entries.slice()) yield { number: ++number, bytes: bytes.slice() }
  }

  async skipTo(number: number): Promise<void> {
    this.#whileOpen()
    checkSkip(this.#disk.floor, this.last, number)
    this.#disk.floor = number
  }

  async truncate(number: number): Promise<void> {
    this.#whileOpen()
    const forgotten = Math.min(number, this.last) - this.#disk.floor
    if (forgotten <= 0) return
    this.#disk.entries.splice(0, forgotten)
    this.#disk.floor += forgotten
  }
}

class MemoryTable implements Table {
  readonly #disk: MemoryDisk
  readonly #whileOpen: () => void

  constructor(disk: MemoryDisk, whileOpen: () => void) {
    this.#disk = disk
    this.#whileOpen = whileOpen
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#whileOpen()
    return this.#disk.table.get(key)?.slice()
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    this.#whileOpen()
    return keys.map((key) => this.#disk.table.get(key)?.slice())
  }

  async write(changes: readonly TableChange[]): Promise<void> {
    this.#whileOpen()
    for (const { key, value } of changes) {
      if (value === null) this.#disk.table.delete(key)
      else this.#disk.table.set(key.slice(), value.slice())
    }
  }

  async scan(scan: TableScan): Promise<TableEntry[]> {
    this.#whileOpen()
    const found = this.#disk.table.range(scan, scan.reverse === true, scan.limit ?? LIMITS.pageItems)
    return found.map(({ key, value }) => ({ key: key.slice(), value: value.slice() }))
  }

  async clear(ranges: readonly TableRange[], limit: number): Promise<number> {
    this.#whileOpen()
    let room = limit
    for (const [done, range] of ranges.entries()) {
      const found = this.#disk.table.range(range, false, room)
      for (const { key } of found) this.#disk.table.delete(key)
      room -= found.length
      if (room === 0) return done
    }
    return ranges.length
  }
}
