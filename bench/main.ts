/** `npm run bench -- SCENARIO|all`: runs scenarios one after the other and says what they measured. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { endOnSignals, endSuite, isEnding } from './child.ts'
import { judge } from './goals.ts'
import { type Options, readOptions, USAGE } from './options.ts'
import { page } from './page.ts'
import { goalsTable, machine, place, type Report, type Run, table, versions } from './report.ts'
import type { Context } from './scenario.ts'
import { SCENARIOS } from './scenarios.ts'

const REPORT_JSON = 'bench.json'

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options === null) {
    console.error(USAGE)
    return 2
  }
  const { scenarios, size, topics, minutes } = options
  const runs = earlierRuns(options.earlier)
  const report: Report = { startedAt: new Date().toISOString(), size, machine: machine(), versions: versions(), runs }
  console.log(place(report))
  for (const { name, run } of scenarios) {
    const earlier = new Map(runs.map((one) => [one.scenario, one]))
    const context: Context = { progress: (line) => tell(name, line), earlier }
    const startedAt = new Date().toISOString()
    const measured: Run = { scenario: name, startedAt, ...(await run({ size, topics, minutes }, context)) }
    put(runs, measured)
    console.log(table(measured))
    for (const line of measured.wrong ?? []) console.error(`${name}: ${line}`)
    // After each, so that a failure does not take what was measured before it.
    write(report, options)
  }
  if (scenarios.length === 0) write(report, options)
  console.log(goalsTable(judge(runs)))
  return runs.some(({ wrong = [] }) => wrong.length > 0) ? 1 : 0
}

/** Those of the first files count most. */
function earlierRuns(files: readonly string[]): Run[] {
  const runs: Run[] = []
  for (const file of [...files].reverse()) {
    const report = JSON.parse(readFileSync(file, 'utf8')) as Report
    for (const run of report.runs) put(runs, { place: place(report), ...run })
  }
  return runs
}

/** In the place of an earlier run of the same scenario; in the order of the scenarios. */
function put(runs: Run[], run: Run): void {
  const order = (scenario: string): number => SCENARIOS.findIndex(({ name }) => name === scenario)
  const others = runs.filter(({ scenario }) => scenario !== run.scenario)
  runs.splice(0, runs.length, ...others, run)
  runs.sort((a, b) => order(a.scenario) - order(b.scenario))
}

function tell(scenario: string, line: string): void {
  process.stderr.write(`${scenario}: ${Math.round(performance.now() / 1000)} s: ${line}\n`)
}

function write(report: Report, { json, directory }: Options): void {
  const text = `${JSON.stringify(report, null, 2)}\n`
  if (json !== undefined) writeFileSync(json, text)
  if (directory === undefined) return
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, REPORT_JSON), text)
  const plots = report.runs.map((run) => SCENARIOS.find(({ name }) => name === run.scenario)?.plots(run) ?? [])
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
