/** What the runs of `large` have in common: content, reading it back byte by byte, and the broker's memory meanwhile. */

import type { LargeValue, Session } from '../client/index.ts'
import type { BrokerProcess } from './broker-process.ts'

const SAMPLE_MS = 20

/** Not compressible, as LevelDB would; the same in each run. */
export function contentOf(bytes: number): Buffer {
  const words = new Uint32Array(bytes / 4)
  let state = 1
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    words[i] = state
  }
  return Buffer.from(words.buffer)
}

/** Reads the messages of a session and compares each with what was sent. */
export class Received {
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
export class MemoryPeak {
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
