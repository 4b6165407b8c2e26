/** A disk that is really full: a small file system if this process may mount one, else a limit on the size of files. */

import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const MiB = 1024 * 1024

export interface SmallDisk {
  readonly kind: string
  /** For data. */
  readonly directory: string
  /** Lets the disk become full soon; `pid` writes to it. */
  shrink(pid: number): Promise<void>
  /** Makes room again. */
  grow(pid: number): Promise<void>
  remove(): Promise<void>
}

/** Null where neither is possible. */
export async function smallDisk(parent: string): Promise<SmallDisk | null> {
  const directory = join(parent, 'disk')
  await mkdir(directory)
  return (await mounted(directory)) ?? (await limited(directory))
}

async function mounted(directory: string): Promise<SmallDisk | null> {
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', directory])
  } catch {
    return null
  }
  const ballast = join(directory, 'ballast')
  return {
    kind: 'a file system of 96 MiB',
    directory,
    shrink: () => writeFile(ballast, Buffer.alloc(72 * MiB)),
    grow: () => rm(ballast),
    async remove() {
      await run('umount', ['-l', directory])
    },
  }
}

async function limited(directory: string): Promise<SmallDisk | null> {
  const limit = (pid: number, bytes: string) => run('prlimit', ['--pid', String(pid), `--fsize=${bytes}:unlimited`])
  try {
    await limit(process.pid, 'unlimited')
  } catch {
    return null
  }
  return {
    kind: 'files of 6 MiB at most',
    directory,
    shrink: (pid) => limit(pid, String(6 * MiB)).then(() => undefined),
    grow: (pid) => limit(pid, 'unlimited').then(() => undefined),
    remove: () => Promise.resolve(),
  }
}
