/** What parts leave behind is collected while they pass, not when V8 finds the time. */

import { expect, test } from 'vitest'
import { partPassed } from '../../broker/part-garbage.ts'
import { LIMITS } from '../../protocol/index.ts'

const MiB = 1024 * 1024

test('however many parts pass, what they leave behind does not pile up', () => {
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  for (let part = 0; part < 1024; part++) {
    // As it comes from a socket, and as it is put together.
    const dead = [new Uint8Array(LIMITS.partBytes), new Uint8Array(LIMITS.partBytes)]
    partPassed((dead[0] as Uint8Array).length)
    most = Math.max(most, process.memoryUsage().arrayBuffers - before)
  }
  expect(most).toBeLessThan(16 * MiB)
})
