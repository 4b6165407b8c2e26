/** `npm run bench -- SCENARIO [--topics N] [--size tiny|full] [--json FILE]`: runs a scenario and says what it measured. */

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Report, report, table } from './report.ts'
import { runTokens, type Size } from './tokens.ts'

const SCENARIOS: Readonly<Record<string, (size: Size, topics: number | undefined) => Promise<Report>>> = {
  tokens: runTokens,
}

const USAGE = `usage: npm run bench -- SCENARIO [--topics N] [--size tiny|full] [--json FILE]
scenarios: ${Object.keys(SCENARIOS).join(', ')}`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { topics: { type: 'string' }, size: { type: 'string', default: 'full' }, json: { type: 'string' } },
  })
  const run = SCENARIOS[positionals[0] ?? '']
  const topics = values.topics === undefined ? undefined : Number(values.topics)
  const sizeKnown = values.size === 'tiny' || values.size === 'full'
  const topicsKnown = topics === undefined || (Number.isInteger(topics) && topics > 0 && topics <= 1_000_000)
  if (run === undefined || !sizeKnown || !topicsKnown) {
    console.error(USAGE)
    return 2
  }
  const measured = report(await run(values.size as Size, topics))
  console.log(table(measured))
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(measured, null, 2)}\n`)
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
