/** Durations in options and configuration files. */

import { expect, test } from 'vitest'
import { formatDuration, parseDuration, parseLinger } from '../../broker/cli/duration.ts'
import { isLitetopicError } from '../../protocol/index.ts'

test.each([
  ['500ms', 500],
  ['2s', 2_000],
  ['10m', 600_000],
  ['1h', 3_600_000],
  ['1.5h', 5_400_000],
  ['7d', 604_800_000],
  ['0', 0],
  ['0s', 0],
])('%s is %i ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each(['', '10', 'ten minutes', '-1s', '1 h', '1hs', '1e3s', '.5s', `${'9'.repeat(20)}d`, 'forever', ' 2s'])(
  '%j is no duration',
  (text) => {
    const error = thrown(() => parseDuration(text))
    expect(isLitetopicError(error, 'BAD_REQUEST')).toBe(true)
  },
)

test('a linger may also be for ever', () => {
  expect(parseLinger('forever')).toBe('forever')
  expect(parseLinger('2s')).toBe(2_000)
})

test.each([
  ['forever', 'forever'],
  [0, '0'],
  [250, '250ms'],
  [2_000, '2s'],
  [90_000, '90s'],
  [3_600_000, '1h'],
  [86_400_000, '1d'],
  [1_234_567, '20.6m'],
] as const)('%s is shown as %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text)
})

function thrown(run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}
