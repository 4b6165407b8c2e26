/**
 * When topics go: out of memory when nobody uses them, and out of existence when their linger is over. Each resident
 * topic has one time at which it is looked at next; dormant ones have a stored timer, which brings them back to be looked
 * at. After a start every topic gets its full linger, and every open stream its full grace.
 */

import { LIMITS, type LitetopicError } from '../protocol/index.ts'
import type { TopicState } from '../storage/index.ts'
import { CallbackItem } from './committer.ts'
import { type Context, policyOf } from './context.ts'
import { DueTopics } from './due-topics.ts'
import { leasedUntilMs } from './leases.ts'
import { endsByItself, Life } from './life.ts'
import type { EffectivePolicy } from './policy.ts'
import { letGoOfProducer } from './producers.ts'
import { setGrace } from './stream-records.ts'
import { loseStreams, orphanStreams } from './streams.ts'
import { Timers } from './timers.ts'
import type { Attachment, Topic } from './topic.ts'
import { retain } from './trim.ts'

/** A topic that should leave memory and is still at work is looked at again after this. */
const AT_WORK_MS = 1000
/** One that cannot be read for a reason that stays. */
const UNREADABLE_MS = 60_000

export class Reclaimer {
  private readonly context: Context
  private readonly timers: Timers<Topic>
  private readonly dueTopics: DueTopics
  /** Topics created by earlier commits are older than this start. */
  private readonly firstCommit: number
  private readonly startedMs: number
  private stopped = false

  constructor(context: Context) {
    this.context = context
    this.timers = new Timers(context.clock, (topic) => {
      topic.wakeBucket = -1
      this.look(topic)
    })
    this.dueTopics = new DueTopics(context, {
      isOver: (topic) => this.isPresent(topic) && this.isOver(topic, context.clock.monotonicMs()),
      look: (topic) => this.look(topic),
    })
    this.firstCommit = context.shard.log.number
    this.startedMs = context.clock.monotonicMs()
  }

  /** Looks after topics that were live when the broker stopped, and arms the stored timers. */
  start(): Promise<void> {
    return this.dueTopics.start()
  }

  /** Resolves when it reads nothing more. */
  stop(): Promise<void> {
    this.stopped = true
    this.timers.stop()
    return this.dueTopics.stop()
  }

  /** A topic came into memory: from the table or the journal, or created just now. */
  resident(topic: Topic): void {
    const { clock, shard } = this.context
    const { state } = topic
    const now = clock.monotonicMs()
    // The wall clock may have been set back since.
    topic.appendedMs = now - Math.max(this.context.steadyWallMs() - state.lastAppendMs, 0)
    const policy = policyOf(this.context, topic)
    const { lingerMs } = policy
    // Its life does not end before what was stored as its time, however the wall clock was set since it was appended to.
    const usedMs = Math.max(state.extra?.usedMs ?? 0, state.dueMs - policy.ttlMs)
    topic.life = endsByItself(policy) ? new Life(policy, now + usedMs - this.context.steadyWallMs()) : null
    const stored = state.dueMs === 0 ? lingerMs : state.dueMs - this.context.steadyWallMs()
    const isOlder = shard.createdIn(state) < this.firstCommit
    // What is stored as its time may be the end of its life, and the linger end later, or never.
    const toLinger = topic.life === null ? undefined : state.extra?.lingerUntilMs
    const lingerStored = toLinger === undefined ? stored : toLinger - this.context.steadyWallMs()
    const lingerLeft = lingerMs === Number.POSITIVE_INFINITY ? lingerMs : lingerStored
    topic.lingerUntilMs = Math.max(now + lingerLeft, isOlder ? this.startedMs + lingerMs : 0)
    for (const stream of state.openStreams?.values() ?? []) {
      if (stream.state !== 'lost') setGrace(topic, stream.streamId, now + this.context.streamGraceMs)
    }
    if (state.dueMs === 0) this.noteLinger(topic, now)
    const endsMs = Math.min(topic.lingerUntilMs, this.lifeEnds(topic))
    if (state.dueMs === 0 || endsMs > now + stored + 1) this.setStoredDue(topic)
    this.retain(topic)
    this.schedule(topic)
  }

