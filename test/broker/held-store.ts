/** A store in memory that a test holds: reads of its table and commits wait, and commits can be made to fail. */

import { LitetopicError } from '../../protocol/index.ts'
import {
  type Durability,
  type Journal,
  MemoryDisk,
  openMemoryStore,
  type Store,
  type StoreSnapshot,
  type Table,
} from '../../storage/index.ts'

export class HeldStore implements Store {
  readonly durability: Durability
  readonly location: string
  readonly journal: Journal
  readonly table: Table
  /** Reads that wait now. */
  waiting = 0
  /** Reads of the table fail. */
  unreadable = false
  /** Writes of the table so far. */
  writes = 0
  private readonly inner: Store
  private gate: Promise<void> | null = null
  private open: () => void = () => undefined
  private isBroken = false
  private journalGate: Promise<void> | null = null

  private constructor(inner: Store) {
    this.inner = inner
    this.durability = inner.durability
    this.location = inner.location
    this.table = {
      get: (key) => this.held(() => inner.table.get(key)),
      getMany: (keys) => this.held(() => inner.table.getMany(keys)),
      scan: (scan) => this.held(() => inner.table.scan(scan)),
      write: (changes) => {
        this.writes++
        return inner.table.write(changes)
      },
      clear: (ranges, limit) => inner.table.clear(ranges, limit),
    }
    const broken = (): boolean => this.isBroken
    this.journal = {
      get last() {
        return inner.journal.last
      },
      append: async (first, entries) => {
        await this.journalGate
        if (broken()) throw new LitetopicError('STORE_UNAVAILABLE', 'the disk is full')
        await inner.journal.append(first, entries)
      },
      entries: () => inner.journal.entries(),
      skipTo: (number) => inner.journal.skipTo(number),
      truncate: (number) => inner.journal.truncate(number),
    }
  }

  static async open(disk: MemoryDisk = new MemoryDisk()): Promise<HeldStore> {
    return new HeldStore(await openMemoryStore(disk))
  }

  /** From now on reads of the table wait. */
  hold(): void {
    this.gate = new Promise((resolve) => {
      this.open = resolve
    })
  }

  /** Those that wait go on; what they read is as it is then. */
  release(): void {
    this.gate = null
    this.open()
  }

  /** Commits wait until the function that it returns is called. */
  holdJournal(): () => void {
    let open = (): void => undefined
    this.journalGate = new Promise((resolve) => {
      open = resolve
    })
    return open
  }

  /** From now on commits fail. */
  break(): void {
    this.isBroken = true
  }

  snapshot(): StoreSnapshot {
    return this.inner.snapshot()
  }

  diskBytes(): Promise<number> {
    return this.inner.diskBytes()
  }

  /** Once `mend` was called, a store opened anew can write. */
  async probe(): Promise<void> {
    if (this.isBroken) throw new LitetopicError('STORE_UNAVAILABLE', 'the disk is full')
  }

  compact(): Promise<void> {
    return this.inner.compact()
  }

  close(): Promise<void> {
    return this.inner.close()
  }

  private async held<T>(read: () => Promise<T>): Promise<T> {
    if (this.unreadable) throw new LitetopicError('STORE_UNAVAILABLE', 'the disk cannot be read')
    if (this.gate !== null) {
      this.waiting++
      await this.gate
      this.waiting--
    }
    return read()
  }
}
