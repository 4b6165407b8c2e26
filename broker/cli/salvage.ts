/** `litetopic verify --salvage`: what is sound of a damaged data directory, in a new one. */

import { LitetopicError } from '../../protocol/index.ts'
import {
  beginDirectory,
  type Damage,
  endDirectory,
  openLevelStore,
  type Salvaged,
  type SalvageReport,
  type Store,
  salvageStore,
  verifyStore,
} from '../../storage/index.ts'
import { tellProgress } from './progress.ts'

/**
 * Copies what is sound of the store into a new directory, checks the copy, and prints what was cut and lost. Rejects with
 * DATA_DIR_UNUSABLE if the directory is not empty, and with STORE_CORRUPT, the copy being made, if anything is missing in it.
 */
export async function salvage(source: Store, directory: string, found: (damage: Damage) => void): Promise<void> {
  const partial = await beginDirectory(directory)
  const target = await openLevelStore(partial)
  let report: SalvageReport
  try {
    report = await salvageStore(source, target, { found, salvaged: printSalvaged, progress: tellProgress })
    console.error('litetopic: checking the copy')
    const { damageCount } = await verifyStore(target, { progress: tellProgress })
    if (damageCount > 0) throw new LitetopicError('INTERNAL', `the copy has ${damageCount} damages`, { path: partial })
  } finally {
    await target.close()
  }
  await endDirectory(directory)
  const { kept, cut, lost, incarnation } = report
  console.log(`${directory}: ${kept} topics kept, ${cut} cut, ${lost} lost; store incarnation ${incarnation}`)
  const { damageCount } = report.report
  if (damageCount === 0) return
  throw new LitetopicError('STORE_CORRUPT', `of ${source.location}, which is damaged, what is sound was copied`, {
    damages: damageCount,
  })
}

function printSalvaged({ topic, outcome, to, missing }: Salvaged): void {
  if (outcome === 'kept') return
  if (outcome === 'lost') console.log(`lost: topic ${topic}`)
  else if (missing === 0) console.log(`kept: topic ${topic}, all records; its indexes were made anew`)
  else console.log(`cut: topic ${topic}, at offset ${to}; left out: ${missing ?? 'an unknown number of'} records`)
}
