/**
 * Scenario `large`: messages of 64 MiB, one after the other, from publisher to reader; what they take of the broker's memory, and
 * what they do to token streams beside them: one that a process of its own writes and times, and one on the same connections.
 * Then many at once.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Broker, connect } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { type Percentiles, percentiles } from './histogram.ts'
import { crowd } from './large-crowd.ts'
import { contentOf, MemoryPeak, Received } from './large-load.ts'
import { Metronome } from './metronome.ts'
import { type Context, type Figures, figureAt, type Scenario, type Size } from './scenario.ts'
import { openWriters, Schedule, TokenReaders } from './token-load.ts'

const MiB = 1024 * 1024
const PER_SECOND = 200
const SIZES = {
  tiny: { messageBytes: MiB, messages: 2, aloneMs: 300, many: { uploads: 4, messageBytes: MiB } },
  full: { messageBytes: 64 * MiB, messages: 10, aloneMs: 5_000, many: { uploads: 100, messageBytes: 4 * MiB } },
} as const

export const large: Scenario = {
  name: 'large',
  summary: 'messages of 64 MiB: MB/s, broker memory, and what they do to a token stream beside them',
  async run({ size }, { progress }) {
    const { messageBytes, messages, many } = SIZES[size]
    const single = await oneAfterTheOther(SIZES[size], progress)
    progress(`${many.uploads} at once`)
    return {
      params: {
        size,
        messageBytes,
        messages,
        tokensPerSecondBeside: PER_SECOND,
        atOnce: many.uploads,
        atOnceBytes: many.messageBytes,
        durability: 'fsync',
      },
      results: { ...single, atOnce: await crowd(many) },
    }
  },
  plots({ results }) {
    const shares: readonly (readonly [string, number])[] = Object.entries({ p50: 2, p90: 10, p99: 100, p999: 1000 })
    return [
      {
        title: 'A token stream alone, and beside large messages',
        x: { label: 'one token in so many takes longer', log: true },
        y: { label: 'ms', log: true },
        series: [
          { label: 'alone', name: 'tokenAloneMs' },
          { label: 'beside large messages', name: 'tokenBesideMs' },
          { label: 'on the same connections', name: 'tokenSharedMs' },
        ].map(({ label, name }) => ({
          label,
          points: shares.map(([share, at]): [number, number] => [at, figureAt(results, name, share)]),
        })),
      },
    ]
  },
}

async function oneAfterTheOther(
  { messageBytes, messages, aloneMs }: (typeof SIZES)[Size],
  progress: Context['progress'],
): Promise<Figures> {
  const broker = await BrokerProcess.start()
  const publisher = connect(broker.url)
  const reader = connect(broker.url)
  let metronome: Metronome | null = null
  try {
    metronome = await Metronome.start({ url: broker.url, prefix: 'beside', topics: 1, perSecond: PER_SECOND })
    const session = await publisher.session('large/0')
    const received = new Received(await reader.session('large/0', { observe: true }))
    progress('the token stream alone')
    await metronome.go()
    await sleep(aloneMs)
    const alone = await metronome.beats()
    const shared = await SharedStream.start(publisher, reader)
    const memory = new MemoryPeak(broker)
    const content = contentOf(messageBytes)
    const durableMs: number[] = []
    const deliveredMs: number[] = []
    for (let index = 0; index < messages; index++) {
      progress(`message ${index + 1} of ${messages}`)
      content.writeUInt32BE(index)
      const startedMs = performance.now()
      const durable = session.append(content).then(() => durableMs.push(performance.now() - startedMs))
      await Promise.all([received.next(content), durable])
      deliveredMs.push(performance.now() - startedMs)
    }
    const peak = memory.end()
    const tokenSharedMs = await shared.end()
    const beside = await metronome.end()
    const delivered = percentiles(deliveredMs)
    const perSecond = (ms: number): number => Math.round(messageBytes / 1000 / ms)
    return {
      deliveredMegabytesPerSecond: perSecond(delivered.p50),
      durableMegabytesPerSecond: perSecond(percentiles(durableMs).p50),
      deliveredMs: delivered,
      memory: peak,
      tokenAloneMs: alone.deliveryMs,
      tokenBesideMs: beside.deliveryMs,
      tokenSharedMs,
    }
  } finally {
    metronome?.stop()
    await publisher.close()
    await reader.close()
    await broker.stop()
  }
}

/** A token stream on the connections, and in the process, of the messages. */
class SharedStream {
  private readonly schedule = new Schedule(1, 0, PER_SECOND)
  private readonly readers = new TokenReaders()
  private readonly delivery = this.readers.time(1, this.schedule.sentMs)
  private written: Promise<void> = Promise.resolve()

  static async start(publisher: Broker, reader: Broker): Promise<SharedStream> {
    const stream = new SharedStream()
    const writers = await openWriters(publisher, 'shared', 1)
    await stream.readers.open(reader, 'shared', 1)
    stream.written = stream.schedule.run(writers, Number.POSITIVE_INFINITY)
    return stream
  }

  /** Rejects if a token was lost, repeated or wrong. */
  async end(): Promise<Percentiles> {
    this.schedule.end()
    await this.written
    await this.readers.reached(this.schedule.sent)
    this.readers.check(this.schedule.sent)
    return this.delivery.percentiles()
  }
}
