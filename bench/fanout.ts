/**
 * Scenario `fanout`: many readers of one topic, each on a connection of its own, and a bystander: a topic with one reader, from a
 * process of its own, that should not notice.
 */

import { type Broker, connect } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { cpuMs } from './cpu.ts'
import { round } from './histogram.ts'
import { Metronome } from './metronome.ts'
import { type Context, type Figures, figureAt, figuresAt, type Outcome, type Scenario, ticking } from './scenario.ts'
import { inBatches, TokenReaders } from './token-load.ts'
import { Traffic } from './traffic.ts'

const PER_SECOND = 50
const SIZES = {
  tiny: { readers: [20], seconds: 0.5 },
  full: { readers: [1_000, 10_000], seconds: 10 },
} as const

export const fanout: Scenario = {
  name: 'fanout',
  summary:
    'one topic at 50 tokens/s to 1,000 and 10,000 readers on connections of their own, with a bystander topic beside it',
  async run({ size }, context) {
    const { readers, seconds } = SIZES[size]
    const byReaders: Record<string, Figures> = {}
    for (const count of readers) byReaders[count] = await measureFanout(count, seconds, context)
    return { params: { size, tokensPerSecond: PER_SECOND, durability: 'fsync' }, results: { byReaders } }
  },
  plots(outcome) {
    return [
      {
        title: 'Frames to all readers of one topic',
        x: { label: 'readers', log: true },
        y: { label: 'frames/s' },
        series: [{ label: 'delivered', points: series(outcome, 'framesPerSecond') }],
      },
      {
        title: 'Delivery with many readers of one topic',
        x: { label: 'readers', log: true },
        y: { label: 'ms', log: true },
        series: [
          { label: 'all readers, p50', points: series(outcome, 'deliveryMs', 'p50') },
          { label: 'all readers, p99', points: series(outcome, 'deliveryMs', 'p99') },
          { label: 'bystander, p50', points: series(outcome, 'bystanderMs', 'p50') },
          { label: 'bystander, p99', points: series(outcome, 'bystanderMs', 'p99') },
        ],
      },
    ]
  },
}

function series({ results }: Outcome, ...path: readonly string[]): [number, number][] {
  const byReaders = figuresAt(results, 'byReaders')
  return Object.keys(byReaders).map((readers) => [Number(readers), figureAt(byReaders, readers, ...path)])
}

async function measureFanout(count: number, seconds: number, context: Context): Promise<Figures> {
  const broker = await BrokerProcess.start()
  const emptyBytes = broker.anonBytes()
  const traffic = new Traffic()
  let brokers: Broker[] = []
  let metronome: Metronome | null = null
  try {
    metronome = await Metronome.start({ url: broker.url, prefix: 'fan', topics: 2, perSecond: PER_SECOND })
    context.progress(`${count} readers: connecting`)
    const readers = new TokenReaders()
    brokers = await inBatches(count, async () => {
      const reader = connect(broker.url, { webSocket: traffic.webSocket })
      readers.add(await reader.session('fan/0', { observe: true }))
      return reader
    })
    const pids = { broker: broker.pid, readers: process.pid }
    const connectedBytes = broker.anonBytes()
    traffic.reset()
    const cpuBefore = Object.values(pids).map(cpuMs)
    const beganMs = (await metronome.go(seconds * PER_SECOND)) - performance.timeOrigin
    const delivery = readers.time(1, (_, index) => beganMs + (index * 1000) / PER_SECOND)
    const beside = await ticking(
      context,
      () => `${count} readers: ${readers.total} tokens delivered`,
      async () => {
        const ended = await (metronome as Metronome).done()
        await readers.reached(count * ended.written)
        return ended
      },
    )
    const elapsed = (performance.now() - beganMs) / 1000
    const [brokerMs = 0, readersMs = 0] = Object.values(pids).map((pid, i) => cpuMs(pid) - (cpuBefore[i] ?? 0))
    readers.check(beside.written)
    return {
      framesPerSecond: Math.round(traffic.receivedMessages / elapsed),
      deliveriesPerSecond: Math.round(readers.total / elapsed),
      tokens: beside.written,
      deliveryMs: delivery.percentiles(),
      bystanderMs: beside.deliveryMs,
      cpuCores: { broker: round(brokerMs / elapsed / 1000), readers: round(readersMs / elapsed / 1000) },
      cpuMicrosPerFrame: {
        broker: round((brokerMs * 1000) / traffic.receivedMessages),
        readers: round((readersMs * 1000) / traffic.receivedMessages),
      },
      brokerBytesPerReader: Math.round((connectedBytes - emptyBytes) / count),
      brokerAnonBytes: broker.anonBytes(),
    }
  } finally {
    metronome?.stop()
    await inBatches(brokers.length, async (i) => brokers[i]?.close())
    await broker.stop()
  }
}
