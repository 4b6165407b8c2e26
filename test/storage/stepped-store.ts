/**
 * A memory store whose writes wait until they are let through, one by one, and that can crash: what is let through
 * stays; of what waits, the journal may have the first entries, and the table the first changes, even of one write.
 */

import { type MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import type { Journal, Store, Table, TableChange } from '../../storage/store.ts'

interface JournalWrite {
  readonly entries: readonly Uint8Array[]
  done(): void
}

interface TableWrite {
  readonly changes: readonly TableChange[]
  done(): void
}

export class SteppedStore implements Store {
  readonly durability = 'fsync'
  readonly location = 'memory'
  readonly journal: Journal
  readonly table: Table
  readonly snapshot: Store['snapshot']
  private readonly disk: MemoryDisk
  private readonly journalWrites: JournalWrite[] = []
  private readonly tableWrites: TableWrite[] = []

  private constructor(disk: MemoryDisk, inner: Store) {
    this.disk = disk
    this.snapshot = () => inner.snapshot()
    const { journalWrites, tableWrites } = this
    this.journal = {
      get last() {
        return inner.journal.last
      },
      append: (first, entries) =>
        new Promise((resolve, reject) => {
          const done = (): void => void inner.journal.append(first, entries).then(resolve, reject)
          journalWrites.push({ entries: entries.map((entry) => entry.slice()), done })
        }),
      entries: () => inner.journal.entries(),
      skipTo: (number) => inner.journal.skipTo(number),
      truncate: (number) => inner.journal.truncate(number),
    }
    this.table = {
      get: (key) => inner.table.get(key),
      getMany: (keys) => inner.table.getMany(keys),
      scan: (scan) => inner.table.scan(scan),
      write: (changes) =>
        new Promise((resolve, reject) => {
          tableWrites.push({ changes, done: () => void inner.table.write(changes).then(resolve, reject) })
        }),
      clear: (ranges, limit) => inner.table.clear(ranges, limit),
    }
  }

  static async open(disk: MemoryDisk): Promise<SteppedStore> {
    return new SteppedStore(disk, await openMemoryStore(disk))
  }

  /** Lets the oldest write of the journal, or of the table, through. */
  step(which: 'journal' | 'table'): void {
    const writes = which === 'journal' ? this.journalWrites : this.tableWrites
    writes.shift()?.done()
  }

  get isWaiting(): boolean {
    return this.journalWrites.length > 0 || this.tableWrites.length > 0
  }

  /** Lets everything through until the promise settles, or nothing is left to wait for. */
  async run<T>(work: Promise<T>): Promise<T> {
    let settled = false
    const settle = (): void => {
      settled = true
    }
    work.then(settle, settle)
    while (!settled) {
      this.step('journal')
      this.step('table')
      await new Promise((resolve) => setImmediate(resolve))
    }
    return work
  }

  /** What a start after a crash finds. The shares, from 0 to 1, say how much of what waits survived. */
  crash(journalShare: number, tableShare: number): MemoryDisk {
    const left = this.disk.copy()
    const entries = this.journalWrites.flatMap((write) => write.entries)
    left.entries.push(...entries.slice(0, Math.round(journalShare * entries.length)))
    const changes = this.tableWrites.flatMap((write) => write.changes)
    for (const { key, value } of changes.slice(0, Math.round(tableShare * changes.length))) {
      if (value === null) left.table.delete(key)
      else left.table.set(key.slice(), value.slice())
    }
    return left
  }

  diskBytes(): Promise<number> {
    return Promise.resolve(0)
  }

  probe(): Promise<void> {
    return Promise.resolve()
  }

  compact(): Promise<void> {
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
