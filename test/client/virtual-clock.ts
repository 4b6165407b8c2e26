/** A clock that stands still until a test moves it. Turns of the event loop are real. */

import type { Clock } from '../../client/clock.ts'

interface Timer {
  readonly dueMs: number
  readonly run: () => void
}

export class VirtualClock implements Clock {
  private now = 0
  private readonly timers = new Set<Timer>()

  nowMs(): number {
    return this.now
  }

  random(): number {
    return 0
  }

  soon(run: () => void): void {
    setImmediate(run)
  }

  setTimeout(run: () => void, ms: number): Timer {
    const timer = { dueMs: this.now + ms, run }
    this.timers.add(timer)
    return timer
  }

  clearTimeout(timer: unknown): void {
    this.timers.delete(timer as Timer)
  }

  /** Milliseconds until each timer that is set, sorted. */
  waits(): number[] {
    return [...this.timers].map(({ dueMs }) => dueMs - this.now).sort((a, b) => a - b)
  }

  /** Moves on and runs what falls due, in order. */
  advance(ms: number): void {
    const end = this.now + ms
    for (;;) {
      const [next] = [...this.timers].filter(({ dueMs }) => dueMs <= end).sort((a, b) => a.dueMs - b.dueMs)
      if (next === undefined) break
      this.now = next.dueMs
      this.timers.delete(next)
      next.run()
    }
    this.now = end
  }
}
