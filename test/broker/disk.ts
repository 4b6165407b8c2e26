/** What a directory takes on disk. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes of the files in a directory and below. Files that go meanwhile count as nothing. */
export async function disk(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(
    files.map((file) =>
      stat(join(file.parentPath, file.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
