/**
 * The cursors of live reads of Durable Streams streams: they change with time, so that a cache which answers for many readers with
 * one request upstream never answers with the same empty response for ever. See section 10.1 of that protocol.
 */

/** 2024-10-09T00:00:00Z: intervals are counted from there. */
const EPOCH_MS = Date.UTC(2024, 9, 9)
const INTERVAL_MS = 20_000
/** What a cursor is ahead of one that is not behind the present interval. */
const JITTER_MS = 3_600_000

/** As many digits can be added to and compared without loss. */
const CURSOR = /^\d{1,15}$/

/**
 * The cursor of a response: the number of the present interval, and always greater than the one that the reader sent. What is not
 * such a number is as good as none. `random` is from 0 to below 1.
 */
export function nextCursor(sent: string | undefined, wallMs: number, random: () => number = Math.random): string {
  const present = Math.floor((wallMs - EPOCH_MS) / INTERVAL_MS)
  const known = sent !== undefined && CURSOR.test(sent) ? Number(sent) : -1
  if (known < present) return String(present)
  return String(known + Math.max(1, Math.ceil((random() * JITTER_MS) / INTERVAL_MS)))
}
