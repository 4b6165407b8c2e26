/** Offsets are opaque to clients, and what the protocol asks of them holds for any position. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatOffset, parseOffset } from '../../../broker/http/durable-streams/offsets.ts'
import { LitetopicError } from '../../../protocol/index.ts'

const position = fc.record({ next: fc.maxSafeNat(), epoch: fc.maxSafeNat() })

test('an offset says again what it was written from', () => {
  fc.assert(
    fc.property(position, ({ next, epoch }) => {
      expect(parseOffset(formatOffset(next, epoch))).toEqual({ next, epoch })
    }),
  )
})

test('offsets sort as the positions of their stream do', () => {
  fc.assert(
    fc.property(position, position, (one, other) => {
      const epochs = one.next < other.next ? -1 : one.next > other.next ? 1 : 0
      fc.pre(epochs !== 0)
      expect(formatOffset(one.next, one.epoch) < formatOffset(other.next, other.epoch)).toBe(epochs < 0)
    }),
  )
})

test('an offset needs no escape in a URL, and is none of the sentinels', () => {
  const text = formatOffset(42, 12_288)
  expect(text).toBe('0000000000000042_0000000000012288')
  expect(encodeURIComponent(text)).toBe(text)
})

test('what is not an offset is refused', () => {
  const valid = formatOffset(1, 2)
  const others = ['', '-1', 'now', '0,1', '0 1', `${valid}\n`, ` ${valid}`, valid.slice(1), `${valid}0`]
  others.push('1_2', valid.replace('_', '-'), '9999999999999999_9999999999999999', `../${valid}`)
  for (const text of others) expect(() => parseOffset(text), text).toThrow(LitetopicError)
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      fc.pre(!/^\d{16}_\d{16}$/.test(text))
      expect(() => parseOffset(text)).toThrow('is not an offset')
    }),
  )
})
