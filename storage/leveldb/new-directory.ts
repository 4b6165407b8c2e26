/**
 * A data directory that is filled before it gets its name: what was cut off half-way keeps the name `….partial`, and is
 * replaced by the next attempt.
 */

import { readdir, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'
import { optional, syncDirectory, usable } from './data-dir.ts'
import { openLevelStore } from './level-store.ts'

/** The path to fill. Rejects with DATA_DIR_UNUSABLE if the target is not empty, DATA_DIR_IN_USE if another fills it now. */
export async function beginDirectory(target: string): Promise<string> {
  const path = resolve(target)
  const partial = `${path}.partial`
  return usable(path, async () => {
    const found = await optional(() => readdir(path))
    if (found !== undefined && found.length > 0) throw notEmpty(path)
    const left = await optional(() => readdir(partial))
    if (left === undefined) return partial
    if (left.length > 0 && !left.includes('FORMAT')) throw notEmpty(partial)
    // Whoever fills it has it open.
    if (left.length > 0) await (await openLevelStore(partial)).close()
    await rm(partial, { recursive: true })
    return partial
  })
}

/** Gives what was filled its name. */
export async function endDirectory(target: string): Promise<void> {
  const path = resolve(target)
  await usable(path, async () => {
    await rename(`${path}.partial`, path)
    await syncDirectory(dirname(path))
  })
}

function notEmpty(path: string): LitetopicError {
  const message = `${path} is not empty; name a directory that is, or does not exist`
  return new LitetopicError('DATA_DIR_UNUSABLE', message, { path })
}
