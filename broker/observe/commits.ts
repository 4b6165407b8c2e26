/** How long commits take, from their first operation until they are durable. */

import type { Clock } from '../clock.ts'
import type { Samples } from './counts.ts'

export class Commits {
  private readonly clock: Clock
  private readonly samples: Samples
  /** When those began that are not durable yet, the oldest first; few, as each may have half a megabyte. */
  private readonly begunMs: number[] = []

  constructor(clock: Clock, samples: Samples) {
    this.clock = clock
    this.samples = samples
  }

  begun(): void {
    this.begunMs.push(this.clock.monotonicMs())
  }

  /** The oldest one is, with so many bytes. */
  durable(bytes: number): void {
    const nowMs = this.clock.monotonicMs()
    this.samples.commit(nowMs - (this.begunMs.shift() ?? nowMs), bytes)
  }
}
