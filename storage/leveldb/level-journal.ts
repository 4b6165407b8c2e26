/**
 * The journal in a LevelDB directory of its own. The key of an entry is its commit number, 8 bytes, most significant
 * first. See FORMAT.md, Journal.
 *
 * The key FLOOR holds the number up to which the journal is truncated. It is what keeps `last` when every entry is
 * gone, and what tells entries that came back from entries that count: a truncation is not synced, so after a power cut an
 * older one may be lost while a newer one, in a newer log file, is kept. Each batch that deletes entries therefore carries the
 * floor that these deletions establish. Entries at or below the floor are never looked at.
 *
 * Entries are deleted by their numbers, which are known, and not by a ranged clear: that reads them, and the marks of
 * those deleted before, to find out their keys.
 */

import { LitetopicError } from '../../protocol/index.ts'
import { checkAppend, checkSkip } from '../journal-checks.ts'
import type { Journal, JournalEntry, TableChange, TableRange } from '../store.ts'
import type { LevelHandle, LevelSnapshot } from './level-handle.ts'
import { WriteQueue, type WriteState } from './write-queue.ts'

/** Below and above all numbers, so that files between them overlap; see compact. */
const EDGE = Buffer.of(0x00)
const FLOOR = Buffer.from('floor')
/** Entries deleted in one batch. */
const TRUNCATE_ENTRIES = 1_000

export class LevelJournal implements Journal {
  readonly #db: LevelHandle
  readonly #state: WriteState
  readonly #queue: WriteQueue
  readonly #sync: boolean
  #floor: number
  #last: number
  /** Number of the newest entry that was handed to the queue. */
  #assigned: number
  /** The floor has moved since the last append. */
  #floorMoved = false
  /** A power cut may have brought back entries below the floor. */
  #leftovers: boolean

  private constructor(db: LevelHandle, state: WriteState, sync: boolean, floor: number, last: number) {
    this.#db = db
    this.#state = state
    this.#queue = new WriteQueue(state)
    this.#sync = sync
    this.#floor = floor
    this.#last = last
    this.#assigned = last
    this.#leftovers = floor > 0
  }

  /** Finds floor and last with three reads, however long the journal is. */
  static async open(db: LevelHandle, state: WriteState, sync: boolean): Promise<LevelJournal> {
    const floor = await LevelJournal.floorOf(db)
    // Forwards first: backwards from the end of a journal with no entries, LevelDB would walk all that were deleted.
    const any = await db.keys(numbersAbove(floor), 1)
    const newest = any.length === 0 ? [] : await db.scan(numbersAbove(floor), true, 1)
    const last = newest[0] === undefined ? floor : numberOf(newest[0].key)
    return new LevelJournal(db, state, sync, floor, last)
  }

  get last(): number {
    return this.#last
  }

  /** May be called before earlier appends have resolved; `first` then follows the last of those. */
  async append(first: number, entries: readonly Uint8Array[]): Promise<void> {
    this.#state.check()
    checkAppend(this.#assigned + 1, first, entries)
    this.#assigned += entries.length
    const last = this.#assigned
    await this.#queue.run(async () => {
      const changes: TableChange[] = entries.map((value, i) => ({ key: keyOf(first + i), value }))
      // A sync covers only the log file it goes to, which may be newer than the one that has the truncation.
      if (this.#floorMoved) changes.push({ key: FLOOR, value: keyOf(this.#floor) })
      if (changes.length === 0) return
      await this.#state.attempt(() => this.#db.write(changes, this.#sync))
      this.#floorMoved = false
      this.#last = last
    })
  }

