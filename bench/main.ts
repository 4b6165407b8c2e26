/** `npm run bench -- SCENARIO|all`: runs scenarios one after the other and says what they measured. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { endOnSignals, endSuite, isEnding } from './child.ts'
import { fanout } from './fanout.ts'
import { floor } from './floor.ts'
import { large } from './large.ts'
import { latency } from './latency.ts'
import { million } from './million.ts'
import { page } from './page.ts'
import { machine, place, type Report, type Run, table, versions } from './report.ts'
import { resume } from './resume.ts'
import type { Context, Params, Scenario } from './scenario.ts'
import { tokens } from './tokens.ts'

/** In the order in which `all` runs them; later ones may use what earlier ones measured. */
const SCENARIOS: readonly Scenario[] = [tokens, floor, latency, fanout, resume, large, million]

const REPORT_JSON = 'bench.json'

const USAGE = `usage: npm run bench -- SCENARIO|all [--topics N] [--size tiny|full] [--json FILE] [--report DIR]
scenarios:
${SCENARIOS.map(({ name, summary }) => `  ${name.padEnd(8)} ${summary}`).join('\n')}`

interface Options extends Params {
  readonly scenarios: readonly Scenario[]
  readonly json: string | undefined
  readonly directory: string | undefined
}

/** Null for anything that is not in the usage. */
function readOptions(args: string[]): Options | null {
  const text = { type: 'string' } as const
  const options = { topics: text, size: { ...text, default: 'full' }, json: text, report: text } as const
  let parsed: ReturnType<typeof parseArgs<{ args: string[]; allowPositionals: true; options: typeof options }>>
  try {
    parsed = parseArgs({ args, allowPositionals: true, options })
  } catch {
    return null
  }
  const { values, positionals } = parsed
  const [name] = positionals
  const scenarios = name === 'all' ? SCENARIOS : SCENARIOS.filter((scenario) => scenario.name === name)
  const topics = values.topics === undefined ? undefined : Number(values.topics)
  const topicsKnown = topics === undefined || (Number.isInteger(topics) && topics > 0 && topics <= 1_000_000)
  const { size, json, report: directory } = values
  if (scenarios.length === 0 || positionals.length > 1 || !topicsKnown) return null
  return size === 'tiny' || size === 'full' ? { scenarios, size, topics, json, directory } : null
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options === null) {
    console.error(USAGE)
    return 2
  }
  const { scenarios, size, topics } = options
  const runs: Run[] = []
  const report: Report = { startedAt: new Date().toISOString(), size, machine: machine(), versions: versions(), runs }
  console.log(place(report))
  for (const { name, run } of scenarios) {
    const earlier = new Map(runs.map((one) => [one.scenario, one]))
    const context: Context = { progress: (line) => tell(name, line), earlier }
    const measured = { scenario: name, ...(await run({ size, topics }, context)) }
    runs.push(measured)
    console.log(table(measured))
    // After each, so that a failure does not take what was measured before it.
    write(report, options)
  }
  return 0
}

function tell(scenario: string, line: string): void {
  process.stderr.write(`${scenario}: ${Math.round(performance.now() / 1000)} s: ${line}\n`)
}

function write(report: Report, { scenarios, json, directory }: Options): void {
  const text = `${JSON.stringify(report, null, 2)}\n`
  if (json !== undefined) writeFileSync(json, text)
  if (directory === undefined) return
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, REPORT_JSON), text)
  const plots = report.runs.map((run) => scenarios.find(({ name }) => name === run.scenario)?.plots(run) ?? [])
  writeFileSync(join(directory, 'index.html'), page(report, plots, REPORT_JSON))
}

endOnSignals()
try {
  process.exitCode = await main()
} catch (error) {
  if (!isEnding()) console.error(error instanceof Error ? error.stack : error)
  // Whatever a run that failed has left open must not keep it alive.
  await endSuite(1)
}
