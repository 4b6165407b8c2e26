/** Keys of the table sort as what they are made of, and give it back. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Fifo } from '../../storage/fifo.ts'
import {
  byteOrder,
  checkpointKey,
  chunkKey,
  chunkRange,
  contextAfter,
  contextKey,
  contextVersions,
  epochRange,
  headKey,
  headRange,
  nameOfHeadKey,
  numberInKey,
  parseContextKey,
  timerKey,
  timersWithin,
} from '../../storage/keys.ts'
import { SplitMap } from '../../storage/split-map.ts'
import { INDEX, type TableRange } from '../../storage/store.ts'
import { uint53 } from '../protocol/arbitraries.ts'

const number = fc.oneof(
  uint53,
  fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 48, Number.MAX_SAFE_INTEGER - 1),
)
const text = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
  fc.string({ unit: fc.constantFrom('a', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'), maxLength: 4 }),
)
const sign = (value: number): number => Math.sign(value)
const isIn = ({ gte, lt }: TableRange, key: Uint8Array): boolean =>
  Buffer.compare(gte, key) <= 0 && Buffer.compare(key, lt) < 0

describe('keys', () => {
  test('numbers up to 2^53-1 sort by their bytes and come back', () => {
    fc.assert(
      fc.property(number, number, number, number, (a, b, c, d) => {
        const expected = sign(a - c) || sign(b - d)
        expect(sign(Buffer.compare(chunkKey(a, b), chunkKey(c, d)))).toBe(expected)
        const key = timerKey(a, b)
        expect([numberInKey(key, 0), numberInKey(key, 1), key.length]).toEqual([a, b, 15])
      }),
      { numRuns: 2_000 },
    )
  })

  test('texts sort as their UTF-8 bytes do', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(sign(byteOrder(a, b))).toBe(sign(Buffer.compare(Buffer.from(a), Buffer.from(b))))
        expect(nameOfHeadKey(headKey(a))).toBe(a)
      }),
      { numRuns: 5_000 },
    )
  })

  test('a range of heads has the names after one that begin with a prefix', () => {
    fc.assert(
      fc.property(text, text, text, (name, prefix, after) => {
        const expected = name !== '' && name.startsWith(prefix) && byteOrder(name, after) > 0
        expect(isIn(headRange(prefix, after), headKey(name))).toBe(expected)
      }),
      { numRuns: 2_000 },
    )
    expect(isIn(headRange('b', 'a'), headKey('aa'))).toBe(false)
    expect(isIn(headRange('b', 'b'), headKey('b'))).toBe(false)
  })

  test('context versions of one name lie together, in order, beside names that begin with it', () => {
    const name = fc.string({ unit: fc.constantFrom('a', 'b', 'é', ' '), minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(name, name, number, number, number, (a, b, x, y, epoch) => {
        expect(sign(Buffer.compare(contextKey(epoch, a, x), contextKey(epoch, b, y)))).toBe(
          sign(byteOrder(a, b)) || sign(x - y),
        )
        expect(isIn(contextVersions(epoch, a, x), contextKey(epoch, b, y))).toBe(a === b && y < x)
        expect(isIn(contextAfter(epoch, a), contextKey(epoch, b, y))).toBe(byteOrder(b, a) > 0)
        expect(parseContextKey(contextKey(epoch, a, x))).toEqual({ name: a, offset: x })
        expect(isIn(epochRange(INDEX.context, epoch), contextKey(epoch, b, y))).toBe(true)
      }),
      { examples: [['é', 'é', 127, Number.MAX_SAFE_INTEGER, 0]] },
    )
  })

  test('ranges end where they say, beyond 2^32 too', () => {
    const big = 2 ** 40
    expect(isIn(chunkRange(big, 10, 20), chunkKey(big, 19))).toBe(true)
    expect(isIn(chunkRange(big, 10, 20), chunkKey(big, 20))).toBe(false)
    expect(isIn(chunkRange(big, 10), chunkKey(big + 1, 0))).toBe(false)
    expect(isIn(epochRange(INDEX.checkpoint, big), checkpointKey(big + 1, 0))).toBe(false)
    const within = timersWithin({ dueMs: 5, epoch: 7 }, big)
    expect(isIn(within, timerKey(big, Number.MAX_SAFE_INTEGER))).toBe(true)
    expect(isIn(within, timerKey(big + 1, 0))).toBe(false)
    expect(isIn(within, timerKey(5, 8))).toBe(true)
    expect(isIn(within, timerKey(5, 7))).toBe(false)
  })
})

test('a queue gives its items back in order, and says how many came and went', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -6_000, max: 9_000 }), { maxLength: 8 }), (moves) => {
      const queue = new Fifo<number>()
      let [added, taken] = [0, 0]
      for (const move of moves) {
        for (let i = 0; i < move; i++) queue.push(added++)
        for (let i = 0; i < -move; i++) {
          expect(queue.peek()).toBe(taken < added ? taken : undefined)
          expect(queue.shift()).toBe(taken < added ? taken++ : undefined)
        }
        expect([queue.length, queue.added, queue.taken]).toEqual([added - taken, added, taken])
      }
    }),
    { numRuns: 30 },
  )
})

test('a map in pieces holds what a map holds', () => {
  const name = fc.constantFrom('', 'a', 'ab', 'agents/1', 'agents/2', 'agents/12', '\u{1f600}')
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.boolean())), (steps) => {
      const [pieces, map] = [new SplitMap<number>(), new Map<string, number>()]
      for (const [i, [key, put]] of steps.entries()) {
        if (put) pieces.set(key, i)
        else pieces.delete(key)
        if (put) map.set(key, i)
        else map.delete(key)
        expect(pieces.get(key)).toBe(map.get(key))
      }
      expect([...pieces.values()].sort()).toEqual([...map.values()].sort())
    }),
  )
})
