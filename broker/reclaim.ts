/**
 * When topics go: out of memory when nobody uses them, and out of existence when their linger is over. Each resident
 * topic has one time at which it is looked at next; dormant ones have a stored timer, which brings them back to be looked
 * at. After a start every topic gets its full linger, and every open stream its full grace.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'
import type { StoredTimer, TopicState } from '../storage/index.ts'
import { CallbackItem } from './committer.ts'
import { type Context, policyOf } from './context.ts'
import { loseStreams, orphanStreams, setGrace } from './streams.ts'
import { Timers } from './timers.ts'
import type { Attachment, Topic } from './topic.ts'
import { retain } from './trim.ts'

/** Stored timers handled in one step. */
const TIMERS_PER_STEP = 256
/** A stored timer of an attached topic is only a safeguard against a crash: it is pushed forward by at least this. */
const COARSE_MS = 60_000

export class Reclaimer {
  private readonly context: Context
  private readonly timers: Timers<Topic>
  private readonly startedWallMs: number
  private readonly startedMs: number
  private cancelStored: (() => void) | null = null
  private storedDueMs = Number.POSITIVE_INFINITY
  private readingStored = false
  private stopped = false
  /** Topics reclaimed since the start. */
  reclaimed = 0

  constructor(context: Context) {
    this.context = context
    this.timers = new Timers(context.clock, (topic) => this.look(topic))
    this.startedWallMs = context.clock.wallMs()
    this.startedMs = context.clock.monotonicMs()
  }

  /** Looks after topics that were live when the broker stopped, and arms the stored timers. */
  async start(): Promise<void> {
    const { shard, registry } = this.context
    for (const name of shard.unloadedNames()) await registry.find(name)
    for (let after = -1; !this.stopped; ) {
      const page = await shard.openStreamTopics(after, LIMITS.pageItems)
      for (const { name } of page) await registry.find(name)
      if (page.length < LIMITS.pageItems) break
      after = page.at(-1)?.epoch ?? after
    }
    await this.armStored()
  }

  stop(): void {
    this.stopped = true
    this.timers.stop()
    this.cancelStored?.()
  }

  /** A topic came into memory: from the table or the journal, or created just now. */
  resident(topic: Topic): void {
    const { clock } = this.context
    const { state } = topic
    const now = clock.monotonicMs()
    const lingerMs = policyOf(this.context, topic).lingerMs
    const created = state.createdMs >= this.startedWallMs
    const stored = state.dueMs === 0 || created ? lingerMs : state.dueMs - clock.wallMs()
    topic.lingerUntilMs = Math.max(now + stored, created ? 0 : this.startedMs + lingerMs)
    for (const stream of state.openStreams?.values() ?? []) {
      if (stream.state !== 'lost') setGrace(topic, stream.streamId, now + this.context.streamGraceMs)
    }
    if (stored === lingerMs || topic.lingerUntilMs > now + stored) this.setStoredDue(topic)
    retain(this.context, topic)
    this.schedule(topic)
  }

  attached(topic: Topic): void {
    topic.lingerUntilMs = Number.POSITIVE_INFINITY
    topic.lastUsedMs = this.context.clock.monotonicMs()
    this.schedule(topic)
  }

  /** An attachment ended: its streams are orphaned, and the linger begins if it was the last that held the topic. */
  detached(attachment: Attachment): void {
    const { topic } = attachment
    const now = this.context.clock.monotonicMs()
    topic.lastUsedMs = now
    orphanStreams(this.context, attachment)
    if (topic.ended !== null) return
    if (topic.holders === 0 && topic.lingerUntilMs === Number.POSITIVE_INFINITY) {
      topic.lingerUntilMs = now + policyOf(this.context, topic).lingerMs
      this.setStoredDue(topic)
    }
    this.look(topic)
  }

  /** The policy changed: the linger under way is measured anew. */
  policyChanged(topic: Topic): void {
    if (topic.holders === 0) {
      topic.lingerUntilMs = this.context.clock.monotonicMs() + policyOf(this.context, topic).lingerMs
    }
    this.setStoredDue(topic)
    this.look(topic)
  }

  /** The topic has been flushed: retention has whole chunks to judge, and it may leave memory. */
  flushed(state: TopicState): void {
    if (state.storedDueMs !== 0 && state.storedDueMs < this.storedDueMs) this.setAlarm(state.storedDueMs)
    const topic = this.context.registry.get(state.name)
    if (topic === undefined || topic.state !== state) return
    retain(this.context, topic)
    this.look(topic)
  }

  /** Deletes the topic; resolves when that is durable. `event` is what attached clients are told. */
  delete(topic: Topic, event: 'deleted' | 'reclaimed'): Promise<void> {
    return new Promise((resolve, reject) => {
      const { shard, registry } = this.context
      if (topic.ended !== null) return resolve()
      const tell = new CallbackItem(() => {
        for (const attachment of topic.attachments) attachment.client.notice(attachment.handle, event, {})
        for (const subscription of [...topic.subscriptions]) subscription.close(topic.ended)
        resolve()
      }, reject)
      shard.delete(topic.state, tell)
      topic.ended = new LitetopicError('GONE', `topic ${topic.name} was ${event}`, { outcome: 'gone' })
      registry.remove(topic)
    })
  }

