/**
 * For a data directory whose files LevelDB itself cannot read, one cut short or gone: a copy that LevelDB has repaired. It
 * has what the other files hold, also entries that what is missing had replaced or deleted, so it is only good for salvage.
 */

import { cp, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { usable } from './data-dir.ts'
import { repairLevel } from './level-handle.ts'
import { DIRECTORIES } from './level-store.ts'

/** Not of the data: locks, and sockets, of whoever has the directory open. */
const LEFT_OUT: ReadonlySet<string> = new Set(['LOCK', 'lock', 'control.sock'])

/** Copies the directory, which nobody has open, to `scratch`, and repairs the copy. Rejects with DATA_DIR_UNUSABLE or STORE_CORRUPT. */
export async function repairedCopy(directory: string, scratch: string): Promise<void> {
  await usable(scratch, async () => {
    await rm(scratch, { recursive: true, force: true })
    await cp(directory, scratch, { recursive: true, filter: (path) => !LEFT_OUT.has(basename(path)) })
  })
  for (const part of DIRECTORIES) await repairLevel(join(scratch, part))
}
