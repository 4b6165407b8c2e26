/** The directory around the two LevelDB directories: that it can be used, what format it has, and how much it takes. */

import { mkdir, open, readdir, readFile, realpath, rename, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'

/** Version of the storage format. It changes when an older version could not read what this one writes. */
export const FORMAT = 2

const FORMAT_FILE = 'FORMAT'

/**
 * The real path of the directory. If it is no data directory yet, it becomes one only with `create`. Rejects with
 * DATA_DIR_UNUSABLE.
 */
export async function prepareDirectory(location: string, create: boolean): Promise<string> {
  const path = resolve(location)
  return usable(path, async () => {
    if (create) await mkdir(path, { recursive: true })
    else if ((await optional(() => stat(join(path, FORMAT_FILE)))) === undefined) {
      throw new LitetopicError('DATA_DIR_UNUSABLE', `${path} is no data directory of litetopic`, { path })
    }
    return realpath(path)
  })
}

/** Runs `work` in the directory; failures of the file system become DATA_DIR_UNUSABLE. */
export async function usable<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof LitetopicError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    throw new LitetopicError(
      'DATA_DIR_UNUSABLE',
      `the data directory ${path}: ${advice(code)} (${message})`,
      { path },
      error,
    )
  }
}

/**
 * Checks FORMAT, and writes it in a new directory. Rejects with DATA_DIR_VERSION for another version, and for a
 * directory that holds a journal or a table but no FORMAT.
 */
export async function checkFormat(directory: string, parts: readonly string[]): Promise<void> {
  const file = join(directory, FORMAT_FILE)
  const content = await optional(() => readFile(file, 'utf8'))
  if (content === undefined) {
    const names = await readdir(directory)
    const part = parts.find((name) => names.includes(name))
    if (part === undefined) return writeFormat(directory, file)
    throw versionError(directory, `it holds ${part}, but no FORMAT file`, null)
  }
  const found = parseFormat(content)
  if (found === FORMAT) return
  throw versionError(directory, `its format is ${found ?? 'not readable'}, this version knows ${FORMAT}`, found)
}

/** Makes the names in the directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return // a directory cannot be opened there
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Sizes of all files below the directory. Files may come and go meanwhile. */
export async function directoryBytes(directory: string): Promise<number> {
  const entries = await optional(() => readdir(directory, { withFileTypes: true }))
  const sizes = (entries ?? []).map(async (entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return directoryBytes(path)
    return (await optional(() => stat(path)))?.size ?? 0
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

async function writeFormat(directory: string, file: string): Promise<void> {
  const draft = `${file}.new`
  const handle = await open(draft, 'w')
  try {
    await handle.writeFile(`${JSON.stringify({ format: FORMAT })}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, file)
  await syncDirectory(directory)
}

function parseFormat(content: string): unknown {
  try {
    const parsed: { format?: unknown } | null = JSON.parse(content)
    return parsed?.format ?? null
  } catch {
    return null
  }
}

function versionError(path: string, reason: string, found: unknown): LitetopicError {
  const message = `the data directory ${path} cannot be opened: ${reason}; use the version that wrote it, or another directory`
  return new LitetopicError('DATA_DIR_VERSION', message, { path, found, known: FORMAT })
}

function advice(code: string | undefined): string {
  if (code === 'EACCES' || code === 'EPERM') return 'no permission; change its owner or mode, or choose another'
  if (code === 'EROFS') return 'the file system is read-only; mount it writable, or choose another'
  if (code === 'ENOTDIR' || code === 'EEXIST') return 'a file lies in the way; remove it, or choose another'
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'no space is left; free some'
  return 'cannot be used; check that it can be created, read and written'
}

/** Undefined if there is no such file. */
export async function optional<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
