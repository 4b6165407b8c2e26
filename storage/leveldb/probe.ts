/**
 * Can a data directory be written again? Found out without LevelDB, whose open handle must not be used after a failed write:
 * a file as large as what opening anew will write is written, synced and removed.
 */

import { open, readdir, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { directoryBytes } from './data-dir.ts'

const PROBE_FILE = 'probe'
const PIECE = Buffer.alloc(1024 * 1024)

/** Rejects with STORE_UNAVAILABLE if the directory, which has these LevelDB directories, cannot be written. */
export async function probeDirectory(directory: string, parts: readonly string[]): Promise<void> {
  try {
    // LevelDB writes each log that it finds as a sorted file, and removes the log then.
    const logs = await Promise.all(parts.map((part) => logBytes(join(directory, part))))
    const bytes = logs.reduce((sum, size) => sum + size, LIMITS.storeProbeBytes)
    const free = await freeBytes(directory)
    if (free < bytes) throw new Error(`${free} bytes are free, ${bytes} are needed to go on`)
    await writeAndRemove(join(directory, PROBE_FILE), bytes)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new LitetopicError('STORE_UNAVAILABLE', `${directory} cannot be written: ${reason}`, {}, error)
  }
}

/** Removes what a process left that was killed while it probed. */
export async function removeProbe(directory: string): Promise<void> {
  await rm(join(directory, PROBE_FILE), { force: true })
}

/** Is there room to rewrite what the directory holds? */
export async function hasRoomToRewrite(directory: string): Promise<boolean> {
  return (await freeBytes(directory)) > (await directoryBytes(directory)) + LIMITS.storeProbeBytes
}

async function writeAndRemove(file: string, bytes: number): Promise<void> {
  try {
    const handle = await open(file, 'w')
    try {
      for (let left = bytes; left > 0; left -= PIECE.length) await handle.writeFile(PIECE.subarray(0, left))
      await handle.sync()
    } finally {
      await handle.close()
    }
  } finally {
    await rm(file, { force: true })
  }
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

async function logBytes(directory: string): Promise<number> {
  const logs = (await readdir(directory)).filter((name) => name.endsWith('.log'))
  const sizes = await Promise.all(logs.map(async (name) => (await stat(join(directory, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
