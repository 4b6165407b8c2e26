/** What the suite is to reach, and where in the results of a run it is found. */

import type { Figures } from './scenario.ts'

export interface Goal {
  readonly what: string
  readonly unit: string
  /** Is more better, or less? */
  readonly better: 'more' | 'less'
  /** What must be reached. */
  readonly least: number
  /** What should be, where that is not the same. */
  readonly aim?: number
  /** The scenario and the names that lead to the figure. */
  readonly path: readonly [scenario: string, ...names: string[]]
  /** A figure of the same scenario to be taken off. */
  readonly less?: readonly string[]
  /** So much of the figure is one of the unit. Default 1. */
  readonly per?: number
}

export type Verdict = 'aim reached' | 'met' | 'missed' | 'not measured'

export interface Judged {
  readonly goal: Goal
  /** Undefined if the figure is not in the results. */
  readonly measured: number | undefined
  readonly verdict: Verdict
}

const MILLION = ['million', 'byTopics', '1000000'] as const

export const GOALS: readonly Goal[] = [
  {
    what: 'tokens over 10,000 topics, against the floor',
    unit: '×',
    better: 'more',
    least: 0.5,
    aim: 0.8,
    path: ['floor', 'byTopics', '10000', 'productShare'],
  },
  {
    what: 'the same against Redis Streams, publishing only, appendfsync always',
    unit: '×',
    better: 'more',
    least: 2.5,
    aim: 4,
    path: ['peers', 'against', 'redis-always'],
  },
  {
    what: 'the same against JetStream, its client publishing only, default sync',
    unit: '×',
    better: 'more',
    least: 15,
    aim: 30,
    path: ['peers', 'against', 'jetstream'],
  },
  {
    what: 'tokens over 10,000 topics',
    unit: 'tokens/s',
    better: 'more',
    least: 500_000,
    aim: 800_000,
    path: ['tokens', 'byTopics', '10000', 'tokensPerSecond'],
  },
  {
    what: 'tokens of one hot topic',
    unit: 'tokens/s',
    better: 'more',
    least: 500_000,
    aim: 1_000_000,
    path: ['tokens', 'byTopics', '1', 'tokensPerSecond'],
  },
  {
    what: 'publish to delivery at 20 % load, p50',
    unit: 'ms',
    better: 'less',
    least: 2,
    path: ['latency', 'byLoadPercent', '20', 'deliveryMs', 'p50'],
  },
  {
    what: 'publish to delivery at 20 % load, p99',
    unit: 'ms',
    better: 'less',
    least: 15,
    aim: 5,
    path: ['latency', 'byLoadPercent', '20', 'deliveryMs', 'p99'],
  },
  {
    what: 'the same, p99.9, while flush, reclaim and compaction run',
    unit: 'ms',
    better: 'less',
    least: 60,
    aim: 25,
    path: ['latency', 'byLoadPercent', '20 with churn', 'deliveryMs', 'p999'],
  },
  {
    what: 'create a million topics, first record each',
    unit: 'topics/s',
    better: 'more',
    least: 100_000,
    aim: 200_000,
    path: [...MILLION, 'create', 'topicsPerSecond'],
  },
  {
    what: 'broker memory of an attached idle topic',
    unit: 'bytes',
    better: 'less',
    least: 700,
    aim: 450,
    path: [...MILLION, 'hold', 'bytesPerTopic'],
  },
  {
    what: 'broker memory with a million dormant topics, beyond that of an empty broker',
    unit: 'MiB',
    better: 'less',
    least: 64,
    path: [...MILLION, 'reclaim', 'dormant', 'aboveEmptyMiB'],
  },
  {
    what: '50,000 tokens/s over a million topics, p50',
    unit: 'ms',
    better: 'less',
    least: 5,
    path: [...MILLION, 'tokens', 'deliveryMs', 'p50'],
  },
  {
    what: '50,000 tokens/s over a million topics, p99',
    unit: 'ms',
    better: 'less',
    least: 30,
    aim: 12,
    path: [...MILLION, 'tokens', 'deliveryMs', 'p99'],
  },
  {
    what: 'disk bytes written per token byte at that load',
    unit: 'bytes',
    better: 'less',
    least: 60,
    aim: 25,
    path: [...MILLION, 'tokens', 'diskBytesPerTokenByte'],
  },
  {
    what: 're-attach a million topics after a restart',
    unit: 'topics/s',
    better: 'more',
    least: 60_000,
    aim: 120_000,
    path: [...MILLION, 'attach', 'topicsPerSecond'],
  },
  {
    what: 'start with a million dormant topics, against ten',
    unit: '×',
    better: 'less',
    least: 1.5,
    path: [...MILLION, 'start', 'ratio'],
  },
  {
    what: 'start with a million dormant topics',
    unit: 'ms',
    better: 'less',
    least: 1_000,
    path: [...MILLION, 'start', 'startMs'],
  },
  {
    what: 'start after SIGKILL under full load',
    unit: 'ms',
    better: 'less',
    least: 5_000,
    aim: 2_000,
    path: [...MILLION, 'kill', 'startMs'],
  },
  {
    what: 'resume of a random dormant topic out of a million, 1,000 per s, p99',
    unit: 'ms',
    better: 'less',
    least: 10,
    aim: 3,
    path: [...MILLION, 'resume', 'ms', 'p99'],
  },
  {
    what: 'reclaim a million topics',
    unit: 'topics/s',
    better: 'more',
    least: 100_000,
    aim: 300_000,
    path: [...MILLION, 'reclaim', 'topicsPerSecond'],
  },
  {
    what: 'disk after that, when idle',
    unit: 'MB',
    per: 1_000_000,
    better: 'less',
    least: 20,
    path: [...MILLION, 'reclaim', 'diskBytesWhenIdle'],
  },
  {
    what: 'fan-out to 10,000 readers',
    unit: 'frames/s',
    better: 'more',
    least: 50_000,
    aim: 100_000,
    path: ['fanout', 'byReaders', '10000', 'framesPerSecond'],
  },
  {
    what: 'a bystander of that, p99',
    unit: 'ms',
    better: 'less',
    least: 20,
    aim: 10,
    path: ['fanout', 'byReaders', '10000', 'bystanderMs', 'p99'],
  },
  {
    what: 'catch-up of 10,000 tokens, coalesced, first byte to last, p50',
    unit: 'ms',
    better: 'less',
    least: 10,
    aim: 3,
    path: ['resume', 'catchUp', 'coalesced', 'firstToLastMs', 'p50'],
  },
  {
    what: 'resume storm of 10,000, until all are live',
    unit: 'ms',
    better: 'less',
    least: 3_000,
    aim: 1_000,
    path: ['resume', 'storm', 'liveMs', 'max'],
  },
  {
    what: 'message of 64 MiB, publish to delivered',
    unit: 'MB/s',
    better: 'more',
    least: 150,
    aim: 250,
    path: ['large', 'deliveredMegabytesPerSecond'],
  },
  {
    what: 'broker memory that it takes',
    unit: 'MiB',
    per: 2 ** 20,
    better: 'less',
    least: 32,
    path: ['large', 'memory', 'addedAnonBytes'],
  },
  {
    what: 'p99 of a token stream beside it, beyond that alone',
    unit: 'ms',
    better: 'less',
    least: 20,
    path: ['large', 'tokenBesideMs', 'p99'],
    less: ['tokenAloneMs', 'p99'],
  },
  {
    what: 'appends by HTTP, against @durable-streams/server on files',
    unit: '×',
    better: 'more',
    least: 3,
    path: ['http', 'against', 'appends', 'durable-streams-files'],
  },
  {
    what: 'the same against it in memory',
    unit: '×',
    better: 'more',
    least: 1,
    aim: 1.5,
    path: ['http', 'against', 'appends', 'durable-streams-memory'],
  },
  {
    what: 'reads by HTTP, against it in memory',
    unit: '×',
    better: 'more',
    least: 1,
    aim: 1.5,
    path: ['http', 'against', 'reads', 'durable-streams-memory'],
  },
  {
    what: 'an hour of churn: bounds of growth and remains that are broken',
    unit: '',
    better: 'less',
    least: 0,
    path: ['soak', 'boundsBroken'],
  },
]

/** Each goal against what was measured. */
export function judge(runs: readonly { readonly scenario: string; readonly results: Figures }[]): Judged[] {
  return GOALS.map((goal) => {
    const [scenario, ...names] = goal.path
    const results = runs.find((run) => run.scenario === scenario)?.results ?? {}
    const found = findFigure(results, names)
    const off = goal.less === undefined ? 0 : findFigure(results, goal.less)
    const measured = found === undefined || off === undefined ? undefined : (found - off) / (goal.per ?? 1)
    return { goal, measured, verdict: verdictOf(goal, measured) }
  })
}

function findFigure(results: Figures, path: readonly string[]): number | undefined {
  let at: number | Figures | undefined = results
  for (const name of path) at = typeof at === 'object' ? at[name] : undefined
  return typeof at === 'number' ? at : undefined
}

function verdictOf({ better, least, aim }: Goal, measured: number | undefined): Verdict {
  if (measured === undefined) return 'not measured'
  const reaches = (bound: number): boolean => (better === 'more' ? measured >= bound : measured <= bound)
  if (!reaches(least)) return 'missed'
  return aim !== undefined && reaches(aim) ? 'aim reached' : 'met'
}
