/**
 * Scenario `tokens`: many topics, one token stream each, published round robin, acknowledged and delivered back in order,
 * through the public client, with fsync. Publisher and reader are two connections of this process; the broker is another.
 */

import { connect, type Session, type StreamWriter } from '../client/index.ts'
import { startBrokerProcess } from './broker-process.ts'
import { percentiles, type Report } from './report.ts'

export type Size = 'tiny' | 'full'

const TOKENS: Readonly<Record<Size, { topics: number; perTopic: number; warmUp: number }>> = {
  tiny: { topics: 50, perTopic: 100, warmUp: 10 },
  full: { topics: 10_000, perTopic: 600, warmUp: 60 },
}
/** Tokens of a full run with few topics, so that it takes about as long as one with many. */
const FULL_RUN_TOKENS = 6_000_000
/** Sessions opened at once. */
const OPEN_AT_ONCE = 500
/** One write in so many is timed until its acknowledgement. */
const ACK_SAMPLE = 997

/** Rejects if a token is lost, repeated, out of order or wrong. */
export async function runTokens(size: Size, wantedTopics: number | undefined): Promise<Report> {
  const topics = wantedTopics ?? TOKENS[size].topics
  const perTopic = size === 'tiny' ? TOKENS.tiny.perTopic : Math.max(100, Math.round(FULL_RUN_TOKENS / topics))
  const warmUp = Math.max(1, Math.round(perTopic * (TOKENS[size].warmUp / TOKENS[size].perTopic)))
  const broker = await startBrokerProcess()
  const publisher = connect(broker.url)
  const reader = connect(broker.url)
  try {
    progress(`opening ${topics} topics`)
    const writers = await openWriters(publisher, topics)
    const readers = new Readers(warmUp + perTopic)
    await readers.open(reader, topics)
    progress(`publishing ${warmUp} tokens to each to warm up, then ${perTopic}`)
    await publish(writers, 0, warmUp, null)
    await readers.reached(topics * warmUp)
    const ackMs: number[] = []
    const deliveryMs = readers.time(warmUp)
    const startedMs = performance.now()
    await publish(writers, warmUp, perTopic, { ackMs, written: (tokens) => readers.written(tokens) })
    const ackedMs = performance.now()
    await readers.reached(topics * (warmUp + perTopic))
    const seconds = (performance.now() - startedMs) / 1000
    readers.check()
    return {
      scenario: 'tokens',
      params: { size, topics, tokensPerTopic: perTopic, tokenBytes: 8, durability: 'fsync' },
      results: {
        tokensPerSecond: Math.round((topics * perTopic) / seconds),
        ackedPerSecond: Math.round((topics * perTopic * 1000) / (ackedMs - startedMs)),
        tokens: topics * perTopic,
        seconds: Math.round(seconds * 100) / 100,
        ackMs: percentiles(ackMs),
        deliveryMs: percentiles(deliveryMs),
      },
    }
  } finally {
    await publisher.close()
    await reader.close()
    await broker.stop()
  }
}

/** Eight bytes that say which token of its topic it is. */
function tokenText(index: number): string {
  return ` t${String(index).padStart(6, '0')}`
}

async function openWriters(broker: ReturnType<typeof connect>, topics: number): Promise<StreamWriter[]> {
  const writers: StreamWriter[] = []
  for (let first = 0; first < topics; first += OPEN_AT_ONCE) {
    const count = Math.min(OPEN_AT_ONCE, topics - first)
    const opened = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const session = await broker.session(`bench/${first + i}`)
        return session.openStream('reply')
      }),
    )
    writers.push(...opened)
  }
  return writers
}

async function publish(
  writers: readonly StreamWriter[],
  from: number,
  count: number,
  timing: { ackMs: number[]; written: (index: number) => void } | null,
): Promise<void> {
  let writes = 0
  for (let index = from; index < from + count; index++) {
    const text = tokenText(index)
    timing?.written(index)
    for (const writer of writers) {
      if (!writer.write(text)) await writer.ready
      if (timing !== null && ++writes % ACK_SAMPLE === 0) sampleAck(writer, timing.ackMs)
    }
  }
  await Promise.all(writers.map((writer) => writer.flush()))
}

function sampleAck(writer: StreamWriter, ackMs: number[]): void {
  const startedMs = performance.now()
  void writer.flush().then(() => ackMs.push(performance.now() - startedMs))
}

/** Reads every topic and checks each token against what must come next. */
class Readers {
  private readonly expected: number
  private readonly texts: string[]
  private readonly next: number[] = []
  private total = 0
  private goal = Number.POSITIVE_INFINITY
  private arrived: () => void = () => undefined
  private failure: Error | null = null
  private fail: (error: Error) => void = () => undefined
  private timedFrom = Number.POSITIVE_INFINITY
  private readonly writtenMs: number[] = []
  private readonly deliveryMs: number[] = []

  constructor(tokensPerTopic: number) {
    this.expected = tokensPerTopic
    this.texts = Array.from({ length: tokensPerTopic }, (_, index) => tokenText(index))
  }

  async open(broker: ReturnType<typeof connect>, topics: number): Promise<void> {
    for (let first = 0; first < topics; first += OPEN_AT_ONCE) {
      const count = Math.min(OPEN_AT_ONCE, topics - first)
      const sessions = await Promise.all(
        Array.from({ length: count }, (_, i) => broker.session(`bench/${first + i}`, { observe: true })),
      )
      sessions.forEach((session, i) => {
        this.next.push(0)
        this.read(session, first + i).catch((error: unknown) => this.abort(error))
      })
    }
  }

  /** Times deliveries of tokens from this index on, sampled at the first topic of each round. */
  time(from: number): number[] {
    this.timedFrom = from
    return this.deliveryMs
  }

  written(index: number): void {
    this.writtenMs[index] = performance.now()
  }

  /** Resolves when so many tokens have come in all. */
  reached(tokens: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.failure !== null) return reject(this.failure)
      this.fail = reject
      this.goal = tokens
      this.arrived = resolve
      if (this.total >= tokens) resolve()
    })
  }

  check(): void {
    const short = this.next.findIndex((count) => count !== this.expected)
    if (short >= 0) throw new Error(`topic ${short} delivered ${this.next[short]} of ${this.expected} tokens`)
  }

  private async read(session: Session<unknown>, topic: number): Promise<void> {
    for await (const records of session.batches({ from: 'start', raw: true })) {
      let next = this.next[topic] as number
      for (const record of records) {
        if (record.kind !== 'token') continue
        if (record.text !== this.texts[next]) {
          throw new Error(`topic ${topic}: expected ${this.texts[next]}, got ${record.text}`)
        }
        if (topic === 0 && next >= this.timedFrom) {
          this.deliveryMs.push(performance.now() - (this.writtenMs[next] as number))
        }
        next++
        this.total++
      }
      this.next[topic] = next
      if (this.total >= this.goal) this.arrived()
    }
  }

  private abort(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error(String(error))
    this.fail(this.failure)
  }
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}
