/** Tells of wakes: calls a webhook, or writes into the wake topic. Of what it is told with nothing is ever logged. */

import { asLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { admitRate, admitStored, forgetTurns } from '../admission.ts'
import { CallbackItem } from '../committer.ts'
import type { Context } from '../context.ts'
import { appendMessage } from '../own-records.ts'
import type { Topic } from '../topic.ts'
import { type Outcome, post } from './post.ts'
import type { Secrets } from './secrets.ts'
import type { Targets } from './targets.ts'

/** One topic of a wake: what is linked, and what is to be read: from `acked` to before `tail`, in that epoch. */
export interface TopicProgress {
  readonly name: string
  readonly explicit: boolean
  readonly epoch: number
  readonly acked: number
  readonly tail: number
}

/** What a worker is told. */
export interface WakeFacts {
  readonly id: string
  readonly wakeId: string
  readonly generation: number
  /** With which what is done about the wake is told. */
  readonly token: string
  readonly topics: readonly TopicProgress[]
}

/** The body of a webhook. */
export type WriteWake = (wake: WakeFacts) => string

export class Teller {
  private readonly context: Context
  private readonly targets: Targets
  private readonly write: WriteWake
  private calls = 0
  private readonly waiting: (() => void)[] = []

  constructor(context: Context, targets: Targets, write: WriteWake) {
    this.context = context
    this.targets = targets
    this.write = write
  }

  /** Throws WEBHOOK_URL_REJECTED unless the configuration allows the url. */
  check(url: string): void {
    this.targets.check(url)
  }

  /** Calls a webhook in its turn; `wake` says with what when that has come, and null if there is nothing to tell any more. */
  async call(url: string, secrets: Secrets, signal: AbortSignal, wake: () => WakeFacts | null): Promise<Outcome> {
    if (this.calls === LIMITS.webhooksInFlight) await new Promise<void>((resolve) => this.waiting.push(resolve))
    else this.calls++
    try {
      const facts = wake()
      return facts === null ? { answer: null } : await this.send(url, facts, secrets, signal)
    } finally {
      const next = this.waiting.shift()
      if (next === undefined) this.calls--
      else next()
    }
  }

  /** Takes no longer than `webhookMs`, resolving the name included. */
  private async send(url: string, facts: WakeFacts, secrets: Secrets, signal: AbortSignal): Promise<Outcome> {
    const { clock } = this.context
    const late = new AbortController()
    const cancel = clock.after(LIMITS.webhookMs, () => late.abort(`no answer within ${LIMITS.webhookMs / 1000} s`))
    const over = AbortSignal.any([signal, late.signal])
    try {
      const target = await unlessAborted(this.targets.find(url), over)
      const body = this.write(facts)
      return await post(target, { body, signature: secrets.signature(body, clock.wallMs()) }, over)
    } catch (error) {
      return { failure: reason(error) }
    } finally {
      cancel()
    }
  }

  /** Writes into the wake topic that there is something new in another one. */
  async append(wakeTopic: string, { id, generation }: WakeFacts, topic: string): Promise<Outcome> {
    const { clock } = this.context
    const event = { type: 'wake', subscription_id: id, stream: topic, generation, ts: clock.wallMs() }
    try {
      await this.appendTo(wakeTopic, JSON.stringify(event))
      return { answer: null }
    } catch (error) {
      return { failure: reason(error) }
    }
  }

  private appendTo(name: string, value: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.context.registry.whenFound(name, (failure, topic) => {
        if (failure !== null || topic === null) {
          reject(failure ?? new LitetopicError('NOT_FOUND', `its wake stream ${name} does not exist`))
          return
        }
        topic.run(() => {
          try {
            this.admit(topic, value.length)
            appendMessage(this.context, topic, { tag: 'json', value }, new CallbackItem(resolve, reject))
          } catch (error) {
            reject(error)
          }
        })
      })
    })
  }

  /** Whoever may claim and release could else write where he may not, or more than he may. */
  private admit(topic: Topic, size: number): void {
    const { clock, scopes } = this.context
    const { ended, name, state } = topic
    if (ended !== null) throw ended
    if (state.closed) throw new LitetopicError('CLOSED', `its wake stream ${name} is closed`)
    if (state.fenceHolder !== null) {
      throw new LitetopicError('FENCED', `its wake stream ${name} is held by an exclusive session`)
    }
    const who = { scopes: scopes.of(null, topic) }
    admitStored(who.scopes, size)
    try {
      admitRate(who, 1, size, clock.monotonicMs())
    } catch (error) {
      // It comes back when it is due, not when it is its turn.
      forgetTurns(who)
      throw error
    }
  }
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    work.then(resolve, reject)
  })
}

/** Errors of the system may hold more than their code. */
function reason(error: unknown): string {
  if (typeof error === 'string') return error
  const { code } = error as { code?: unknown }
  if (error instanceof LitetopicError) return error.message
  return typeof code === 'string' ? code : asLitetopicError(error).code
}
