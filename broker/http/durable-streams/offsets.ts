/**
 * Offsets of the Durable Streams protocol as text: the record offset to read next and the epoch of the topic, 16 decimal digits
 * each, so that they sort as they follow each other and one of a topic that was made anew is known for what it is.
 */

import { LitetopicError } from '../../../protocol/index.ts'

/** A position in a Durable Streams stream. */
export interface Position {
  /** The record offset to read next. */
  readonly next: number
  /** The incarnation that the position was given by; 0 with `next` 0 is the beginning of any. */
  readonly epoch: number
}

/** Sentinels of the protocol: the beginning, and the end as of now. */
export const FROM_START = '-1'
export const FROM_NOW = 'now'

const OFFSET = /^\d{16}_\d{16}$/

export function formatOffset(next: number, epoch: number): string {
  return `${digits(next)}_${digits(epoch)}`
}

/** Throws BAD_CURSOR for anything that `formatOffset` did not write, the sentinels too. */
export function parseOffset(text: string): Position {
  const next = Number(text.slice(0, 16))
  const epoch = Number(text.slice(17))
  if (OFFSET.test(text) && Number.isSafeInteger(next) && Number.isSafeInteger(epoch)) return { next, epoch }
  throw new LitetopicError(
    'BAD_CURSOR',
    `${JSON.stringify(text.slice(0, 80))} is not an offset: use -1, now, or a Stream-Next-Offset as it was received`,
  )
}

function digits(value: number): string {
  return String(value).padStart(16, '0')
}