  /** A topic in use was dormant, and is resident again. */
  awake(topic: Topic): void {
    this.schedule(topic)
  }

  attached(topic: Topic): void {
    topic.lingerUntilMs = Number.POSITIVE_INFINITY
    topic.lastUsedMs = this.context.clock.monotonicMs()
    // It holds on for longer than the timers know.
    if (topic.wakeBucket < 0) this.schedule(topic)
  }

  /** An attachment ended: its streams are orphaned, and the linger begins if it was the last that held the topic. */
  detached(attachment: Attachment): void {
    const { topic } = attachment
    if (topic.isDormant) {
      this.whenAwake(topic, () => this.detached(attachment))
      return
    }
    const now = this.context.clock.monotonicMs()
    topic.lastUsedMs = now
    orphanStreams(this.context, attachment)
    if (topic.end !== null) return
    if (attachment.isOver) letGoOfProducer(topic.state, attachment.producerId)
    this.look(topic)
  }

  /** An attachment that held the topic began and ended in the same moment. The timers, which know an earlier time, need not be told. */
  visited(topic: Topic): void {
    const now = this.context.clock.monotonicMs()
    topic.lastUsedMs = topic.attachedMs = now
    if (topic.holders > 0) return
    const policy = policyOf(this.context, topic)
    this.linger(topic, policy, now)
    this.setStoredDue(topic, policy)
  }

  /** The last attachment that held the topic has ended. */
  private beginLinger(topic: Topic, now: number): void {
    if (topic.holders > 0 || topic.lingerUntilMs !== Number.POSITIVE_INFINITY) return
    const policy = policyOf(this.context, topic)
    this.linger(topic, policy, now)
    this.setStoredDue(topic, policy)
  }

  /** The topic is read: its time to live, if it has one, begins anew. Its state must be there. */
  touched(topic: Topic): void {
    if (topic.life === null || topic.end !== null) return
    const { clock, shard, steadyWallMs } = this.context
    const { state } = topic
    const ahead = topic.life.noteRead(clock.monotonicMs())
    if (ahead === null) return
    shard.noteExtra(state, { usedMs: Math.ceil(steadyWallMs() + ahead) })
    this.setStoredDue(topic)
    shard.flush(state)
  }

  /** The topic, or null if its life is over: then it goes now, and must be taken for gone. */
  alive(topic: Topic | null): Topic | null {
    if (topic === null || this.lifeEnds(topic) > this.context.clock.monotonicMs()) return topic
    this.reclaim(topic)
    return topic.end === null ? topic : null
  }

  /** The policy changed: the linger under way and the life are measured anew, and retention is applied. */
  policyChanged(topic: Topic): void {
    if (topic.end !== null) return
    const policy = policyOf(this.context, topic)
    const now = this.context.clock.monotonicMs()
    topic.life = endsByItself(policy) ? new Life(policy, now) : null
    if (topic.holders === 0) this.linger(topic, policy, now)
    this.setStoredDue(topic, policy)
    this.retain(topic)
    this.look(topic)
  }

  /** The topic has been flushed: retention has whole chunks to judge, and it may leave memory. */
  flushed(state: TopicState): void {
    if (state.storedDueMs !== 0) this.dueTopics.setAlarm(state.storedDueMs)
    const topic = this.context.registry.get(state.name)
    if (topic === undefined || topic.isDormant || topic.state !== state) return
    this.retain(topic)
    this.look(topic)
  }

