/**
 * What bounds are set for — a connection, a topic, a prefix — with what each uses of them now. An attachment has the scopes
 * that it lies in; without configured limits there are none, and nothing is counted.
 */

import { LitetopicError } from '../protocol/index.ts'
import type { Client } from './client.ts'
import type { Clock } from './clock.ts'
import { type Bounds, describeExcess, type LimitName, type LimitTable } from './limits.ts'
import { Rate } from './rate.ts'

/** What is stored in a scope. */
export interface Stored {
  readonly bytes: number
  readonly topics?: number
}

export class Scope {
  readonly bounds: Bounds
  readonly records: Rate | null
  readonly bytes: Rate | null
  /** Null where it is not bound. */
  readonly stored: Stored | null
  attachments = 0
  /** Bytes of uploads that are not committed. */
  uploading = 0
  subscriptions = 0
  private readonly kind: 'connection' | 'topic' | 'prefix'
  private readonly name: string

  constructor(kind: Scope['kind'], name: string, bounds: Bounds, stored: Stored | null, clock: Clock) {
    const rate = (perSecond: number): Rate | null =>
      perSecond === Number.POSITIVE_INFINITY ? null : new Rate(perSecond, clock.monotonicMs())
    this.kind = kind
    this.name = name
    this.bounds = bounds
    this.stored = stored
    this.records = rate(bounds.recordsPerSecond)
    this.bytes = rate(bounds.bytesPerSecond)
  }

  /** Throws LIMIT_EXCEEDED if the value is beyond the bound. */
  check(limit: LimitName, value: number): void {
    const bound = this.bounds[limit]
    if (value <= bound) return
    throw new LitetopicError('LIMIT_EXCEEDED', this.message(limit, value), this.details(limit, value))
  }

  rated(limit: LimitName, value: number, retryAfterMs: number): LitetopicError {
    const details = { ...this.details(limit, value), retryAfterMs }
    return new LitetopicError('RATE_LIMITED', this.message(limit, value), details)
  }

  private message(limit: LimitName, value: number): string {
    const what = this.kind === 'connection' ? 'the connection' : `${this.kind} ${JSON.stringify(this.name)}`
    return describeExcess(what, limit, value, this.bounds[limit])
  }

  private details(limit: LimitName, value: number): Record<string, unknown> {
    const { kind, name } = this
    const which = kind === 'connection' ? {} : { [kind]: name }
    return { limit, value, bound: this.bounds[limit], scope: kind, ...which }
  }
}

/** A topic, as a scope needs it. */
interface LimitedTopic {
  readonly name: string
  readonly state: Stored
}

/** What a topic has stored, asked when it is needed: its state leaves memory and comes back as another object. */
class StoredOf implements Stored {
  private readonly topic: LimitedTopic

  constructor(topic: LimitedTopic) {
    this.topic = topic
  }

  get bytes(): number {
    return this.topic.state.bytes
  }
}

const NONE: readonly Scope[] = []

export class Scopes {
  private readonly table: LimitTable
  private readonly clock: Clock
  private readonly prefixes = new Map<string, Scope>()
  private readonly connections = new WeakMap<Client, Scope>()
  private readonly topics = new WeakMap<LimitedTopic, Scope>()

  /** `stored`: what is counted below each prefix that bounds it. */
  constructor(table: LimitTable, clock: Clock, stored: ReadonlyMap<string, Stored>) {
    this.table = table
    this.clock = clock
    for (const [prefix, bounds] of table.prefixes) {
      this.prefixes.set(prefix, new Scope('prefix', prefix, bounds, stored.get(prefix) ?? null, clock))
    }
  }

  /** The scopes of a client's attachment to a topic, or to one of that name that is to be created; null is the broker itself. */
  of(client: Client | null, topic: LimitedTopic | string): readonly Scope[] {
    const { connection, topic: perTopic, prefixes } = this.table
    if (connection === null && perTopic === null && prefixes.size === 0) return NONE
    const scopes: Scope[] = []
    if (connection !== null && client !== null) {
      scopes.push(known(this.connections, client, () => new Scope('connection', '', connection, null, this.clock)))
    }
    if (perTopic !== null && typeof topic !== 'string') {
      scopes.push(
        known(this.topics, topic, () => new Scope('topic', topic.name, perTopic, new StoredOf(topic), this.clock)),
      )
    }
    this.addPrefixes(typeof topic === 'string' ? topic : topic.name, scopes)
    return scopes
  }

  private addPrefixes(name: string, scopes: Scope[]): void {
    for (let end = name.length; end >= 0; end = end === 0 ? -1 : Math.max(name.lastIndexOf('/', end - 1), 0)) {
      const scope = this.prefixes.get(name.slice(0, end))
      if (scope !== undefined) scopes.push(scope)
    }
  }
}

function known<K extends object>(scopes: WeakMap<K, Scope>, key: K, make: () => Scope): Scope {
  const found = scopes.get(key)
  if (found !== undefined) return found
  const made = make()
  scopes.set(key, made)
  return made
}
