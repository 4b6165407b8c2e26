/**
 * After a failed write: looks, at growing intervals, whether the store could be written again, and then has it closed, opened
 * anew and replayed. Until then what is committed is read from the store as it is. LevelDB leaves no other way: after a failed
 * write its open handle loses writes that it acknowledges.
 */

import { asLitetopicError, LIMITS } from '../protocol/index.ts'
import type { Clock } from './clock.ts'

/** A core, as far as it matters here. */
export interface Recoverable {
  /** Where its store is, for people. */
  readonly location: string
  /** Rejects as long as the store, opened anew, could not be written. */
  probe(): Promise<void>
  close(): Promise<void>
}

export interface RecoveryOptions<C extends Recoverable> {
  readonly clock: Clock
  readonly log: (line: string) => void
  /** Opens the store and a core on it. */
  readonly open: () => Promise<C>
  /** Makes the core that of the clients; null takes theirs from them, for it is to be closed. */
  readonly use: (core: C | null) => void
}

export class Recovery<C extends Recoverable> {
  private readonly options: RecoveryOptions<C>
  /** The core that cannot write any more. */
  private broken: C | null = null
  private isClosed = false
  private failedMs = 0
  private recoveredMs = Number.NEGATIVE_INFINITY
  private waitMs: number = LIMITS.storeRetryMinMs
  private lastSaid = ''
  private cancel: (() => void) | null = null
  private looking: Promise<void> | null = null
  private stopped = false

  constructor(options: RecoveryOptions<C>) {
    this.options = options
  }

  /** The core can write nothing any more: replaces it by a new one as soon as the store can be written. */
  begin(core: C): void {
    if (this.stopped) return
    const nowMs = this.options.clock.monotonicMs()
    this.broken = core
    this.isClosed = false
    this.failedMs = nowMs
    this.lastSaid = ''
    // A store that fails as soon as it is back must not be opened at the shortest interval for ever.
    if (nowMs - this.recoveredMs >= LIMITS.storeHealthyMs) this.waitMs = LIMITS.storeRetryMinMs
    this.lookLater()
  }

  /** Resolves when nothing is opened or closed any more. */
  async stop(): Promise<void> {
    this.stopped = true
    this.cancel?.()
    await this.looking
  }

  private lookLater(): void {
    if (this.stopped) return
    this.cancel = this.options.clock.after(this.waitMs, () => {
      this.looking = this.look()
    })
    this.waitMs = Math.min(this.waitMs * 2, LIMITS.storeRetryMaxMs)
  }

  private async look(): Promise<void> {
    const { broken } = this
    if (broken === null) return
    try {
      await broken.probe()
      if (this.stopped) return
      await this.close(broken)
      if (this.stopped) return
      const core = await this.options.open()
      this.enter(core)
    } catch (error) {
      this.say(`the store cannot be written yet: ${asLitetopicError(error).code}: ${asLitetopicError(error).message}`)
      this.lookLater()
    }
  }

  private async close(core: C): Promise<void> {
    if (this.isClosed) return
    this.options.use(null)
    this.isClosed = true
    // Its files are what the next one opens; that they were not closed cleanly is what replay is for.
    await core.close().catch((error: unknown) => this.say(asLitetopicError(error).message))
  }

  private enter(core: C): void {
    const { clock, log, use } = this.options
    const nowMs = clock.monotonicMs()
    this.broken = null
    this.recoveredMs = nowMs
    use(core)
    log(`the store in ${core.location} is written again, after ${Math.ceil((nowMs - this.failedMs) / 1000)} s`)
  }

  /** The same thing once. */
  private say(line: string): void {
    if (line === this.lastSaid) return
    this.lastSaid = line
    this.options.log(line)
  }
}
