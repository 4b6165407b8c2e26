/** When nothing was committed for a while: everything goes into the table, the journal is emptied, space is given back. */

import type { LitetopicError } from '../protocol/index.ts'
import type { Shard } from '../storage/index.ts'
import type { Clock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'

export class Quiet {
  private readonly shard: Shard<CommitItem>
  private readonly clock: Clock
  private readonly quietMs: number
  private readonly failed: (error: LitetopicError) => void
  private lastCommitMs = 0
  private armed: (() => void) | null = null
  private done = false
  private stopped = false
  private running: Promise<void> = Promise.resolve()

  constructor(shard: Shard<CommitItem>, clock: Clock, quietMs: number, failed: (error: LitetopicError) => void) {
    this.shard = shard
    this.clock = clock
    this.quietMs = quietMs
    this.failed = failed
  }

  /** Something was committed. */
  touch(): void {
    this.lastCommitMs = this.clock.monotonicMs()
    this.done = false
    this.arm(this.quietMs)
  }

  /** Resolves when it does nothing more. */
  async stop(): Promise<void> {
    this.stopped = true
    this.armed?.()
    await this.shard.stopClearing()
    await this.running
  }

  private arm(ms: number): void {
    if (this.armed !== null || this.stopped) return
    this.armed = this.clock.after(ms, () => {
      this.armed = null
      this.look()
    })
  }

  private look(): void {
    if (this.done || this.stopped) return
    const left = this.lastCommitMs + this.quietMs - this.clock.monotonicMs()
    if (left > 0) {
      this.arm(left)
      return
    }
    this.done = true
    const before = this.running
    this.running = before.then(() => this.shard.quiesce()).catch((error: LitetopicError) => this.failed(error))
  }
}
