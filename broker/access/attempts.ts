/** Wrong tokens by the address they came from: beyond some of them it is not listened to for a while. The table is bounded. */

import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'

interface Failures {
  count: number
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
    const key = groupOf(address)
    const failures = this.byAddress.get(key)
    if (failures !== undefined) {
      failures.count++
      return
    }
    if (this.byAddress.size >= LIMITS.accessAddresses) {
      for (const oldest of this.byAddress.keys()) {
        this.byAddress.delete(oldest)
        break
      }
    }
    this.byAddress.set(key, { count: 1, sinceMs: this.clock.monotonicMs() })
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
