/**
 * Scenario `million`: a million topics from their creation to their reclaim, and the same with fewer of them, to see whether
 * what a topic costs depends on how many there are.
 */

import { type MillionSize, runMillion } from './million-run.ts'
import type { Figures, Scenario } from './scenario.ts'
import { TOKEN_BYTES } from './token-load.ts'
import { seriesByTopics } from './tokens.ts'

const TINY: MillionSize = {
  topics: 500,
  connections: 5,
  tokensPerSecond: 5_000,
  seconds: 0.3,
  floodTokens: 20_000,
  resumes: 100,
  idleMs: 100,
  lingerMs: 4_000,
}
const TOPICS = [1_000, 10_000, 100_000, 1_000_000]
const PER_CONNECTION = 1_000

export const million: Scenario = {
  name: 'million',
  summary: '1,000,000 topics over 1,000 connections: created, held, written, killed, dormant, resumed, reclaimed',
  async run({ size, topics }, context) {
    const sizes = size === 'tiny' ? [TINY] : (topics === undefined ? TOPICS : [topics]).map(fullSize)
    const byTopics: Record<string, Figures> = {}
    for (const one of sizes) byTopics[one.topics] = await runMillion(one, context)
    return { params: { size, tokenBytes: TOKEN_BYTES, durability: 'fsync' }, results: { byTopics } }
  },
  plots(outcome) {
    const line = (label: string, ...path: string[]) => ({ label, points: seriesByTopics(outcome, ...path) })
    const x = { label: 'topics', log: true }
    return [
      {
        title: 'Broker memory of a topic, beyond that of an empty broker',
        x,
        y: { label: 'bytes' },
        series: [
          line('attached, idle', 'hold', 'bytesPerTopic'),
          line('with a reader and an open stream', 'live', 'bytesPerTopic'),
          line('attached, idle: used in V8', 'hold', 'usedBytesPerTopic'),
          line('dormant', 'reclaim', 'dormant', 'bytesPerTopic'),
        ],
      },
      {
        title: 'Broker start by topics, until it listens',
        x,
        y: { label: 'ms' },
        series: [
          line('all dormant', 'start', 'startMs'),
          line('ten topics, in the same run', 'start', 'fewStartMs'),
          line('killed under full load', 'kill', 'startMs'),
        ],
      },
      {
        title: 'Topics per second',
        x,
        y: { label: 'topics/s' },
        series: [
          line('created with a first record', 'create', 'topicsPerSecond'),
          line('attached again after a restart', 'attach', 'topicsPerSecond'),
          line('attached when dormant', 'reclaim', 'attachDormant', 'topicsPerSecond'),
          line('reclaimed when dormant', 'reclaim', 'topicsPerSecond'),
          line('reclaimed when left', 'reclaimAttached', 'topicsPerSecond'),
        ],
      },
      {
        title: '50,000 tokens/s over all topics, and dormant topics resumed, 1,000 per second',
        x,
        y: { label: 'ms', log: true },
        series: [
          line('token delivered, p50', 'tokens', 'deliveryMs', 'p50'),
          line('token delivered, p99', 'tokens', 'deliveryMs', 'p99'),
          line('dormant topic read, p99', 'resume', 'ms', 'p99'),
        ],
      },
      {
        title: 'Disk bytes of a dormant topic',
        x,
        y: { label: 'bytes' },
        series: [line('when all are dormant', 'dormant', 'diskBytesPerTopic')],
      },
    ]
  },
}

/** With fewer topics less time is spent on what is of interest with many. */
function fullSize(topics: number): MillionSize {
  const isMost = topics >= 1_000_000
  return {
    topics,
    connections: Math.max(1, Math.round(topics / PER_CONNECTION)),
    tokensPerSecond: 50_000,
    seconds: isMost ? 20 : 5,
    floodTokens: 1_000_000,
    resumes: isMost ? 10_000 : Math.min(2_000, topics),
    idleMs: 5_000,
    lingerMs: 10_000 + Math.round(topics / 30),
  }
}
