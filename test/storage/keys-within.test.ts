/** Finding keys of many ranges: the same as looking at one after the other, with fewer looks. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { keysWithin } from '../../storage/leveldb/keys-within.ts'
import type { TableRange } from '../../storage/store.ts'

/** A sorted table of keys, and how often it was looked at. */
function table(keys: readonly Uint8Array[]) {
  const sorted = [...keys].sort(Buffer.compare)
  const counted = { looks: 0, keys: 0 }
  const look = async ({ gte, lt }: TableRange, limit: number) => {
    const found = sorted.filter((key) => Buffer.compare(gte, key) <= 0 && Buffer.compare(key, lt) < 0).slice(0, limit)
    counted.looks++
    counted.keys += found.length
    return found
  }
  return { look, counted, sorted }
}

const key = (index: number, number: number): Uint8Array => Uint8Array.of(index, number >> 8, number & 0xff)
const range = (index: number, from: number, to: number): TableRange => ({ gte: key(index, from), lt: key(index, to) })

test('finds what lies in any of the ranges, one after the other, up to the limit', async () => {
  const anyKey = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 300 }))
  const anyRange = fc.tuple(
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: 0, max: 300 }),
    fc.integer({ min: 1, max: 9 }),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(anyKey, { maxLength: 200, selector: ([a, b]) => a * 1000 + b }),
      fc.array(anyRange, { maxLength: 40 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 100 }),
      async (keys, parts, isSorted, limit) => {
        const { look, sorted } = table(keys.map(([index, number]) => key(index, number)))
        const ranges = parts.map(([index, from, size]) => range(index, from, from + size))
        if (isSorted) ranges.sort((a, b) => Buffer.compare(a.gte, b.gte))
        const found = await keysWithin(ranges, limit, look)
        const seen = new Set<string>()
        for (const text of found.keys.map(String)) seen.add(text)
        const within = sorted.filter((one) =>
          ranges.some(({ gte, lt }) => Buffer.compare(gte, one) <= 0 && Buffer.compare(one, lt) < 0),
        )
        for (const text of seen) expect(within.map(String)).toContain(text)
        expect(found.keys.length).toBeLessThanOrEqual(limit)
        const done = ranges.slice(0, found.done)
        for (const one of within) {
          const isDone = done.some(({ gte, lt }) => Buffer.compare(gte, one) <= 0 && Buffer.compare(one, lt) < 0)
          if (isDone) expect(seen).toContain(String(one))
        }
        if (found.keys.length < limit && ranges.length < 64) expect(found.done).toBe(ranges.length)
      },
    ),
  )
})

test('a thousand ranges without a key are one look', async () => {
  const { look, counted } = table([])
  const ranges = Array.from({ length: 1000 }, (_, i) => range(1, i * 3, i * 3 + 1))
  expect((await keysWithin(ranges, 1000, look)).keys).toEqual([])
  expect(counted.looks).toBe(1)
})

test('steps over what lies between the ranges, however much it is', async () => {
  const ranges = Array.from({ length: 10 }, (_, i) => range(1, i * 1000, i * 1000 + 2))
  const { look, counted } = table(Array.from({ length: 9000 }, (_, i) => key(1, i)))
  const { keys } = await keysWithin(ranges, 1000, look)
  expect(keys).toHaveLength(18)
  expect(counted.looks).toBeLessThanOrEqual(ranges.length)
  expect(counted.keys).toBeLessThan(400)
})

test('takes long ranges in large pages', async () => {
  const { look, counted } = table(Array.from({ length: 5000 }, (_, i) => key(1, i)))
  const { keys, within } = await keysWithin([range(1, 0, 4000), range(1, 4500, 5000)], 4000, look)
  expect(keys).toHaveLength(4000)
  expect(counted.looks).toBeLessThan(10)
  expect(within).toEqual({ gte: key(1, 0), lt: key(1, 3999) })
})
