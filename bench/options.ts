/** The command line of the suite. */

import { parseArgs } from 'node:util'
import type { Params, Scenario } from './scenario.ts'
import { SCENARIOS } from './scenarios.ts'

/** What `soak` takes as one of all, unless `--minutes` says otherwise: enough to see what grows. Alone it takes an hour. */
const SOAK_MINUTES_OF_ALL = 15

export const USAGE = `usage: npm run bench -- SCENARIO|all|report [--size tiny|full] [--topics N] [--minutes N]
                        [--with FILE]… [--json FILE] [--report DIR]
scenarios:
${SCENARIOS.map(({ name, summary }) => `  ${name.padEnd(8)} ${summary}`).join('\n')}
  report   none: what was measured before, given by --with, as one page`

export interface Options extends Params {
  readonly scenarios: readonly Scenario[]
  /** Files with earlier runs, the later ones first. */
  readonly earlier: readonly string[]
  readonly json: string | undefined
  readonly directory: string | undefined
}

/** Null for anything that is not in the usage. */
export function readOptions(args: string[]): Options | null {
  const text = { type: 'string' } as const
  const options = {
    topics: text,
    minutes: text,
    size: { ...text, default: 'full' },
    with: { ...text, multiple: true },
    json: text,
    report: text,
  } as const
  let parsed: ReturnType<typeof parseArgs<{ args: string[]; allowPositionals: true; options: typeof options }>>
  try {
    parsed = parseArgs({ args, allowPositionals: true, options })
  } catch {
    return null
  }
  const { values, positionals } = parsed
  const [name] = positionals
  const scenarios = name === 'all' ? SCENARIOS : SCENARIOS.filter((scenario) => scenario.name === name)
  const earlier = values.with ?? []
  const hasWork = scenarios.length > 0 || (name === 'report' && earlier.length > 0)
  const { size, json, report: directory } = values
  const topics = values.topics === undefined ? undefined : Number(values.topics)
  const topicsKnown = topics === undefined || (Number.isInteger(topics) && topics > 0 && topics <= 1_000_000)
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes)
  const minutesKnown = minutes === undefined || (minutes > 0 && minutes <= 10_080)
  if (!hasWork || positionals.length > 1 || !topicsKnown || !minutesKnown) return null
  if (size !== 'tiny' && size !== 'full') return null
  const ofAll = name === 'all' && size === 'full' ? SOAK_MINUTES_OF_ALL : undefined
  return { scenarios, earlier, size, topics, minutes: minutes ?? ofAll, json, directory }
}
