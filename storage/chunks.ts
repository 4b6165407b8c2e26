/** Reading a topic's log from the table: chunks of its own, and before its fork point those of the topics that it descends from. */

import { chunkRange, numberInKey } from './keys.ts'
import { cutBatches, ownerOf } from './lineage.ts'
import { unseal } from './seal.ts'
import type { Table } from './store.ts'
import { firstOffsetOf } from './tail.ts'
import type { TopicState } from './topic-state.ts'

/** The batches of the chunk that holds the offset, none of them behind what the topic has of it; null if there is none. Rejects with STORE_CORRUPT. */
export async function chunkWith(table: Table, state: TopicState, offset: number): Promise<Uint8Array | null> {
  const { epoch, upTo } = ownerOf(state, offset)
  const [entry] = await table.scan({ ...chunkRange(epoch, offset), limit: 1 })
  if (entry === undefined) return null
  const batches = unseal(entry.key, entry.value, `a chunk of topic ${state.name}`)
  return firstOffsetOf(batches) <= offset ? cutBatches(batches, upTo) : null
}

/** The batches of chunks from the one that holds `from` on, of those that end before `to`, which is in a chunk or where they end. */
export async function chunksFrom(
  table: Table,
  state: TopicState,
  from: number,
  to: number,
  limit: number,
): Promise<Uint8Array[]> {
  const found: Uint8Array[] = []
  for (let next = from; next < to && found.length < limit; ) {
    const { epoch, upTo } = ownerOf(state, next)
    const isOwn = epoch === state.epoch
    const range = isOwn ? chunkRange(epoch, next, to) : chunkRange(epoch, next)
    const entries = await table.scan({ ...range, limit: limit - found.length })
    for (const { key, value } of entries) {
      if (next >= upTo) break
      found.push(cutBatches(unseal(key, value, `a chunk of topic ${state.name}`), upTo))
      next = Math.min(numberInKey(key, 1) + 1, upTo)
    }
    if (isOwn || entries.length === 0) break
  }
  return found
}
