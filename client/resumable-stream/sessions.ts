/**
 * Sessions that are used again: a topic knows a bounded number of writers, and each session is one, so whoever writes to it now and
 * then keeps its session for a while.
 */

import { type Broker, type Clock, isLitetopicError, type Session, type SessionOptions } from '../index.ts'

/** A session that nobody has used for this long is closed, so that its topic may go. */
const IDLE_MS = 600_000

/** So many are kept open while nobody uses them; beyond it those go first that were used longest ago. */
const MOST_IDLE = 1_000

interface Kept {
  readonly name: string
  readonly opening: Promise<Session>
  users: number
  usedMs: number
}

/** A session in use, until `done` is called. */
export interface Borrowed {
  readonly session: Session
  done(): void
}

export class Sessions {
  private readonly broker: Broker
  private readonly clock: Clock
  /** Those used longest ago first. */
  private readonly kept = new Map<string, Kept>()
  private timer: unknown = null

  constructor(broker: Broker, clock: Clock) {
    this.broker = broker
    this.clock = clock
  }

  /** Rejects with what opening rejects with. The options count if it is opened now. */
  async borrow(name: string, options: SessionOptions<unknown>): Promise<Borrowed> {
    const kept = this.kept.get(name) ?? this.open(name, options)
    kept.users++
    try {
      const session = await kept.opening
      return { session, done: () => this.done(kept) }
    } catch (error) {
      this.close(kept)
      throw error
    }
  }

  /** Runs `fn` with the session; once more with a new one if the topic has come to its end. */
  async use<R>(name: string, options: SessionOptions<unknown>, fn: (session: Session) => Promise<R>): Promise<R> {
    for (let isFirst = true; ; isFirst = false) {
      const { session, done } = await this.borrow(name, options)
      try {
        return await fn(session)
      } catch (error) {
        if (!isOver(error)) throw error
        this.drop(session)
        if (!isFirst) throw error
      } finally {
        done()
      }
    }
  }

  /** Whoever asks next gets another one. */
  drop(session: Session): void {
    const kept = this.kept.get(session.name)
    if (kept !== undefined) this.close(kept)
  }

  private open(name: string, options: SessionOptions<unknown>): Kept {
    const opening = this.broker.session(name, options) as Promise<Session>
    const kept: Kept = { name, opening, users: 0, usedMs: 0 }
    this.kept.set(name, kept)
    return kept
  }

  private done(kept: Kept): void {
    kept.users--
    kept.usedMs = this.clock.nowMs()
    if (this.kept.get(kept.name) !== kept) return
    this.kept.delete(kept.name)
    this.kept.set(kept.name, kept)
    this.closeIdle()
  }

  private closeIdle(): void {
    const now = this.clock.nowMs()
    for (const kept of this.kept.values()) {
      if (kept.users > 0) continue
      const left = kept.usedMs + IDLE_MS - now
      if (left > 0 && this.kept.size <= MOST_IDLE) {
        this.wait(left)
        break
      }
      this.close(kept)
    }
  }

  private wait(ms: number): void {
    if (this.timer !== null) return
    this.timer = this.clock.setTimeout(() => {
      this.timer = null
      this.closeIdle()
    }, ms)
    // A process that has nothing else to do ends.
    ;(this.timer as { unref?(): void }).unref?.()
  }

  private close(kept: Kept): void {
    if (this.kept.get(kept.name) === kept) this.kept.delete(kept.name)
    // What it wrote was acknowledged or refused to those who asked.
    kept.opening.then((session) => session.close()).catch(() => {})
  }
}

/** Is that topic gone, so that there may be another one of its name? */
export function isOver(error: unknown): boolean {
  return isLitetopicError(error, 'GONE', 'RECREATED')
}
