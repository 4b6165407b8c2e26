/**
 * One open LevelDB directory, reduced to what a store needs, and the only file that imports `level`.
 * The interface is the seam for other engines, and for faults: a test opens the real thing and wraps it.
 */

import { Level } from 'level'
import { LitetopicError } from '../../protocol/index.ts'
import type { TableChange, TableEntry, TableRange } from '../store.ts'

/** Bytes that one step of an iteration brings over from LevelDB, beyond the first entry. */
const PAGE_BYTES = 1024 * 1024
/** Entries in one such step. */
const PAGE_ENTRIES = 1_000

export interface LevelOptions {
  /** Memory, and log file, of the newest writes, before they become a sorted file. */
  readonly writeBufferBytes: number
  /** Uncompressed blocks kept in memory. */
  readonly cacheBytes: number
  readonly compression: boolean
}

export interface LevelHandle {
  /** One atomic LevelDB batch, applied in order; with `sync`, fsynced. Rejects with whatever the engine says. */
  write(changes: readonly TableChange[], sync: boolean): Promise<void>
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  scan(range: TableRange, reverse: boolean, limit: number): Promise<TableEntry[]>
  keys(range: TableRange, limit: number): Promise<Uint8Array[]>
  /** The entries that are there when the first is asked for. */
  iterate(range: TableRange): AsyncIterable<TableEntry>
  /** What is there now, for as long as it is not closed. */
  snapshot(): LevelSnapshot
  /** Rewrites the files of a range without what was deleted or replaced in it. */
  compact(range: TableRange): Promise<void>
  close(): Promise<void>
}

/** A directory as it was at one moment. */
export interface LevelSnapshot {
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  iterate(range: TableRange): AsyncIterable<TableEntry>
  close(): Promise<void>
}

/** Opens, or creates, the LevelDB directory at `path`. */
export type OpenLevel = (path: string, options: LevelOptions) => Promise<LevelHandle>

/** The types of `level` cover browsers too, and leave this out. */
type Engine = Level<Uint8Array, Uint8Array> & { compactRange(start: Uint8Array, end: Uint8Array): Promise<void> }
type EngineSnapshot = ReturnType<Engine['snapshot']>

type Repairs = { repair(path: string): Promise<void> }

/**
 * Opens LevelDB. Rejects with DATA_DIR_IN_USE if LevelDB's own lock is held, STORE_CORRUPT if it finds damage, and
 * DATA_DIR_UNUSABLE for any other reason. Reads of the handle reject with STORE_CORRUPT or STORE_UNAVAILABLE.
 */
export const openLevel: OpenLevel = async (path, options) => {
  const db = new Level<Uint8Array, Uint8Array>(path, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: options.compression,
    writeBufferSize: options.writeBufferBytes,
    cacheSize: options.cacheBytes,
  })
  try {
    await db.open()
  } catch (error) {
    throw openError(error, path)
  }
  return new Handle(db as Engine)
}

/** Has LevelDB make what it can of its files, which nobody has open. Rejects with STORE_CORRUPT. */
export async function repairLevel(path: string): Promise<void> {
  try {
    await (Level as unknown as Repairs).repair(path)
  } catch (error) {
    throw new LitetopicError('STORE_CORRUPT', `LevelDB cannot repair ${path}: ${messageOf(error)}`, { path }, error)
  }
}

class Handle implements LevelHandle {
  readonly #db: Engine

  constructor(db: Engine) {
    this.#db = db
  }

  /** A chained batch: measured at twice the speed of an array of operations. It copies keys and values at once. */
  async write(changes: readonly TableChange[], sync: boolean): Promise<void> {
    const batch = this.#db.batch()
    try {
      for (const { key, value } of changes) {
        if (value === null) batch.del(key)
        else batch.put(key, value)
      }
      await batch.write({ sync })
    } finally {
      await batch.close()
    }
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return reading(this.#db.get(key))
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return reading(this.#db.getMany(keys as Uint8Array[]))
  }

  async scan({ gte, lt }: TableRange, reverse: boolean, limit: number): Promise<TableEntry[]> {
    const scan = async () => this.#db.iterator({ gte, lt, reverse, limit, highWaterMarkBytes: PAGE_BYTES }).all()
    return (await reading(scan())).map(([key, value]) => ({ key, value }))
  }

  keys({ gte, lt }: TableRange, limit: number): Promise<Uint8Array[]> {
    const scan = async () => this.#db.keys({ gte, lt, limit, highWaterMarkBytes: PAGE_BYTES }).all()
    return reading(scan())
  }

  iterate(range: TableRange): AsyncGenerator<TableEntry> {
    return this.#iterate(range, undefined)
  }

  snapshot(): LevelSnapshot {
    const snapshot = this.#db.snapshot()
    return {
      get: (key) => reading(this.#db.get(key, { snapshot })),
      iterate: (range) => this.#iterate(range, snapshot),
      close: () => snapshot.close(),
    }
  }

  async *#iterate({ gte, lt }: TableRange, snapshot: EngineSnapshot | undefined): AsyncGenerator<TableEntry> {
    const start = async () => this.#db.iterator({ gte, lt, snapshot, highWaterMarkBytes: PAGE_BYTES })
    const iterator = await reading(start())
    try {
      for (;;) {
        const page = await reading(iterator.nextv(PAGE_ENTRIES))
        if (page.length === 0) return
        for (const [key, value] of page) yield { key, value }
      }
    } finally {
      await iterator.close()
    }
  }

  compact({ gte, lt }: TableRange): Promise<void> {
    return reading(this.#db.compactRange(gte, lt))
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}

async function reading<T>(result: Promise<T>): Promise<T> {
  try {
    return await result
  } catch (error) {
    if (codes(error).includes('LEVEL_CORRUPTION')) {
      throw new LitetopicError('STORE_CORRUPT', `LevelDB found damage while reading: ${messageOf(error)}`, {}, error)
    }
    throw new LitetopicError('STORE_UNAVAILABLE', `LevelDB cannot read: ${messageOf(error)}`, {}, error)
  }
}

function openError(error: unknown, path: string): LitetopicError {
  const found = codes(error)
  if (found.includes('LEVEL_LOCKED')) {
    return new LitetopicError('DATA_DIR_IN_USE', `another process has ${path} open`, { path }, error)
  }
  if (found.includes('LEVEL_CORRUPTION')) {
    return new LitetopicError('STORE_CORRUPT', `LevelDB finds ${path} damaged: ${messageOf(error)}`, { path }, error)
  }
  const message = `LevelDB cannot open ${path}: ${messageOf(error)}; check its owner, its mode and the space left`
  return new LitetopicError('DATA_DIR_UNUSABLE', message, { path }, error)
}

/** Codes of an error and of what caused it: abstract-level wraps what LevelDB says. */
function codes(error: unknown): unknown[] {
  const found: unknown[] = []
  for (let e = error; e instanceof Error; e = e.cause) found.push((e as NodeJS.ErrnoException).code)
  return found
}

/** The innermost message, which names the file. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : messageOf(error.cause)
}
