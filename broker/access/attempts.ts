/**
 * Refusals by the address they came from: beyond some wrong tokens it is not listened to for a while, and beyond some refusals of any
 * kind no more are noted, or whoever has no token could fill the audit log until what it held is gone. The table is bounded.
 */

import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'

interface Failures {
  /** Wrong tokens. */
  count: number
  refusals: number
  readonly sinceMs: number
}

export class Attempts {
  private readonly clock: Clock
  /** The oldest first. */
  private readonly byAddress = new Map<string, Failures>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Throws RATE_LIMITED for an address of which too many wrong tokens have come, whatever it shows now. */
  check(address: string): void {
    const key = groupOf(address)
    const failures = this.byAddress.get(key)
    if (failures === undefined) return
    const leftMs = failures.sinceMs + LIMITS.accessFailuresMs - this.clock.monotonicMs()
    if (leftMs <= 0) {
      this.byAddress.delete(key)
      return
    }
    const bound = LIMITS.accessFailures
    if (failures.count < bound) return
    const details = { limit: 'accessFailures', value: failures.count + 1, bound, retryAfterMs: leftMs }
    throw new LitetopicError('RATE_LIMITED', 'too many wrong tokens came from this address: come back later', details)
  }

  failed(address: string): void {
    this.of(address).count++
  }

  /** Counts a refusal for whatever reason. Is it one of the first, which are to be noted? */
  refused(address: string): boolean {
    return ++this.of(address).refusals <= LIMITS.accessFailures
  }

  /** Those of the present span of time. */
  private of(address: string): Failures {
    const key = groupOf(address)
    const now = this.clock.monotonicMs()
    const present = this.byAddress.get(key)
    if (present !== undefined && now - present.sinceMs < LIMITS.accessFailuresMs) return present
    this.byAddress.delete(key)
    if (this.byAddress.size >= LIMITS.accessAddresses) {
      for (const oldest of this.byAddress.keys()) {
        this.byAddress.delete(oldest)
        break
      }
    }
    const failures = { count: 0, refusals: 0, sinceMs: now }
    this.byAddress.set(key, failures)
    return failures
  }

  get size(): number {
    return this.byAddress.size
  }
}

/** Whoever has one IPv6 address has 2^64 of them. */
function groupOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '')
  if (!plain.includes(':')) return plain
  const [head = '', tail = ''] = plain.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === '' ? [] : tail.split(':')
  const missing = plain.includes('::') ? 8 - before.length - after.length : 0
  return [...before, ...new Array<string>(Math.max(missing, 0)).fill('0'), ...after].slice(0, 4).join(':')
}
