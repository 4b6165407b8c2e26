/** A store whose failed writes are noticed in one place, whoever asked for them. */

import { asLitetopicError, LitetopicError } from '../protocol/index.ts'
import type { Journal, Store, Table } from './store.ts'

/** The store, of which `failed` is told each write that fails, with STORE_UNAVAILABLE, before whoever asked for it. */
export function watchWrites(store: Store, failed: (error: LitetopicError) => void): Store {
  const { journal, table } = store
  const watched = async <T>(write: Promise<T>): Promise<T> => {
    try {
      return await write
    } catch (cause) {
      const error = asUnavailable(cause)
      failed(error)
      throw error
    }
  }
  /** Of work that reads too: was it a write that failed? Then every later one fails, also one of nothing. */
  const judged = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      await watched(table.write([]))
      throw error
    }
  }
  const watchedJournal: Journal = {
    get last() {
      return journal.last
    },
    append: (first, entries) => watched(journal.append(first, entries)),
    entries: () => journal.entries(),
    skipTo: (number) => watched(journal.skipTo(number)),
    truncate: (number) => watched(journal.truncate(number)),
  }
  const watchedTable: Table = {
    get: (key) => table.get(key),
    getMany: (keys) => table.getMany(keys),
    scan: (scan) => table.scan(scan),
    write: (changes) => watched(table.write(changes)),
    clear: (ranges, limit) => judged(table.clear(ranges, limit)),
  }
  return {
    durability: store.durability,
    location: store.location,
    journal: watchedJournal,
    table: watchedTable,
    snapshot: () => store.snapshot(),
    diskBytes: (part) => store.diskBytes(part),
    compact: () => judged(store.compact()),
    probe: () => store.probe(),
    close: () => store.close(),
  }
}

function asUnavailable(cause: unknown): LitetopicError {
  const error = asLitetopicError(cause)
  if (error.code === 'STORE_UNAVAILABLE') return error
  return new LitetopicError('STORE_UNAVAILABLE', `the store cannot write: ${error.message}`, {}, cause)
}
