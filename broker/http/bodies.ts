/**
 * Bodies of requests that are taken into memory: each is bounded, all of them together are, and one that does not come on is given
 * up. Content of large messages does not come this way.
 */

import type { IncomingMessage } from 'node:http'
import { asLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import type { DirectRequest } from './direct-request.ts'
import { type Placed, Present } from './present.ts'
import { StatusError } from './problem.ts'

/** Of one exchange: what of it is held until its response has ended. */
export interface Held {
  bodyBytes: number
}

/** A body under way. To be told of each piece, and of its end. */
export interface Watched extends Placed {
  moved: boolean
  /** Nothing is expected of it: it is not being read. */
  asleep: boolean
  /** When it must be whole, by the monotonic clock; Infinity for one that is not taken into memory. */
  readonly dueMs: number
  given(error: LitetopicError): void
}

/** Told what became of a body. */
type Done = (error: LitetopicError | null, body?: Buffer) => void

export class Bodies {
  private readonly clock: Clock
  private bytes = 0
  private readonly coming = new Present<Watched>()
  private looks = false

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Calls back with the whole body, once, or with LIMIT_EXCEEDED, RATE_LIMITED or BAD_REQUEST. */
  read(request: IncomingMessage, held: Held, limit: number, done: Done): void {
    const body = this.begin(request, held, limit, done)
    if (body === null) return
    request
      .on('data', (piece: Buffer) => body.take(piece))
      .on('end', () => body.take(null))
      .on('error', () => body.cut())
      .on('close', () => body.cut())
  }

  /** The same for a request that has just come, so that its body can be taken past the stream that it is. */
  readDirect(request: DirectRequest, held: Held, limit: number, done: Done): void {
    const body = this.begin(request, held, limit, done)
    if (body === null) return
    request.takeBody(body)
  }

  private begin({ headers }: IncomingMessage, held: Held, limit: number, done: Done): Body | null {
    const told = Number(headers['content-length'] ?? 0)
    if (told > limit) {
      done(tooLarge(told, limit))
      return null
    }
    // One that drips holds its share of what all may have.
    const dueMs = this.clock.monotonicMs() + LIMITS.httpBodyMs
    const body = new Body(this, held, limit, dueMs, done)
    this.coming.add(body)
    this.lookLater()
    return body
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
    const watched = { place: -1, moved: true, asleep: false, dueMs: this.clock.monotonicMs() + forMs, given }
    this.coming.add(watched)
    this.lookLater()
    return watched
  }

  unwatch(watched: Watched): void {
    this.coming.remove(watched)
  }

  /** One timer for all: one that has not moved between two looks has not moved for long enough. */
  private lookLater(): void {
    if (this.looks) return
    this.looks = true
    this.clock.after(LIMITS.httpBodyIdleMs, () => {
      this.looks = false
      const nowMs = this.clock.monotonicMs()
      for (const watched of this.coming.all()) {
        const isLate = nowMs >= watched.dueMs
        if (!isLate && (watched.moved || watched.asleep)) watched.moved = false
        else {
          this.coming.remove(watched)
          watched.given(isLate ? late() : idle())
        }
      }
      if (this.coming.size > 0) this.lookLater()
    })
  }
}

/** A body that is taken into memory as it comes. */
class Body implements Watched {
  place = -1
  moved = true
  asleep = false
  readonly dueMs: number
  private readonly bodies: Bodies
  private readonly held: Held
  private readonly limit: number
  /** Null once it is told what became of the body. */
  private done: Done | null
  private readonly pieces: Buffer[] = []
  private size = 0

  constructor(bodies: Bodies, held: Held, limit: number, dueMs: number, done: Done) {
    this.bodies = bodies
    this.held = held
    this.limit = limit
    this.dueMs = dueMs
    this.done = done
  }

  /** The next piece, or null behind the last one. What comes of one that was given up is let go. */
  take(piece: Buffer | null): void {
    if (this.done === null) return
    if (piece === null) {
      this.finish(null)
      return
    }
    this.moved = true
    this.size += piece.length
    try {
      if (this.size > this.limit) throw tooLarge(this.size, this.limit)
      this.bodies.hold(this.held, this.held.bodyBytes + piece.length)
      this.pieces.push(piece)
    } catch (error) {
      this.finish(asLitetopicError(error))
    }
  }

  /** Nothing more of it comes. */
  cut(): void {
    if (this.done !== null) this.finish(cutOff())
  }

  given(error: LitetopicError): void {
    this.finish(error)
  }

  private finish(error: LitetopicError | null): void {
    const { done, pieces, size } = this
    this.done = null
    this.bodies.unwatch(this)
    if (error !== null) done?.(error)
    else done?.(null, pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, size))
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
