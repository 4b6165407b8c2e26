/**
 * Scenario `tokens`: many topics, one token stream each, published round robin, acknowledged and delivered back in order,
 * through the public client, with fsync. Publisher and reader are two connections of this process; the broker is another.
 */

import { connect } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { Histogram, round } from './histogram.ts'
import {
  type Context,
  type Figures,
  figureAt,
  figuresAt,
  type Outcome,
  type Params,
  type Scenario,
  ticking,
} from './scenario.ts'
import { openWriters, publish, TOKEN_BYTES, TokenReaders } from './token-load.ts'
import { Traffic } from './traffic.ts'

/** The numbers of topics of a run of each size. */
export const TOPICS = { tiny: [20], full: [1, 100, 10_000, 100_000] } as const
/** Tokens of a full run, whatever the number of topics, but for `leastPerTopic`. */
const FULL_TOKENS = 6_000_000
const LEAST_PER_TOPIC = 100
/** Of the tokens of a run, as many more are written before to warm up. */
const WARM_UP_SHARE = 0.1
/** Topics whose deliveries are timed. */
const TIMED_TOPICS = 64

export const tokens: Scenario = {
  name: 'tokens',
  summary: 'publish, acknowledge and deliver token streams over 1, 100, 10,000 and 100,000 topics',
  async run(params, context) {
    const { size } = params
    const results: Record<string, Figures> = {}
    for (const count of topicCounts(params)) {
      results[count] = await measureTokens(count, tokensPerTopic(params, count), context)
    }
    return { params: { size, tokenBytes: TOKEN_BYTES, durability: 'fsync' }, results: { byTopics: results } }
  },
  plots(outcome) {
    const byTopics = (...path: string[]) => seriesByTopics(outcome, ...path)
    return [
      {
        title: 'Throughput by topics',
        x: { label: 'topics', log: true },
        y: { label: 'tokens/s' },
        series: [{ label: 'published, acknowledged and delivered', points: byTopics('tokensPerSecond') }],
      },
      {
        title: 'Times at full load by topics',
        x: { label: 'topics', log: true },
        y: { label: 'ms', log: true },
        series: [
          { label: 'acknowledged, p50', points: byTopics('ackMs', 'p50') },
          { label: 'acknowledged, p99', points: byTopics('ackMs', 'p99') },
          { label: 'delivered, p50', points: byTopics('deliveryMs', 'p50') },
          { label: 'delivered, p99', points: byTopics('deliveryMs', 'p99') },
        ],
      },
    ]
  },
}

export function topicCounts({ size, topics }: Params): readonly number[] {
  return topics === undefined ? TOPICS[size] : [topics]
}

export function tokensPerTopic({ size }: Params, topics: number): number {
  return size === 'tiny' ? LEAST_PER_TOPIC : Math.max(LEAST_PER_TOPIC, Math.round(FULL_TOKENS / topics))
}

/** One figure of each number of topics, as points. */
export function seriesByTopics({ results }: Outcome, ...path: readonly string[]): [number, number][] {
  const byTopics = figuresAt(results, 'byTopics')
  return Object.keys(byTopics).map((topics) => [Number(topics), figureAt(byTopics, topics, ...path)])
}

/** On a broker of its own. Rejects if a token is lost, repeated, out of order or wrong. */
export async function measureTokens(topics: number, perTopic: number, context: Context): Promise<Figures> {
  const broker = await BrokerProcess.start()
  const [up, down] = [new Traffic(), new Traffic()]
  const publisher = connect(broker.url, { webSocket: up.webSocket })
  const reader = connect(broker.url, { webSocket: down.webSocket })
  try {
    context.progress(`${topics} topics: opening`)
    const warmUp = Math.max(1, Math.round(perTopic * WARM_UP_SHARE))
    const writers = await openWriters(publisher, 'bench', topics)
    const readers = new TokenReaders()
    await readers.open(reader, 'bench', topics)
    await publish(writers, 0, warmUp)
    await readers.reached(topics * warmUp)

    const ack = new Histogram()
    const stride = Math.ceil(topics / TIMED_TOPICS)
    const writtenMs = Array.from({ length: Math.ceil(topics / stride) }, () => new Float64Array(perTopic))
    const delivery = readers.time(stride, (topic, index) => writtenMs[topic / stride]?.[index - warmUp] ?? Number.NaN)
    const written = (topic: number, index: number): void => {
      if (topic % stride !== 0) return
      const times = writtenMs[topic / stride] as Float64Array
      times[index - warmUp] = performance.now()
    }
    const before = await broker.counts()
    for (const traffic of [up, down]) traffic.reset()
    const total = topics * perTopic
    const line = () => `${topics} topics: ${readers.total - topics * warmUp} of ${total} tokens delivered`
    const startedMs = performance.now()
    let ackedMs = startedMs
    await ticking(context, line, async () => {
      await publish(writers, warmUp, perTopic, { ack, written })
      ackedMs = performance.now()
      await readers.reached(topics * (warmUp + perTopic))
    })
    const seconds = (performance.now() - startedMs) / 1000
    readers.check(warmUp + perTopic)
    const after = await broker.counts()
    return {
      tokensPerSecond: Math.round(total / seconds),
      ackedPerSecond: Math.round((total * 1000) / (ackedMs - startedMs)),
      tokens: total,
      seconds: round(seconds),
      ackMs: ack.percentiles(),
      deliveryMs: delivery.percentiles(),
      traffic: {
        publishedMessages: up.sentMessages,
        publishedBytes: up.sentBytes,
        ackMessages: up.receivedMessages,
        ackBytes: up.receivedBytes,
        deliveredMessages: down.receivedMessages,
        deliveredBytes: down.receivedBytes,
        commits: after.commits - before.commits,
        commitBytes: after.commitBytes - before.commitBytes,
        writtenBytes: after.writtenBytes - before.writtenBytes,
      },
    }
  } finally {
    await publisher.close()
    await reader.close()
    await broker.stop()
  }
}
