/**
 * A map ordered by key bytes, for the memory store. Keys lie in blocks of bounded size, so that an insertion moves a few
 * hundred pointers and not a million. It owns what it is given: callers copy.
 */

import type { TableEntry, TableRange } from '../store.ts'

/** A block that grows beyond this is split in two. */
const BLOCK_KEYS = 512

/** Entries in key order; never empty, except for the only block of an empty map. */
type Block = TableEntry[]

export class SortedMap {
  #blocks: Block[] = [[]]

  get(key: Uint8Array): Uint8Array | undefined {
    const block = this.#block(this.#blockAt(key))
    const entry = block[lowerBound(block, key)]
    return entry !== undefined && Buffer.compare(entry.key, key) === 0 ? entry.value : undefined
  }

  set(key: Uint8Array, value: Uint8Array): void {
    const at = this.#blockAt(key)
    const block = this.#block(at)
    const index = lowerBound(block, key)
    const found = block[index]
    if (found !== undefined && Buffer.compare(found.key, key) === 0) {
      block[index] = { key: found.key, value }
      return
    }
    block.splice(index, 0, { key, value })
    if (block.length > BLOCK_KEYS) this.#blocks.splice(at + 1, 0, block.splice(BLOCK_KEYS / 2))
  }

  delete(key: Uint8Array): void {
    const at = this.#blockAt(key)
    const block = this.#block(at)
    const index = lowerBound(block, key)
    const found = block[index]
    if (found === undefined || Buffer.compare(found.key, key) !== 0) return
    block.splice(index, 1)
    if (block.length === 0 && this.#blocks.length > 1) this.#blocks.splice(at, 1)
  }

  /** At most `limit` entries of the range, from its first key up, or from its last down. */
  range(range: TableRange, reverse: boolean, limit: number): TableEntry[] {
    const found: TableEntry[] = []
    const step = reverse ? -1 : 1
    let at = this.#blockAt(reverse ? range.lt : range.gte)
    let index = lowerBound(this.#block(at), reverse ? range.lt : range.gte) - (reverse ? 1 : 0)
    while (found.length < limit) {
      const entry = this.#block(at)[index]
      if (entry === undefined) {
        at += step
        const next = this.#blocks[at]
        if (next === undefined) break
        index = reverse ? next.length - 1 : 0
        if (next.length === 0) break
        continue
      }
      if (reverse ? Buffer.compare(entry.key, range.gte) < 0 : Buffer.compare(entry.key, range.lt) >= 0) break
      found.push(entry)
      index += step
    }
    return found
  }

  /** A map with the same entries, which changes on its own. */
  copy(): SortedMap {
    const copy = new SortedMap()
    copy.#blocks = this.#blocks.map((block) => block.slice())
    return copy
  }

  #block(at: number): Block {
    return this.#blocks[at] as Block
  }

  /** The last block whose first key is not after `key`. */
  #blockAt(key: Uint8Array): number {
    let low = 0
    let high = this.#blocks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      const first = this.#block(middle)[0] as TableEntry
      if (Buffer.compare(first.key, key) <= 0) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** Index of the first entry whose key is not before `key`. */
function lowerBound(block: Block, key: Uint8Array): number {
  let low = 0
  let high = block.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (Buffer.compare((block[middle] as TableEntry).key, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
