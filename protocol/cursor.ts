/**
 * A cursor says where to read on: after a record of one incarnation of a topic, in one store incarnation.
 * Its text is opaque to users, 40 lower-case hex digits, and sorts like the offsets within an epoch.
 * See PROTOCOL.md, Cursors.
 */

import { LitetopicError } from './errors.ts'

export interface Cursor {
  /** Identity of the data directory's history, 12 hex digits. */
  readonly incarnation: string
  readonly epoch: number
  /** The offset to read next: one beyond the record that the cursor stands after. */
  readonly next: number
}

const CURSOR = /^[0-9a-f]{40}$/

export function formatCursor(cursor: Cursor): string {
  return cursor.incarnation + hex14(cursor.epoch) + hex14(cursor.next)
}

/** Throws BAD_CURSOR for anything that formatCursor did not write. */
export function parseCursor(text: string): Cursor {
  if (!CURSOR.test(text)) throw new LitetopicError('BAD_CURSOR', 'the text given is not a cursor')
  const epoch = Number.parseInt(text.slice(12, 26), 16)
  const next = Number.parseInt(text.slice(26), 16)
  if (!Number.isSafeInteger(epoch) || !Number.isSafeInteger(next)) {
    throw new LitetopicError('BAD_CURSOR', 'the text given is not a cursor')
  }
  return { incarnation: text.slice(0, 12), epoch, next }
}

const ZEROS = Array.from({ length: 15 }, (_, digits) => '0'.repeat(14 - digits))

function hex14(value: number): string {
  const digits = value.toString(16)
  return (ZEROS[digits.length] as string) + digits
}
