/** What lies in the table of a disk: heads by name, and of which epoch all other keys are. */

import { decodeHead } from '../../storage/head.ts'
import { indexRange, nameOfHeadKey, numberInKey } from '../../storage/keys.ts'
import type { SortedMap } from '../../storage/memory/sorted-map.ts'
import { INDEX } from '../../storage/store.ts'

const ALL = 1_000_000

/** Keys of no one epoch: what the store is, and counts of what it holds. */
const OF_THE_STORE: readonly number[] = [INDEX.info, INDEX.usage]

export interface TableIndex {
  /** Epochs of the topics that have a head. */
  readonly heads: ReadonlyMap<string, number>
  readonly keys: readonly { index: string; epoch: number; key: string }[]
}

export function indexOf(table: SortedMap): TableIndex {
  const heads = new Map<string, number>()
  const keys: { index: string; epoch: number; key: string }[] = []
  for (const [index, byte] of Object.entries(INDEX)) {
    for (const { key, value } of table.range(indexRange(byte), false, ALL)) {
      if (OF_THE_STORE.includes(byte)) continue
      if (byte === INDEX.head) {
        const name = nameOfHeadKey(key)
        heads.set(name, decodeHead(name, value).state.epoch)
      } else
        keys.push({
          index,
          epoch: numberInKey(key, byte === INDEX.timer ? 1 : 0),
          key: Buffer.from(key).toString('hex'),
        })
    }
  }
  return { heads, keys }
}
