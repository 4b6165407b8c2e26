/** The only place that knows the time. Durations run on monotonic time; wall time is for what is stored and shown. */

export interface Clock {
  /** Milliseconds since 1970. */
  wallMs(): number
  /** Whole milliseconds that only ever grow, from an arbitrary start. */
  monotonicMs(): number
  /** Calls back once after so many milliseconds; the result cancels it. Does not keep the process alive. */
  after(ms: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  // V8 keeps small whole numbers inside the objects that have them, and all others in 16 bytes of their own.
  monotonicMs: () => Math.floor(performance.now()),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(ms, 0x7fff_ffff))
    timer.unref()
    return () => clearTimeout(timer)
  },
}
