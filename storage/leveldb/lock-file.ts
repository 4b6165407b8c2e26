/**
 * Who has a data directory open. LevelDB has a lock of its own, but a second open in the same process fails *and* gives it
 * up, and then another process can open and write. So this process remembers its directories, and a file names the
 * process that has one open; LevelDB is asked last.
 *
 * The file outlives a process that was killed. It counts only while its process is alive and the same one: the boot and the
 * start time, where the system tells them (/proc), make a reused process id harmless. Two processes that find the same stale
 * file at once may both replace it; LevelDB's lock, which the kernel keeps, then stops the second.
 */

import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'

const LOCK_FILE = 'lock'
/** Another process may take or leave the directory between two steps; then they begin again. */
const ATTEMPTS = 5

export interface DirectoryLock {
  release(): Promise<void>
}

interface Owner {
  readonly pid: number
  /** Start of the process, in clock ticks after the boot; null where the system does not tell. */
  readonly started: string | null
  /** Id of the boot; null where the system does not tell. */
  readonly boot: string | null
}

/** Directories that this process has open, by real path. */
const held = new Set<string>()

/** Locks `directory`, a real path. Rejects with DATA_DIR_IN_USE if this process or another has it. */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  if (held.has(directory)) throw inUse(directory, process.pid)
  held.add(directory)
  try {
    const content = await takeFile(directory)
    return { release: () => release(directory, content) }
  } catch (error) {
    held.delete(directory)
    throw error
  }
}

/** Creates the lock file, complete from the first moment: written under another name, then linked. */
async function takeFile(directory: string): Promise<string> {
  const file = join(directory, LOCK_FILE)
  const draft = `${file}.${process.pid}`
  const content = JSON.stringify(await ownerOf(process.pid))
  await writeFile(draft, content)
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await linked(draft, file)) return content
      const found = await contentOf(file)
      const owner = found === undefined ? undefined : parseOwner(found)
      if (owner !== undefined && (await isAlive(owner))) throw inUse(directory, owner.pid)
      if (found !== undefined) await rm(file, { force: true })
    }
  } finally {
    await rm(draft, { force: true })
  }
  throw new LitetopicError('DATA_DIR_IN_USE', `other processes are opening ${directory}`, { path: directory })
}

async function release(directory: string, content: string): Promise<void> {
  const file = join(directory, LOCK_FILE)
  try {
    if ((await contentOf(file)) === content) await rm(file, { force: true })
  } finally {
    held.delete(directory)
  }
}

async function linked(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function contentOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** What cannot be parsed was cut short by a power cut, so its process is gone. */
function parseOwner(content: string): Owner | undefined {
  try {
    const owner: Partial<Owner> | null = JSON.parse(content)
    if (typeof owner?.pid !== 'number') return undefined
    return { pid: owner.pid, started: owner.started ?? null, boot: owner.boot ?? null }
  } catch {
    return undefined
  }
}

async function isAlive(owner: Owner): Promise<boolean> {
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const now = await ownerOf(owner.pid)
  if (owner.boot !== null && now.boot !== null && owner.boot !== now.boot) return false
  return owner.started === null || now.started === null || owner.started === now.started
}

async function ownerOf(pid: number): Promise<Owner> {
  const [started, boot] = await Promise.all([startOf(pid), procFile('/proc/sys/kernel/random/boot_id')])
  return { pid, started, boot: boot?.trim() ?? null }
}

/** Start time, or `ended` for a process that is dead and only waits for its parent to ask. */
async function startOf(pid: number): Promise<string | null> {
  const stat = await procFile(`/proc/${pid}/stat`)
  if (stat === null) return null
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name before it may hold spaces
  if (fields[0] === 'Z' || fields[0] === 'X') return 'ended'
  return fields[19] ?? null
}

/** Null where there is no /proc, or no such process. */
async function procFile(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return null
  }
}

function inUse(directory: string, pid: number): LitetopicError {
  const who = pid === process.pid ? 'this process' : `process ${pid}`
  const message = `${who} has the data directory ${directory} open; stop it, or choose another directory`
  return new LitetopicError('DATA_DIR_IN_USE', message, { path: directory, pid })
}
