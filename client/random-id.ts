/** Ids that nobody else has: of producers, and of uploads. */

const BYTES = 16
/** Asking the system for a few bytes costs much more than for many: a client may open thousands of sessions at once. */
const IDS_AT_ONCE = 256

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const pool = new Uint8Array(BYTES * IDS_AT_ONCE)
let taken = pool.length

/** 128 random bits in hex. */
export function randomId(): string {
  if (taken === pool.length) {
    crypto.getRandomValues(pool)
    taken = 0
  }
  let id = ''
  for (const end = taken + BYTES; taken < end; taken++) id += HEX[pool[taken] as number]
  return id
}
