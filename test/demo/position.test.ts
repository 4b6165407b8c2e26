/** Where the agent that takes over goes on. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isDurable, isProgress, NO_PROGRESS, ProgressCounter } from '../../client/demo/position.ts'

const tokens = fc.array(
  fc.record({ part: fc.constantFrom('text', 'reasoning', 'tool:1'), text: fc.string({ minLength: 1, maxLength: 4 }) }),
  { maxLength: 60 },
)

test('a writer goes on behind exactly the durable tokens, from whatever checkpoint before', () => {
  fc.assert(
    fc.property(tokens, fc.nat(), fc.nat(), (all, a, b) => {
      const durableCount = a % (all.length + 1)
      const checkpointCount = b % (durableCount + 1)
      const durable = new Map<string, string>()
      const counted = new ProgressCounter(NO_PROGRESS)
      for (const [i, token] of all.slice(0, durableCount).entries()) {
        durable.set(token.part, (durable.get(token.part) ?? '') + token.text)
        if (i < checkpointCount) counted.add(token)
      }
      const state: unknown = JSON.parse(JSON.stringify(counted.progress()))
      const counter = new ProgressCounter(isProgress(state) ? state : NO_PROGRESS)
      expect(counter.tokens).toBe(checkpointCount)
      for (const token of all.slice(checkpointCount)) {
        if (!isDurable(token, counter, durable)) break
        counter.add(token)
      }
      expect(counter.tokens).toBe(durableCount)
    }),
  )
})

test('what is no progress is not taken for it', () => {
  for (const value of [null, 7, 'x', {}, { tokens: 1 }, { tokens: '1', lengths: {} }, { tokens: 1, lengths: null }]) {
    expect(isProgress(value)).toBe(false)
  }
})
