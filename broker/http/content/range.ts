/** Ranges of bytes that a request asks for. RFC 9110, 14. */

import type { Range } from './send.ts'

const ONE_RANGE = /^bytes=(\d{0,15})-(\d{0,15})$/

/**
 * The range of a content of so many bytes; null where all of it is to be sent: there is no header, it is of another unit, or asks for
 * several ranges at once. `unsatisfiable` if it lies beyond the end.
 */
export function rangeOf(header: string | undefined, size: number): Range | 'unsatisfiable' | null {
  const match = header === undefined ? null : ONE_RANGE.exec(header.trim())
  if (match === null) return null
  const [, first = '', last = ''] = match
  if (first === '' && last === '') return null
  if (first === '') {
    const from = Math.max(size - Number(last), 0)
    return last === '0' || size === 0 ? 'unsatisfiable' : { from, to: size }
  }
  const from = Number(first)
  const to = last === '' ? size : Math.min(Number(last) + 1, size)
  if (last !== '' && Number(last) < from) return null
  return from < size ? { from, to } : 'unsatisfiable'
}
