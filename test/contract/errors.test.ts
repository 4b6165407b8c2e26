/** Every error code is provoked, in real use of a real broker, store or client; or it is said why nothing raises it. */

import { describe, expect, test } from 'vitest'
import { ERRORS } from '../../protocol/index.ts'
import { PROVOKE, RESERVED } from './provoke.ts'

describe('every error code', () => {
  for (const code of Object.keys(ERRORS) as (keyof typeof ERRORS)[]) {
    const provoke = PROVOKE[code]
    if (provoke !== undefined) {
      test(`${code} is what it says`, async () => {
        expect(await provoke()).toBe(code)
      })
    } else {
      test(`${code} is kept for later, and it is said for what`, () => {
        expect(RESERVED[code], `${code} has no entry in provoke.ts: add what provokes it`).toBeTypeOf('string')
      })
    }
  }

  test('that is kept for later is raised by nothing', () => {
    expect(Object.keys(RESERVED).filter((code) => Object.hasOwn(PROVOKE, code))).toEqual([])
  })
})
