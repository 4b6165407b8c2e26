/**
 * Bodies of requests that are taken into memory: each is bounded, all of them together are, and one that does not come on is given
 * up. Content of large messages does not come this way.
 */

import type { IncomingMessage } from 'node:http'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import { StatusError } from './problem.ts'

/** Of one exchange: what of it is held until its response has ended. */
export interface Held {
  bodyBytes: number
}

/** A body under way. To be told of each piece, and of its end. */
export interface Watched {
  moved: boolean
  /** Nothing is expected of it: it is not being read. */
  asleep: boolean
  /** When it must be whole, by the monotonic clock; Infinity for one that is not taken into memory. */
  readonly dueMs: number
  readonly given: (error: LitetopicError) => void
}

export class Bodies {
  private readonly clock: Clock
  private bytes = 0
  private readonly coming = new Set<Watched>()
  private looks = false

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Calls back with the whole body, once, or with LIMIT_EXCEEDED, RATE_LIMITED or BAD_REQUEST. */
  read(
    request: IncomingMessage,
    held: Held,
    limit: number,
    done: (error: LitetopicError | null, body?: Buffer) => void,
  ): void {
    const told = Number(request.headers['content-length'] ?? 0)
    if (told > limit) {
      done(tooLarge(told, limit))
      return
    }
    const pieces: Buffer[] = []
    let size = 0
    const finish = (error: LitetopicError | null): void => {
      this.coming.delete(watched)
      request.off('data', take).off('end', end).off('error', cut).off('close', cut)
      if (error !== null) done(error)
      else done(null, pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, size))
    }
    const take = (piece: Buffer): void => {
      size += piece.length
      watched.moved = true
      if (size > limit) finish(tooLarge(size, limit))
      else if (this.bytes + piece.length > LIMITS.httpBodiesBytes) finish(tooMuch(this.bytes + piece.length))
      else {
        this.bytes += piece.length
        held.bodyBytes += piece.length
        pieces.push(piece)
      }
    }
    const end = (): void => finish(null)
    const cut = (): void => finish(cutOff())
    // One that drips holds its share of what all may have.
    const watched = this.watch(finish, LIMITS.httpBodyMs)
    request.on('data', take).on('end', end).on('error', cut).on('close', cut)
  }

  /** So much of a body will be in memory. Throws RATE_LIMITED. */
  hold(held: Held, bytes: number): void {
    const more = bytes - held.bodyBytes
    if (this.bytes + more > LIMITS.httpBodiesBytes) throw tooMuch(this.bytes + more)
    this.bytes += more
    held.bodyBytes = bytes
  }

  /** The response has ended: nothing of the body is held any more. */
  release(held: Held): void {
    this.bytes -= held.bodyBytes
    held.bodyBytes = 0
  }

  /** `given` is called if the body does not move for `httpBodyIdleMs`, or is not whole within `forMs`, or a little longer. */
  watch(given: (error: LitetopicError) => void, forMs = Number.POSITIVE_INFINITY): Watched {
    const watched = { moved: true, asleep: false, dueMs: this.clock.monotonicMs() + forMs, given }
    this.coming.add(watched)
    this.lookLater()
    return watched
  }

  unwatch(watched: Watched): void {
    this.coming.delete(watched)
  }

  /** One timer for all: one that has not moved between two looks has not moved for long enough. */
  private lookLater(): void {
    if (this.looks) return
    this.looks = true
    this.clock.after(LIMITS.httpBodyIdleMs, () => {
      this.looks = false
      const nowMs = this.clock.monotonicMs()
      for (const watched of [...this.coming]) {
        const isLate = nowMs >= watched.dueMs
        if (!isLate && (watched.moved || watched.asleep)) watched.moved = false
        else {
          this.coming.delete(watched)
          watched.given(isLate ? late() : idle())
        }
      }
      if (this.coming.size > 0) this.lookLater()
    })
  }
}

export function cutOff(): LitetopicError {
  return new LitetopicError('BAD_REQUEST', 'the body was cut off: nothing of it was stored')
}

function tooLarge(value: number, bound: number): LitetopicError {
  const details = { limit: 'httpBodyBytes', value, bound }
  return new LitetopicError('LIMIT_EXCEEDED', `a body of ${value} bytes, at most ${bound}: send several`, details)
}

function tooMuch(value: number): LitetopicError {
  const details = { limit: 'httpBodiesBytes', value, bound: LIMITS.httpBodiesBytes, retryAfterMs: 1000 }
  return new LitetopicError('RATE_LIMITED', 'too many bodies of requests are under way: come back in a moment', details)
}

function idle(): LitetopicError {
  const details = { limit: 'httpBodyIdleMs', bound: LIMITS.httpBodyIdleMs }
  return new StatusError(408, 'LIMIT_EXCEEDED', `the body did not come on for ${LIMITS.httpBodyIdleMs} ms`, details)
}

function late(): LitetopicError {
  const details = { limit: 'httpBodyMs', bound: LIMITS.httpBodyMs }
  return new StatusError(408, 'LIMIT_EXCEEDED', `the body was not whole within ${LIMITS.httpBodyMs} ms`, details)
}
