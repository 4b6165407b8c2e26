/**
 * Counting what is under a prefix that no stored counter is of, page by page of heads, while topics change: what is touched
 * meanwhile counts from then on as it is in memory, and its head, which may be older, does not.
 */

import { asLitetopicError, LIMITS, type LitetopicError, prefixCovers } from '../protocol/index.ts'
import type { Count, CountedTopic, Counter } from './counter.ts'
import type { Flusher } from './flusher.ts'
import { isLazy } from './graves.ts'
import { decodeHead } from './head.ts'
import { byteOrder, headKey, headRange, nameOfHeadKey } from './keys.ts'
import type { Table, TableEntry } from './store.ts'

export interface CountPlace {
  readonly table: Table
  readonly flusher: Flusher
  /** Told of heads that cannot be read; their topics are not counted. */
  failed(error: LitetopicError): void
  stopped(): boolean
}

/** Completes those of the counters, by their prefixes, that are not whole. Never rejects. */
export async function countPrefixes(place: CountPlace, counters: Iterable<readonly [string, Counter]>): Promise<void> {
  for (const [prefix, counter] of counters) {
    if (!counter.whole && !place.stopped()) await countPrefix(place, prefix, counter)
  }
}

/** Completes the counter of a prefix. Never rejects: what cannot be read is told, and the counter may stay incomplete. */
export async function countPrefix(place: CountPlace, prefix: string, counter: Counter): Promise<void> {
  try {
    await loadAll(place, prefix)
    if (await scan(place, prefix, counter, begin(place, prefix, counter))) {
      counter.whole = counter.dirty = true
      counter.damaged = false
    }
  } catch (error) {
    place.failed(asLitetopicError(error))
  }
  counter.count = null
}

/** Heads up to a name have been counted; beyond it, topics that were in memory at the beginning or have been touched since. */
class HeadCount implements Count {
  upTo = ''
  private readonly seen = new Set<number>()

  has({ name, epoch }: Pick<CountedTopic, 'name' | 'epoch'>): boolean {
    return byteOrder(name, this.upTo) <= 0 || this.seen.has(epoch)
  }

  see(topic: Pick<CountedTopic, 'name' | 'epoch'>): boolean {
    if (this.has(topic)) return false
    this.seen.add(topic.epoch)
    return true
  }
}

/** Topics of the journal: what their heads lack is in memory then. */
async function loadAll({ flusher, failed, stopped }: CountPlace, prefix: string): Promise<void> {
  for (const topic of [...flusher.topics()].filter(isLazy)) {
    if (stopped()) return
    if (prefixCovers(prefix, topic.name)) await topic.load().catch((error: unknown) => failed(asLitetopicError(error)))
  }
}

function begin({ flusher }: CountPlace, prefix: string, counter: Counter): HeadCount {
  const count = new HeadCount()
  counter.topics = counter.bytes = 0
  counter.count = count
  for (const topic of flusher.topics()) {
    if (!prefixCovers(prefix, topic.name)) continue
    count.see(topic)
    if (!isLazy(topic)) counter.add(topic)
  }
  return count
}

/** False if it was stopped. */
async function scan(place: CountPlace, prefix: string, counter: Counter, count: HeadCount): Promise<boolean> {
  const { table, flusher, stopped } = place
  const below = prefix === '' ? '' : `${prefix}/`
  for (let isMore = true, own = prefix !== ''; isMore; own = false) {
    if (stopped()) return false
    await flusher.graves.reading(async () => {
      const page = own
        ? await ownHead(table, prefix)
        : await table.scan({ ...headRange(below, count.upTo), limit: LIMITS.pageItems })
      for (const entry of page) {
        const head = readable(place, entry)
        if (head !== null && !flusher.graves.isDead(head.epoch) && !count.has(head)) counter.add(head)
      }
      const last = page.at(-1)
      if (last !== undefined) count.upTo = nameOfHeadKey(last.key)
      isMore = own || page.length === LIMITS.pageItems
    })
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  return true
}

async function ownHead(table: Table, prefix: string): Promise<TableEntry[]> {
  const key = headKey(prefix)
  const value = await table.get(key)
  return value === undefined ? [] : [{ key, value }]
}

function readable({ failed }: CountPlace, { key, value }: TableEntry): CountedTopic | null {
  try {
    return decodeHead(nameOfHeadKey(key), value).state
  } catch (error) {
    failed(asLitetopicError(error))
    return null
  }
}
