/** Bringing topics into memory, many at a time: what the journal has of them, else their heads, which are read together. */

import { asLitetopicError, type LitetopicError } from '../protocol/index.ts'
import type { CommitLog } from './commit-log.ts'
import type { Flusher } from './flusher.ts'
import { isLazy, type LazyTopic } from './graves.ts'
import { decodeHead } from './head.ts'
import { headKey } from './keys.ts'
import type { Table } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** A topic's state, null if there is no such topic, or why neither can be told. */
export type Loaded = TopicState | null | LitetopicError

export class Loader {
  private readonly table: Table
  private readonly flusher: Flusher
  private readonly log: CommitLog<unknown>

  constructor(table: Table, flusher: Flusher, log: CommitLog<unknown>) {
    this.table = table
    this.flusher = flusher
    this.log = log
  }

  /**
   * The topics of these names, in their order. One fails by itself with STORE_CORRUPT; or with STORE_UNAVAILABLE when nothing can
   * be written any more and it is not certain that its deletion is stored.
   */
  load(names: readonly string[]): Promise<Loaded[]> {
    return this.flusher.graves.reading(async () => {
      const loaded: Loaded[] = names.map(() => null)
      const inTable: number[] = []
      const inJournal: Promise<void>[] = []
      names.forEach((name, i) => {
        const known = this.flusher.find(name)
        if (known === undefined) inTable.push(i)
        else if (isLazy(known)) inJournal.push(this.readLazy(known, i, loaded))
        else loaded[i] = known
      })
      if (inTable.length > 0) await this.readHeads(names, inTable, loaded)
      await Promise.all(inJournal)
      return loaded.map((found, i) => this.judged(names[i] as string, found))
    })
  }

  private async readLazy(known: LazyTopic, place: number, loaded: Loaded[]): Promise<void> {
    loaded[place] = await known.load().catch(asLitetopicError)
  }

  /** Reads the heads of the names at these places, and puts there what they hold. */
  private async readHeads(names: readonly string[], places: readonly number[], loaded: Loaded[]): Promise<void> {
    const keys = places.map((place) => headKey(names[place] as string))
    const values = await this.table.getMany(keys).catch(asLitetopicError)
    places.forEach((place, i) => {
      loaded[place] = Array.isArray(values) ? this.decoded(names[place] as string, keys[i], values[i]) : values
    })
  }

  private decoded(name: string, key: Uint8Array | undefined, value: Uint8Array | undefined): Loaded {
    if (value === undefined) return null
    try {
      const { state } = decodeHead(name, value, key)
      return this.flusher.graves.isDead(state.epoch) ? null : state
    } catch (error) {
      return asLitetopicError(error)
    }
  }

  private judged(name: string, loaded: Loaded): Loaded {
    if (loaded instanceof Error || (loaded !== null && !loaded.deleted)) return loaded
    return this.flusher.graves.has(name) ? this.log.failure : null
  }
}
