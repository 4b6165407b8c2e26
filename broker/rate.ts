/**
 * How much per second: a bucket that fills evenly and holds one second's worth, so that a burst of that is let in. Who is
 * refused has a turn, in the order of first asking: what fills until then is not for those who come later, so that neither a
 * large amount nor a distant client waits for ever while small or near ones take what there is.
 */

import { LIMITS } from '../protocol/index.ts'

/** Less than this of a unit is what adding fractions may lose. */
const ROUNDING = 1e-6

interface Turn {
  readonly amount: number
  readonly dueMs: number
  /** It is not waited for any longer. */
  readonly lapsesMs: number
}

export class Rate {
  readonly perSecond: number
  private available: number
  private filledMs: number
  /** By who waits, in the order of when each is due; and what they wait for together. */
  private readonly turns = new Map<object, Turn>()
  private promised = 0

  constructor(perSecond: number, nowMs: number) {
    this.perSecond = perSecond
    this.available = perSecond
    this.filledMs = nowMs
  }

  /**
   * Milliseconds until `who` may take so much, 0 for now; its turn is kept for `rateTurnMs` after that, and a fifth of the wait. More
   * than one second's worth is let in when the bucket is full, and what it takes beyond that must be filled up again before
   * anything else.
   */
  waitMs(who: object, amount: number, nowMs: number): number {
    this.fill(nowMs)
    this.lapse(nowMs)
    const turn = this.turns.get(who)
    if (turn !== undefined && amount <= turn.amount) return Math.max(turn.dueMs - nowMs, 0)
    this.forget(who)
    const missing = this.promised + Math.min(amount, this.perSecond) - this.available
    if (missing <= ROUNDING) return 0
    const waitMs = Math.ceil((missing * 1000) / this.perSecond)
    // Who waits long comes back less exactly.
    const lapsesMs = nowMs + waitMs * 1.2 + LIMITS.rateTurnMs
    this.turns.set(who, { amount, dueMs: nowMs + waitMs, lapsesMs })
    this.promised += amount
    return waitMs
  }

  take(who: object, amount: number): void {
    this.forget(who)
    this.available -= amount
  }

  /** It does not come back. */
  forget(who: object): void {
    const turn = this.turns.get(who)
    if (turn === undefined) return
    this.turns.delete(who)
    this.promised -= turn.amount
  }

  /** What the last second would have seen if so much were taken. */
  with(amount: number): number {
    return Math.ceil(this.perSecond - this.available - ROUNDING) + amount
  }

  private fill(nowMs: number): void {
    this.available = Math.min(this.perSecond, this.available + ((nowMs - this.filledMs) * this.perSecond) / 1000)
    this.filledMs = nowMs
  }

  private lapse(nowMs: number): void {
    for (const [who, { lapsesMs }] of this.turns) {
      if (lapsesMs > nowMs) return
      this.forget(who)
    }
  }
}
