/**
 * Scenario `soak`: sessions come and go for an hour, as many at any time, and everything that befalls sessions befalls some of
 * them. Nothing may grow meanwhile, and nothing may be left when they are gone.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Broker, connect } from '../client/index.ts'
import { type BrokerConfig, BrokerProcess } from './broker-process.ts'
import { round } from './histogram.ts'
import type { Plot, Series } from './plot.ts'
import { machine } from './report.ts'
import type { Context, Figures, Outcome, Scenario } from './scenario.ts'
import {
  beyond,
  GROWTH_BOUNDS,
  GROWTH_LEAST_MINUTES,
  growthPerHour,
  REST_BOUNDS,
  type RestSample,
  remains,
} from './soak-bounds.ts'
import { SoakLoad } from './soak-load.ts'
import { type Sampled, type SoakSample, sample, sampleHeaps } from './soak-samples.ts'
import type { SoakTimes } from './soak-session.ts'

interface SoakSize {
  /** Of churn, the warm-up included. */
  readonly minutes: number
  /** Of the churn, so much comes before the measurement. */
  readonly warmUpShare: number
  readonly sampleMs: number
  /** One sample in so many takes a collection. */
  readonly collectEvery: number
  /** After the last topic is gone: at most so long until its disk space is given back, which begins after 10 s. */
  readonly idleMs: number
  readonly agents: number
  readonly sessions: number
  readonly dropEveryMs: number
  readonly times: SoakTimes
  /** The broker's other settings; the defaults where there are none. */
  readonly config: BrokerConfig
}

const SIZES: Readonly<Record<'tiny' | 'full', SoakSize>> = {
  tiny: {
    minutes: 0.05,
    warmUpShare: 0,
    sampleMs: 250,
    collectEvery: 2,
    idleMs: 20_000,
    agents: 4,
    sessions: 40,
    dropEveryMs: 300,
    times: { paceMs: 5, lostMs: 500, dormantMs: 700, largeBytes: 300_000, lingerMs: 500, holdsAll: true },
    config: { streamGraceMs: 300, residencyIdleMs: 300, quietMs: 300 },
  },
  full: {
    minutes: 60,
    warmUpShare: 1 / 15,
    sampleMs: 5_000,
    collectEvery: 4,
    idleMs: 180_000,
    agents: 16,
    sessions: 200,
    dropEveryMs: 2_000,
    times: { paceMs: 100, lostMs: 11_000, dormantMs: 15_000, largeBytes: 1_000_000, lingerMs: 30_000, holdsAll: false },
    config: {},
  },
}
/** The most that reclaiming all may take beyond the linger. */
const RECLAIM_MS = 60_000

export const soak: Scenario = {
  name: 'soak',
  summary: 'an hour of sessions that come and go; nothing may grow, and nothing may be left',
  async run({ size, minutes }, context) {
    const choice = SIZES[size]
    const chosen = minutes ?? choice.minutes
    const { lingerMs } = choice.times
    const broker = await BrokerProcess.start({ ...choice.config, policies: { soak: { lingerMs } } })
    const asking = connect(broker.url)
    let load: SoakLoad | null = null
    try {
      const { agents, sessions, dropEveryMs, times } = choice
      load = await SoakLoad.start({ url: broker.url, agents, sessions, dropEveryMs, times })
      const outcome = await measure({ broker, load, asking }, choice, chosen, context)
      return { ...outcome, params: { size, minutes: chosen, sessions, agents, lingerMs, durability: 'fsync' } }
    } finally {
      await load?.stop()
      await asking.close()
      await broker.stop()
    }
  },
  plots: ({ samples = [] }) => [
    plot('Memory of the broker over time', 'MiB', samples, 2 ** 20, {
      'resident (RSS)': 'brokerRssBytes',
      'of that anonymous (RssAnon)': 'brokerAnonBytes',
      'heap of V8, after a collection': 'brokerHeapBytes',
      'buffers, after a collection': 'brokerExternalBytes',
    }),
    plot('Memory of the clients over time', 'MiB', samples, 2 ** 20, {
      'anonymous (RssAnon)': 'clientsAnonBytes',
      'heap of V8, after a collection': 'clientsHeapBytes',
      'buffers, after a collection': 'clientsExternalBytes',
    }),
    plot('Disk over time', 'MiB', samples, 2 ** 20, {
      'all files': 'diskBytes',
      'of that the journal': 'journalBytes',
    }),
    plot('Topics, connections and open files over time', 'count', samples, 1, {
      'topics, most of them lingering': 'topics',
      'of them in memory': 'topicsInMemory',
      connections: 'connections',
      'open files of the broker': 'openFiles',
    }),
  ],
}

