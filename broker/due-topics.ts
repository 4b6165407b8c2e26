/**
 * Brings topics into memory that must be looked at though nobody uses them: those that were live when the broker stopped,
 * and those whose stored timer has fallen due. What cannot be read is reported and left for later; the rest goes on.
 */

import { asLitetopicError, LIMITS } from '../protocol/index.ts'
import type { StoredTimer } from '../storage/index.ts'
import type { Context } from './context.ts'
import type { Topic } from './topic.ts'

/** Stored timers handled in one step. */
const TIMERS_PER_STEP = 256
/** A stored timer of a topic in use is only a safeguard against a crash: it is pushed forward by at least this. */
const COARSE_MS = 60_000

type Postponed = StoredTimer & { readonly laterMs: number }

export class DueTopics {
  private readonly context: Context
  private readonly look: (topic: Topic) => void
  private readonly startedWallMs: number
  private cancelAlarm: (() => void) | null = null
  private alarmMs = Number.POSITIVE_INFINITY
  private reading: Promise<void> | null = null
  private starting: Promise<void> | null = null
  private stopped = false

  constructor(context: Context, look: (topic: Topic) => void) {
    this.context = context
    this.look = look
    this.startedWallMs = context.steadyWallMs()
  }

  /** Looks after topics that were live when the broker stopped, and arms the stored timers. */
  start(): Promise<void> {
    this.starting ??= this.revive().catch((error: unknown) => this.context.report(asLitetopicError(error)))
    return this.starting
  }

  /** Resolves when nothing is read any more. */
  async stop(): Promise<void> {
    this.stopped = true
    this.cancelAlarm?.()
    await this.starting
    await this.reading
  }

  /** There may be an earlier stored timer now. */
  setAlarm(dueMs: number): void {
    if (this.stopped || dueMs >= this.alarmMs) return
    const { clock, steadyWallMs } = this.context
    this.cancelAlarm?.()
    this.alarmMs = dueMs
    this.cancelAlarm = clock.after(Math.max(dueMs - steadyWallMs(), 0), () => {
      this.alarmMs = Number.POSITIVE_INFINITY
      this.read()
    })
  }

  private async revive(): Promise<void> {
    const { shard } = this.context
    for (const name of shard.unloadedNames()) await this.find(name)
    for (let after = -1; !this.stopped; ) {
      const page = await shard.openStreamTopics(after, LIMITS.pageItems)
      for (const { name } of page) await this.find(name)
      if (page.length < LIMITS.pageItems) break
      after = page.at(-1)?.epoch ?? after
    }
    await this.arm()
  }

  /** Undefined if it cannot be read. */
  private async find(name: string): Promise<Topic | null | undefined> {
    if (this.stopped) return undefined
    try {
      return await this.context.registry.find(name)
    } catch (error) {
      this.context.report(asLitetopicError(error))
      return undefined
    }
  }

  private async arm(): Promise<void> {
    if (this.stopped) return
    const next = await this.context.shard.timers.next()
    if (next !== null) this.setAlarm(next)
  }

  /** Stored timers have fallen due: their topics are brought into memory and looked at. */
  private read(): void {
    if (this.reading !== null || this.stopped) return
    this.reading = this.readDue()
      .then(() => this.arm())
      .catch((error: unknown) => {
        this.context.report(asLitetopicError(error))
        this.setAlarm(this.context.steadyWallMs() + COARSE_MS)
      })
      .finally(() => {
        this.reading = null
      })
  }

  private async readDue(): Promise<void> {
    const { steadyWallMs, shard } = this.context
    while (!this.stopped) {
      const nowMs = Math.floor(steadyWallMs())
      const due = await shard.timers.due(nowMs, TIMERS_PER_STEP)
      if (due.length === 0) return
      await this.handle(due, nowMs)
    }
  }

  /**
   * Gives each timer a later time before its topic is looked at, so that none is read twice or lost. One that is earlier
   * than what its topic's head says is left over from before, and dropped.
   */
  private async handle(due: readonly StoredTimer[], nowMs: number): Promise<void> {
    const { shard } = this.context
    const postponed: Postponed[] = []
    const topics: Topic[] = []
    for (const timer of due) {
      if (this.stopped) return
      const fullLingerMs = this.startedWallMs + timer.lingerMs
      if (timer.dueMs < this.startedWallMs && nowMs < fullLingerMs) {
        postponed.push({ ...timer, laterMs: Math.ceil(fullLingerMs) })
        continue
      }
      const topic = await this.find(timer.name)
      if (topic === null || isLeftOver(topic, timer)) {
        await shard.timers.drop(timer)
        continue
      }
      const laterMs = Math.ceil(nowMs + safeguardMs(topic, timer))
      postponed.push({ ...timer, laterMs })
      if (topic === undefined) continue
      topic.state.storedDueMs = laterMs
      topics.push(topic)
    }
    if (postponed.length > 0) await shard.timers.postpone(postponed)
    for (const topic of topics) this.look(topic)
  }
}

/** One that is held needs its stored timer only after a crash, and then gets its full linger anyway. */
function safeguardMs(topic: Topic | undefined, { lingerMs }: StoredTimer): number {
  const isHeld = topic !== undefined && topic.holders > 0 && Number.isFinite(lingerMs)
  const fullMs = Math.max(lingerMs, 1000)
  return isHeld ? fullMs : Math.min(fullMs, COARSE_MS)
}

function isLeftOver(topic: Topic | undefined, timer: StoredTimer): boolean {
  if (topic === undefined) return false
  return topic.state.epoch !== timer.epoch || topic.state.storedDueMs > timer.dueMs
}
