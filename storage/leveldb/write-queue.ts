/**
 * Writes of one LevelDB directory run one after the other, in the order of their calls: LevelDB takes them from several
 * threads, and would take two at once in any order. After one has failed, none runs any more, in either directory:
 * LevelDB's open handle loses later writes that it acknowledges.
 */

import { LitetopicError } from '../../protocol/index.ts'

/** What the two directories of a store share: may anything be written still? */
export class WriteState {
  #failed = false
  #cause: unknown
  #closed = false

  /** Throws STORE_UNAVAILABLE when nothing may be written any more. */
  check(): void {
    if (this.#failed) {
      const message = 'an earlier write failed; the store must be opened anew before it is written again'
      throw new LitetopicError('STORE_UNAVAILABLE', message, {}, this.#cause)
    }
    this.checkOpen()
  }

  /** Throws STORE_UNAVAILABLE when the store is closed. */
  checkOpen(): void {
    if (this.#closed) throw new LitetopicError('STORE_UNAVAILABLE', 'the store is closed')
  }

  /** Runs a write of LevelDB. Its failure is the end of writing. */
  async attempt(write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (error) {
      this.#failed = true
      this.#cause = error
      const reason = error instanceof Error ? error.message : String(error)
      throw new LitetopicError('STORE_UNAVAILABLE', `the store cannot write: ${reason}`, {}, error)
    }
  }

  /** Calls from now on are refused; those made before it still run. */
  close(): void {
    this.#closed = true
  }

  get failed(): boolean {
    return this.#failed
  }
}

export class WriteQueue {
  readonly #state: WriteState
  /** Settles with what was called for last; null when nothing is under way. */
  #tail: Promise<unknown> | null = null

  constructor(state: WriteState) {
    this.#state = state
  }

  /**
   * Runs `work` after all work before it, at once if there is none. Rejects with STORE_UNAVAILABLE if the store is closed or a write has
   * failed.
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    this.#state.check()
    const result =
      this.#tail === null
        ? work()
        : this.#tail.then(() => {
            if (this.#state.failed) this.#state.check()
            return work()
          })
    const over = (): void => {
      if (this.#tail === tail) this.#tail = null
    }
    // The caller has the rejection; the next in line needs only the order.
    const tail = result.then(over, over)
    this.#tail = tail
    return result
  }

  /** Resolves when the work called for so far is done. */
  async drained(): Promise<void> {
    await this.#tail
  }
}
