/**
 * Brings topics into memory that must be looked at though nobody uses them: those that were live when the broker stopped,
 * and those whose stored timer has fallen due. What cannot be read is reported and left for later; the rest goes on.
 */

import { asLitetopicError } from '../protocol/index.ts'
import { type StoredTimer, type TimerPlace, timersFrom } from '../storage/index.ts'
import type { Context } from './context.ts'
import type { Topic } from './topic.ts'

/** Stored timers handled, and topics read, in one step. */
const TOPICS_PER_STEP = 256
/** Beyond this share of the journal's budget no more topics are deleted until it is less full: others need it too. */
const DELETE_SHARE = 0.75
const FULL_MS = 10
/** A stored timer of a topic in use is only a safeguard against a crash: it is pushed forward by at least this. */
const COARSE_MS = 60_000

/** What becomes of topics that are due is not for this file to say. */
export interface Judge {
  /** Is its time over, so that `look` deletes it? */
  isOver(topic: Topic): boolean
  look(topic: Topic): void
}

type Postponed = StoredTimer & { readonly laterMs: number }

export class DueTopics {
  private readonly context: Context
  private readonly judge: Judge
  private readonly startedWallMs: number
  private cancelAlarm: (() => void) | null = null
  private alarmMs = Number.POSITIVE_INFINITY
  /** Timers up to here have been handled; those that are in the table still go with their topics. */
  private handled: TimerPlace = timersFrom(0)
  private reading: Promise<void> | null = null
  private starting: Promise<void> | null = null
  private stopped = false
  /** Ends a pause. */
  private goOn: () => void = () => undefined

  constructor(context: Context, judge: Judge) {
    this.context = context
    this.judge = judge
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
    this.goOn()
    await this.starting
    await this.reading
  }

  /** There may be an earlier stored timer now. */
  setAlarm(dueMs: number): void {
    if (dueMs <= this.handled.dueMs) this.handled = timersFrom(dueMs)
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
    const names = shard.unloadedNames()
    for (let from = 0; from < names.length; from += TOPICS_PER_STEP) {
      await this.findAll(names.slice(from, from + TOPICS_PER_STEP))
    }
    for (let after = -1; !this.stopped; ) {
      const page = await shard.openStreamTopics(after, TOPICS_PER_STEP)
      await this.findAll(page.map(({ name }) => name))
      if (page.length < TOPICS_PER_STEP) break
      after = page.at(-1)?.epoch ?? after
    }
    await this.arm()
  }

  /** Together, because one after the other each would wait for the table by itself. */
  private findAll(names: readonly string[]): Promise<(Topic | null | undefined)[]> {
    return Promise.all(names.map((name) => this.find(name)))
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
    const next = await this.context.shard.timers.next(this.handled)
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
      const from = this.handled
      const due = await shard.timers.due(nowMs, TOPICS_PER_STEP, from)
      if (due.length === 0) return
      await this.handle(due, nowMs)
      // Unless an earlier one has been stored meanwhile.
      if (this.handled === from) this.handled = due.at(-1) ?? from
      while (!this.stopped && shard.log.fullness > DELETE_SHARE) await this.pause()
    }
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      this.goOn = resolve
      this.context.clock.after(FULL_MS, resolve)
    })
  }

  /**
   * A topic whose time is over is deleted, and its timer with it. All others get a later timer before they are looked at, so that
   * none is read twice or lost. A timer that is earlier than what its topic's head says is left over from before, and dropped.
   */
  private async handle(due: readonly StoredTimer[], nowMs: number): Promise<void> {
    const { shard } = this.context
    const isEarly = (timer: StoredTimer): boolean =>
      timer.dueMs < this.startedWallMs && nowMs < this.startedWallMs + timer.lingerMs
    const postponed: Postponed[] = due
      .filter(isEarly)
      .map((timer) => ({ ...timer, laterMs: Math.ceil(this.startedWallMs + timer.lingerMs) }))
    const timers = due.filter((timer) => !isEarly(timer))
    const found = await this.findAll(timers.map(({ name }) => name))
    if (this.stopped) return
    const dropped: StoredTimer[] = []
    const topics: Topic[] = []
    timers.forEach((timer, i) => {
      const topic = found[i]
      if (topic === null || isLeftOver(topic, timer)) {
        dropped.push(timer)
        return
      }
      const isOver = topic !== undefined && this.judge.isOver(topic)
      const laterMs = isOver ? timer.dueMs : Math.ceil(nowMs + safeguardMs(topic, timer))
      if (!isOver) postponed.push({ ...timer, laterMs })
      if (topic === undefined) return
      topic.state.storedDueMs = laterMs
      if (isOver) this.judge.look(topic)
      else topics.push(topic)
    })
    if (dropped.length > 0) await shard.timers.drop(dropped)
    if (postponed.length > 0) await shard.timers.postpone(postponed)
    for (const topic of topics) this.judge.look(topic)
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
