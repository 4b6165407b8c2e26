/** `npm run bench -- SCENARIO|all`: runs scenarios one after the other and says what they measured. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { endOnSignals, endSuite, isEnding } from './child.ts'
import { page } from './page.ts'
import { machine, place, type Report, type Run, table, versions } from './report.ts'
import type { Context, Params, Scenario } from './scenario.ts'
import { SCENARIOS } from './scenarios.ts'

/** What `soak` takes as one of all, unless `--minutes` says otherwise: enough to see what grows. Alone it takes an hour. */
const SOAK_MINUTES_OF_ALL = 15

const REPORT_JSON = 'bench.json'

const USAGE = `usage: npm run bench -- SCENARIO|all [--size tiny|full] [--topics N] [--minutes N] [--json FILE] [--report DIR]
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
  const options = { topics: text, minutes: text, size: { ...text, default: 'full' }, json: text, report: text } as const
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
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes)
  const minutesKnown = minutes === undefined || (minutes > 0 && minutes <= 10_080)
  if (scenarios.length === 0 || positionals.length > 1 || !topicsKnown || !minutesKnown) return null
  if (size !== 'tiny' && size !== 'full') return null
  const ofAll = name === 'all' && size === 'full' ? SOAK_MINUTES_OF_ALL : undefined
  return { scenarios, size, topics, minutes: minutes ?? ofAll, json, directory }
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options === null) {
    console.error(USAGE)
    return 2
  }
  const { scenarios, size, topics, minutes } = options
  const runs: Run[] = []
  const report: Report = { startedAt: new Date().toISOString(), size, machine: machine(), versions: versions(), runs }
  console.log(place(report))
  for (const { name, run } of scenarios) {
    const earlier = new Map(runs.map((one) => [one.scenario, one]))
    const context: Context = { progress: (line) => tell(name, line), earlier }
    const measured = { scenario: name, ...(await run({ size, topics, minutes }, context)) }
    runs.push(measured)
    console.log(table(measured))
    for (const line of measured.wrong ?? []) console.error(`${name}: ${line}`)
    // After each, so that a failure does not take what was measured before it.
    write(report, options)
  }
  return runs.some(({ wrong = [] }) => wrong.length > 0) ? 1 : 0
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
