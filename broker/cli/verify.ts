/** `litetopic verify`: what is damaged in a data directory. */

import { resolve } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'
import { type Damage, openLevelStore, type Report, verifyStore } from '../../storage/index.ts'
import { formatBytes, jsonLine, write } from './output.ts'
import { tellProgress } from './progress.ts'
import { salvageDirectory } from './salvage.ts'

export interface VerifyFlags {
  /** Each damage as a line of JSON, and the summary as the last one. */
  readonly json?: boolean
  /** Where to copy what is sound. */
  readonly salvage?: string
}

/**
 * Checks a data directory, and prints one line for each damage and a summary. Rejects with STORE_CORRUPT if there is any,
 * and with DATA_DIR_IN_USE, DATA_DIR_UNUSABLE or DATA_DIR_VERSION if it cannot be checked.
 */
export async function verify(directory: string, options: VerifyFlags): Promise<void> {
  const path = resolve(directory)
  if (options.salvage !== undefined) return salvageDirectory(path, resolve(options.salvage), printer(options))
  const store = await openLevelStore(path, { create: false })
  try {
    const report = await verifyStore(store, { found: printer(options), progress: tellProgress })
    const { damageCount, topics, records, bytes, commits } = report
    if (options.json) await write(jsonLine({ damageCount, topics, records, bytes, commits }))
    else await write(`${summary(path, report)}\n`)
    if (damageCount === 0) return
    throw new LitetopicError('STORE_CORRUPT', `${path} is damaged; copy what is sound with --salvage`, {
      damages: damageCount,
    })
  } finally {
    await store.close()
  }
}

/** A line for people: `chunk of a/b, offsets 5 to 9: it fails its checksum; lost: these records`. */
export function damageLine({ unit, topic, offsets, what, lost }: Damage): string {
  const of = topic === null ? '' : ` of topic ${topic}`
  const last = offsets?.to == null ? 'the end' : offsets.to - 1
  const at = offsets === null ? '' : `, ${last === offsets.from ? 'offset' : 'offsets'} ${offsets.from}`
  const to = offsets === null || last === offsets.from ? '' : ` to ${last}`
  return `${unit}${of}${at}${to}: ${what}; lost: ${lost}`
}

/** Writes as damages are found; the terminal's pace does not matter for what is rare. */
function printer(options: VerifyFlags): (damage: Damage) => void {
  return (damage) => void process.stdout.write(options.json ? jsonLine(damage) : `${damageLine(damage)}\n`)
}

function summary(path: string, { damageCount, topics, records, bytes, commits }: Report): string {
  const found = damageCount === 0 ? 'sound' : damageCount === 1 ? '1 damage' : `${damageCount} damages`
  return `${path}: ${found}; ${topics} topics, ${records} records, ${formatBytes(bytes)}, ${commits} commits in the journal`
}
