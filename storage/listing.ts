/** A page of topics by name: heads of the table, and in their stead, or beside them, topics that it does not have as they are. */

import { asLitetopicError, type LitetopicError, unpack } from '../protocol/index.ts'
import type { Flusher } from './flusher.ts'
import { isLazy } from './graves.ts'
import { decodeHead } from './head.ts'
import { byteOrder, headRange, indexRange, nameOfHeadKey, numberInKey, openStreamsKey } from './keys.ts'
import { loadHead } from './recovery.ts'
import { refuse, unseal } from './seal.ts'
import { INDEX, type Table } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** Heads read at once, unless more are asked for. */
const HEADS_AT_ONCE = 1024

interface Page {
  readonly states: TopicState[]
  readonly more: boolean
}

/** A topic with open streams; null where its name cannot be read. */
export interface OpenStreams {
  readonly epoch: number
  readonly name: string | null
}

/** Topics with open streams, by epoch. What is damaged is given to `damaged`; without that, rejects with STORE_CORRUPT. */
export async function openStreamTopics(
  table: Table,
  afterEpoch: number,
  limit: number,
  damaged: (error: LitetopicError) => void = refuse,
): Promise<OpenStreams[]> {
  const { lt } = indexRange(INDEX.openStreams)
  const entries = await table.scan({ gte: openStreamsKey(afterEpoch + 1), lt, limit })
  return entries.map(({ key, value }) => {
    const epoch = numberInKey(key, 0)
    try {
      return { epoch, name: String(unpack(unseal(key, value, 'an entry of the open streams'))) }
    } catch (error) {
      damaged(asLitetopicError(error))
      return { epoch, name: null }
    }
  })
}

/**
 * Topics after `after` that begin with `prefix`, without deleted ones; to be called within `reading`. If there are more there is at
 * least one, after which who asks can go on. Rejects with STORE_CORRUPT.
 */
export async function listTopics(
  table: Table,
  flusher: Flusher,
  prefix: string,
  after: string,
  limit: number,
): Promise<Page> {
  for (let from = after; ; ) {
    const { states, more, last } = await pageOf(table, flusher, prefix, from, limit)
    if (states.length > 0 || !more) return { states, more }
    // All of them were deleted while the page was read.
    from = last
  }
}

/** The same, of which any number may have been deleted; `last` is where it ends. */
async function pageOf(
  table: Table,
  flusher: Flusher,
  prefix: string,
  after: string,
  limit: number,
): Promise<Page & { last: string }> {
  const found = new Set(namesInMemory(flusher, prefix, after, limit + 1))
  const heads = new Map<string, TopicState>()
  let scanned = limit + 1
  for (let last = after; heads.size <= limit; ) {
    const page = await table.scan({ ...headRange(prefix, last), limit: scanned })
    for (const { key, value } of page) {
      last = nameOfHeadKey(key)
      if (flusher.find(last) === undefined) {
        const { state } = decodeHead(last, value)
        if (flusher.graves.isDead(state.epoch)) continue
        heads.set(last, state)
      }
      found.add(last)
    }
    if (page.length < scanned) break
    // Where many are deleted, and not removed yet, more and more are stepped over at once.
    scanned = Math.min(scanned * 4, Math.max(scanned, HEADS_AT_ONCE))
  }
  const names = [...found].sort(byteOrder)
  const page = names.slice(0, limit)
  const states: TopicState[] = []
  for (const name of page) {
    const state = await stateOf(table, flusher, name, heads.get(name))
    if (state !== null && !state.deleted) states.push(state)
  }
  return { states, more: names.length > limit, last: page.at(-1) ?? after }
}

async function stateOf(
  table: Table,
  flusher: Flusher,
  name: string,
  head: TopicState | undefined,
): Promise<TopicState | null> {
  const known = flusher.find(name)
  if (known !== undefined) return isLazy(known) ? known.load() : known
  // A topic that was in memory when its name was found may have been flushed since.
  const state = head ?? (await loadHead(table, name))?.state ?? null
  return state === null || flusher.graves.isDead(state.epoch) ? null : state
}

/** The first names in memory, without sorting all that there are. */
function namesInMemory(flusher: Flusher, prefix: string, after: string, count: number): string[] {
  let names: string[] = []
  let bound: string | undefined
  for (const { name } of flusher.topics()) {
    if (!name.startsWith(prefix) || byteOrder(name, after) <= 0) continue
    if (bound !== undefined && byteOrder(name, bound) >= 0) continue
    names.push(name)
    if (names.length < count * 4) continue
    names = names.sort(byteOrder).slice(0, count)
    bound = names.at(-1)
  }
  return names.sort(byteOrder).slice(0, count)
}
