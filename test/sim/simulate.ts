/**
 * One simulation: steps of the workload, then all faults are healed and everything must come to rest: no call waits any more,
 * the logs are read whole and compared with what was sent, also after another crash, and at last the topics are reclaimed.
 */

import { faultsOf, unsettledStreams } from './checks.ts'
import type { EpochModel } from './model.ts'
import { textOf } from './model.ts'
import { SimReader } from './readers.ts'
import { SimSession } from './sessions.ts'
import { Agent, LINGERS, makeSystem, type System, TTLS } from './system.ts'
import { indexOf } from './table.ts'
import { Workload } from './workload.ts'
import { Violation, World } from './world.ts'

/** Longer than any back-off, time-out and grace together. */
const REST_MS = 300_000
/** Longer than the grace of a writer that is gone. */
const GRACE_MS = 15_000
/** Until a topic that nobody uses has left memory. */
const DORMANT_MS = 20_000
/** Longer than any linger that ends. */
const LINGER_MS = 200_000

export interface Outcome {
  readonly seed: number
  readonly steps: number
  readonly hash: string
  readonly events: number
  /** Virtual time that has passed. */
  readonly ms: number
  /** What was violated, in which step, and what happened last; null if all was well. */
  readonly failure: { readonly what: string; readonly step: number; readonly lines: readonly string[] } | null
}

export async function simulate(seed: number, steps: number, lines = 60): Promise<Outcome> {
  const world = new World(seed)
  let failure: Outcome['failure'] = null
  const lost = (error: unknown): void =>
    world.violated(`nobody handles ${error instanceof Error ? error.stack : error}`)
  process.on('unhandledRejection', lost)
  try {
    await run(makeSystem(world), steps)
  } catch (error) {
    const what = error instanceof Violation ? error.message : `${error instanceof Error ? error.stack : error}`
    failure = { what, step: world.step, lines: world.trace.tail(lines) }
  } finally {
    process.off('unhandledRejection', lost)
  }
  return { seed, steps, hash: world.trace.hash, events: world.events, ms: world.nowMs, failure }
}

async function run(system: System, steps: number): Promise<void> {
  const { world, host } = system
  const workload = new Workload(system)
  host.start()
  for (world.step = 1; world.step <= steps; world.step++) await workload.step()
  await settle(system, workload)
  const audited = await audit(system)
  const behind = (): SimReader | undefined => workload.readers.find((reader) => reader.isBehind)
  await world.passUntil(() => behind() === undefined, REST_MS)
  world.check(behind() === undefined, () => `${behind()?.name} is not given the rest`)
  // All writers are gone, and the broker knows of it only from what is stored: what is open still must become lost.
  for (const agent of workload.agents) agent.process.kill()
  host.crash()
  host.start()
  await world.pass(GRACE_MS)
  const again = await audit(system)
  for (const { epoch, first } of audited) for (const fault of faultsOf(epoch, first)) world.violated(fault)
  for (const { epoch } of again) for (const fault of unsettledStreams(epoch)) world.violated(fault)
  await world.pass(0)
  await reclaim(system)
}

/** Heals everything and waits until nobody waits for anything and every reader has read all there is. */
async function settle(system: System, workload: Workload): Promise<void> {
  const { world, host, waiting } = system
  world.note('settle')
  host.disk.heal()
  host.network.heal()
  // What was stored by a clock that was ahead is due by the one that is.
  world.wallOffsetMs = world.mostWallOffsetMs
  host.start()
  const calmed = await world.passUntil(() => {
    workload.calm()
    return host.running && waiting.size === 0
  }, REST_MS)
  world.check(calmed, () => `still waiting: ${[...waiting].join(', ') || 'the broker'}`)
  // So that a stream whose writer is gone is lost, and readers are told.
  await world.pass(GRACE_MS)
}

interface Audited {
  readonly epoch: EpochModel
  readonly first: number
}

/** Reads the logs of all topics that are there, from the beginning to the end. */
async function audit(system: System): Promise<Audited[]> {
  const { world, host, model, waiting } = system
  const agent = new Agent(world, host, `auditor${model.number()}`, waiting)
  const audited: Audited[] = []
  for (const name of LINGERS.keys()) {
    agent.call(
      `audit ${name}`,
      () => auditTopic(system, agent, name),
      ['NOT_FOUND'],
      (found) => audited.push(found),
    )
  }
  const done = await world.passUntil(() => waiting.size === 0, REST_MS)
  world.check(done, () => `the audit does not end: ${[...waiting].join(', ')}`)
  agent.process.kill()
  return audited
}

async function auditTopic(system: System, agent: Agent, name: string): Promise<Audited> {
  const { world, model } = system
  const session = await agent.client.session(name, { observe: true })
  const epoch = model.epoch(name, session.epoch)
  for (const older of model.alive(name)) if (older.epoch < epoch.epoch) older.gone('the audit')
  const { firstOffset, nextOffset, closed = false } = await session.describe()
  if (closed) epoch.closed(nextOffset, 'the audit')
  world.check(closed || epoch.closedAt < 0, () => `${epoch.label} is open, and was closed at ${epoch.closedAt}`)
  let next = firstOffset
  if (next < nextOffset) {
    for await (const record of session.records({ raw: true })) {
      if (record.offset !== next)
        world.violated(`the audit of ${epoch.label} is given ${record.offset} and not ${next}`)
      epoch.know(record.offset, textOf(record), 'the audit')
      next = record.offset + 1
      if (next >= nextOffset) break
    }
  }
  world.check(next >= epoch.log.length, () => `${epoch.label} ends at ${next}, and had ${epoch.log.length} records`)
  if (firstOffset < nextOffset)
    await auditRuns(system, new SimSession(system, agent, session, epoch, world.random('audit')))
  return { epoch, first: firstOffset }
}

/** Reads it once more, as runs. */
async function auditRuns(system: System, session: SimSession): Promise<void> {
  const reader = new SimReader(system, session, system.world.random('audit'), 'whole')
  while (!reader.over && (reader.next < 0 || reader.isBehind)) await session.agent.process.sleep(20)
  reader.leave()
}

/** Without clients every topic goes that does not stay for ever, and leaves nothing behind. */
async function reclaim({ world, host, waiting }: System): Promise<void> {
  world.note('reclaim')
  await world.pass(DORMANT_MS)
  // Nobody is there, and the wall clock is set: no linger is shorter or longer for it.
  world.wallOffsetMs += world.random('reclaim').pick([-600_000, 600_000])
  await world.pass(LINGER_MS)
  const left = indexOf(host.disk.table)
  for (const [name] of left.heads) {
    const isKept = LINGERS.get(name) === Number.POSITIVE_INFINITY && !TTLS.has(name)
    world.check(isKept, () => `${name} is there still`)
  }
  for (const { index, epoch, key } of left.keys) {
    world.check([...left.heads.values()].includes(epoch), () => `a key of ${index} is left of epoch ${epoch}: ${key}`)
  }
  world.check(waiting.size === 0, () => `still waiting: ${[...waiting].join(', ')}`)
  await world.pass(0)
}
