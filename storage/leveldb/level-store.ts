/**
 * The store on disk: a journal and a table, LevelDB directories in one data directory; the table has a second one for the parts
 * of large messages. See FORMAT.md.
 * Start here; the parts are level-journal, level-table, split-handle, write-queue, lock-file, data-dir, probe, and level-handle
 * below them.
 */

import { join } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'
import type { Durability, Store, StorePart, StoreSnapshot } from '../store.ts'
import { checkFormat, directoryBytes, prepareDirectory, syncDirectory, usable } from './data-dir.ts'
import { type LevelHandle, type LevelOptions, type OpenLevel, openLevel } from './level-handle.ts'
import { LevelJournal } from './level-journal.ts'
import { LevelTable } from './level-table.ts'
import { type DirectoryLock, lockDirectory } from './lock-file.ts'
import { hasRoomToRewrite, probeDirectory, removeProbe } from './probe.ts'
import { splitHandle } from './split-handle.ts'
import { WriteState } from './write-queue.ts'

const MiB = 1024 * 1024
export const JOURNAL_DIRECTORY = 'journal'
export const TABLE_DIRECTORY = 'table'
export const PARTS_DIRECTORY = 'parts'
const DIRECTORY_OF: Readonly<Record<StorePart, string>> = {
  journal: JOURNAL_DIRECTORY,
  table: TABLE_DIRECTORY,
  parts: PARTS_DIRECTORY,
}
/** All that LevelDB has in a data directory. */
export const DIRECTORIES = [JOURNAL_DIRECTORY, TABLE_DIRECTORY, PARTS_DIRECTORY] as const

/**
 * 16 MiB: 40 % faster than 4 MiB with large entries; 32 MiB brings 3 to 17 %, and longer pauses. Read once, so no cache. Compressed,
 * as half of what is written with small tokens is entries in sorted files, and many tokens look alike.
 */
const JOURNAL_OPTIONS: LevelOptions = { writeBufferBytes: 16 * MiB, cacheBytes: MiB, compression: true }
/** 16 MiB: 50 % faster than 4 MiB; twice as much brings 12 %. */
const TABLE_OPTIONS: LevelOptions = { writeBufferBytes: 16 * MiB, cacheBytes: 32 * MiB, compression: true }
/** Two such buffers are all that parts take of memory here, however many are written. They are read once, so no cache. */
const PARTS_OPTIONS: LevelOptions = { writeBufferBytes: 4 * MiB, cacheBytes: MiB, compression: true }

export interface LevelStoreOptions {
  /** Default `fsync`. */
  readonly durability?: Durability
  /** False: only a data directory that there is, or DATA_DIR_UNUSABLE. Default true. */
  readonly create?: boolean
  /** How a LevelDB directory is opened; for other engines, and for faults. Default: LevelDB. */
  readonly open?: OpenLevel
}

interface Parts {
  readonly location: string
  readonly durability: Durability
  readonly state: WriteState
  readonly lock: DirectoryLock
  readonly handles: readonly LevelHandle[]
  readonly journal: LevelJournal
  readonly table: LevelTable
}

/**
 * Opens, or creates, the data directory `location`. One store at a time has it open.
 * Rejects with DATA_DIR_IN_USE, DATA_DIR_UNUSABLE, DATA_DIR_VERSION or STORE_CORRUPT.
 * After a write has failed, every later one rejects with STORE_UNAVAILABLE; reads go on. Close it and open it anew.
 */
export async function openLevelStore(location: string, options: LevelStoreOptions = {}): Promise<Store> {
  const durability = options.durability ?? 'fsync'
  const directory = await prepareDirectory(location, options.create ?? true)
  const lock = await usable(directory, () => lockDirectory(directory))
  const handles: LevelHandle[] = []
  try {
    await usable(directory, () => checkFormat(directory, DIRECTORIES))
    await usable(directory, () => removeProbe(directory))
    const open = options.open ?? openLevel
    const journalHandle = await open(join(directory, JOURNAL_DIRECTORY), JOURNAL_OPTIONS)
    handles.push(journalHandle)
    const restHandle = await open(join(directory, TABLE_DIRECTORY), TABLE_OPTIONS)
    handles.push(restHandle)
    const partsHandle = await open(join(directory, PARTS_DIRECTORY), PARTS_OPTIONS)
    const tableHandle = splitHandle(restHandle, partsHandle)
    handles[1] = tableHandle
    await usable(directory, () => syncDirectory(directory))
    const state = new WriteState()
    const journal = await LevelJournal.open(journalHandle, state, durability === 'fsync')
    const table = new LevelTable(tableHandle, state, durability === 'fsync')
    return new LevelStore({ location: directory, durability, state, lock, handles, journal, table })
  } catch (error) {
    await Promise.allSettled(handles.map((handle) => handle.close())) // the reason it was not opened says more
    await lock.release()
    throw error
  }
}

class LevelStore implements Store {
  readonly durability: Durability
  readonly location: string
  readonly journal: LevelJournal
  readonly table: LevelTable
  readonly #parts: Parts
  #compaction: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(parts: Parts) {
    this.durability = parts.durability
    this.location = parts.location
    this.journal = parts.journal
    this.table = parts.table
    this.#parts = parts
  }

  diskBytes(part?: StorePart): Promise<number> {
    return directoryBytes(part === undefined ? this.location : join(this.location, DIRECTORY_OF[part]))
  }

  snapshot(): StoreSnapshot {
    this.#parts.state.checkOpen()
    const [journalHandle, tableHandle] = this.#parts.handles as [LevelHandle, LevelHandle]
    // In this order, and in one turn of the loop: a truncation under way began when the table had what it deletes.
    const table = tableHandle.snapshot()
    const journal = journalHandle.snapshot()
    return {
      floor: () => LevelJournal.floorOf(journal),
      entries: () => LevelJournal.entriesOf(journal),
      iterate: (range) => table.iterate(range),
      close: async () => {
        await Promise.all([table.close(), journal.close()])
      },
    }
  }

  /** A call during a compaction waits for that one. */
  compact(): Promise<void> {
    this.#compaction ??= this.#compact().finally(() => {
      this.#compaction = undefined
    })
    return this.#compaction
  }

  probe(): Promise<void> {
    return probeDirectory(this.location, DIRECTORIES)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #compact(): Promise<void> {
    this.#parts.state.check()
    // On a disk nearly full it would use up what is left, and fail, again and again.
    if (!(await hasRoomToRewrite(this.location))) return
    await this.journal.compact()
    const [table, parts] = [TABLE_DIRECTORY, PARTS_DIRECTORY].map((name) => directoryBytes(join(this.location, name)))
    await this.table.compact(((await table) ?? 0) + ((await parts) ?? 0))
  }

  async #close(): Promise<void> {
    const { state, lock, handles } = this.#parts
    state.close()
    await this.#compaction?.catch(() => undefined) // whoever asked for it has the reason
    await Promise.all([this.journal.drained(), this.table.drained()])
    const results = await Promise.allSettled(handles.map((handle) => handle.close()))
    await lock.release()
    for (const result of results) {
      if (result.status === 'fulfilled') continue
      throw new LitetopicError('STORE_UNAVAILABLE', 'LevelDB did not close cleanly', {}, result.reason)
    }
  }
}
