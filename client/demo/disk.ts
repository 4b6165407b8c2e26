/** What a directory takes on disk, so that the demo can show that deleted data is given back. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** The files of LevelDB that hold data; the others are its notes about them. */
const DATA_FILE = /\.(?:log|ldb)$/

/** Bytes of the data files below `directory`. Files that vanish meanwhile count nothing. */
export async function dataBytes(directory: string): Promise<number> {
  let total = 0
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && DATA_FILE.test(entry.name)) total += await fileBytes(join(entry.parentPath, entry.name))
  }
  return total
}

async function fileBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
}

/** Bytes for people: `812 B`, `14.2 KB`, `3.1 MB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  if (bytes < 1_000_000) return `${(bytes / 1000).toFixed(1)} KB`
  return `${(bytes / 1_000_000).toFixed(1)} MB`
}
