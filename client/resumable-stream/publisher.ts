/** What resumable-stream asks of a Redis client that publishes, on topics: keys that expire, counters, messages to channels. */

import type { Publisher } from 'resumable-stream/generic'
import {
  type Broker,
  type Clock,
  isLitetopicError,
  LitetopicError,
  type Session,
  type SessionOptions,
  systemClock,
  type Value,
} from '../index.ts'
import { channelTopic, keyTopic } from './names.ts'
import { isOver, Sessions } from './sessions.ts'

/** The context entry that holds the value of a key: a list of the text that was set last, if any, and a 1 for each increment since. */
const ENTRY = 'value'
const ONE = 1

/** A key that was never `set` goes so long after its last use. */
const KEY: SessionOptions<unknown> = { lingerMs: 86_400_000 }
/** Whoever publishes where nobody listens leaves nothing behind. */
const CHANNEL: SessionOptions<unknown> = { create: false }

/** UTF-16 units of messages that may be unacknowledged before the next one has to wait. */
const UNACKNOWLEDGED_UNITS = 65_536

const INTEGER = /^-?\d{1,15}$/

/**
 * The commands of one publisher take effect in the order in which they were called, as on a connection to Redis; messages to
 * different channels, one behind the other, may arrive in either order. `connect` does nothing: the broker is reached when it is needed. Everything rejects with BAD_NAME for keys and channels of more than some 200
 * bytes, and with what the session of a topic rejects with.
 */
export function createPublisher(broker: Broker, options: { readonly clock?: Clock } = {}): Publisher {
  return new TopicPublisher(broker, options.clock ?? systemClock)
}

class TopicPublisher implements Publisher {
  private readonly broker: Broker
  private readonly sessions: Sessions
  /** Resolves when the next command may begin. */
  private turn: Promise<unknown> = Promise.resolve()
  /** Resolves when all that was published so far is stored. */
  private published: Promise<unknown> = Promise.resolve()
  private unacknowledged = 0

  constructor(broker: Broker, clock: Clock) {
    this.broker = broker
    this.sessions = new Sessions(broker, clock)
  }

  async connect(): Promise<void> {}

  /** Resolves when the message is stored: with 0 if nobody listens, else with 1, whatever their number. */
  async publish(channel: string, message: string): Promise<number> {
    const sending = this.turn.then(() => this.send(channel, message))
    this.turn = sending.catch(() => {})
    return (await sending).stored
  }

  /** With `EX` the key expires so many seconds later, by the broker's clock; without, never. Throws BAD_REQUEST. */
  set(key: string, value: string, options: { EX?: number } = {}): Promise<'OK'> {
    const { EX: seconds } = options
    if (seconds !== undefined && !(Number.isSafeInteger(seconds) && seconds > 0)) {
      throw new LitetopicError('BAD_REQUEST', `EX is a whole number of seconds from 1 on, not ${seconds}`)
    }
    return this.inTurn(() => this.sessions.use(keyTopic(key), KEY, (session) => set(session, value, seconds)))
  }

  get(key: string): Promise<string | null> {
    return this.inTurn(async () => {
      const value = await this.look(key)
      return value === undefined ? null : textOf(value)
    })
  }

  /** Rejects as Redis does, in words too, unless the value is an integer or there is none. */
  incr(key: string): Promise<number> {
    return this.inTurn(() =>
      this.sessions.use(keyTopic(key), KEY, async ({ context }) => {
        // It is left as it is, and does not grow, where it cannot be counted.
        integerOf(key, await context.get(ENTRY))
        const { offset } = await context.append(ENTRY, ONE)
        return integerOf(key, await context.get(ENTRY, { asOf: offset + 1 }))
      }),
    )
  }

  private inTurn<R>(run: () => Promise<R>): Promise<R> {
    const result = this.turn.then(() => this.published).then(run)
    this.turn = result.catch(() => {})
    return result
  }

  /** Resolves when what is published next may be sent. */
  private async send(channel: string, message: string): Promise<{ readonly stored: Promise<number> }> {
    const borrowed = await this.sessions.borrow(channelTopic(channel), CHANNEL).catch(noTopic)
    if (borrowed === null) return { stored: Promise.resolve(0) }
    const { session, done } = borrowed
    this.unacknowledged += message.length
    const stored = session
      .append(message)
      .then(
        () => 1,
        (error) => {
          if (!isOver(error)) throw error
          this.sessions.drop(session)
          return 0
        },
      )
      .finally(() => {
        this.unacknowledged -= message.length
        done()
      })
    // A long one would be overtaken: it takes its place when all of it has arrived.
    const settled = stored.catch(() => {})
    this.published = this.published.then(() => settled)
    if (this.unacknowledged > UNACKNOWLEDGED_UNITS) await settled
    return { stored }
  }

  private async look(key: string): Promise<Value | undefined> {
    const observing = await this.broker.session(keyTopic(key), { observe: true }).catch(noTopic)
    if (observing === null) return undefined
    try {
      return await observing.context.get(ENTRY)
    } catch (error) {
      if (!isOver(error)) throw error
      return undefined
    } finally {
      await observing.close()
    }
  }
}

async function set(session: Session, value: string, seconds: number | undefined): Promise<'OK'> {
  await session.context.set(ENTRY, [value])
  if (seconds === undefined) {
    await session.policy({ lingerMs: 'forever', expiresAtMs: null })
  } else {
    const { lastAppendMs } = await session.describe()
    await session.policy({ lingerMs: 'forever', expiresAtMs: lastAppendMs + seconds * 1_000 })
  }
  return 'OK'
}

function noTopic(error: unknown): null {
  if (isLitetopicError(error, 'NOT_FOUND')) return null
  throw error
}

/** What was set, or '0', and how often it was incremented since. */
function partsOf(value: Value): { readonly base: string; readonly increments: number } {
  const list = Array.isArray(value) ? value : [value]
  const base = list[0]
  return typeof base === 'string' ? { base, increments: list.length - 1 } : { base: '0', increments: list.length }
}

function textOf(value: Value): string {
  const { base, increments } = partsOf(value)
  // Increments that came at the same time as what cannot be incremented.
  return INTEGER.test(base) && increments > 0 ? String(Number(base) + increments) : base
}

function integerOf(key: string, value: Value | undefined): number {
  const text = value === undefined ? '0' : textOf(value)
  if (INTEGER.test(text)) return Number(text)
  // Who reads the text of this error is resumable-stream: it is how Redis says that a stream is done.
  throw new LitetopicError('BAD_VALUE', `ERR value is not an integer or out of range: the key ${key}`)
}
