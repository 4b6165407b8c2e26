/**
 * From a record that nobody has acknowledged to a worker that has: a wake is begun and stored, told of, perhaps claimed, and is
 * over when it is done or its lease runs out. Each has a generation, which shuts out who still works on an earlier one. What
 * is pending is seen by comparing how far topics go with how far they are acknowledged, so a wake that a crash swallows comes again.
 */

import { randomBytes } from 'node:crypto'
import { asLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { linkChange, type TableChange, type WakerState, wakerChange } from '../../storage/index.ts'
import type { Context } from '../context.ts'
import type { Outcome } from './post.ts'
import { invalidToken, type Secrets } from './secrets.ts'
import type { Teller, TopicProgress, WakeFacts } from './teller.ts'
import type { Link, Wake, Waker } from './waker.ts'

/** Changes in one write of the table. */
const CHANGES_PER_WRITE = 1000
/** By how much a retry comes earlier or later. */
const JITTER = 0.2

/** What a worker acknowledges: all of the topic up to before the offset, in that epoch; null for an offset that is none. */
export interface Acknowledged {
  readonly topic: string
  readonly epoch: number | null
  readonly offset: number
}

/** What a worker says about a wake. */
export interface WakeReport {
  readonly token: string
  readonly wakeId: string
  readonly generation: number
}

export interface Claim extends WakeFacts {
  readonly leaseMs: number
}

export class Waking {
  private readonly context: Context
  private readonly teller: Teller
  private readonly secrets: () => Promise<Secrets>
  private readonly log: (line: string) => void
  private readonly calls = new Set<Promise<void>>()
  private stopped = false

  constructor(context: Context, teller: Teller, secrets: () => Promise<Secrets>, log: (line: string) => void) {
    this.context = context
    this.teller = teller
    this.secrets = secrets
    this.log = log
  }

  /** There may be something new for the waker. */
  look(waker: Waker): void {
    const isBusy = waker.looking || waker.wake !== null || waker.surveying !== null || waker.cancelRetry !== null
    if (isBusy || waker.pending.size === 0) return
    waker.looking = true
    this.run(waker, () => {
      waker.looking = false
      return this.wakeIfPending(waker)
    })
  }

  /** Goes on with what was under way when the broker stopped. Leases begin anew. In its turn. */
  async resume(waker: Waker): Promise<void> {
    const { state } = waker
    if (state.wakeId !== null) waker.wake = { id: state.wakeId, told: new Map(), attempt: null }
    if (waker.wake !== null && waker.pending.size === 0 && state.holder === null) await this.clear(waker)
    const waitMs = state.retryAtMs - this.context.steadyWallMs()
    if (waker.wake !== null && state.holder !== null) this.armLease(waker, waker.wake)
    else if (waitMs > 0) this.armRetry(waker, Math.min(waitMs, LIMITS.wakeRetryMaxMs * (1 + JITTER)))
    else if (waker.wake !== null) this.tell(waker, waker.wake)
    else await this.wakeIfPending(waker)
  }

  /** Stores the waker in that state, and which of its links are not stored as they are. */
  async save(waker: Waker, change: Partial<WakerState> = {}): Promise<void> {
    const unsaved = [...waker.unsaved]
    const state = { ...waker.state, ...change }
    waker.unsaved.clear()
    const changes: TableChange[] = unsaved.map(([topic, link]) => linkChange(waker.id, topic, link))
    changes.push(wakerChange(waker.stored(state)))
    for (let at = 0; at < changes.length; at += CHANGES_PER_WRITE) {
      await this.context.shard.store.table.write(changes.slice(at, at + CHANGES_PER_WRITE))
    }
    waker.state = state
  }

  /** Gives the wake to a worker. In its turn. Throws BAD_REQUEST, ALREADY_CLAIMED or NO_PENDING_WORK. */
  async claim(waker: Waker, worker: string): Promise<Claim> {
    mustBe(waker, 'pull-wake')
    const { holder, generation } = waker.state
    if (waker.wake !== null && holder !== null) {
      const message = `subscription ${waker.id} is claimed by ${holder}`
      throw new LitetopicError('ALREADY_CLAIMED', message, { current_holder: holder, generation })
    }
    if (waker.pending.size === 0) {
      if (waker.wake !== null) await this.clear(waker)
      throw new LitetopicError('NO_PENDING_WORK', `subscription ${waker.id} has nothing that is not acknowledged`)
    }
    const secrets = await this.secrets()
    this.cancelRetry(waker)
    const wake = waker.wake ?? newWake()
    const next = waker.wake === null ? { generation: generation + 1, wakeId: wake.id } : {}
    await this.save(waker, { ...next, holder: worker, failures: 0, retryAtMs: 0 })
    waker.wake = wake
    wake.told = waker.snapshot(LIMITS.wakeTopics)
    this.armLease(waker, wake)
    return { ...this.facts(waker, wake, secrets), leaseMs: waker.config.leaseMs }
  }

  /**
   * Takes what a worker has acknowledged; `done` ends the wake, else its lease begins anew. Says whether another wake follows.
   * In its turn. Throws TOKEN_INVALID, TOKEN_EXPIRED, FENCED, INVALID_OFFSET or BAD_REQUEST, and has taken nothing then.
   */
  async report(
    waker: Waker,
    type: Waker['config']['type'],
    report: WakeReport,
    acks: readonly Acknowledged[],
    done: boolean,
  ): Promise<boolean> {
    const wake = await this.wakeOf(waker, type, report)
    const links = acks.map((ack) => checkAck(waker, ack))
    for (const [i, { epoch, offset }] of acks.entries()) waker.acknowledge(links[i] as Link, epoch ?? 0, offset)
    if (done) await this.clear(waker)
    else {
      if (acks.length > 0) await this.save(waker)
      this.armLease(waker, wake)
    }
    this.look(waker)
    return done && waker.pending.size > 0
  }

  /** Ends the wake, with nothing acknowledged. In its turn. Throws as `report` does. */
  async release(waker: Waker, report: WakeReport): Promise<void> {
    await this.wakeOf(waker, 'pull-wake', report)
    await this.clear(waker)
    this.look(waker)
  }

  /** Tells of nothing more. Resolves when no call is under way. */
  async stop(): Promise<void> {
    this.stopped = true
    await Promise.all(this.calls)
  }

  /** Does the work in the waker's turn; what fails is reported, and comes again after a start. */
  run(waker: Waker, work: () => void | Promise<void>): void {
    const turn = waker.inTurn(() => (this.stopped || waker.deleted ? undefined : work()))
    turn.catch((error: unknown) => this.context.report(asLitetopicError(error)))
  }

  private async wakeIfPending(waker: Waker): Promise<void> {
    if (waker.wake !== null || waker.pending.size === 0 || waker.cancelRetry !== null) return
    const wake = newWake()
    await this.save(waker, { generation: waker.state.generation + 1, wakeId: wake.id, holder: null })
    waker.wake = wake
    this.tell(waker, wake)
  }

  private tell(waker: Waker, wake: Wake): void {
    if (this.stopped) return
    const attempt = new AbortController()
    wake.attempt = attempt
    const call = this.attempt(waker, wake, attempt.signal).then((outcome) => {
      this.calls.delete(call)
      this.run(waker, () => this.told(waker, wake, attempt, outcome))
    })
    this.calls.add(call)
  }

  private async attempt(waker: Waker, wake: Wake, signal: AbortSignal): Promise<Outcome> {
    const { url, wakeTopic } = waker.config
    let secrets: Secrets
    try {
      secrets = await this.secrets()
    } catch (error) {
      return { failure: asLitetopicError(error).message }
    }
    const facts = (): WakeFacts | null => {
      if (signal.aborted || waker.deleted || waker.wake !== wake) return null
      wake.told = waker.snapshot(LIMITS.wakeTopics)
      if (wake.told.size === 0) return null
      // It begins with the call; that may have had to wait for others.
      if (url !== null) this.armLease(waker, wake)
      return this.facts(waker, wake, secrets)
    }
    if (url !== null) return this.teller.call(url, secrets, signal, facts)
    const told = facts()
    const topic = told?.topics[0]?.name
    if (told === null || topic === undefined) return { answer: null }
    return this.teller.append(wakeTopic as string, told, topic)
  }

  /** An attempt to tell of the wake is over. */
  private async told(waker: Waker, wake: Wake, attempt: AbortController, outcome: Outcome): Promise<void> {
    if (waker.wake !== wake || wake.attempt !== attempt) return
    wake.attempt = null
    if ('failure' in outcome) {
      await this.save(waker, this.failed(waker, outcome.failure))
      return
    }
    if (wake.told.size === 0) {
      await this.clear(waker)
      this.look(waker)
      return
    }
    const isDone = (outcome.answer as { done?: unknown } | null)?.done === true && waker.config.type === 'webhook'
    if (isDone) {
      for (const [link, { epoch, tail }] of wake.told) waker.acknowledge(link, epoch, tail)
      await this.clear(waker)
      this.look(waker)
    } else if (waker.state.failures > 0) await this.save(waker, { failures: 0, retryAtMs: 0 })
  }

  /** Another attempt comes later: what is to be stored of that. */
  private failed(waker: Waker, why: string): Partial<WakerState> {
    const failures = waker.state.failures + 1
    const base = Math.min(LIMITS.wakeRetryMinMs * 2 ** Math.min(failures - 1, 30), LIMITS.wakeRetryMaxMs)
    const waitMs = Math.round(base * (1 + JITTER * (2 * Math.random() - 1)))
    if (failures === 1) {
      const host = waker.config.url === null ? `stream ${waker.config.wakeTopic}` : new URL(waker.config.url).host
      this.log(`subscription ${JSON.stringify(waker.id)} cannot wake through ${host}, and tries again: ${why}`)
    }
    this.armRetry(waker, waitMs)
    return { failures, retryAtMs: Math.ceil(this.context.steadyWallMs() + waitMs) }
  }

  private armRetry(waker: Waker, waitMs: number): void {
    this.cancelRetry(waker)
    waker.cancelRetry = this.context.clock.after(waitMs, () => {
      waker.cancelRetry = null
      this.run(waker, () => {
        const { wake } = waker
        if (wake === null) return this.wakeIfPending(waker)
        if (wake.attempt === null && waker.state.holder === null) this.tell(waker, wake)
        return undefined
      })
    })
  }

  private cancelRetry(waker: Waker): void {
    waker.cancelRetry?.()
    waker.cancelRetry = null
  }

  private armLease(waker: Waker, wake: Wake): void {
    waker.cancelLease?.()
    waker.cancelLease = this.context.clock.after(waker.config.leaseMs, () => {
      waker.cancelLease = null
      this.run(waker, () => this.leaseOver(waker, wake))
    })
  }

  /** Whoever works on the wake is shut out; what is still pending is told again, by a new one. */
  private async leaseOver(waker: Waker, wake: Wake): Promise<void> {
    // In the turn before this one it may have been renewed.
    if (waker.wake !== wake || waker.cancelLease !== null) return
    const failed = wake.attempt === null ? {} : this.failed(waker, 'its lease ran out before it was answered')
    wake.attempt?.abort('its lease ran out')
    await this.save(waker, { ...failed, wakeId: null, holder: null })
    waker.wake = null
    await this.wakeIfPending(waker)
  }

  /** The wake is over. */
  private async clear(waker: Waker): Promise<void> {
    waker.cancelLease?.()
    waker.cancelLease = null
    this.cancelRetry(waker)
    await this.save(waker, { wakeId: null, holder: null, failures: 0, retryAtMs: 0 })
    waker.wake = null
  }

  /** The wake under way, if the worker's is that one. */
  private async wakeOf(waker: Waker, type: Waker['config']['type'], report: WakeReport): Promise<Wake> {
    mustBe(waker, type)
    const of = (await this.secrets()).open(report.token, this.context.steadyWallMs())
    if (of.id !== waker.id) throw invalidToken()
    const { wake, state } = waker
    const isPresent = [of, report].every(
      ({ generation, wakeId }) => generation === state.generation && wakeId === wake?.id,
    )
    if (wake !== null && isPresent && (type === 'webhook' || state.holder !== null)) return wake
    const message = `the wake of generation ${report.generation} of subscription ${waker.id} is over`
    throw new LitetopicError('FENCED', message, { generation: state.generation })
  }

  private facts(waker: Waker, wake: Wake, secrets: Secrets): WakeFacts {
    const { id, state } = waker
    const scope = { id, wakeId: wake.id, generation: state.generation }
    const token = secrets.token(scope, this.context.steadyWallMs())
    return { ...scope, token, topics: [...wake.told.keys()].map(progress) }
  }
}

export function progress({ topic, explicit, ackedTo }: Link): TopicProgress {
  return { name: topic.name, explicit, epoch: topic.epoch, acked: ackedTo, tail: topic.tail }
}

function newWake(): Wake {
  return { id: `w_${randomBytes(12).toString('hex')}`, told: new Map(), attempt: null }
}

function mustBe({ id, config }: Waker, type: Waker['config']['type']): void {
  if (config.type === type) return
  throw new LitetopicError('BAD_REQUEST', `subscription ${id} is of type ${config.type}, and this is for ${type}`)
}

function checkAck(waker: Waker, { topic, epoch, offset }: Acknowledged): Link {
  const link = waker.links.get(topic)
  const wrong = (why: string): LitetopicError =>
    new LitetopicError('INVALID_OFFSET', `stream ${topic} cannot be acknowledged to this offset: ${why}`)
  if (link === undefined) throw wrong(`it is none of subscription ${waker.id}`)
  if (epoch === null || epoch !== link.topic.epoch) throw wrong('it is not one of this stream')
  if (offset < link.ackedTo) throw wrong('more is acknowledged already')
  if (offset > link.topic.tail) throw wrong('it is beyond the end of the stream')
  return link
}
