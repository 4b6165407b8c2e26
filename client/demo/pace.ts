/**
 * The demo's time: a reply is spread over a few seconds whatever its length, so that there is something to see, and to
 * interrupt; and what the broker does in its own time is waited for.
 */

import { setTimeout as delay } from 'node:timers/promises'

/** A whole reply takes about this long, and pauses this often at most. */
const REPLY_MS = 6_000
const PAUSES = 240
/** A pause is no longer than this, however short the reply. */
const PAUSE_MAX_MS = 200

/** Between two looks at something that tells nobody when it is done. */
const LOOK_MS = 100

/** Looks until `done` gives a value or the time is up; then undefined. */
export async function lookFor<T>(maxMs: number, done: () => Promise<T | undefined>): Promise<T | undefined> {
  const until = performance.now() + maxMs
  for (;;) {
    const found = await done()
    if (found !== undefined || performance.now() > until) return found
    await delay(LOOK_MS)
  }
}

/** Call `next` after each token: it waits now and then, and says so. */
export class Pace {
  readonly #tokensPerPause: number
  readonly #pauseMs: number
  #tokens = 0

  /** `tokens`: how many the whole reply has. */
  constructor(tokens: number) {
    this.#tokensPerPause = Math.max(1, Math.ceil(tokens / PAUSES))
    const pauses = Math.max(1, Math.ceil(tokens / this.#tokensPerPause))
    this.#pauseMs = Math.min(PAUSE_MAX_MS, REPLY_MS / pauses)
  }

  async next(): Promise<boolean> {
    if (++this.#tokens % this.#tokensPerPause !== 0) return false
    await delay(this.#pauseMs)
    return true
  }
}
