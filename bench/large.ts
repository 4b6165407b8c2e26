/**
 * Scenario `large`: messages of 64 MiB, one after the other, from publisher to reader; what they take of the broker's memory, and
 * what they do to a token stream beside them, which a process of its own writes and times.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type LargeValue, type Session } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { percentiles } from './histogram.ts'
import { Metronome } from './metronome.ts'
import { figureAt, type Scenario } from './scenario.ts'

const MiB = 1024 * 1024
const PER_SECOND = 200
const SAMPLE_MS = 20
const SIZES = {
  tiny: { messageBytes: MiB, messages: 2, aloneMs: 300 },
  full: { messageBytes: 64 * MiB, messages: 10, aloneMs: 5_000 },
} as const

export const large: Scenario = {
  name: 'large',
  summary: 'messages of 64 MiB: MB/s, broker memory, and what they do to a token stream beside them',
  async run({ size }, { progress }) {
    const { messageBytes, messages, aloneMs } = SIZES[size]
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
      const beside = await metronome.end()
      const delivered = percentiles(deliveredMs)
      const perSecond = (ms: number): number => Math.round(messageBytes / 1000 / ms)
      return {
        params: { size, messageBytes, messages, tokensPerSecondBeside: PER_SECOND, durability: 'fsync' },
        results: {
          deliveredMegabytesPerSecond: perSecond(delivered.p50),
          durableMegabytesPerSecond: perSecond(percentiles(durableMs).p50),
          deliveredMs: delivered,
          memory: peak,
          tokenAloneMs: alone.deliveryMs,
          tokenBesideMs: beside.deliveryMs,
        },
      }
    } finally {
      metronome?.stop()
      await publisher.close()
      await reader.close()
      await broker.stop()
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
        ].map(({ label, name }) => ({
          label,
          points: shares.map(([share, at]): [number, number] => [at, figureAt(results, name, share)]),
        })),
      },
    ]
  },
}

/** Not compressible, as LevelDB would; the same in each run. */
function contentOf(bytes: number): Buffer {
  const words = new Uint32Array(bytes / 4)
  let state = 1
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    words[i] = state
  }
  return Buffer.from(words.buffer)
}

/** Reads the messages of a session and compares each with what was sent. */
class Received {
  private readonly records: AsyncIterator<LargeValue<unknown>>

  constructor(session: Session<unknown>) {
    this.records = largeOf(session)
  }

  /** Rejects unless the next one is exactly this. */
  async next(content: Buffer): Promise<void> {
    const { value, done } = await this.records.next()
    if (done) throw new Error('the reader ended before the last message')
    let at = 0
    for await (const piece of value.stream()) {
      if (content.compare(piece, 0, piece.length, at, at + piece.length) !== 0) {
        throw new Error(`a large message is wrong between byte ${at} and ${at + piece.length}`)
      }
      at += piece.length
    }
    if (at !== content.length) throw new Error(`a large message came with ${at} of ${content.length} bytes`)
  }
}

async function* largeOf(session: Session<unknown>): AsyncGenerator<LargeValue<unknown>> {
  for await (const record of session.records()) {
    if (record.kind === 'message' && record.large !== undefined) yield record.large
  }
}

/** The most memory that the broker has while this is not ended, looked at often. */
class MemoryPeak {
  private readonly broker: BrokerProcess
  private readonly beforeBytes: number
  private peakBytes: number
  private readonly timer: NodeJS.Timeout

  constructor(broker: BrokerProcess) {
    this.broker = broker
    this.beforeBytes = this.peakBytes = broker.anonBytes()
    this.timer = setInterval(() => this.look(), SAMPLE_MS)
  }

  end(): { beforeAnonBytes: number; peakAnonBytes: number; addedAnonBytes: number } {
    clearInterval(this.timer)
    this.look()
    const { beforeBytes, peakBytes } = this
    return { beforeAnonBytes: beforeBytes, peakAnonBytes: peakBytes, addedAnonBytes: peakBytes - beforeBytes }
  }

  private look(): void {
    this.peakBytes = Math.max(this.peakBytes, this.broker.anonBytes())
  }
}
