/** How much per second: a bucket that fills evenly and holds one second's worth, so that a burst of that is let in. */

/** Less than this of a unit is what adding fractions may lose. */
const ROUNDING = 1e-6

export class Rate {
  readonly perSecond: number
  private available: number
  private filledMs: number

  constructor(perSecond: number, nowMs: number) {
    this.perSecond = perSecond
    this.available = perSecond
    this.filledMs = nowMs
  }

  /**
   * Milliseconds until so much may be taken, 0 for now. More than one second's worth is let in when the bucket is full, and
   * what it takes beyond that must be filled up again before anything else.
   */
  waitMs(amount: number, nowMs: number): number {
    this.fill(nowMs)
    const missing = Math.min(amount, this.perSecond) - this.available
    return missing <= ROUNDING ? 0 : Math.ceil((missing * 1000) / this.perSecond)
  }

  take(amount: number): void {
    this.available -= amount
  }

  /** What the last second would have seen if so much were taken. */
  with(amount: number): number {
    return Math.ceil(this.perSecond - this.available - ROUNDING) + amount
  }

  private fill(nowMs: number): void {
    this.available = Math.min(this.perSecond, this.available + ((nowMs - this.filledMs) * this.perSecond) / 1000)
    this.filledMs = nowMs
  }
}
