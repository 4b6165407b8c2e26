/** A store whose writes are counted and timed on their way. */

import { INDEX, type Journal, type Store, type Table } from '../../storage/index.ts'
import type { Clock } from '../clock.ts'
import type { Counts } from './counts.ts'

/** The store as it is; what is written to it is noted in `counts`. */
export function measuredStore(store: Store, clock: Clock, counts: Counts): Store {
  const { journal, table } = store
  const measuredJournal: Journal = {
    get last() {
      return journal.last
    },
    async append(first, entries) {
      const startMs = clock.monotonicMs()
      await journal.append(first, entries)
      counts.samples.journalWrite(clock.monotonicMs() - startMs)
    },
    entries: () => journal.entries(),
    skipTo: (number) => journal.skipTo(number),
    truncate: (number) => journal.truncate(number),
  }
  const measuredTable: Table = {
    get: (key) => table.get(key),
    getMany: (keys) => table.getMany(keys),
    scan: (scan) => table.scan(scan),
    async write(changes) {
      await table.write(changes)
      for (const { key, value } of changes) if (key[0] === INDEX.chunk && value !== null) counts.chunks++
    },
    clear: (ranges, limit) => table.clear(ranges, limit),
  }
  return {
    durability: store.durability,
    location: store.location,
    journal: measuredJournal,
    table: measuredTable,
    snapshot: () => store.snapshot(),
    diskBytes: (part) => store.diskBytes(part),
    compact: () => store.compact(),
    probe: () => store.probe(),
    close: () => store.close(),
  }
}
