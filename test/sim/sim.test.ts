/** Some hundred seeds of the simulation. One that fails is said with what repeats it; README.md beside this says what is simulated. */

import { expect, test } from 'vitest'
import { simulate } from './simulate.ts'

const SEEDS_PER_TEST = 40
const TESTS = 6
const STEPS = 150

/** What to read when a seed fails. */
async function report(seed: number): Promise<string | null> {
  const { failure } = await simulate(seed, STEPS)
  if (failure === null) return null
  const again = `npm run sim -- --seed ${seed} --steps ${STEPS}`
  return [...failure.lines, `seed ${seed}, step ${failure.step}: ${failure.what}`, `again: ${again}`].join('\n')
}

test('the same seed gives the same trace, and another one another', async () => {
  const [first, again, other] = [await simulate(7, STEPS), await simulate(7, STEPS), await simulate(8, STEPS)]
  expect(again).toEqual(first)
  expect(other.hash).not.toBe(first.hash)
})

test.each(Array.from({ length: TESTS }, (_, i) => 1 + i * SEEDS_PER_TEST))(
  'promises hold whatever happens, from seed %i on',
  async (first) => {
    for (let seed = first; seed < first + SEEDS_PER_TEST; seed++) expect(await report(seed)).toBeNull()
  },
  180_000,
)
