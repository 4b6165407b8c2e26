/** One run of `million` over one number of topics, step after step. */

import { setTimeout as sleep } from 'node:timers/promises'
import { percentiles, round } from './histogram.ts'
import { Fleet, type Memory } from './million-fleet.ts'
import type { Step, Timed } from './million-orders.ts'
import type { Context, Figures } from './scenario.ts'
import { TOKEN_BYTES } from './token-load.ts'

const STARTS = 3
const RESUMES_PER_SECOND = 1_000
const FEW_TOPICS = 10
/** A flood is interrupted when this share of it is delivered. */
const KILL_SHARE = 0.4
const MiB = 2 ** 20

export interface MillionSize {
  readonly topics: number
  readonly connections: number
  readonly tokensPerSecond: number
  /** How long tokens are written, once to warm up and once timed. */
  readonly seconds: number
  readonly floodTokens: number
  readonly resumes: number
  /** Before the broker's memory, and in the end its disk, is looked at. */
  readonly idleMs: number
  /** Of the topics that are reclaimed in the end: so long that all have left memory by then. */
  readonly lingerMs: number
}

interface Empty {
  readonly memory: Memory
  readonly figures: Figures
}

/** Rejects if a record is lost, repeated, out of order or wrong. */
export async function runMillion(size: MillionSize, context: Context): Promise<Figures> {
  const empty = await measureEmpty(size, context)
  const few = await Fleet.start(FEW_TOPICS, 1, {}, context)
  // Journals are emptied soon, so that what is measured is not what happens to be in them.
  const config = { quietMs: Math.min(2_000, size.idleMs / 2), residencyIdleMs: Math.min(5_000, size.idleMs) }
  const fleet = await Fleet.start(size.topics, size.connections, config, context)
  try {
    await few.ask('create')
    await few.broker.shutDown()
    const create = timed(await fleet.step('creating', 'create'))
    const hold = await measureHold(fleet, size, empty)
    const attach = await measureReturn(fleet, config)
    const live = await measureTokens(fleet, size, empty)
    const kill = await measureKill(fleet, size, config)
    await fleet.step('ending streams', 'end')
    const dormant = await measureDormant(fleet, size)
    const resume = timed(
      await fleet.step('resuming dormant ones', 'resume', { count: size.resumes, perSecond: RESUMES_PER_SECOND }),
    )
    const start = await measureStart(fleet, few)
    const reclaim = await measureReclaim(fleet, size)
    const loadBytes = await fleet.ask('memory')
    const { topics } = fleet
    return { topics, ...empty.figures, create, hold, attach, ...live, kill, dormant, resume, start, reclaim, loadBytes }
  } finally {
    await few.stop()
    await fleet.stop()
  }
}

/** A broker that has created as many topics, with as many connections, and has none any more: what the others are compared with. */
async function measureEmpty(size: MillionSize, context: Context): Promise<Empty> {
  const config = { lingerMs: 0, quietMs: Math.min(2_000, size.idleMs / 2) }
  const fleet = await Fleet.start(size.topics, size.connections, config, context)
  try {
    await fleet.step('creating, to be reclaimed at once', 'create')
    const reclaim = await reclaimed(fleet, () => fleet.ask('leave'))
    await fleet.ask('connect')
    const memory = await fleet.memory(size.idleMs)
    return { memory, figures: { emptyAnonBytes: memory.anonBytes, reclaimAttached: reclaim } }
  } finally {
    await fleet.stop()
  }
}

/** All attached, nothing to do, and dormant by then. */
async function measureHold(fleet: Fleet, size: MillionSize, empty: Empty): Promise<Figures> {
  const memory = await fleet.telling('holding', async () => {
    await fleet.broker.until(({ residentTopics }) => residentTopics === 0)
    return fleet.memory(size.idleMs)
  })
  return { ...above(empty.memory, memory, fleet.topics), diskBytes: await fleet.broker.diskBytes() }
}

/** The broker is stopped and started; all connections come back at once. */
async function measureReturn(fleet: Fleet, config: object): Promise<Figures> {
  const { broker } = fleet
  await fleet.ask('hold')
  await broker.shutDown()
  await broker.restart(config)
  return { startMs: round(broker.startMs), ...(await comeBack(fleet)) }
}

async function comeBack(fleet: Fleet): Promise<Figures> {
  const { broker, topics } = fleet
  const askedMs = performance.now()
  let beganMs = askedMs
  await fleet.ask('release')
  await fleet.telling('attaching again', () =>
    broker.until(({ attachments }) => {
      if (attachments === 0) beganMs = performance.now()
      return attachments === topics
    }),
  )
  const nowMs = performance.now()
  return { topicsPerSecond: rate(topics, nowMs - beganMs), seconds: round((nowMs - askedMs) / 1000) }
}

/** A reader and a stream for each, and tokens at a steady rate over all of them. */
async function measureTokens(fleet: Fleet, size: MillionSize, empty: Empty): Promise<Figures> {
  const { broker, topics } = fleet
  const read = stepped(await fleet.step('reading', 'read'))
  const open = timed(await fleet.step('opening streams', 'open'))
  const memory = above(empty.memory, await fleet.memory(size.idleMs), topics)
  const perTopic = Math.max(1, Math.round((size.tokensPerSecond * size.seconds) / topics))
  const pace = { perSecond: size.tokensPerSecond, perTopic }
  await fleet.step('writing tokens to warm up', 'pace', pace)
  const before = { ...(await broker.counts()), disk: broker.diskWrittenBytes() }
  const paced = await fleet.step('writing tokens', 'pace', pace)
  const after = { ...(await broker.counts()), disk: broker.diskWrittenBytes() }
  const tokens = topics * perTopic
  const perByte = (bytes: number): number => round(bytes / (tokens * TOKEN_BYTES))
  return {
    read,
    open,
    live: memory,
    tokens: {
      tokens,
      tokensPerSecond: size.tokensPerSecond,
      deliveryMs: paced.tookMs,
      writerLateMs: paced.lateMs,
      diskBytesPerTokenByte: perByte(after.disk - before.disk),
      givenBytesPerTokenByte: perByte(after.writtenBytes - before.writtenBytes),
      commits: after.commits - before.commits,
    },
  }
}

