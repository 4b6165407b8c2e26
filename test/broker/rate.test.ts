/** A rate that many share: nobody waits for ever, and together they get what is allowed. */

import { expect, test } from 'vitest'
import { Rate } from '../../broker/rate.ts'
import { LIMITS } from '../../protocol/index.ts'

const PER_SECOND = 1_000

/** Sends as fast as it is let, so many milliseconds away from the broker. */
interface Sender {
  readonly size: number
  readonly distanceMs: number
}

/** How much of its own each has sent after so many milliseconds. */
function race(senders: readonly Sender[], ms: number): number[] {
  const rate = new Rate(PER_SECOND, 0)
  const runners = senders.map((sender) => ({ ...sender, nextMs: 0, sent: 0 }))
  for (let nowMs = 0; nowMs < ms; nowMs++) {
    for (const runner of runners) {
      if (runner.nextMs > nowMs) continue
      const waitMs = rate.waitMs(runner, runner.size, nowMs)
      if (waitMs === 0) {
        rate.take(runner, runner.size)
        runner.sent += runner.size
      }
      runner.nextMs = nowMs + waitMs + runner.distanceMs
    }
  }
  return runners.map(({ sent }) => sent)
}

test.each<[string, Sender]>([
  ['a large append', { size: 500, distanceMs: 1 }],
  ['an append of more than a second holds', { size: 3_000, distanceMs: 1 }],
  ['a distant client', { size: 100, distanceMs: 80 }],
])('%s gets its turn beside small and near ones, and all together get no more than the rate', (_, slow) => {
  const near = Array.from({ length: 5 }, () => ({ size: 100, distanceMs: 1 }))
  const sent = race([...near, slow], 60_000)
  expect(Math.min(...sent)).toBeGreaterThan(1_500)
  const all = sent.reduce((sum, one) => sum + one, 0)
  expect(all).toBeLessThanOrEqual(61 * PER_SECOND + slow.size)
  expect(all).toBeGreaterThan(50 * PER_SECOND)
})

test('a turn that is not used is not waited for long, and one that is given up not at all', () => {
  const rate = new Rate(PER_SECOND, 0)
  const [first, gone, other] = [{}, {}, {}]
  rate.take(first, PER_SECOND)
  expect(rate.waitMs(gone, 1_000, 0)).toBe(1_000)
  expect(rate.waitMs(first, 100, 0)).toBe(1_100)
  expect(rate.waitMs(other, 100, 0)).toBe(1_200)
  rate.forget(first)
  expect(rate.waitMs(other, 100, 1_200)).toBe(0)
  rate.take(other, 100)
  expect(rate.waitMs(other, 200, 1_200)).toBeGreaterThan(0)
  rate.forget(other)
  const lapsedMs = 1_200 + LIMITS.rateTurnMs
  expect(rate.waitMs(other, 900, lapsedMs)).toBe(0)
})
