/**
 * The process of the load of `million`: a session of the public client for each topic, over many connections. Does one step at a
 * time, as the scenario asks.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Broker, connect, type Session, type StreamWriter } from '../client/index.ts'
import { Gate } from './gate.ts'
import { Histogram } from './histogram.ts'
import type { LoadRequests, LoadSettings, Pace, Step, Timed } from './million-orders.ts'
import { MillionReaders, TopicCheck } from './million-readers.ts'
import { firstValue, Layout, sample } from './million-topics.ts'
import { answerParent } from './requests.ts'
import { publish, Schedule } from './token-load.ts'

/** Topics that are under way at once, over all connections. */
const AT_ONCE = 20_000

const { url, topics, connections } = JSON.parse(process.argv[2] ?? '{}') as LoadSettings
const layout = new Layout(topics, connections)
const gate = new Gate()
let readers = new MillionReaders(layout.topics)
let brokers: Broker[] = []
/** By topic. */
let sessions: Session[] = []
let writers: StreamWriter[] = []
/** Tokens of each topic so far. */
let written = 0
let flooding: Promise<void> = Promise.resolve()
let done = 0

const requests: LoadRequests = {
  /** With a connection each, but no session. */
  async connect() {
    brokers = Array.from({ length: layout.connections }, () => connect(url, { webSocket: gate.webSocket }))
    await Promise.all(brokers.map((broker) => broker.list({ prefix: 'nobody', limit: 1 })))
  },
  create: () =>
    overAll(async (broker, topic) => {
      const session = await broker.session(layout.name(topic))
      if (!session.created) throw new Error(`topic ${topic} was there already`)
      sessions[topic] = session
      await session.append(firstValue(topic))
    }),
  attach: () =>
    overAll(async (broker, topic) => {
      sessions[topic] = await broker.session(layout.name(topic), { create: false })
    }),
  async read() {
    const startedMs = performance.now()
    for (const [topic, session] of sessions.entries()) readers.add(session, topic)
    await readers.until(() => readers.first === layout.topics)
    return { topics: layout.topics, seconds: (performance.now() - startedMs) / 1000 }
  },
  open: () =>
    overAll(async (_, topic) => {
      writers[topic] = await (sessions[topic] as Session).openStream('reply')
    }),
  /** Their streams. Resolves when every reader has seen it. */
  async end() {
    const step = await overAll(async (_, topic) => void (await writers[topic]?.end()))
    await readers.until(() => readers.ended === layout.topics)
    readers.check(written)
    writers = []
    return step
  },
  pace,
  /** As fast as there is room. Resolves at once; `delivered` tells how far it is. */
  flood({ perTopic }) {
    const from = written
    written += perTopic
    flooding = publish(writers, from, perTopic)
    flooding.catch(() => undefined)
  },
  delivered: () => readers.tokens,
  /** From now on no client hears that its connection is lost. */
  hold: () => gate.close(),
  /** All have lost it, and hear of it at once. */
  async release() {
    await gate.whenLost(layout.connections)
    gate.open()
  },
  /** Resolves when all of the flood is acknowledged and delivered. */
  async settle() {
    await flooding
    await readers.until(() => readers.tokens === written * layout.topics)
    readers.check(written)
  },
  async leave() {
    await Promise.all(brokers.map((broker) => broker.close()))
    brokers = sessions = writers = []
    readers = new MillionReaders(layout.topics)
  },
  resume,
  done: () => done,
  memory: () => process.memoryUsage().rss,
}
answerParent(requests)
process.on('disconnect', () => process.exit(0))
process.send?.('ready')

/** Does something for every topic, a few of each connection at once. */
async function overAll(work: (broker: Broker, topic: number) => Promise<void>): Promise<Timed> {
  globalThis.gc?.()
  const took = new Histogram()
  const startedMs = performance.now()
  done = 0
  const lanes = Math.min(layout.perConnection, Math.ceil(AT_ONCE / layout.connections))
  const lane = async (broker: Broker, connection: number, first: number): Promise<void> => {
    for (let slot = first; slot < layout.perConnection; slot += lanes) {
      const askedMs = performance.now()
      await work(broker, layout.at({ connection, slot }))
      took.add(performance.now() - askedMs)
      done++
    }
  }
  await Promise.all(
    brokers.flatMap((broker, connection) =>
      Array.from({ length: lanes }, (_, first) => lane(broker, connection, first)),
    ),
  )
  return { topics: layout.topics, seconds: (performance.now() - startedMs) / 1000, tookMs: took.percentiles() }
}

/** Writes at a steady rate, and times each token from when it was meant to be sent to its delivery. */
async function pace({
  perSecond,
  perTopic,
}: Pace): Promise<Step & Pick<Timed, 'tookMs'> & { lateMs: Timed['tookMs'] }> {
  globalThis.gc?.()
  const schedule = new Schedule(layout.topics, written, perSecond)
  const delivery = readers.time(schedule.sentMs)
  const startedMs = performance.now()
  await schedule.run(writers, perTopic)
  written += perTopic
  await readers.until(() => readers.tokens === written * layout.topics)
  readers.timeNoMore()
  return {
    topics: layout.topics,
    seconds: (performance.now() - startedMs) / 1000,
    tookMs: delivery.percentiles(),
    lateMs: schedule.late.percentiles(),
  }
}

/** Opens dormant topics at random at a steady rate and reads all that is in them; timed from when each was meant to be opened. */
async function resume({ count, perSecond }: { count: number; perSecond: number }): Promise<Timed> {
  globalThis.gc?.()
  const took = new Histogram()
  const startMs = Math.ceil(performance.now()) + 1
  const resuming: Promise<void>[] = []
  for (const topic of sample(layout.topics, count)) {
    const meantMs = startMs + (resuming.length * 1000) / perSecond
    while (performance.now() < meantMs) await sleep(1)
    const read = async (): Promise<void> => {
      const broker = brokers[resuming.length % brokers.length] as Broker
      const session = await broker.session(layout.name(topic), { create: false })
      const check = new TopicCheck(topic)
      for await (const records of session.batches()) {
        for (const record of records) check.see(record)
        if (check.ended) break
      }
      took.add(performance.now() - meantMs)
      check.check(written)
      await session.close()
    }
    resuming.push(read())
  }
  await Promise.all(resuming)
  return { topics: count, seconds: (performance.now() - startMs) / 1000, tookMs: took.percentiles() }
}
