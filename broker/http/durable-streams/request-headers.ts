/** Headers of Durable Streams requests, checked. All of them throw BAD_REQUEST, naming the header. */

import { checkId, LitetopicError } from '../../../protocol/index.ts'

/** As node:http has them: names in lower case. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>

export interface ProducerHeaders {
  readonly id: string
  readonly epoch: number
  readonly sequence: number
}

/** How long a stream is kept: for so long after the last read or write, or up to a time. */
export interface Expiry {
  readonly ttlMs?: number
  readonly expiresAtMs?: number
}

export interface ForkHeaders {
  /** Path of the source's URL. */
  readonly from: string
  /** Null for the source's end. */
  readonly offset: string | null
  readonly subOffset: number
}

/** The longest TTL: so that what is due then is a whole number, too. 140,000 years. */
const TTL_MAX_SECONDS = 2 ** 52 / 1000
const COUNT = /^(?:0|[1-9]\d*)$/
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})$/

export function header(headers: Headers, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** True only for `true`, in any case. */
export function closedHeader(headers: Headers): boolean {
  return header(headers, 'stream-closed')?.trim().toLowerCase() === 'true'
}

export function expiryHeaders(headers: Headers): Expiry {
  const ttl = header(headers, 'stream-ttl')
  const expiresAt = header(headers, 'stream-expires-at')
  if (ttl !== undefined && expiresAt !== undefined) {
    throw bad('a stream has Stream-TTL or Stream-Expires-At, not both')
  }
  if (ttl !== undefined) return { ttlMs: ttlMs(ttl) }
  return expiresAt === undefined ? {} : { expiresAtMs: timeMs(expiresAt) }
}

function ttlMs(text: string): number {
  const seconds = Number(text)
  // With 0 it is over at once: as soon as time goes on.
  if (COUNT.test(text) && seconds <= TTL_MAX_SECONDS) return Math.max(seconds * 1000, 1)
  throw bad('Stream-TTL must be a whole number of seconds, in decimal digits without leading zeros')
}

function timeMs(text: string): number {
  const ms = RFC_3339.test(text) ? Date.parse(text.replace(' ', 'T').toUpperCase()) : Number.NaN
  if (Number.isFinite(ms) && ms >= 0) return ms
  throw bad('Stream-Expires-At must be an RFC 3339 time, such as 2026-01-31T12:00:00Z')
}

/** The three producer headers, or null if there is none of them. */
export function producerHeaders(headers: Headers): ProducerHeaders | null {
  const id = header(headers, 'producer-id')
  const epoch = header(headers, 'producer-epoch')
  const sequence = header(headers, 'producer-seq')
  if (id === undefined && epoch === undefined && sequence === undefined) return null
  if (id === undefined || epoch === undefined || sequence === undefined) {
    throw bad('Producer-Id, Producer-Epoch and Producer-Seq belong together')
  }
  if (id === '') throw bad('Producer-Id must not be empty')
  return {
    id: checkId(id, 'Producer-Id'),
    epoch: wholeNumber(epoch, 'Producer-Epoch'),
    sequence: wholeNumber(sequence, 'Producer-Seq'),
  }
}

/** A number from 0 to 2^53 - 1 in decimal digits. */
function wholeNumber(text: string, name: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw bad(`${name} must be a whole number from 0 to 2^53 - 1`)
}

/** What to fork, or null for a stream that begins empty. */
export function forkHeaders(headers: Headers): ForkHeaders | null {
  const from = header(headers, 'stream-forked-from')
  const offset = header(headers, 'stream-fork-offset')
  const subOffset = header(headers, 'stream-fork-sub-offset')
  if (from === undefined) {
    if (offset === undefined && subOffset === undefined) return null
    throw bad('Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From')
  }
  if (subOffset !== undefined && !(COUNT.test(subOffset) && Number.isSafeInteger(Number(subOffset)))) {
    throw bad('Stream-Fork-Sub-Offset must be a whole number, in decimal digits without leading zeros')
  }
  return { from, offset: offset ?? null, subOffset: Number(subOffset ?? 0) }
}

function bad(what: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', what)
}