/** Tokens as fast as there is room; the broker is killed in the midst of it, and all goes on where it was. */
async function measureKill(fleet: Fleet, size: MillionSize, config: object): Promise<Figures> {
  const { broker, topics } = fleet
  const perTopic = Math.max(1, Math.round(size.floodTokens / topics))
  const before = await fleet.ask('delivered')
  await fleet.ask('flood', { perTopic })
  const goal = before + topics * perTopic * KILL_SHARE
  const startedMs = performance.now()
  let delivered = before
  await fleet.telling('writing until the broker is killed', async () => {
    while (delivered < goal) {
      await sleep(10)
      delivered = await fleet.ask('delivered')
    }
  })
  const floodPerSecond = rate(delivered - before, performance.now() - startedMs)
  await fleet.ask('hold')
  await broker.kill()
  await broker.restart(config)
  const { startMs, processStartMs } = broker
  const back = await comeBack(fleet)
  await fleet.step('writing the rest', 'settle')
  return { startMs: round(startMs), processStartMs: round(processStartMs), floodPerSecond, back }
}

/** The load has left, and all topics have left the broker's memory. */
async function measureDormant(fleet: Fleet, size: MillionSize): Promise<Figures> {
  const startedMs = performance.now()
  await fleet.telling('going dormant', () => fleet.sleepAll())
  const seconds = (performance.now() - startedMs) / 1000
  const memory = await fleet.memory(size.idleMs)
  const diskBytes = await fleet.broker.diskBytes()
  return { seconds: round(seconds), ...memory, diskBytes, diskBytesPerTopic: round(diskBytes / fleet.topics) }
}

/** Starts with all topics dormant, in turns with a broker that has ten. */
async function measureStart(fleet: Fleet, few: Fleet): Promise<Figures> {
  const taken: Record<'startMs' | 'fewStartMs', number[]> = { startMs: [], fewStartMs: [] }
  for (let i = 0; i < STARTS; i++) {
    for (const [name, { broker }] of [['startMs', fleet] as const, ['fewStartMs', few] as const]) {
      await broker.shutDown()
      await broker.restart()
      taken[name].push(broker.startMs)
    }
  }
  const [startMs, fewStartMs] = [percentiles(taken.startMs).p50, percentiles(taken.fewStartMs).p50]
  return { startMs, fewStartMs, ratio: round(startMs / fewStartMs), processStartMs: round(fleet.broker.processStartMs) }
}

/**
 * All are attached once more and left, and are dormant when their linger is over. What memory they then take is measured against the
 * same broker without them: one that has borne the same load.
 */
async function measureReclaim(fleet: Fleet, { lingerMs, idleMs }: MillionSize): Promise<Figures> {
  const { broker, topics } = fleet
  const residencyIdleMs = Math.min(1_000, lingerMs / 4)
  await fleet.ask('leave')
  await broker.shutDown()
  await broker.restart({ lingerMs, residencyIdleMs })
  await fleet.ask('connect')
  const attach = timed(await fleet.step('attaching dormant ones', 'attach'))
  let dormant: Memory | null = null
  const reclaim = await reclaimed(fleet, async () => {
    await fleet.sleepAll()
    dormant = await fleet.memory(residencyIdleMs)
    if ((await broker.ask('stats')).reclaimed > 0) dormant = null
  })
  // A broker gives space back when it has had nothing to do for 10 s.
  await sleep(3 * idleMs)
  const diskBytesWhenIdle = await broker.diskBytes()
  const empty = await fleet.memory(residencyIdleMs)
  const memory: Figures = dormant === null ? {} : { dormant: above(empty, dormant, topics) }
  return { attachDormant: attach, ...memory, ...reclaim, emptyAnonBytes: empty.anonBytes, diskBytesWhenIdle }
}

/** The rate from the first one reclaimed to the last. */
async function reclaimed(fleet: Fleet, leave: () => Promise<void>): Promise<Figures> {
  const { broker, topics } = fleet
  let beganMs = performance.now()
  const last = fleet.telling('reclaiming', () =>
    broker.until(({ reclaimed }) => {
      if (reclaimed === 0) beganMs = performance.now()
      return reclaimed === topics
    }),
  )
  await leave()
  await last
  return { topicsPerSecond: rate(topics, performance.now() - beganMs) }
}

function above(empty: Memory, { anonBytes, usedBytes }: Memory, topics: number): Figures {
  return {
    anonBytes,
    aboveEmptyMiB: round((anonBytes - empty.anonBytes) / MiB),
    bytesPerTopic: Math.round((anonBytes - empty.anonBytes) / topics),
    usedBytesPerTopic: Math.round((usedBytes - empty.usedBytes) / topics),
  }
}

function stepped({ topics, seconds }: Step): Figures {
  return { topicsPerSecond: rate(topics, seconds * 1000) }
}

function timed(step: Timed): Figures {
  return { ...stepped(step), ms: step.tookMs }
}

/** In a second. */
function rate(count: number, ms: number): number {
  return Math.round((count * 1000) / Math.max(ms, 1))
}