async function measure(
  sampled: Sampled,
  size: SoakSize,
  minutes: number,
  context: Context,
): Promise<Omit<Outcome, 'params'>> {
  const { load, broker } = sampled
  const fresh = await atRest(sampled)
  const warmUpMinutes = minutes * size.warmUpShare
  if (warmUpMinutes > 0) {
    context.progress('warming up')
    await load.ask('start')
    await sleep(warmUpMinutes * 60_000)
    await load.ask('finish')
  }
  const before = await rest(sampled, size, fresh, context)
  const startedMs = performance.now()
  await load.ask('start')
  const samples = await churn(sampled, size, minutes - warmUpMinutes, context)
  const elapsedMs = performance.now() - startedMs
  const share = (cpuMs: number): number => round((100 * cpuMs) / elapsedMs / Number(machine().cores))
  const last = samples.at(-1) ?? before
  const cpu = {
    broker: share(last.brokerCpuMs - before.brokerCpuMs),
    clients: share(last.clientsCpuMs - before.clientsCpuMs),
  }
  await load.ask('finish')
  const counts = await load.ask('counts')
  const after = await rest(sampled, size, fresh, context)
  const growth = growthPerHour(samples)
  const left = remains(before, after)
  const wrong = [
    ...beyond('is more after the churn by', left, REST_BOUNDS),
    ...(minutes >= GROWTH_LEAST_MINUTES ? beyond('grows per hour by', growth, GROWTH_BOUNDS) : []),
  ]
  const sessionsPerMinute = Math.round(((last.sessions - before.sessions) * 60_000) / elapsedMs)
  const results: Figures = {
    sessionsPerMinute,
    percentOfMachine: cpu,
    happened: { ...counts, reclaimed: (await broker.ask('stats')).reclaimed },
    fresh,
    before,
    after,
    moreAfterThanBefore: left,
    growthPerHour: growth,
    boundsBroken: wrong.length,
  }
  return { results, samples: [...samples, { ...after, seconds: round((performance.now() - startedMs) / 1000) }], wrong }
}

/** Looks again and again until the time is over. */
async function churn(sampled: Sampled, size: SoakSize, minutes: number, { progress }: Context): Promise<SoakSample[]> {
  const samples: SoakSample[] = []
  const startedMs = performance.now()
  const endMs = startedMs + minutes * 60_000
  for (let i = 1; performance.now() < endMs; i++) {
    await sleep(Math.max(0, Math.min(endMs, startedMs + i * size.sampleMs) - performance.now()))
    const seen = await sample(sampled, round((performance.now() - startedMs) / 1000))
    samples.push(i % size.collectEvery === 0 ? { ...seen, ...(await sampleHeaps(sampled)) } : seen)
    const { seconds, sessions, topics, brokerAnonBytes } = seen
    const line = `${seconds} of ${minutes * 60} s: ${sessions} sessions, ${topics} topics`
    if (i % size.collectEvery === 0) progress(`${line}, broker ${Math.round(brokerAnonBytes / 2 ** 20)} MiB`)
  }
  return samples
}

/** Waits until no topic is left, and then until their disk space is given back, or the time for that is over. */
async function rest(sampled: Sampled, size: SoakSize, fresh: RestSample, { progress }: Context): Promise<RestSample> {
  progress('waiting until all is reclaimed')
  await until(async () => !(await hasTopics(sampled.asking)), size.times.lingerMs + RECLAIM_MS)
  const goneMs = performance.now()
  await until(async () => (await sample(sampled, 0)).diskBytes <= fresh.diskBytes + REST_BOUNDS.diskBytes, size.idleMs)
  progress(`all space was given back after ${Math.round((performance.now() - goneMs) / 1000)} s`)
  return atRest(sampled)
}

async function until(holds: () => Promise<boolean>, atMostMs: number): Promise<void> {
  const endMs = performance.now() + atMostMs
  while (!(await holds()) && performance.now() < endMs) await sleep(200)
}

async function atRest(sampled: Sampled): Promise<RestSample> {
  const heaps = await sampleHeaps(sampled)
  return { ...(await sample(sampled, 0)), ...heaps }
}

async function hasTopics(asking: Broker): Promise<boolean> {
  const { topics, more } = await asking.list({ limit: 1 })
  return topics.length > 0 || more
}

function plot(
  title: string,
  unit: string,
  samples: Outcome['samples'],
  divisor: number,
  lines: Readonly<Record<string, keyof SoakSample>>,
): Plot {
  const series = Object.entries(lines).map(
    ([label, figure]): Series => ({
      label,
      points: (samples ?? []).flatMap(({ seconds = 0, [figure]: value }): [number, number][] =>
        value === undefined ? [] : [[seconds / 60, value / divisor]],
      ),
    }),
  )
  return { title, x: { label: 'minutes' }, y: { label: unit }, series }
}
