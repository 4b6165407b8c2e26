/** Deletes all keys of ranges in bounded steps, for those that wait until nothing is left. */

import type { Table, TableRange } from './store.ts'

/** At most `limit` keys go in one step; other work of the process goes on between two. */
export async function clearAll(table: Table, ranges: readonly TableRange[], limit: number): Promise<void> {
  for (let left = ranges; left.length > 0; await new Promise((resolve) => setImmediate(resolve))) {
    left = left.slice(await table.clear(left, limit))
  }
}
