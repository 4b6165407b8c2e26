/** The two workloads that every peer bears, and the checks of what it stored. */

import { setTimeout as sleep } from 'node:timers/promises'
import { round } from '../histogram.ts'
import type { Figures } from '../scenario.ts'
import { tokenText } from '../token-load.ts'
import type { Peer, PeerServer } from './peer.ts'

export interface StreamsLoad {
  readonly topics: number
  /** Ends with the round over all topics in which either is reached. */
  readonly tokens: number
  readonly seconds: number
}

export interface TopicsLoad {
  /** At most; fewer if the time is over, or the server has taken `MOST_BYTES`. */
  readonly topics: number
  readonly seconds: number
  /** Time without load before memory and disk are looked at again. */
  readonly restMs: number
}

type Tell = (line: string) => void

/** Of the tokens, as many more are written before to warm up, in at most as much of the time. */
const WARM_UP_SHARE = 0.1
const MOST_BYTES = 8 * 2 ** 30
/** After so many topics time and memory are looked at. */
const LOOK_AT = 1_000
/** Topics whose record is read back. */
const SAMPLE = 1_000
/** What everything that is not bounded by the load itself may take: no peer that hangs holds up the run. */
const PATIENCE_MS = 300_000

/** Tokens to all topics in turn, as fast as there is room, until all are acknowledged; then all is read back and checked. */
export async function measureStreams(peer: Peer, load: StreamsLoad, tell: Tell): Promise<Figures> {
  const server = await peer.start()
  try {
    return await bounded(`${peer.name} streams`, async () => {
      const { tokens, seconds } = load
      const topics = Math.min(load.topics, peer.mostTopics ?? load.topics)
      await server.open(topics)
      tell(`${topics} topics: warming up`)
      const warmUp = await rounds(server, topics, 0, (tokens / topics) * WARM_UP_SHARE, seconds * WARM_UP_SHARE)
      await server.flush()
      tell(`${topics} topics: publishing`)
      const startedMs = performance.now()
      const written = await rounds(server, topics, warmUp, tokens / topics, seconds)
      await server.flush()
      const elapsed = (performance.now() - startedMs) / 1000
      tell(`${written * topics} tokens in ${elapsed.toFixed(1)} s; reading`)
      const readMs = performance.now()
      await checkAll(server, topics, warmUp + written)
      const readSeconds = (performance.now() - readMs) / 1000
      return {
        tokensPerSecond: Math.round((written * topics) / elapsed),
        topics,
        tokens: written * topics,
        seconds: round(elapsed),
        readPerSecond: Math.round(((warmUp + written) * topics) / readSeconds),
      }
    })
  } finally {
    await server.stop()
  }
}

/** Makes topics with a record each; looks at rate, memory and disk; then starts the server again on them. */
export async function measureTopics(peer: Peer, load: TopicsLoad, tell: Tell): Promise<Figures> {
  const server = await peer.start()
  try {
    return await bounded(`${peer.name} topics`, async () => {
      await makeTopics(server, 0, { ...load, topics: 1 }, tell)
      const startWithOneMs = await startAgain(server, 0)
      const [one, oneDisk] = [server.anonBytes(), await server.diskBytes()]
      const startedMs = performance.now()
      const topics = await makeTopics(server, 1, load, tell)
      const topicsPerSecond = Math.round(((topics - 1) * 1000) / (performance.now() - startedMs))
      const loaded = server.anonBytes()
      await server.release()
      await sleep(load.restMs)
      const perTopic = (bytes: number): number => Math.round(Math.max(0, bytes) / topics)
      const memory = {
        anonBytesPerTopic: perTopic(loaded - one),
        restAnonBytesPerTopic: perTopic(server.anonBytes() - one),
      }
      const diskBytesPerTopic = perTopic((await server.diskBytes()) - oneDisk)
      await checkSample(server, topics)
      tell(`${topics} topics: starting again`)
      const startMs = await startAgain(server, topics >> 1)
      return { topics, topicsPerSecond, ...memory, diskBytesPerTopic, startWithOneMs, startMs }
    })
  } finally {
    await server.stop()
  }
}

/** Writes one token to each topic, again and again. Resolves with how many each has got. */
async function rounds(
  server: PeerServer,
  topics: number,
  from: number,
  most: number,
  seconds: number,
): Promise<number> {
  const untilMs = performance.now() + seconds * 1000
  let done = 0
  while (done < most && (done === 0 || performance.now() < untilMs)) {
    const text = tokenText(from + done)
    for (let topic = 0; topic < topics; topic++) {
      const room = server.write(topic, text)
      if (room !== null) await room
    }
    done++
  }
  return done
}

/** Resolves with the number of topics that there are. */
async function makeTopics(server: PeerServer, from: number, load: TopicsLoad, tell: Tell): Promise<number> {
  const untilMs = performance.now() + load.seconds * 1000
  let made = from
  while (made < load.topics) {
    const room = server.create(made, tokenText(made))
    made++
    if (room !== null) await room
    if (made % LOOK_AT > 0) continue
    if (made % (LOOK_AT * 100) === 0) tell(`${made} topics`)
    if (performance.now() > untilMs || server.anonBytes() > MOST_BYTES) break
  }
  await server.flush()
  return made
}

async function checkAll(server: PeerServer, topics: number, each: number): Promise<void> {
  const next = new Uint32Array(topics)
  await server.readAll(topics, each, (topic, text) => {
    const index = next[topic] as number
    if (text !== tokenText(index)) throw new Error(`topic ${topic}: expected ${tokenText(index)}, got ${text}`)
    next[topic] = index + 1
  })
  const wrong = next.findIndex((count) => count !== each)
  if (wrong >= 0) throw new Error(`topic ${wrong} has ${next[wrong]} of ${each} tokens`)
}

async function checkSample(server: PeerServer, topics: number): Promise<void> {
  const stride = Math.ceil(topics / SAMPLE)
  for (let topic = 0; topic < topics; topic += stride) await checkFirst(server, topic)
}

async function checkFirst(server: PeerServer, topic: number): Promise<void> {
  const text = await server.readFirst(topic)
  if (text !== tokenText(topic)) throw new Error(`topic ${topic}: expected ${tokenText(topic)}, got ${text}`)
}

/** Resolves with the milliseconds from starting the server until it has answered with a topic's record. */
async function startAgain(server: PeerServer, topic: number): Promise<number> {
  await server.shutDown()
  const startedMs = performance.now()
  await server.startAgain()
  await checkFirst(server, topic)
  return round(performance.now() - startedMs)
}

async function bounded<T>(name: string, work: () => Promise<T>): Promise<T> {
  const patience = new AbortController()
  const late = sleep(PATIENCE_MS, undefined, { signal: patience.signal }).then(() => {
    throw new Error(`${name} did not end within ${PATIENCE_MS / 1000} s`)
  })
  late.catch(() => undefined)
  try {
    return await Promise.race([work(), late])
  } finally {
    patience.abort()
  }
}