  /** Deletes the topic; resolves when that is durable. `event` is what attached clients are told. */
  delete(topic: Topic, event: 'deleted' | 'reclaimed'): Promise<void> {
    return new Promise((resolve, reject) => {
      const { shard, registry } = this.context
      if (topic.end !== null) {
        shard.log.afterCommit(new CallbackItem(resolve, reject))
        return
      }
      const tell = new CallbackItem(
        () => {
          for (const attachment of topic.attachments) attachment.client.notice(attachment.handle, event, {})
          this.context.counts.topics[event]++
          const gone = topic.subscriptions.length > 0 ? topic.ended : null
          for (const subscription of [...topic.subscriptions]) subscription.close(gone)
          resolve()
        },
        (error) => {
          // What is read meanwhile is as it is stored, and so it will be found when the store is opened anew.
          if (shard.isCreated(topic.state)) registry.restore(topic)
          reject(error)
        },
      )
      shard.delete(topic.state, tell)
      topic.end = event
      this.context.uploads.topicEnded(topic)
      registry.remove(topic)
      this.forget(topic)
    })
  }

  /** The linger of a topic that nobody holds begins. */
  private linger(topic: Topic, { lingerMs }: EffectivePolicy, now: number): void {
    topic.lingerUntilMs = now + lingerMs
    this.noteLinger(topic, now)
  }

  /** What is stored as the time of a topic tells when its linger ends, unless its life may end before. */
  private noteLinger(topic: Topic, now: number): void {
    if (topic.life === null || topic.lingerUntilMs === Number.POSITIVE_INFINITY) return
    const lingerUntilMs = Math.ceil(this.context.steadyWallMs() + topic.lingerUntilMs - now)
    this.context.shard.noteExtra(topic.state, { lingerUntilMs })
  }

  private look(topic: Topic): void {
    if (!this.isPresent(topic)) return
    if (topic.isDormant) {
      this.whenAwake(topic, () => this.look(topic))
      return
    }
    const now = this.context.clock.monotonicMs()
    // Its last attachment may have ended while it could not be read.
    this.beginLinger(topic, now)
    loseStreams(this.context, topic, now)
    if (this.isOver(topic, now)) {
      this.reclaim(topic)
      return
    }
    if (topic.retainAtMs <= now) this.retain(topic)
    if (this.idleUntil(topic) <= now && (topic.isAttached ? this.sleep(topic) : this.leave(topic))) return
    this.schedule(topic)
  }

  private isPresent(topic: Topic): boolean {
    return !this.stopped && topic.end === null && this.context.registry.holds(topic)
  }

  /** Takes the state of an attached topic out of memory, if nothing is under way and the table has all of it. */
  private sleep(topic: Topic): boolean {
    const { registry, shard } = this.context
    const { state } = topic
    if (!topic.isIdle || !shard.isAtRest(state)) return false
    // Of one that is held and has no other end the stored time does not count: after a crash it gets its full linger.
    if ((topic.holders === 0 || topic.life !== null) && state.dueMs !== state.storedDueMs) {
      shard.flush(state)
      return false
    }
    this.wakeAt(topic, this.heldUntil(topic))
    registry.sleep(topic)
    return true
  }

  /** Reads a dormant topic's state first. */
  private whenAwake(topic: Topic, then: () => void): void {
    const { registry, report } = this.context
    if (this.stopped) return
    registry.whenFound(topic.name, (error) => {
      if (error !== null) {
        report(error)
        this.wakeAt(topic, this.context.clock.monotonicMs() + (error.retry ? AT_WORK_MS : UNREADABLE_MS))
      } else if (registry.holds(topic)) then()
    })
  }

  /** Takes the topic out of memory if the table has all of it; else asks for that, and is told by `flushed`. */
  private leave(topic: Topic): boolean {
    const { registry, shard } = this.context
    const { state } = topic
    if (topic.busy || topic.uses > 0) return false
    if (state.dirtySince !== 0 || state.dueMs !== state.storedDueMs) {
      shard.flush(state)
      return false
    }
    if (!shard.isAtRest(state)) return false
    registry.remove(topic)
    this.forget(topic)
    return true
  }

  /** Is the topic's time over: its life, its linger, or the time that silent readers hold it? */
  private isOver(topic: Topic, now: number): boolean {
    if (this.lifeEnds(topic) <= now) return true
    if (topic.holders === 0) return lingersUntil(topic) <= now
    return this.readersUntil(topic) <= now
  }

