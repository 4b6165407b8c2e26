/** Ids that nobody else has: of producers, and of uploads. */

const BYTES = 16

/** 128 random bits in hex. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
