/**
 * Scenario `peers`: what the product is measured against. Each peer bears the same two workloads, on the same machine, in the
 * same run, in turns: token streams over many topics, and as many topics as it bears within the time.
 */

import { round } from './histogram.ts'
import { durableStreams } from './peers/durable-streams.ts'
import { jetstreamInbox, jetstreamPeer, jetstreamSynced } from './peers/jetstream.ts'
import { litetopic } from './peers/litetopic.ts'
import type { Peer } from './peers/peer.ts'
import { redis } from './peers/redis.ts'
import { measureStreams, measureTopics, type StreamsLoad, type TopicsLoad } from './peers/workloads.ts'
import { type Context, type Figures, figureAt, figuresAt, type Params, type Scenario } from './scenario.ts'
import { TOKEN_BYTES } from './token-load.ts'
import { measureTokens } from './tokens.ts'

/** The product first; the others are compared with it. */
export const PEERS: readonly Peer[] = [
  litetopic,
  redis('always'),
  redis('everysec'),
  jetstreamPeer,
  jetstreamInbox,
  jetstreamSynced,
  durableStreams,
]

interface Loads {
  readonly turns: number
  readonly streams: StreamsLoad
  readonly topics: TopicsLoad
}

const LOADS: Readonly<Record<Params['size'], Loads>> = {
  tiny: {
    turns: 1,
    streams: { topics: 20, tokens: 2_000, seconds: 2 },
    topics: { topics: 200, seconds: 5, restMs: 0 },
  },
  full: {
    turns: 3,
    streams: { topics: 10_000, tokens: 4_000_000, seconds: 15 },
    topics: { topics: 1_000_000, seconds: 60, restMs: 20_000 },
  },
}

export const peers: Scenario = {
  name: 'peers',
  summary: 'the same workloads on Redis Streams, NATS JetStream and Durable Streams',
  async run({ size }, context) {
    const loads = LOADS[size]
    const params: Record<string, string | number> = { size, tokenBytes: TOKEN_BYTES }
    const able = await ablePeers(params, context)
    const turns = new Map<Peer, Figures[]>()
    for (let turn = 1; turn <= loads.turns; turn++) {
      for (const peer of able) {
        const figures = await bear(peer, params, context, (tell) => measureStreams(peer, loads.streams, tell))
        if (figures !== null) turns.set(peer, [...(turns.get(peer) ?? []), figures])
      }
    }
    const { topics, tokens } = loads.streams
    const delivered = await measureTokens(topics, Math.round(tokens / topics), context)
    const streams: Record<string, Figures> = {}
    for (const [peer, figures] of turns) streams[peer.name] = medians(figures)
    const many: Record<string, Figures> = {}
    for (const peer of able) {
      const figures = await bear(peer, params, context, (tell) => measureTopics(peer, loads.topics, tell))
      if (figures !== null) many[peer.name] = figures
    }
    const deliveredPerSecond = figureAt(delivered, 'tokensPerSecond')
    const publishedPerSecond = figureAt(streams, litetopic.name, 'tokensPerSecond')
    const results = {
      streams,
      deliveredPerSecond,
      against: against(streams, deliveredPerSecond),
      publishingOnlyAgainst: against(streams, publishedPerSecond),
      topics: many,
    }
    return { params, results }
  },
  plots(outcome) {
    const bars = (title: string, unit: string, workload: string, figure: string) => ({
      title,
      unit,
      bars: Object.keys(figuresAt(outcome.results, workload)).map((label) => ({
        label,
        value: figureAt(outcome.results, workload, label, figure),
      })),
    })
    return [
      bars('Published and acknowledged, against the peers', 'tokens/s', 'streams', 'tokensPerSecond'),
      bars('New topics with a record each', 'topics/s', 'topics', 'topicsPerSecond'),
      bars('Memory of the server, topics just made', 'bytes per topic', 'topics', 'anonBytesPerTopic'),
      bars('Memory of the server, topics at rest', 'bytes per topic', 'topics', 'restAnonBytesPerTopic'),
      bars('Disk', 'bytes per topic', 'topics', 'diskBytesPerTopic'),
      bars('Start with these topics, to the first answer', 'ms', 'topics', 'startMs'),
    ]
  },
}

/** Says in the parameters how each peer is set up, or why it is skipped. */
export async function ablePeers(params: Record<string, string | number>, { progress }: Context): Promise<Peer[]> {
  const able: Peer[] = []
  for (const peer of PEERS) {
    const reason = await peer.missing()
    params[peer.name] = reason === null ? `(${peer.setup})` : `skipped: ${reason}`
    if (reason === null) able.push(peer)
    else progress(`${peer.name} is skipped: ${reason}`)
  }
  return able
}

/** A peer that fails is told of, and the others go on; if the product does, the run fails. */
async function bear(
  peer: Peer,
  params: Record<string, string | number>,
  { progress }: Context,
  work: (tell: (line: string) => void) => Promise<Figures>,
): Promise<Figures | null> {
  try {
    return await work((line) => progress(`${peer.name}: ${line}`))
  } catch (error) {
    if (peer === litetopic) throw error
    const reason = error instanceof Error ? error.message : String(error)
    params[`${peer.name} failed`] = reason
    progress(`${peer.name} failed: ${reason}`)
    return null
  }
}

/** Of each figure its median; of the throughput also the lowest and the highest. */
function medians(turns: readonly Figures[]): Figures {
  const [first = {}] = turns
  const sorted = (name: string) => turns.map((figures) => figureAt(figures, name)).sort((a, b) => a - b)
  const figures: Record<string, number> = {}
  for (const name of Object.keys(first)) figures[name] = sorted(name)[turns.length >> 1] as number
  const rates = sorted('tokensPerSecond')
  return { ...figures, lowestPerSecond: rates[0] as number, highestPerSecond: rates.at(-1) as number }
}

/** The product's tokens per second by those of each other peer. */
function against(streams: Readonly<Record<string, Figures>>, product: number): Figures {
  const others = Object.entries(streams).filter(([name]) => name !== litetopic.name)
  return Object.fromEntries(
    others.map(([name, figures]) => [name, round(product / figureAt(figures, 'tokensPerSecond'))]),
  )
}
