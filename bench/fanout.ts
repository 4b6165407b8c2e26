/**
 * Scenario `fanout`: many readers of one topic, each on a connection of its own, and a bystander: a topic with one reader, from a
 * process of its own, that should not notice.
 */

import { BrokerProcess } from './broker-process.ts'
import { cpuMs } from './cpu.ts'
import { Crowd } from './crowd.ts'
import { round } from './histogram.ts'
import { Metronome } from './metronome.ts'
import { type Context, type Figures, figureAt, figuresAt, type Outcome, type Scenario, ticking } from './scenario.ts'

const PER_SECOND = 50
/** So that the readers are not one process that the broker waits for. */
const READER_PROCESSES = 2
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
  let metronome: Metronome | null = null
  let crowd: Crowd | null = null
  try {
    metronome = await Metronome.start({ url: broker.url, prefix: 'fan', topics: 2, perSecond: PER_SECOND })
    const { heapBytes, externalBytes } = await broker.ask('collect')
    context.progress(`${count} readers: connecting`)
    const settings = { url: broker.url, topic: 'fan/0', readers: count / READER_PROCESSES }
    crowd = await Crowd.start(settings, READER_PROCESSES)
    const connected = await broker.ask('collect')
    const cpuBefore = { broker: cpuMs(broker.pid), readers: crowd.cpuMs }
    const beganMs = await metronome.go(seconds * PER_SECOND)
    await crowd.time(beganMs, 1000 / PER_SECOND)
    const all = metronome.done()
    const reading = (): string => `${count} readers: reading`
    const beside = await ticking(context, reading, () => all)
    const { endedMs, frames, deliveryMs } = await crowd.done(beside.written)
    const spent = { broker: cpuMs(broker.pid) - cpuBefore.broker, readers: crowd.cpuMs - cpuBefore.readers }
    const elapsedMs = endedMs - beganMs
    return {
      framesPerSecond: Math.round((frames * 1000) / elapsedMs),
      deliveriesPerSecond: Math.round((count * beside.written * 1000) / elapsedMs),
      tokens: beside.written,
      deliveryMs,
      bystanderMs: beside.deliveryMs,
      cpuCores: { broker: round(spent.broker / elapsedMs), readers: round(spent.readers / elapsedMs) },
      cpuMicrosPerFrame: {
        broker: round((spent.broker * 1000) / frames),
        readers: round((spent.readers * 1000) / frames),
      },
      brokerBytesPerReader: Math.round(
        (connected.heapBytes + connected.externalBytes - heapBytes - externalBytes) / count,
      ),
      brokerAnonBytes: broker.anonBytes(),
    }
  } finally {
    metronome?.stop()
    await crowd?.close()
    await broker.stop()
  }
}
