/** A clock that moves when a test says so. What falls due is called in its order, and the loop turns in between. */

import type { Clock } from '../../broker/index.ts'

interface Waiting {
  readonly at: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  private now = 0
  private startWallMs: number
  private waiting: Waiting[] = []

  constructor(startWallMs = 1_750_000_000_000) {
    this.startWallMs = startWallMs
  }

  wallMs(): number {
    return this.startWallMs + this.now
  }

  /** Somebody sets the wall clock: ahead, or back. */
  setWall(byMs: number): void {
    this.startWallMs += byMs
  }

  monotonicMs(): number {
    return this.now
  }

  after(ms: number, callback: () => void): () => void {
    const entry = { at: this.now + ms, callback }
    this.waiting.push(entry)
    return () => {
      this.waiting = this.waiting.filter((other) => other !== entry)
    }
  }

  async advance(ms: number): Promise<void> {
    const end = this.now + ms
    for (;;) {
      const next = this.waiting.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.waiting = this.waiting.filter((other) => other !== next)
      this.now = Math.max(this.now, next.at)
      next.callback()
      // Enough for what it sends to be answered: a ping needs its pong before the next one.
      for (let turns = 0; turns < 8; turns++) await turn()
    }
    this.now = end
    await turn()
  }
}

/** Lets the event loop turn once. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Resolves when the condition holds; the test's own time limit ends the wait. */
export async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await turn()
}
