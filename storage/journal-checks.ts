/** What every journal checks before it stores anything, so that all implementations refuse the same, in the same words. */

import { LIMITS, LitetopicError } from '../protocol/index.ts'

/** Throws NOT_OWNER if `first` is not `expected`, and LIMIT_EXCEEDED for an entry beyond LIMITS.journalEntryBytes. */
export function checkAppend(expected: number, first: number, entries: readonly Uint8Array[]): void {
  if (first !== expected) {
    throw new LitetopicError('NOT_OWNER', `commit ${first} was to be written, but ${expected} must be next`, {
      first,
      expected,
    })
  }
  for (const { length } of entries) {
    if (length <= LIMITS.journalEntryBytes) continue
    throw new LitetopicError('LIMIT_EXCEEDED', `a journal entry of ${length} bytes`, {
      limit: 'journalEntryBytes',
      value: length,
      bound: LIMITS.journalEntryBytes,
    })
  }
}

/** Throws NOT_OWNER unless a journal with this floor and last number has no entries, and `number` lies beyond it. */
export function checkSkip(floor: number, last: number, number: number): void {
  if (floor === last && number >= last) return
  throw new LitetopicError('NOT_OWNER', `the journal cannot go on behind ${number}: it has ${floor} to ${last}`, {
    floor,
    last,
  })
}
