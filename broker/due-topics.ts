/**
 * Brings topics into memory that must be looked at though nobody uses them: those that were live when the broker stopped,
 * and those whose stored timer has fallen due. What cannot be read is reported and left for later; the rest goes on.
 */

import { asLitetopicError } from '../protocol/index.ts'
import { type StoredTimer, type TimerPlace, timersFrom } from '../storage/index.ts'
import type { Context } from './context.ts'
import type { Topic } from './topic.ts'

/** Stored timers handled, and topics read, in one step. */
const TOPICS_PER_STEP = 512
/** Beyond this share of the journal's budget no more topics are deleted until it is less full: others need it too. */
const DELETE_SHARE = 0.75
const FULL_MS = 10
/** A stored timer of a topic in use is only a safeguard against a crash: it is pushed forward by at least this. */
const COARSE_MS = 60_000
const LEAST_MS = 1000

/** What becomes of topics that are due is not for this file to say. */
export interface Judge {
  /** Is its time over, so that `look` deletes it? */
  isOver(topic: Topic): boolean
  look(topic: Topic): void
}

type Postponed = StoredTimer & { readonly laterMs: number }

interface Page {
  /** Where its last timer lies; null if it has none. */
  readonly last: TimerPlace | null
  /** Those of topics that get their full linger after a start, and all others with their topics. */
  readonly early: readonly StoredTimer[]
  readonly ready: readonly StoredTimer[]
  readonly found: readonly (Topic | null | undefined)[]
}

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
    const failed = (error: unknown): void => this.context.report(asLitetopicError(error))
    this.starting ??= this.revive()
      .catch(failed)
      .then(() => this.arm())
      .catch(failed)
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
    const { report, shard } = this.context
    const names = shard.unloadedNames()
    for (let from = 0; from < names.length; from += TOPICS_PER_STEP) {
      await this.findAll(names.slice(from, from + TOPICS_PER_STEP))
    }
    for (let after = -1; !this.stopped; ) {
      const page = await shard.openStreamTopics(after, TOPICS_PER_STEP, report)
      await this.findAll(page.flatMap(({ name }) => name ?? []))
      if (page.length < TOPICS_PER_STEP) break
      after = page.at(-1)?.epoch ?? after
    }
  }

  /**
   * Together, because one after the other each would wait for the table by itself. Undefined for one that cannot be read, and for all
   * once it has stopped.
   */
  private findAll(names: readonly string[]): Promise<(Topic | null | undefined)[]> {
    const { registry, report } = this.context
    const found: (Topic | null | undefined)[] = names.map(() => undefined)
    if (this.stopped || names.length === 0) return Promise.resolve(found)
    return new Promise((resolve) => {
      let left = names.length
      const note = (i: number, topic: Topic | null | undefined): void => {
        found[i] = topic
        if (--left === 0) resolve(found)
      }
      for (const [i, name] of names.entries()) {
        const inUse = registry.get(name)
        // What holds a topic is known without its state.
        if (inUse?.isDormant && inUse.holders > 0) note(i, inUse)
        else {
          registry.whenFound(name, (error, topic) => {
            if (error !== null) report(error)
            note(i, error === null ? topic : undefined)
          })
        }
      }
    })
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
    const { shard } = this.context
    let from = this.handled
    for (let next = this.readPage(from); !this.stopped; ) {
      const page = await next
      const to = page.last
      if (to === null) return
      next = this.readPage(to)
      await this.handle(page)
      if (this.handled === from) this.handled = to
      else next = this.readPage(this.handled) // an earlier one has been stored meanwhile
      from = this.handled
      while (!this.stopped && shard.log.fullness > DELETE_SHARE) await this.pause()
    }
  }

  /** Timers due by now, and the topics of those that are not early. Read while the page before it is handled. */
  private readPage(from: TimerPlace): Promise<Page> {
    const page = this.readDuePage(from)
    page.catch(() => undefined) // whoever waits for it hears; nobody does when the page before it has failed
    return page
  }

  private async readDuePage(from: TimerPlace): Promise<Page> {
    const nowMs = Math.floor(this.context.steadyWallMs())
    const { report, shard } = this.context
    const { timers, last } = await shard.timers.due(nowMs, TOPICS_PER_STEP, from, report)
    const isEarly = (timer: StoredTimer): boolean =>
      timer.dueMs < this.startedWallMs && nowMs < this.startedWallMs + timer.lingerMs
    const ready = timers.filter((timer) => !isEarly(timer))
    const early = ready.length === timers.length ? [] : timers.filter(isEarly)
    return { last, early, ready, found: await this.findAll(ready.map(({ name }) => name)) }
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
  private async handle({ early, ready, found }: Page): Promise<void> {
    if (this.stopped) return
    const { shard } = this.context
    const nowMs = Math.floor(this.context.steadyWallMs())
    const postponed: Postponed[] = early.map((timer) => ({
      ...timer,
      laterMs: Math.ceil(this.startedWallMs + timer.lingerMs),
    }))
    const dropped: StoredTimer[] = []
    const topics: Topic[] = []
    ready.forEach((timer, i) => {
      const topic = found[i]
      if (topic?.isDormant === true) {
        postponed.push({ ...timer, laterMs: Math.ceil(nowMs + this.safeguardMs(topic, timer)) })
        return
      }
      if (topic === null || isLeftOver(topic, timer)) {
        dropped.push(timer)
        return
      }
      const isOver = topic !== undefined && this.judge.isOver(topic)
      const laterMs = isOver ? timer.dueMs : Math.ceil(nowMs + this.safeguardMs(topic, timer))
      if (!isOver) postponed.push({ ...timer, laterMs })
      if (topic === undefined) return
      topic.state.storedDueMs = laterMs
      if (isOver) this.judge.look(topic)
      else topics.push(topic)
    })
    if (dropped.length > 0) {
      // A topic may be gone because it is being deleted: should a crash undo that, it needs its timer.
      await shard.log.whenAllDurable()
      await shard.timers.drop(dropped)
    }
    if (postponed.length > 0) await shard.timers.postpone(postponed)
    for (const topic of topics) this.judge.look(topic)
  }

  /** One that is held needs its stored timer only after a crash, and then gets its full linger anyway; but no longer life. */
  private safeguardMs(topic: Topic | undefined, { lingerMs }: StoredTimer): number {
    if (topic === undefined) return COARSE_MS
    const lifeMs = topic.life?.endMs(topic.appendedMs, this.context.clock)
    const fullMs = Math.max(lifeMs === undefined ? lingerMs : lifeMs - this.context.clock.monotonicMs(), LEAST_MS)
    return topic.holders > 0 && Number.isFinite(fullMs) ? fullMs : Math.min(fullMs, COARSE_MS)
  }
}

function isLeftOver(topic: Topic | undefined, timer: StoredTimer): boolean {
  if (topic === undefined) return false
  // Of two timers of one topic, which a crash may leave, the first may have had it deleted: that one goes with it, so this must go now.
  return topic.end !== null || topic.state.epoch !== timer.epoch || topic.state.storedDueMs > timer.dueMs
}
