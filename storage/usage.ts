/**
 * Counters of topics and bytes: of all, of each first segment of names, of each principal, and of the prefixes that somebody
 * watches. The first three follow from the operations of the journal, as heads do: each is stored as of a point in it, by the
 * same flush as the heads of its topics and before them, so that replaying the journal on it is exact. A start looks up none
 * but those that are watched; the others learn what the table has when a flush must store them. See FORMAT.md, Counters.
 */

import { asLitetopicError, LIMITS, type LitetopicError, pack, prefixCovers, unpack } from '../protocol/index.ts'
import { Counter } from './counter.ts'
import type { AnyTopic } from './graves.ts'
import type { AsOf } from './head.ts'
import { indexRange, usageKey } from './keys.ts'
import type { Unloaded } from './recovery.ts'
import { seal, unseal } from './seal.ts'
import { INDEX, type Store, type Table, type TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'

type PackedUsage = [topics: number, bytes: number, commit: number, operations: number]

export class Usage {
  private readonly table: Table
  private readonly failed: (error: LitetopicError) => void
  /** Has the table counted from the beginning? If not, nothing is stored, and all that is watched is counted anew. */
  private readonly stored: boolean
  private readonly total = new Counter(usageKey('total', ''), null)
  private readonly segments = new Map<string, Counter>()
  private readonly principals = new Map<string, Counter>()
  /** Watched prefixes of more than one segment. */
  private readonly deep = new Map<string, Counter>()
  readonly watched = new Map<string, Counter>()
  /** Stored counters of nothing, and the commit that they are as of, the oldest first. */
  private readonly empty = new Map<string, { readonly key: Buffer; readonly commit: number }>()
  /** Topics of the journal whose operations a counter does not have yet. */
  private readonly replayed = new Map<Counter, Unloaded[]>()

  private constructor(table: Table, stored: boolean, failed: (error: LitetopicError) => void) {
    this.table = table
    this.stored = stored
    this.failed = failed
    this.total.watched = true
  }

  /** `failed` is told of a counter that is damaged: it is neither kept nor stored any more. */
  static async open(store: Store, failed: (error: LitetopicError) => void): Promise<Usage> {
    const { table, journal } = store
    const key = usageKey('total', '')
    let stored = (await table.get(key)) !== undefined
    if (!stored && journal.last === 0 && (await table.scan({ ...indexRange(INDEX.head), limit: 1 })).length === 0) {
      await table.write([{ key, value: sealed(key, [0, 0, 0, 0]) }])
      stored = true
    }
    return new Usage(table, stored, failed)
  }

  /** Notes a topic that the journal names. */
  noteReplayed(topic: Unloaded): void {
    if (!this.stored) return
    for (const counter of this.of(topic.name, topic.principal)) {
      const topics = this.replayed.get(counter)
      if (topics === undefined) this.replayed.set(counter, [topic])
      else topics.push(topic)
    }
  }

  /**
   * Keeps the counters of prefixes of whole segments in memory. To be called once, before anything changes. Those that are
   * not `whole` then must be counted.
   */
  async watch(prefixes: readonly string[]): Promise<void> {
    for (const prefix of [...prefixes].sort((a, b) => a.length - b.length)) {
      const counter = prefix.includes('/') ? this.watchDeep(prefix) : this.segment(prefix)
      counter.watched = true
      this.watched.set(prefix, counter)
    }
    if (this.stored) await this.load([...this.watched.values()].filter(({ key }) => key !== null))
  }

  /** A topic has changed, by so many topics and bytes, and is now as it is given. */
  change(state: TopicState, topics: number, bytes: number): void {
    if (state.counter === null || state.counter.dropped) state.counter = this.innermost(state.name)
    for (let counter: Counter | null = state.counter; counter !== null; counter = counter.parent) {
      counter.change(state, topics, bytes)
    }
    if (this.stored && state.principal !== null) this.principal(state.principal).change(state, topics, bytes)
  }

  /** Adds the counters of a topic that are stored and that a flush of it must store too. */
  touch({ name, principal }: Pick<AnyTopic, 'name' | 'principal'>, touched: Set<Counter>): void {
    if (!this.stored) return
    for (const counter of this.of(name, principal)) {
      if (!counter.damaged && (counter.dirty || this.replayed.has(counter))) touched.add(counter)
    }
  }

  /** Looks up what the table has of counters, and adds what the journal has beyond it. */
  async load(counters: Iterable<Counter>): Promise<void> {
    const missing = [...counters].filter(({ whole }) => !whole)
    if (missing.length === 0) return
    const values = await this.table.getMany(missing.map(({ key }) => key as Buffer))
    missing.forEach((counter, i) => {
      if (!counter.whole) this.complete(counter, values[i])
    })
  }

  /**
   * What stores the counters as they are now, which is as of that point of the journal, and removes those of nothing that
   * the journal has forgotten: no operation up to the commit `forgotten` can come back.
   */
  changes(counters: Iterable<Counter>, { commit, operations }: AsOf, forgotten: number): TableChange[] {
    const changes: TableChange[] = []
    for (const [name, empty] of this.empty) {
      if (empty.commit > forgotten) break
      this.empty.delete(name)
      changes.push({ key: empty.key, value: null })
    }
    for (const counter of counters) {
      const { key, topics, bytes, whole } = counter
      if (!whole || key === null) continue
      counter.dirty = false
      changes.push({ key, value: sealed(key, [topics, bytes, commit, operations]) })
      this.noteStored(counter, key, commit)
    }
    return changes
  }

  /** Is it time for some to leave memory? */
  get isCrowded(): boolean {
    return Math.max(this.segments.size, this.principals.size) > LIMITS.usageCounters
  }

  /** The table has all counters as they were written: some of those that nobody needs leave memory. */
  settle(): void {
    for (const counters of [this.segments, this.principals]) {
      if (counters.size <= LIMITS.usageCounters) continue
      for (const [name, counter] of counters) {
        if (counter.dirty || counter.watched || this.replayed.has(counter)) continue
        counter.dropped = true
        counters.delete(name)
        if (counters.size <= LIMITS.usageCounters) break
      }
    }
  }

  /** The table has it, or will have it, as of that commit. */
  private noteStored(counter: Counter, key: Buffer, commit: number): void {
    const name = key.toString('latin1')
    this.empty.delete(name)
    if (counter.topics === 0 && counter.bytes === 0 && counter !== this.total) this.empty.set(name, { key, commit })
  }

  private complete(counter: Counter, value: Uint8Array | undefined): void {
    const key = counter.key as Buffer
    let asOf: AsOf = { commit: 0, operations: 0 }
    if (value !== undefined) {
      try {
        const [topics, bytes, commit, operations] = unpack(unseal(key, value, 'a counter')) as PackedUsage
        counter.topics += topics
        counter.bytes += bytes
        asOf = { commit, operations }
      } catch (error) {
        counter.damaged = true
        this.failed(asLitetopicError(error))
        return
      }
    }
    counter.whole = true
    for (const topic of this.replayed.get(counter) ?? []) addReplayed(counter, topic, asOf)
    this.replayed.delete(counter)
    if (value !== undefined && !counter.dirty) this.noteStored(counter, key, asOf.commit)
  }

  private of(name: string, principal: string | null): Counter[] {
    const counters = [this.total, this.segment(firstSegment(name))]
    if (principal !== null) counters.push(this.principal(principal))
    return counters
  }

  private segment(name: string): Counter {
    if (name === '') return this.total
    return known(this.segments, name, () => new Counter(usageKey('segment', name), this.total))
  }

  private principal(name: string): Counter {
    return known(this.principals, name, () => new Counter(usageKey('principal', name), null))
  }

  private watchDeep(prefix: string): Counter {
    const parent = this.innermost(prefix)
    parent.watched = true
    return known(this.deep, prefix, () => new Counter(null, parent))
  }

  /** Of the counters that the name is under, the one of the longest prefix. */
  private innermost(name: string): Counter {
    let longest = ''
    for (const prefix of this.deep.keys()) {
      if (prefix.length > longest.length && prefixCovers(prefix, name)) longest = prefix
    }
    const segment = firstSegment(name)
    return this.deep.get(longest) ?? (this.stored || this.segments.has(segment) ? this.segment(segment) : this.total)
  }
}

function addReplayed(counter: Counter, { notes, first, last, created, deleted }: Unloaded, asOf: AsOf): void {
  for (let at = first; at >= 0; at = notes.next(at)) {
    const commit = notes.commit(at)
    if (commit < asOf.commit || (commit === asOf.commit && notes.index(at) < asOf.operations)) continue
    if (created && at === first) counter.topics++
    if (deleted && at === last) counter.topics--
    counter.bytes += notes.bytes(at)
    counter.dirty = true
  }
}

function firstSegment(name: string): string {
  const end = name.indexOf('/')
  return end < 0 ? name : name.slice(0, end)
}

function known(counters: Map<string, Counter>, name: string, make: () => Counter): Counter {
  let counter = counters.get(name)
  if (counter === undefined) {
    counter = make()
    counters.set(name, counter)
  }
  return counter
}

function sealed(key: Buffer, packed: PackedUsage): Buffer {
  return seal(key, pack(packed))
}
