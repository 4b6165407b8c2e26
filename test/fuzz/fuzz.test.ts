/** Random and mutated bytes, for some seconds; `npm run fuzz -- --frames N --seed S` does more. */

import { describe, expect, it } from 'vitest'
import { Random } from '../random.ts'
import { fuzzCodec, fuzzStored } from './decoders.ts'
import { fuzzLive } from './live.ts'

describe('fuzzing', () => {
  it('never has the codec do anything but decode or refuse', () => {
    const outcomes = fuzzCodec(new Random(1), 20_000)
    // It is no fuzzing if everything is refused at the first byte.
    for (const outcome of ['fine', 'BAD_FRAME', 'UNKNOWN_FRAME']) expect(outcomes.get(outcome)).toBeGreaterThan(100)
  })

  it('never has the decoders of storage take for sound what is not', () => {
    const outcomes = fuzzStored(new Random(2), 1_000)
    expect(outcomes.get('STORE_CORRUPT')).toBeGreaterThan(2_500)
  })

  it('neither stops nor swells a broker, and a bystander does not notice', async () => {
    const { wrong, codes, appends, tokens, frames } = await fuzzLive(3, 6_000)
    expect(wrong).toEqual([])
    expect(frames).toBeGreaterThanOrEqual(12_000)
    expect(appends).toBeGreaterThan(200)
    expect(tokens).toBeGreaterThan(0)
    for (const code of ['BAD_FRAME', 'BAD_REQUEST', 'UNKNOWN_HANDLE', 'SEQUENCE_GAP']) {
      expect(codes.get(code)).toBeGreaterThan(5)
    }
  }, 180_000)
})
