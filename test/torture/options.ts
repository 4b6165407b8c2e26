/** The command line of the torture. */

import { parseArgs } from 'node:util'

export const USAGE = `Usage: npm run torture -- [--minutes N] [--kill broker,agents] [--seed N] [--agents N] [--keep]

  --minutes N   how long broker and agents are killed and started again (default 1)
  --kill WHO    broker, agents, both (default) or none; agents stands for readers too
  --seed N      of what is done when (default: a new one, which is printed)
  --agents N    how many agents, in four processes (default 32)
  --keep        keep the data directory and the ledgers, as after a failure`

export interface TortureOptions {
  readonly minutes: number
  readonly killBroker: boolean
  readonly killAgents: boolean
  readonly seed: number
  readonly agents: number
  readonly keep: boolean
}

/** Null when only help is asked for. Throws with what is wrong. */
export function parseOptions(args: readonly string[]): TortureOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '1' },
      kill: { type: 'string', default: 'broker,agents' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000_000)) },
      agents: { type: 'string', default: '32' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return null
  const kill = values.kill.split(',').filter((who) => who !== '' && who !== 'none')
  for (const who of kill) if (who !== 'broker' && who !== 'agents') throw new Error(`--kill does not know ${who}`)
  return {
    minutes: number(values.minutes, 'minutes', 0.01, 100_000),
    killBroker: kill.includes('broker'),
    killAgents: kill.includes('agents'),
    seed: number(values.seed, 'seed', 0, Number.MAX_SAFE_INTEGER),
    agents: number(values.agents, 'agents', 4, 400),
    keep: values.keep,
  }
}

function number(text: string, name: string, least: number, most: number): number {
  const value = Number(text)
  if (text !== '' && value >= least && value <= most) return value
  throw new Error(`--${name} must be a number from ${least} to ${most}, not ${text}`)
}
