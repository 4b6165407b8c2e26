/**
 * Token streams as load: one stream per topic, written round robin as fast as there is room or at a given rate, and read back
 * with each token checked against what must come next.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker, Session, StreamWriter } from '../client/index.ts'
import { Histogram } from './histogram.ts'

/** Sessions opened at once. */
const OPEN_AT_ONCE = 500
/** One write in so many is timed until its acknowledgement. */
const ACK_SAMPLE = 997

export const TOKEN_BYTES = 8

const texts: string[] = []

/** Eight bytes that say which token of its topic it is. */
export function tokenText(index: number): string {
  texts[index] ??= ` t${String(index).padStart(6, '0')}`
  return texts[index] as string
}

/** Opens one stream in each of the topics `prefix/0` to `prefix/<topics - 1>`. */
export function openWriters(broker: Broker, prefix: string, topics: number): Promise<StreamWriter[]> {
  return inBatches(topics, async (topic) => {
    const session = await broker.session(`${prefix}/${topic}`)
    return session.openStream('reply')
  })
}

/** Calls `open` with 0 to `count - 1`, some at once. */
export async function inBatches<T>(count: number, open: (index: number) => Promise<T>): Promise<T[]> {
  const opened: T[] = []
  for (let first = 0; first < count; first += OPEN_AT_ONCE) {
    const length = Math.min(OPEN_AT_ONCE, count - first)
    opened.push(...(await Promise.all(Array.from({ length }, (_, i) => open(first + i)))))
  }
  return opened
}

/** What is told of writing as fast as there is room. */
export interface Timing {
  readonly ack: Histogram
  readonly written: (topic: number, index: number) => void
}

/** Writes `count` tokens to each, as fast as there is room. Resolves when all are acknowledged. */
export async function publish(
  writers: readonly StreamWriter[],
  from: number,
  count: number,
  timing: Timing | null = null,
): Promise<void> {
  let writes = 0
  for (let index = from; index < from + count; index++) {
    const text = tokenText(index)
    for (let topic = 0; topic < writers.length; topic++) {
      const writer = writers[topic] as StreamWriter
      timing?.written(topic, index)
      if (!writer.write(text)) await writer.ready
      if (timing !== null && ++writes % ACK_SAMPLE === 1) sampleAck(writer, timing.ack)
    }
  }
  await Promise.all(writers.map((writer) => writer.flush()))
}

function sampleAck(writer: StreamWriter, ack: Histogram): void {
  const startedMs = performance.now()
  void writer.flush().then(() => ack.add(performance.now() - startedMs))
}

/** A schedule of writes: each token has a time at which it is meant to be sent, whatever became of those before. */
export class Schedule {
  readonly perMs: number
  private readonly topics: number
  private readonly from: number
  private startMs = 0
  private total = 0
  /** Tokens written to all topics together. */
  sent = 0
  /** How late the writer was, measured once in each millisecond in which something was due. */
  readonly late = new Histogram()

  /** The rate is that of all topics together; `from` is the first index. */
  constructor(topics: number, from: number, perSecond: number) {
    this.topics = topics
    this.from = from
    this.perMs = perSecond / 1000
  }

  /** When a token is meant to be sent, in the time of `performance.now`. Those of one millisecond are meant for its beginning. */
  readonly sentMs = (topic: number, index: number): number =>
    this.startMs + Math.floor(((index - this.from) * this.topics + topic) / this.perMs)

  /**
   * Writes `count` tokens to each writer at their times, without waiting for anything; with Infinity, until `end`. Resolves when all
   * are acknowledged.
   */
  async run(writers: readonly StreamWriter[], count: number): Promise<void> {
    this.total = writers.length * count
    this.startMs = Math.ceil(performance.now()) + 1
    while (this.sent < this.total) {
      const elapsedMs = Math.floor(performance.now() - this.startMs)
      const due = Math.min(this.total, Math.ceil((elapsedMs + 1) * this.perMs))
      if (this.sent < due) this.late.add(performance.now() - this.startMs - Math.floor(this.sent / this.perMs))
      for (; this.sent < due; this.sent++) {
        const index = this.from + Math.floor(this.sent / writers.length)
        writers[this.sent % writers.length]?.write(tokenText(index))
      }
      if (this.sent < this.total) await sleep(1)
    }
    await Promise.all(writers.map((writer) => writer.flush()))
  }

  /** Ends as soon as all writers have the same number of tokens. */
  end(): void {
    this.total = Math.ceil(this.sent / this.topics) * this.topics
  }
}

/** Reads streams of tokens, each from index 0 on, and checks that nothing is lost, repeated, out of order or wrong. */
export class TokenReaders {
  total = 0
  private readonly next: number[] = []
  private goal = Number.POSITIVE_INFINITY
  private arrived: () => void = () => undefined
  private failure: Error | null = null
  private fail: (error: Error) => void = () => undefined
  private delivery: Histogram | null = null
  private sentMs: (reader: number, index: number) => number = () => Number.NaN
  private stride = 1

  /** Reads with as many sessions as topics, which only observe. */
  async open(broker: Broker, prefix: string, topics: number): Promise<void> {
    const sessions = await inBatches(topics, (topic) => broker.session(`${prefix}/${topic}`, { observe: true }))
    for (const session of sessions) this.add(session)
  }

  /** Reads one more. Readers are numbered from 0 in the order in which they are added. */
  add(session: Session<unknown>): void {
    const reader = this.next.push(0) - 1
    this.read(session, reader).catch((error: unknown) => {
      this.failure ??= error instanceof Error ? error : new Error(String(error))
      this.fail(this.failure)
    })
  }

  /** Times from now on what one reader in `stride` gets, from when `sentMs` says that it was sent; NaN is not timed. */
  time(stride: number, sentMs: (reader: number, index: number) => number): Histogram {
    this.stride = stride
    this.sentMs = sentMs
    this.delivery = new Histogram()
    return this.delivery
  }

  /** Resolves when all have read so many tokens together; rejects if one was wrong. */
  reached(tokens: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.failure !== null) return reject(this.failure)
      this.fail = reject
      this.goal = tokens
      this.arrived = resolve
      if (this.total >= tokens) resolve()
    })
  }

  /** Throws unless each has read exactly so many. */
  check(tokensEach: number): void {
    const wrong = this.next.findIndex((count) => count !== tokensEach)
    if (wrong >= 0) throw new Error(`reader ${wrong} got ${this.next[wrong]} of ${tokensEach} tokens`)
  }

  private async read(session: Session<unknown>, reader: number): Promise<void> {
    for await (const records of session.batches({ from: 'start', raw: true })) {
      let next = this.next[reader] as number
      const nowMs = performance.now()
      const delivery = reader % this.stride === 0 ? this.delivery : null
      for (const record of records) {
        if (record.kind !== 'token') continue
        if (record.text !== tokenText(next)) {
          throw new Error(`reader ${reader}: expected ${tokenText(next)}, got ${record.text}`)
        }
        if (delivery !== null) {
          const sentMs = this.sentMs(reader, next)
          if (!Number.isNaN(sentMs)) delivery.add(nowMs - sentMs)
        }
        next++
        this.total++
      }
      this.next[reader] = next
      if (this.total >= this.goal) this.arrived()
    }
  }
}
