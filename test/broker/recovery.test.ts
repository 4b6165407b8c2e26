/** When a store is looked at, closed and opened again after a failed write. */

import { expect, test } from 'vitest'
import { type Recoverable, Recovery } from '../../broker/recovery.ts'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { turn, VirtualClock } from './virtual-clock.ts'

const full = new LitetopicError('STORE_UNAVAILABLE', 'the disk is full')

function scene() {
  const clock = new VirtualClock()
  const log: string[] = []
  /** What was done, and when. */
  const done: string[] = []
  const faults = { probe: false, open: false }
  const note = (what: string): void => void done.push(`${what} ${clock.monotonicMs()}`)
  const core: Recoverable = {
    location: 'memory',
    probe: async () => {
      if (faults.probe) throw full
    },
    close: async () => note('close'),
  }
  const recovery = new Recovery<Recoverable>({
    clock,
    log: (line) => log.push(line),
    open: async () => {
      note('open')
      if (faults.open) throw new LitetopicError('STORE_CORRUPT', 'entry 7 fails its checksum')
      return core
    },
    use: (next) => note(next === null ? 'leave' : 'enter'),
  })
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 250) {
      await clock.advance(250)
      for (let turns = 0; turns < 3; turns++) await turn()
    }
  }
  return { core, recovery, faults, done, log, pass }
}

test('the store is left to readers until it can be written, then closed, opened and used', async () => {
  const { core, recovery, faults, done, log, pass } = scene()
  faults.probe = true
  recovery.begin(core)
  await pass(30_000)
  expect(done).toEqual([])
  faults.probe = false
  await pass(LIMITS.storeRetryMaxMs)
  expect(done.map((what) => what.split(' ')[0])).toEqual(['leave', 'close', 'open', 'enter'])
  expect(log).toEqual([
    'the store cannot be written yet: STORE_UNAVAILABLE: the disk is full',
    expect.stringMatching(/^the store in memory is written again, after \d+ s$/),
  ])
})

test('a store that cannot be opened is tried again, at growing intervals, and closed once', async () => {
  const { core, recovery, faults, done, log, pass } = scene()
  faults.open = true
  recovery.begin(core)
  await pass(8_000)
  expect(done).toEqual(['leave 250', 'close 250', 'open 250', 'open 750', 'open 1750', 'open 3750', 'open 7750'])
  faults.open = false
  await pass(LIMITS.storeRetryMaxMs)
  expect(done.at(-1)).toBe('enter 15750')
  expect(log).toHaveLength(2)
})

test('one that fails as soon as it is back is opened at growing intervals, one that was well for a while at once', async () => {
  const { core, recovery, done, pass } = scene()
  const gaps: number[] = []
  for (let failures = 0; failures < 8; failures++) {
    const before = done.length
    recovery.begin(core)
    for (let passed = 0; done.length === before; passed += 250) {
      await pass(250)
      gaps[failures] = passed + 250
    }
  }
  expect(gaps).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
  await pass(LIMITS.storeHealthyMs)
  recovery.begin(core)
  await pass(250)
  expect(done.at(-1)?.split(' ')[0]).toBe('enter')
})

test('after a stop nothing is opened', async () => {
  const { core, recovery, done, pass } = scene()
  recovery.begin(core)
  await recovery.stop()
  await pass(20_000)
  recovery.begin(core)
  await pass(20_000)
  expect(done).toEqual([])
})
