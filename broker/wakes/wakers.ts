/**
 * Durable Streams subscriptions: every verb on them. They are in memory as long as the broker runs, and in the table as they
 * change. See ARCHITECTURE.md, The way of a wake.
 */

import { asLitetopicError, checkId, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { readWakers, removeWaker, type WakerConfig } from '../../storage/index.ts'
import type { Context } from '../context.ts'
import type { Topic } from '../topic.ts'
import { Coverage, extentOf, NO_TOPIC, Watch, type Watcher } from './coverage.ts'
import { bareName, type Checked, checkBound, checkRequest, checkText, type WakerRequest } from './request.ts'
import { type PublicKey, Secrets } from './secrets.ts'
import { Survey } from './survey.ts'
import type { Targets } from './targets.ts'
import { Teller, type TopicProgress, type WriteWake } from './teller.ts'
import { Link, Waker } from './waker.ts'
import { type Acknowledged, type Claim, progress, type WakeReport, Waking } from './waking.ts'

/** Topics looked at before the loop gets its turn. */
const TOPICS_PER_TURN = 10_000

/** A subscription as it is shown. */
export interface WakerInfo {
  readonly id: string
  readonly config: WakerConfig
  readonly createdMs: number
  /** Can it not be told of its wakes at present? */
  readonly failing: boolean
  /** In the order of their names. */
  readonly topics: readonly TopicProgress[]
}

export interface WakersOptions {
  readonly targets: Targets
  readonly write: WriteWake
  readonly log: (line: string) => void
}

export class Wakers implements Watcher {
  private readonly context: Context
  private readonly wakers = new Map<string, Waker>()
  private readonly coverage = new Coverage()
  private readonly teller: Teller
  private readonly survey: Survey
  private readonly waking: Waking
  private opened: Promise<Secrets> | null = null
  private readonly ready: Promise<void>
  private isReady: () => void = () => undefined
  private stopped = false

  constructor(context: Context, { targets, write, log }: WakersOptions) {
    this.context = context
    this.teller = new Teller(context, targets, write)
    this.survey = new Survey(context, this.coverage, log)
    this.waking = new Waking(context, this.teller, () => this.secrets(), log)
    this.ready = new Promise((resolve) => {
      this.isReady = resolve
    })
  }

  /** Reads what is stored, and wakes whoever has something to do. Until then who asks for something waits. */
  async start(): Promise<void> {
    const { shard, report } = this.context
    let before: Promise<unknown> = Promise.resolve()
    try {
      for (const { waker: stored, links } of await readWakers(shard.store.table, report)) {
        if (this.stopped) return
        const waker = new Waker(stored)
        for (const [name, link] of links) {
          const made = new Link(waker, this.coverage.enter(name), link)
          waker.links.set(name, made)
          this.coverage.link(made)
        }
        this.enter(waker)
        const inTurn = before
        this.waking.run(waker, async () => {
          // One by one: each may read as many topics as there are.
          await inTurn
          await this.survey.of(waker, false)
          await this.waking.resume(waker)
        })
        before = waker.settled()
      }
      await this.watchResidents()
    } catch (error) {
      report(asLitetopicError(error))
    }
    this.isReady()
  }

  /** Resolves when nothing is under way. What waits is refused. */
  async stop(): Promise<void> {
    this.stopped = true
    this.isReady()
    for (const waker of this.wakers.values()) waker.stopTimers()
    await this.waking.stop()
    await Promise.all([...this.wakers.values()].map((waker) => waker.settled()))
  }

  /** A topic has become resident. */
  resident(topic: Topic): void {
    if (!this.coverage.isEmpty && this.coverage.covers(topic.name)) this.watch(topic)
  }

  /**
   * Makes a subscription, or finds it as it is asked for. Rejects with SUBSCRIPTION_ALREADY_EXISTS if it is configured otherwise,
   * WEBHOOK_URL_REJECTED, LIMIT_EXCEEDED, BAD_NAME or BAD_REQUEST.
   */
  async put(id: string, request: WakerRequest): Promise<{ created: boolean; info: WakerInfo }> {
    checkId(id, 'subscription id')
    const checked = checkRequest(request)
    await this.ready
    for (;;) {
      const existing = this.wakers.get(id)
      if (existing === undefined) return { created: true, info: await this.create(id, checked) }
      // It may be just being made, or deleted.
      await existing.settled()
      if (this.wakers.get(id) !== existing) continue
      if (existing.configHash === checked.hash) return { created: false, info: infoOf(existing) }
      throw new LitetopicError('SUBSCRIPTION_ALREADY_EXISTS', `subscription ${id} exists, and is configured otherwise`)
    }
  }

  /** Rejects, as all that follow do, with SUBSCRIPTION_NOT_FOUND. */
  get(id: string): Promise<WakerInfo> {
    return this.inTurn(id, infoOf)
  }

  /** Deletes it, if it is there: whoever works on a wake of it is shut out. */
  async delete(id: string): Promise<void> {
    await this.ready
    const waker = this.wakers.get(id)
    await waker?.inTurn(async () => {
      if (waker.deleted) return
      waker.deleted = true
      waker.stopTimers()
      this.coverage.remove(waker)
      await removeWaker(this.context.shard.store.table, id)
      this.leave(waker)
    })
  }

  /** Links topics by name, at their ends. Rejects with LIMIT_EXCEEDED, BAD_NAME or BAD_REQUEST. */
  link(id: string, names: readonly string[]): Promise<void> {
    return this.inTurn(id, async (waker) => {
      await this.linkTopics(waker, names.map(bareName))
      await this.waking.save(waker)
    })
  }

  /** Takes back that a topic was linked by name. It stays linked if the pattern matches it. */
  unlink(id: string, name: string): Promise<void> {
    return this.inTurn(id, async (waker) => {
      const link = waker.links.get(bareName(name))
      if (link?.explicit !== true) return
      link.explicit = false
      const isMatched = link.topic.epoch !== 0 && [...this.coverage.matching(link.topic.name)].includes(waker)
      if (isMatched) waker.unsaved.set(link.topic.name, link)
      else this.survey.drop(waker, link)
      await this.waking.save(waker)
    })
  }

  /** A worker claims the wake, or a new one. Rejects with ALREADY_CLAIMED, NO_PENDING_WORK, BAD_REQUEST or LIMIT_EXCEEDED. */
  claim(id: string, worker: string): Promise<Claim> {
    return this.inTurn(id, (waker) => this.waking.claim(waker, checkText(worker)))
  }

  /**
   * Takes what a worker acknowledges, and says whether another wake follows. Rejects with TOKEN_INVALID, TOKEN_EXPIRED, FENCED,
   * INVALID_OFFSET or BAD_REQUEST, and has taken nothing then.
   */
  acknowledge(
    id: string,
    type: WakerConfig['type'],
    report: WakeReport,
    acks: readonly Acknowledged[],
    done: boolean,
  ): Promise<boolean> {
    return this.inTurn(id, (waker) => this.waking.report(waker, type, report, acks, done))
  }

  /** A worker gives its claim back. Rejects as `acknowledge` does. */
  release(id: string, report: WakeReport): Promise<void> {
    return this.inTurn(id, (waker) => this.waking.release(waker, report))
  }

  /** With which the signatures of webhooks are verified. */
  async publicKey(): Promise<PublicKey> {
    return (await this.secrets()).publicKey
  }

  appended(watch: Watch, next: number): void {
    const { name, state } = watch.topic
    if (!watch.matched) this.match(watch, next)
    const covered = this.coverage.of(name)
    if (covered === undefined) return
    if (covered.epoch === state.epoch) covered.tail = next
    else Object.assign(covered, extentOf(state, next))
    for (const link of covered.links) {
      link.waker.pending.add(link)
      this.waking.look(link.waker)
    }
  }

  ended(name: string): void {
    const covered = this.coverage.of(name)
    if (covered === undefined) return
    Object.assign(covered, NO_TOPIC)
    for (const link of covered.links) {
      const { waker } = link
      waker.pending.delete(link)
      if (link.explicit) continue
      this.survey.drop(waker, link)
      // A start drops them too: they are only not to become many.
      if (waker.unsaved.size === LIMITS.wakeTopics) this.waking.run(waker, () => this.waking.save(waker))
    }
  }

  private async create(id: string, { config, topics, hash }: Checked): Promise<WakerInfo> {
    if (this.stopped) throw stopping()
    if (config.url !== null) this.teller.check(config.url)
    checkBound('wakers', this.wakers.size + 1)
    const { shard, clock } = this.context
    const state = { generation: 0, wakeId: null, holder: null, failures: 0, retryAtMs: 0 }
    const waker = new Waker({ id, config, configHash: hash, createdMs: clock.wallMs(), state })
    this.enter(waker)
    return waker.inTurn(async () => {
      try {
        await removeWaker(shard.store.table, id)
        await this.watchResidents()
        await this.linkTopics(waker, topics)
        await this.survey.of(waker, true)
        await this.waking.save(waker)
      } catch (error) {
        waker.deleted = true
        this.coverage.remove(waker)
        this.leave(waker)
        throw error
      }
      this.waking.look(waker)
      return infoOf(waker)
    })
  }

  private async linkTopics(waker: Waker, names: readonly string[]): Promise<void> {
    if (waker.config.wakeTopic !== null && names.includes(waker.config.wakeTopic)) {
      throw new LitetopicError('BAD_REQUEST', 'a wake stream cannot be one of the streams it tells of')
    }
    await this.survey.link(waker, names)
    for (const name of names) {
      const topic = this.context.registry.get(name)
      if (topic !== undefined) this.watch(topic)
    }
  }

  /** Does the work in the turn of the subscription. */
  private async inTurn<T>(id: string, work: (waker: Waker) => T | Promise<T>): Promise<T> {
    await this.ready
    const found = this.wakers.get(id)
    const missing = (): LitetopicError => new LitetopicError('SUBSCRIPTION_NOT_FOUND', `there is no subscription ${id}`)
    if (found === undefined) throw missing()
    return found.inTurn(() => {
      if (this.stopped) throw stopping()
      if (found.deleted) throw missing()
      return work(found)
    })
  }

  private enter(waker: Waker): void {
    this.wakers.set(waker.id, waker)
    this.coverage.add(waker)
  }

  private leave(waker: Waker): void {
    this.wakers.delete(waker.id)
    this.coverage.isEmpty = this.wakers.size === 0
  }

  /** Links a topic that has got its first records, or the first ones since it is in memory, to wakers that are older than it. */
  private match(watch: Watch, next: number): void {
    const { name, state } = watch.topic
    watch.matched = true
    for (const waker of this.coverage.matching(name)) {
      if (waker.links.has(name)) continue
      if (waker.surveying === null) this.survey.linkNew(waker, name, extentOf(state, next))
      else waker.surveying.add(name)
    }
  }

  /** Sees to it that all topics in use that are covered are watched. */
  private async watchResidents(): Promise<void> {
    let looked = 0
    for (const topic of this.context.registry.values()) {
      if (this.coverage.covers(topic.name)) this.watch(topic)
      if (++looked % TOPICS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  private watch(topic: Topic): void {
    const watch = topic.subscriptions.find((reader) => reader instanceof Watch)
    if (watch !== undefined) watch.matched = false
    else topic.addReader(new Watch(topic, this), this.context.crowds)
  }

  private secrets(): Promise<Secrets> {
    if (this.opened === null) {
      this.opened = Secrets.open(this.context.shard.store)
      this.opened.catch(() => {
        this.opened = null
      })
    }
    return this.opened
  }
}

function infoOf(waker: Waker): WakerInfo {
  const { id, config, createdMs, state } = waker
  const topics = [...waker.links.values()].map(progress).sort((a, b) => (a.name < b.name ? -1 : 1))
  return { id, config, createdMs, failing: state.failures > 0, topics }
}

function stopping(): LitetopicError {
  return new LitetopicError('SHUTTING_DOWN', 'the broker is stopping')
}
