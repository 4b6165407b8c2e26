/** Ids must be unlike each other, however many are taken: producers are told apart by them. */

import { expect, it } from 'vitest'
import { randomId } from '../../client/random-id.ts'

it('gives 128 random bits in hex, and never the same ones', () => {
  const ids = Array.from({ length: 2_000 }, randomId)
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/)
  expect(new Set(ids).size).toBe(ids.length)
  // No digit may be the same in all: each of the 128 bits is random.
  for (let at = 0; at < 32; at++) expect(new Set(ids.map((id) => id[at])).size).toBe(16)
})
