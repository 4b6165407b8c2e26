/** Refusals for the time being: which they are, and when the same is asked again. */

import { type ErrorCode, LIMITS, type LitetopicError } from '../protocol/index.ts'

/** The broker or its store is between two lives, or more comes in than it lets in. */
const PASSING: readonly ErrorCode[] = ['STORE_UNAVAILABLE', 'SHUTTING_DOWN', 'RATE_LIMITED']

/** Of the wait that the broker names, added by chance, so that those refused together do not come back together. */
const JITTER = 0.1

/** Will the broker take it, unchanged, later? */
export function isPassing(error: LitetopicError): boolean {
  return PASSING.includes(error.code)
}

/** Milliseconds until it is asked again: what the broker says and a little more, else `clientRetryMs`. */
export function retryDelayMs(error: LitetopicError, random: number): number {
  const { retryAfterMs } = error.details
  if (typeof retryAfterMs !== 'number' || !(retryAfterMs >= 0)) return LIMITS.clientRetryMs
  return Math.ceil(Math.min(retryAfterMs, LIMITS.retryAfterMaxMs) * (1 + JITTER * random))
}