  private look(topic: Topic): void {
    const { registry, clock, shard } = this.context
    if (this.stopped || topic.ended !== null || !registry.holds(topic)) return
    const now = clock.monotonicMs()
    loseStreams(this.context, topic, now)
    if (this.isOver(topic, now)) {
      this.reclaim(topic)
      return
    }
    if (topic.attachments.size === 0 && !topic.busy && this.idleUntil(topic) <= now) {
      if (topic.state.dirtySince !== 0 || topic.state.dueMs !== topic.state.storedDueMs) shard.flush(topic.state)
      else if (topic.state.flushing === null && topic.state.flushingBytes === 0) {
        registry.remove(topic)
        return
      }
    }
    this.schedule(topic)
  }

  /** Is the topic's time over: its linger, or the time that silent readers hold it? */
  private isOver(topic: Topic, now: number): boolean {
    if (topic.holders === 0) return topic.lingerUntilMs <= now
    return this.readersUntil(topic) <= now
  }

  /** When readers cease to hold the topic and its linger is over too; Infinity if a writer is attached. */
  private readersUntil(topic: Topic): number {
    for (const attachment of topic.attachments) if (attachment.wrote) return Number.POSITIVE_INFINITY
    const { clock } = this.context
    const sinceAppend = clock.wallMs() - topic.state.lastAppendMs
    const holdMs = LIMITS.maxReaderHoldMs + policyOf(this.context, topic).lingerMs
    return clock.monotonicMs() - sinceAppend + holdMs
  }

  private idleUntil(topic: Topic): number {
    if ((topic.graces?.size ?? 0) > 0) return Number.POSITIVE_INFINITY
    return topic.lastUsedMs + this.context.residencyIdleMs
  }

  private reclaim(topic: Topic): void {
    this.reclaimed++
    this.delete(topic, 'reclaimed').catch(() => {
      // The store cannot write: the topic stays, and its stored timer brings it back after the next start.
    })
  }

  /** Tells the timers when to look again, unless they know an earlier time. */
  private schedule(topic: Topic): void {
    let at = topic.holders === 0 ? topic.lingerUntilMs : this.readersUntil(topic)
    if (topic.attachments.size === 0) {
      const idle = this.idleUntil(topic)
      if (idle > this.context.clock.monotonicMs()) at = Math.min(at, idle)
    }
    for (const lostAt of topic.graces?.values() ?? []) at = Math.min(at, lostAt)
    if (at === Number.POSITIVE_INFINITY) return
    const now = this.context.clock.monotonicMs()
    if (topic.wakeAtMs > now && topic.wakeAtMs <= at) return
    topic.wakeAtMs = at
    this.timers.add(at, topic)
  }

  /** What the next flush stores as the topic's time. */
  private setStoredDue(topic: Topic): void {
    const { clock } = this.context
    const lingerMs = policyOf(this.context, topic).lingerMs
    if (lingerMs === Number.POSITIVE_INFINITY) {
      topic.state.dueMs = 0
      return
    }
    const left = topic.lingerUntilMs === Number.POSITIVE_INFINITY ? lingerMs : topic.lingerUntilMs - clock.monotonicMs()
    topic.state.dueMs = Math.ceil(clock.wallMs() + Math.max(left, 0))
  }

  private async armStored(): Promise<void> {
    const next = await this.context.shard.timers.next()
    if (next !== null) this.setAlarm(next)
  }

  private setAlarm(dueMs: number): void {
    if (this.stopped || dueMs >= this.storedDueMs) return
    const { clock } = this.context
    this.cancelStored?.()
    this.storedDueMs = dueMs
    this.cancelStored = clock.after(Math.max(dueMs - clock.wallMs(), 0), () => void this.readStored())
  }

  /** Stored timers have fallen due: their topics are brought into memory and looked at. */
  private async readStored(): Promise<void> {
    if (this.readingStored || this.stopped) return
    this.readingStored = true
    this.storedDueMs = Number.POSITIVE_INFINITY
    try {
      const { clock, shard } = this.context
      for (;;) {
        const nowMs = clock.wallMs()
        const due = await shard.timers.due(nowMs, TIMERS_PER_STEP)
        if (due.length === 0 || this.stopped) break
        await this.handleStored(due, nowMs)
      }
      await this.armStored()
    } finally {
      this.readingStored = false
    }
  }

  /**
   * Gives each timer a later time before its topic is looked at, so that none is read twice or lost. One that is earlier
   * than what its topic's head says is left over from before, and dropped.
   */
  private async handleStored(due: readonly StoredTimer[], nowMs: number): Promise<void> {
    const { shard, registry } = this.context
    const postponed: (StoredTimer & { laterMs: number })[] = []
    const topics: Topic[] = []
    for (const timer of due) {
      const fullLingerMs = this.startedWallMs + timer.lingerMs
      if (timer.dueMs < this.startedWallMs && nowMs < fullLingerMs) {
        postponed.push({ ...timer, laterMs: fullLingerMs })
        continue
      }
      const topic = await registry.find(timer.name)
      if (topic === null || topic.state.epoch !== timer.epoch || topic.state.storedDueMs > timer.dueMs) {
        await shard.timers.drop(timer)
        continue
      }
      const laterMs = nowMs + COARSE_MS
      topic.state.storedDueMs = laterMs
      postponed.push({ ...timer, laterMs })
      topics.push(topic)
    }
    if (postponed.length > 0) await shard.timers.postpone(postponed)
    for (const topic of topics) this.look(topic)
  }
}
