/** `litetopic backup`: a consistent copy of a data directory, of a running broker or a stopped one. */

import { realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'
import { beginDirectory, beginHistory, copySnapshot, endDirectory, openLevelStore } from '../../storage/index.ts'
import { askForCopy, CONTROL_SOCKET } from '../control.ts'
import { formatBytes } from './output.ts'

/** Bytes between two lines of progress. */
const PROGRESS_BYTES = 64_000_000

/**
 * Copies the data directory into a new one, which is a history of its own. Rejects with DATA_DIR_UNUSABLE if the target is not
 * empty or there is no source, and with STORE_CORRUPT if the source is too damaged to be copied. What is damaged within single
 * topics is copied as it is, and told.
 */
export async function backup(source: string, target: string): Promise<void> {
  const [from, to] = [resolve(source), resolve(target)]
  if (to === from || to.startsWith(`${from}/`)) {
    throw new LitetopicError('DATA_DIR_UNUSABLE', `${to} lies within what is to be copied`, { path: to })
  }
  const partial = await beginDirectory(to)
  const progress = progressLines()
  const address = await realpath(join(from, CONTROL_SOCKET)).catch(() => null)
  const isRunning = address !== null && (await askForCopy(address, partial, progress))
  if (!isRunning) await copyStopped(from, partial, progress)
  console.error('litetopic: copied, making it a history of its own')
  const { incarnation, damaged } = await beginHistory(await openLevelStore(partial, { create: false }))
  await endDirectory(to)
  for (const name of damaged) console.error(`litetopic: the head of topic ${name} is damaged, and copied as it is`)
  console.log(`${to}: a copy of ${from}, store incarnation ${incarnation}`)
}

async function copyStopped(from: string, partial: string, progress: (bytes: number) => void): Promise<void> {
  const source = await openLevelStore(from, { create: false })
  try {
    const target = await openLevelStore(partial)
    try {
      const snapshot = source.snapshot()
      await copySnapshot(snapshot, target, { piece: async (bytes) => progress(bytes) }).finally(() => snapshot.close())
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

function progressLines(): (bytes: number) => void {
  let next = PROGRESS_BYTES
  return (bytes) => {
    if (bytes < next) return
    next = bytes + PROGRESS_BYTES
    console.error(`litetopic: ${formatBytes(bytes)} copied`)
  }
}
