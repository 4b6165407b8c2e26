/**
 * `npm run fuzz`: random and mutated frames against the codec, what a disk may make of stored units against the decoders of
 * storage, and a share of the frames against a live broker. Exit code 1 on the first thing that must not be.
 */

import { parseArgs } from 'node:util'
import { Random, seedOf } from '../random.ts'
import { fuzzCodec, fuzzStored, type Outcomes } from './decoders.ts'
import { fuzzLive } from './live.ts'

const USAGE = `Usage: npm run fuzz -- [--frames N] [--live N] [--stored N] [--seed S]

  --frames N   frames for the codec (default 1,000,000)
  --live N     frames for a live broker (default: a fifth of them)
  --stored N   units for the decoders of storage (default: a tenth of them)
  --seed S     default: a new one, which is printed`

const STEP = 100_000

process.exitCode = await main()

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      frames: { type: 'string', default: '1000000' },
      live: { type: 'string' },
      stored: { type: 'string' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000_000)) },
    },
  })
  const frames = Number(values.frames)
  const live = Number(values.live ?? Math.floor(frames / 5))
  const stored = Number(values.stored ?? Math.floor(frames / 10))
  const seed = Number(values.seed)
  if (![frames, live, stored, seed].every((value) => Number.isSafeInteger(value) && value >= 0)) {
    console.error(USAGE)
    return 2
  }
  console.log(`seed ${seed}`)
  try {
    decoders('codec', seed, frames, fuzzCodec)
    decoders('stored', seed, stored, fuzzStored)
    return live === 0 || (await attackBroker(seed, live)) ? 0 : 1
  } catch (error) {
    console.error(error)
    return 1
  }
}

function decoders(what: string, seed: number, count: number, fuzz: (random: Random, count: number) => Outcomes): void {
  const random = new Random(seedOf(seed, what))
  const all: Outcomes = new Map()
  for (let done = 0; done < count; done += STEP) {
    for (const [outcome, times] of fuzz(random, Math.min(STEP, count - done))) {
      all.set(outcome, (all.get(outcome) ?? 0) + times)
    }
  }
  console.log(`${what}: ${count} fuzzed: ${counts(all)}`)
}

async function attackBroker(seed: number, frames: number): Promise<boolean> {
  let told = 0
  const outcome = await fuzzLive(seed, frames, (sent) => {
    if (sent < told + STEP) return
    told = sent
    console.log(`live: ${sent} frames`)
  })
  const { connections, appends, codes, wrong, growthBytes, tokens } = outcome
  console.log(
    `live: ${outcome.frames} frames over ${connections} connections, ${appends} appends acknowledged: ${counts(codes)}`,
  )
  console.log(`live: grown by ${Math.round(growthBytes / 1024)} KiB; a bystander streamed ${tokens} tokens`)
  for (const line of wrong) console.log(`WRONG: ${line}`)
  return wrong.length === 0
}

function counts(all: ReadonlyMap<string, number>): string {
  const sorted = [...all].sort(([, a], [, b]) => b - a)
  return sorted.map(([outcome, times]) => `${times} ${outcome}`).join(', ')
}
