/**
 * Scenario `latency`: how long a token takes to its reader while the broker is not full: at 20 % and 60 % of what it was measured to
 * bear, and at 20 % while other sessions come and go. Every token has a time at which it is meant to be sent, and is timed from
 * there: whatever holds the writer up counts.
 */

import { connect } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { Churn } from './churn.ts'
import { type Figures, figureAt, figuresAt, type Scenario, ticking } from './scenario.ts'
import { openWriters, publish, Schedule, TOKEN_BYTES, TokenReaders } from './token-load.ts'

/** Shares of the maximum, in percent, and whether sessions come and go beside. */
const LOADS = [
  { name: '20', percent: 20, isBusy: false },
  { name: '60', percent: 60, isBusy: false },
  { name: '20 with churn', percent: 20, isBusy: true },
]
const PERCENTILES = ['p50', 'p90', 'p99', 'p999', 'max']

/** `warmUp` and `maximum` are tokens per topic. */
const SIZES = {
  tiny: { topics: 20, warmUp: 20, maximum: 100, seconds: 0.5, churnPerSecond: 50, churnTokens: 20 },
  full: { topics: 10_000, warmUp: 60, maximum: 200, seconds: 15, churnPerSecond: 500, churnTokens: 20 },
} as const

export const latency: Scenario = {
  name: 'latency',
  summary: 'delivery percentiles at 20 % and 60 % of the measured maximum, alone and beside sessions that come and go',
  async run({ size, topics: wanted }, context) {
    const { warmUp, maximum, seconds, churnPerSecond, churnTokens, ...own } = SIZES[size]
    const topics = wanted ?? own.topics
    const broker = await BrokerProcess.start()
    const publisher = connect(broker.url)
    const reader = connect(broker.url)
    try {
      context.progress(`opening ${topics} topics`)
      const writers = await openWriters(publisher, 'bench', topics)
      const readers = new TokenReaders()
      await readers.open(reader, 'bench', topics)
      const untilRead = async (perTopic: number): Promise<void> => {
        await ticking(
          context,
          () => `${readers.total} tokens delivered`,
          () => readers.reached(topics * perTopic),
        )
      }
      await publish(writers, 0, warmUp)
      await untilRead(warmUp)
      const startedMs = performance.now()
      await publish(writers, warmUp, maximum)
      let written = warmUp + maximum
      await untilRead(written)
      const perSecond = (topics * maximum * 1000) / (performance.now() - startedMs)

      const byLoad: Record<string, Figures> = {}
      for (const { name, percent, isBusy } of LOADS) {
        const rate = (perSecond * percent) / 100
        context.progress(`${Math.round(rate)} tokens/s, ${name} % of the maximum`)
        const count = Math.max(1, Math.round((rate * seconds) / topics))
        const churning = { url: broker.url, perSecond: churnPerSecond, tokens: churnTokens }
        const churn = isBusy ? await Churn.start(churning) : null
        const schedule = new Schedule(topics, written, rate)
        const delivery = readers.time(1, schedule.sentMs)
        await schedule.run(writers, count)
        written += count
        await untilRead(written)
        byLoad[name] = {
          tokensPerSecond: Math.round(rate),
          tokens: topics * count,
          deliveryMs: delivery.percentiles(),
          writerLateMs: schedule.late.percentiles(),
          ...(churn !== null && { sessionsPerSecond: Math.round(await churn.end()) }),
        }
      }
      readers.check(written)
      const params = { size, topics, tokenBytes: TOKEN_BYTES, durability: 'fsync' }
      return { params, results: { maximumTokensPerSecond: Math.round(perSecond), byLoadPercent: byLoad } }
    } finally {
      await publisher.close()
      await reader.close()
      await broker.stop()
    }
  },
  plots({ results }) {
    const byLoad = figuresAt(results, 'byLoadPercent')
    return [
      {
        title: 'From the time a token was meant to be sent to its delivery',
        x: { label: 'one token in so many takes longer', log: true },
        y: { label: 'ms', log: true },
        series: Object.keys(byLoad).map((percent) => ({
          label: percent.replace(/^\d+/, '$& % of the maximum'),
          points: PERCENTILES.map((name, i): [number, number] => [
            [2, 10, 100, 1000, figureAt(byLoad, percent, 'tokens')][i] as number,
            figureAt(byLoad, percent, 'deliveryMs', name),
          ]),
        })),
      },
    ]
  },
}
