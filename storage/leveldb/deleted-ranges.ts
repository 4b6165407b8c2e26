/**
 * Where keys of the table have been deleted since the last compaction: per index, the first and the last. A large table
 * is compacted there only, so that an idle hour with a few deletions does not rewrite all of it.
 */

import type { TableRange } from '../store.ts'

interface Bounds {
  first: Uint8Array
  last: Uint8Array
}

export class DeletedRanges {
  readonly #indexes = new Map<number, Bounds>()

  /** Takes a key that was deleted. Keeps a copy of it at most. */
  add(key: Uint8Array): void {
    const index = key[0] ?? 0
    const bounds = this.#indexes.get(index)
    if (bounds === undefined) {
      const copy = key.slice()
      this.#indexes.set(index, { first: copy, last: copy })
    } else if (Buffer.compare(key, bounds.first) < 0) bounds.first = key.slice()
    else if (Buffer.compare(key, bounds.last) > 0) bounds.last = key.slice()
  }

  /** The ranges so far, each just beyond its last key; begins anew. */
  take(): TableRange[] {
    const ranges = [...this.#indexes.values()].map(({ first, last }) => ({
      gte: first,
      lt: Buffer.concat([last, Buffer.of(0)]),
    }))
    this.#indexes.clear()
    return ranges
  }
}
