/** The only place of the client that knows the time, chance and the event loop; tests put their own in its place. */

export interface Clock {
  /** Milliseconds that never go back: for durations, not for dates. */
  nowMs(): number
  /** Runs once after `ms` milliseconds; the result is for `clearTimeout`. */
  setTimeout(run: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
  /** 0 up to, not including, 1. */
  random(): number
  /** Runs once after what the event loop has at hand: when what is written in one go should travel together. */
  soon(run: () => void): void
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  random: () => Math.random(),
  soon: chooseSoon(),
}

/** Of a browser's MessageChannel, what is used. */
interface BrowserChannel {
  readonly port1: { onmessage: () => void }
  readonly port2: { postMessage(message: null): void }
}

/** Timers of browsers are held back to some milliseconds; a message to oneself is not. */
function chooseSoon(): (run: () => void) => void {
  if (typeof setImmediate === 'function') return (run) => void setImmediate(run)
  if (typeof MessageChannel !== 'function') return (run) => void setTimeout(run, 0)
  const channel = new MessageChannel() as unknown as BrowserChannel
  const waiting: (() => void)[] = []
  channel.port1.onmessage = () => waiting.shift()?.()
  return (run) => {
    waiting.push(run)
    channel.port2.postMessage(null)
  }
}
