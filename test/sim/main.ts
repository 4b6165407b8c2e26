/**
 * `npm run sim -- [--seed N] [--steps N] [--seeds N]`: simulates one seed, or so many from it on, and prints a hash of the trace of
 * each. At the first that violates a promise: what, in which step, the last lines of the trace, and how to repeat it.
 */

import { parseArgs } from 'node:util'
import { simulate } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
    seeds: { type: 'string', default: '1' },
    lines: { type: 'string', default: '60' },
    'keep-going': { type: 'boolean', default: false },
  },
})

const number = (name: 'seed' | 'steps' | 'seeds' | 'lines'): number => {
  const value = Number(values[name])
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new Error(`--${name} takes a whole number, not ${values[name]}`)
}

async function main(): Promise<void> {
  const first = number('seed')
  const steps = number('steps')
  const seeds = number('seeds')
  const failed: number[] = []
  let events = 0
  let hours = 0
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await simulate(seed, steps, number('lines'))
    events += outcome.events
    hours += outcome.ms / 3_600_000
    const { failure } = outcome
    if (failure !== null) {
      failed.push(seed)
      if (!values['keep-going']) for (const line of failure.lines) console.log(line)
      console.log(`seed ${seed} violates in step ${failure.step}: ${failure.what}`)
      console.log(`  again: npm run sim -- --seed ${seed} --steps ${steps}`)
      if (!values['keep-going']) break
    } else if (seeds === 1) console.log(`seed ${seed}: ${outcome.events} events, trace ${outcome.hash}`)
    else if ((seed - first + 1) % 100 === 0) console.log(`${seed - first + 1} seeds, ${failed.length} failed`)
  }
  if (seeds > 1) {
    console.log(
      `${seeds} seeds of ${steps} steps: ${events} events, ${hours.toFixed(1)} virtual hours, ${failed.length} failed`,
    )
  }
  if (failed.length > 0) process.exitCode = 1
}

await main()