  async *entries(): AsyncGenerator<JournalEntry> {
    yield* entriesAbove(this.#floor, this.#db)
  }

  /** The journal in a snapshot of its directory. */
  static async floorOf(snapshot: Pick<LevelSnapshot, 'get'>): Promise<number> {
    const stored = await snapshot.get(FLOOR)
    return stored === undefined ? 0 : numberOf(stored)
  }

  static async *entriesOf(snapshot: LevelSnapshot): AsyncGenerator<JournalEntry> {
    yield* entriesAbove(await LevelJournal.floorOf(snapshot), snapshot)
  }

  async skipTo(number: number): Promise<void> {
    await this.#queue.run(async () => {
      checkSkip(this.#floor, this.#assigned, number)
      this.#assigned = number
      await this.#state.attempt(() => this.#db.write([{ key: FLOOR, value: keyOf(number) }], this.#sync))
      this.#floor = this.#last = number
    })
  }

  async truncate(number: number): Promise<void> {
    await this.#queue.run(async () => {
      const end = Math.min(number, this.#last)
      while (this.#floor < end) {
        const floor = Math.min(end, this.#floor + TRUNCATE_ENTRIES)
        const changes: TableChange[] = [{ key: FLOOR, value: keyOf(floor) }]
        for (let n = this.#floor + 1; n <= floor; n++) changes.push({ key: keyOf(n), value: null })
        this.#floor = floor // before they are gone, so that who begins to read meanwhile finds no gap
        this.#floorMoved = true
        await this.#state.attempt(() => this.#db.write(changes, false))
      }
    })
  }

  /**
   * Rewrites the directory without what was deleted. Twice, and with a key at both ends: LevelDB may put a new file
   * straight at its lowest level, deleted entries and their deletions side by side, and then a first pass leaves it there.
   */
  async compact(): Promise<void> {
    if (this.#leftovers) await this.#sweep()
    for (let pass = 0; pass < 2; pass++) {
      await this.#queue.run(async () => {
        const ends: TableChange[] = [
          { key: EDGE, value: EDGE },
          { key: FLOOR, value: keyOf(this.#floor) },
        ]
        await this.#state.attempt(() => this.#db.write(ends, false))
      })
      await this.#db.compact({ gte: EDGE, lt: Buffer.of(0xff) })
    }
  }

  /** Resolves when the writes called for so far are done. */
  drained(): Promise<void> {
    return this.#queue.drained()
  }

  /** Deletes entries that a power cut brought back; they are never read, and only take space. */
  async #sweep(): Promise<void> {
    const lt = keyOf(this.#floor + 1)
    let gte = keyOf(0)
    for (;;) {
      const keys = await this.#db.keys({ gte, lt }, TRUNCATE_ENTRIES)
      const end = keys.at(-1)
      if (end === undefined) break
      const changes = keys.map((key) => ({ key, value: null }))
      await this.#queue.run(() => this.#state.attempt(() => this.#db.write(changes, false)))
      gte = keyOf(numberOf(end) + 1)
    }
    this.#leftovers = false
  }
}

async function* entriesAbove(floor: number, db: Pick<LevelSnapshot, 'iterate'>): AsyncGenerator<JournalEntry> {
  let expected = floor + 1
  for await (const { key, value } of db.iterate(numbersAbove(floor))) {
    const number = numberOf(key)
    if (number !== expected) {
      const message = `the journal has commit ${number} where ${expected} was expected`
      throw new LitetopicError('STORE_CORRUPT', message, { expected, found: number })
    }
    yield { number, bytes: value }
    expected++
  }
}

function numbersAbove(floor: number): TableRange {
  return { gte: keyOf(floor + 1), lt: FLOOR }
}

function keyOf(number: number): Buffer {
  const key = Buffer.allocUnsafe(8)
  key.writeUInt32BE(Math.floor(number / 0x1_0000_0000), 0)
  key.writeUInt32BE(number % 0x1_0000_0000, 4)
  return key
}

function numberOf(key: Uint8Array): number {
  if (key.length !== 8) throw new LitetopicError('STORE_CORRUPT', `a journal number of ${key.length} bytes`)
  const view = new DataView(key.buffer, key.byteOffset, 8)
  const number = view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4)
  if (Number.isSafeInteger(number)) return number
  throw new LitetopicError('STORE_CORRUPT', 'a journal number beyond 2^53-1')
}
