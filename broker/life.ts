/**
 * The life of a topic, where its policy sets an end: so long after it was last used (`ttlMs`), or at a fixed time (`expiresAtMs`),
 * whoever has it attached. Reads are not written down one by one: what is stored is a time before which they all lie.
 */

import { LIMITS } from '../protocol/index.ts'
import type { Clock } from './clock.ts'
import type { EffectivePolicy } from './policy.ts'

/** The part of its time to live that is stored ahead, within the bounds of limits.ts: who is read all the time is written so often. */
const STORED_SHARE = 1 / 16

export class Life {
  private readonly ttlMs: number
  private readonly expiresAtMs: number
  /** Monotonic time of the last read; and one that none was later than, which is stored. They are the same after a load. */
  private readMs: number
  private storedMs: number

  constructor({ ttlMs, expiresAtMs }: EffectivePolicy, storedMs: number) {
    this.ttlMs = ttlMs
    this.expiresAtMs = expiresAtMs
    this.readMs = this.storedMs = storedMs
  }

  /** Monotonic time at which the topic goes, if it is not used before. */
  endMs(appendedMs: number, clock: Clock): number {
    return this.endAfter(Math.max(this.readMs, appendedMs), clock)
  }

  /** The same as a start would find it: not earlier. */
  storedEndMs(appendedMs: number, clock: Clock): number {
    return this.endAfter(Math.max(this.storedMs, appendedMs), clock)
  }

  /** The topic is read now. Where the time stored has passed, by how much from now on the next one is ahead, which must be stored; else null. */
  noteRead(nowMs: number): number | null {
    this.readMs = nowMs
    if (this.ttlMs === Number.POSITIVE_INFINITY || nowMs <= this.storedMs) return null
    const ahead = Math.min(Math.max(this.ttlMs * STORED_SHARE, LIMITS.readsStoredMinMs), LIMITS.readsStoredMaxMs)
    this.storedMs = nowMs + ahead
    return ahead
  }

  private endAfter(usedMs: number, clock: Clock): number {
    return Math.min(usedMs + this.ttlMs, clock.monotonicMs() + this.expiresAtMs - clock.wallMs())
  }
}

export function endsByItself({ ttlMs, expiresAtMs }: EffectivePolicy): boolean {
  return ttlMs !== Number.POSITIVE_INFINITY || expiresAtMs !== Number.POSITIVE_INFINITY
}