  /**
   * When readers cease to hold the topic and its linger is over too; Infinity if a writer is attached. Who attaches gets
   * the full linger, however old the last append is.
   */
  private readersUntil(topic: Topic): number {
    if (topic.hasWriter) return Number.POSITIVE_INFINITY
    const heldUntil = topic.appendedMs + LIMITS.maxReaderHoldMs
    return Math.max(heldUntil, topic.attachedMs) + policyOf(this.context, topic).lingerMs
  }

  private lifeEnds({ life, appendedMs }: Topic): number {
    return life === null ? Number.POSITIVE_INFINITY : life.endMs(appendedMs, this.context.clock)
  }

  private idleUntil(topic: Topic): number {
    if ((topic.graces?.size ?? 0) > 0) return Number.POSITIVE_INFINITY
    return topic.lastUsedMs + this.context.residencyIdleMs
  }

  private reclaim(topic: Topic): void {
    // The store cannot write: its stored timer brings the topic back after the next start.
    this.delete(topic, 'reclaimed').catch((error: LitetopicError) => this.context.report(error))
  }

  private retain(topic: Topic): void {
    if (this.stopped) return
    retain(this.context, topic, () => {
      if (!this.stopped && topic.end === null && this.context.registry.holds(topic)) this.schedule(topic)
    })
  }

  /** Tells the timers when to look again, unless they know an earlier time. */
  private schedule(topic: Topic): void {
    let at = this.heldUntil(topic)
    const { isAttached } = topic
    // While streams are open it is not idle, and need not be asked.
    if (!isAttached || !topic.hasStreams) {
      const now = this.context.clock.monotonicMs()
      const idle = this.idleUntil(topic)
      const againMs = isAttached ? Math.max(this.context.residencyIdleMs, AT_WORK_MS) : AT_WORK_MS
      at = Math.min(at, idle > now ? idle : now + againMs)
    }
    if (topic.graces !== null) for (const { lostAtMs } of topic.graces.values()) at = Math.min(at, lostAtMs)
    this.wakeAt(topic, at)
  }

  /** When it must be looked at whether it is used or not. */
  private heldUntil(topic: Topic): number {
    const heldUntil = topic.holders === 0 ? lingersUntil(topic) : this.readersUntil(topic)
    return Math.min(heldUntil, topic.retainAtMs, this.lifeEnds(topic))
  }

  private wakeAt(topic: Topic, at: number): void {
    if (this.stopped || at === Number.POSITIVE_INFINITY) return
    const bucket = Timers.bucketOf(at)
    if (topic.wakeBucket >= 0 && topic.wakeBucket <= bucket) return
    this.forget(topic)
    topic.wakeBucket = bucket
    this.timers.add(bucket, topic)
  }

  /** So that the timers do not keep it in memory. */
  private forget(topic: Topic): void {
    if (topic.wakeBucket < 0) return
    this.timers.remove(topic.wakeBucket, topic)
    topic.wakeBucket = -1
  }

  /** What the next flush stores as the topic's time. */
  private setStoredDue(topic: Topic, { lingerMs }: EffectivePolicy = policyOf(this.context, topic)): void {
    const { clock } = this.context
    const { life, lingerUntilMs, state } = topic
    const now = clock.monotonicMs()
    const isHeld = lingerUntilMs === Number.POSITIVE_INFINITY
    const lingerLeft = isHeld || lingerMs === Number.POSITIVE_INFINITY ? lingerMs : lingerUntilMs - now
    const lifeLeft = life === null ? Number.POSITIVE_INFINITY : life.storedEndMs(topic.appendedMs, clock) - now
    const left = Math.min(lingerLeft, lifeLeft)
    const dueMs = left === Number.POSITIVE_INFINITY ? 0 : Math.ceil(this.context.steadyWallMs() + Math.max(left, 0))
    // What differs by its rounding only need not be written again.
    if (Math.abs(dueMs - state.dueMs) > 1) state.dueMs = dueMs
  }
}

/** When the linger of a topic that nobody holds is over: not while a writer without a connection has a lease. */
function lingersUntil(topic: Topic): number {
  return Math.max(topic.lingerUntilMs, leasedUntilMs(topic))
}
