/**
 * The bounds that an operator may set, checked: per connection, per topic and per prefix. Those of a prefix are for all below
 * it together; every prefix that covers a name counts, for a bound of the whole is one of each part. What is not set is
 * without bound, but for those of protocol/limits.ts. See PROTOCOL.md, Configured limits.
 */

import { checkPrefix, LIMITS, LitetopicError } from '../protocol/index.ts'

interface CommonLimits {
  /** Data of one record, in bytes. */
  readonly messageBytes?: number
  readonly attachments?: number
  readonly subscriptions?: number
  /** Appended by clients; a burst may have one second's worth. */
  readonly recordsPerSecond?: number
  /** The same, in bytes of encoded records. */
  readonly bytesPerSecond?: number
}

export interface ConnectionLimits extends CommonLimits {
  /** One WebSocket message, in bytes: from `LIMITS.messageBytesLeast` to `LIMITS.messageBytes`, the default. */
  readonly frameBytes?: number
}

export interface TopicLimits extends CommonLimits {
  /** Stored: the records kept, with the envelopes of their appends. */
  readonly bytes?: number
}

export interface PrefixLimits extends TopicLimits {
  /** That exist, in memory or not. */
  readonly topics?: number
}

export interface LimitOptions {
  readonly connection?: ConnectionLimits
  readonly topic?: TopicLimits
}

/** What may be bound, and what is to be done when it is reached. */
const ADVICE = {
  messageBytes: 'send less in one record',
  attachments: 'detach what is not needed',
  subscriptions: 'end those that are not needed',
  recordsPerSecond: 'send it again later',
  bytesPerSecond: 'send it again later',
  bytes: 'trim or delete what is not needed',
  topics: 'delete those that are not needed, or wait until they are reclaimed',
} as const

export type LimitName = keyof typeof ADVICE

/** Infinity where nothing is set. */
export type Bounds = Readonly<Record<LimitName, number>>

export interface LimitTable {
  readonly frameBytes: number
  /** Null when nothing is set. */
  readonly connection: Bounds | null
  readonly topic: Bounds | null
  readonly prefixes: ReadonlyMap<string, Bounds>
}

const COMMON: readonly LimitName[] = [
  'messageBytes',
  'attachments',
  'subscriptions',
  'recordsPerSecond',
  'bytesPerSecond',
]
const OF_TOPIC: readonly LimitName[] = [...COMMON, 'bytes']
const OF_PREFIX: readonly LimitName[] = [...OF_TOPIC, 'topics']

/** Checks what is configured. Throws BAD_NAME or BAD_REQUEST. */
export function limitTable(
  options: LimitOptions,
  prefixes: Readonly<Record<string, { readonly limits?: PrefixLimits }>>,
): LimitTable {
  const { connection = {}, topic = {}, ...unknown } = options
  refuseUnknown('limits', unknown, ['connection', 'topic'])
  const { frameBytes = LIMITS.messageBytes, ...perConnection } = connection
  checkFrameBytes(frameBytes)
  const table = new Map<string, Bounds>()
  for (const [prefix, { limits }] of Object.entries(prefixes)) {
    const bounds = boundsOf(limits ?? {}, OF_PREFIX, `policies[${JSON.stringify(prefix)}].limits`)
    if (bounds !== null) table.set(checkPrefix(prefix), bounds)
  }
  return {
    frameBytes,
    connection: boundsOf(perConnection, COMMON, 'limits.connection'),
    topic: boundsOf(topic, OF_TOPIC, 'limits.topic'),
    prefixes: table,
  }
}

/** The largest content of a message. Throws BAD_REQUEST. */
export function checkMaxMessageBytes(value: number = LIMITS.largeMessageBytes): number {
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new LitetopicError('BAD_REQUEST', `maxMessageBytes must be a whole number from 1 on, not ${value}`)
}

/** The prefixes that bound what is stored below them. */
export function countedPrefixes({ prefixes }: LimitTable): string[] {
  return [...prefixes]
    .filter(([, { topics, bytes }]) => Number.isFinite(Math.min(topics, bytes)))
    .map(([prefix]) => prefix)
}

/** What is told to a client that is over a bound. */
export function describeExcess(what: string, limit: LimitName, value: number, bound: number): string {
  return `${what} would have ${value} with ${limit} at most ${bound}: ${ADVICE[limit]}`
}

function boundsOf(limits: object, names: readonly LimitName[], what: string): Bounds | null {
  refuseUnknown(what, limits, names)
  const given = Object.entries(limits).filter(([, value]) => value !== undefined)
  for (const [name, value] of given) {
    if (Number.isSafeInteger(value) && value >= 1) continue
    throw new LitetopicError('BAD_REQUEST', `${what}.${name} must be a whole number from 1 on, or left out`)
  }
  if (given.length === 0) return null
  const unbound = Object.fromEntries(Object.keys(ADVICE).map((name) => [name, Number.POSITIVE_INFINITY]))
  return { ...unbound, ...Object.fromEntries(given) } as Bounds
}

function checkFrameBytes(value: number): void {
  const { messageBytesLeast, messageBytes } = LIMITS
  if (Number.isSafeInteger(value) && value >= messageBytesLeast && value <= messageBytes) return
  throw new LitetopicError(
    'BAD_REQUEST',
    `limits.connection.frameBytes must be a whole number from ${messageBytesLeast} to ${messageBytes}, not ${value}`,
  )
}

function refuseUnknown(what: string, given: object, known: readonly string[]): void {
  const stray = Object.keys(given).find((name) => !known.includes(name))
  if (stray === undefined) return
  throw new LitetopicError('BAD_REQUEST', `${what} has no ${stray}: there are ${known.join(', ')}`)
}
