/** `litetopic verify --salvage`: what is sound of a damaged data directory, in a new one. */

import { rm } from 'node:fs/promises'
import { isLitetopicError, LitetopicError } from '../../protocol/index.ts'
import {
  beginDirectory,
  salvageStore as copySound,
  type Damage,
  endDirectory,
  openLevelStore,
  repairedCopy,
  type Salvaged,
  type SalvageReport,
  type Store,
  verifyStore,
} from '../../storage/index.ts'
import { tellProgress } from './progress.ts'

/**
 * Copies what is sound of a data directory into a new one, checks the copy, and prints what was cut and lost. What LevelDB
 * itself cannot read is repaired first, in a copy beside the new directory. Rejects with DATA_DIR_UNUSABLE if the directory is
 * not empty, and with STORE_CORRUPT, the copy being made, if anything is missing in it.
 */
export async function salvageDirectory(
  path: string,
  directory: string,
  found: (damage: Damage) => void,
): Promise<void> {
  const repaired = `${directory}.repaired`
  let cause: LitetopicError | null = null
  let report: SalvageReport
  try {
    report = await salvageStore(path, directory, found)
  } catch (error) {
    if (!isLitetopicError(error, 'STORE_CORRUPT', 'STORE_UNAVAILABLE')) throw error
    cause = error
    console.error(
      `litetopic: ${error.message}; going on with a copy that LevelDB repairs: it may bring back what is older`,
    )
    try {
      await repairedCopy(path, repaired)
      report = await salvageStore(repaired, directory, found)
    } finally {
      await rm(repaired, { recursive: true, force: true })
    }
  }
  const { kept, cut, lost, incarnation } = report
  console.log(`${directory}: ${kept} topics kept, ${cut} cut, ${lost} lost; store incarnation ${incarnation}`)
  const { damageCount } = report.report
  if (damageCount === 0 && cause === null) return
  const message = `of ${path}, which is damaged, what is sound was copied`
  throw new LitetopicError('STORE_CORRUPT', message, { damages: damageCount }, cause)
}

async function salvageStore(path: string, directory: string, found: (damage: Damage) => void): Promise<SalvageReport> {
  const source = await openLevelStore(path, { create: false })
  try {
    const partial = await beginDirectory(directory)
    const report = await fill(partial, source, found)
    await endDirectory(directory)
    return report
  } finally {
    await source.close()
  }
}

async function fill(partial: string, source: Store, found: (damage: Damage) => void): Promise<SalvageReport> {
  const target = await openLevelStore(partial)
  try {
    const report = await copySound(source, target, { found, salvaged: printSalvaged, progress: tellProgress })
    console.error('litetopic: checking the copy')
    const { damageCount } = await verifyStore(target, { progress: tellProgress })
    if (damageCount > 0) throw new LitetopicError('INTERNAL', `the copy has ${damageCount} damages`, { path: partial })
    return report
  } finally {
    await target.close()
  }
}

function printSalvaged({ topic, outcome, to, missing }: Salvaged): void {
  if (outcome === 'kept') return
  if (outcome === 'lost') console.log(`lost: topic ${topic}`)
  else if (missing === 0) console.log(`kept: topic ${topic}, all records; its indexes were made anew`)
  else console.log(`cut: topic ${topic}, at offset ${to}; left out: ${missing ?? 'an unknown number of'} records`)
}
