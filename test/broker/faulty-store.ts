/** A store on LevelDB whose disk fails when a test says so, beneath all that the store does. */

import { openLevelStore, type Store } from '../../storage/index.ts'
import { type LevelHandle, type OpenLevel, openLevel } from '../../storage/leveldb/level-handle.ts'

/** `before`: nothing of the write is stored. `after`: it is stored, and reported as failed, as when the sync fails. */
export type Failure = 'before' | 'after'

export class FaultyDisk {
  readonly directory: string
  /** Writes of the journal, or of the table, that fail from now on. */
  journal: Failure | null = null
  table: Failure | null = null
  /** Why a store cannot be opened. */
  closed: Error | null = null
  /** Writes that were reported to be durable, and lost, because their handle had failed before. */
  lost = 0
  opened = 0

  constructor(directory: string) {
    this.directory = directory
  }

  fail(part: 'journal' | 'table', failure: Failure = 'before'): void {
    this[part] = failure
  }

  mend(): void {
    this.journal = null
    this.table = null
  }

  /** For `startBroker`. Its probe fails as long as the disk does. */
  readonly open = async (): Promise<Store> => {
    if (this.closed !== null) throw this.closed
    this.opened++
    const store = await openLevelStore(this.directory, { open: this.openLevel })
    const { probe } = store
    store.probe = async () => {
      if (this.journal !== null || this.table !== null) throw new Error('ENOSPC: no space left on device')
      await probe.call(store)
    }
    return store
  }

  private readonly openLevel: OpenLevel = async (path, options) => {
    const handle = await openLevel(path, options)
    const part = path.endsWith('journal') ? 'journal' : 'table'
    let hasFailed = false
    const write: LevelHandle['write'] = async (changes, sync) => {
      if (hasFailed) {
        // What LevelDB does: it acknowledges, and a later opening finds nothing of it.
        this.lost++
        return
      }
      const failure = this[part]
      if (failure !== 'before') await handle.write(changes, sync)
      if (failure === null) return
      hasFailed = true
      throw new Error('IO error: No space left on device')
    }
    return {
      write,
      get: (key) => handle.get(key),
      getMany: (keys) => handle.getMany(keys),
      scan: (range, reverse, limit) => handle.scan(range, reverse, limit),
      keys: (range, limit) => handle.keys(range, limit),
      iterate: (range) => handle.iterate(range),
      snapshot: () => handle.snapshot(),
      compact: (range) => handle.compact(range),
      close: () => handle.close(),
    }
  }
}
