/** The demo's witness must notice every wrong it could be shown. */

import { expect, test } from 'vitest'
import { OffsetAudit } from '../../client/demo/audit.ts'

const audit = (...offsets: number[]) => {
  const found = new OffsetAudit()
  for (const offset of offsets) found.see(offset)
  return found.result()
}

test('offsets that are gapless and in order are faultless', () => {
  expect(audit(0, 1, 2, 3)).toEqual({ records: 4, gaps: 0, repeats: 0, reorders: 0 })
})

test('offsets left out are gaps, also before the first one seen', () => {
  expect(audit(2, 3, 7)).toMatchObject({ gaps: 5, repeats: 0, reorders: 0 })
})

test('an offset that comes again is a repeat', () => {
  expect(audit(0, 1, 1, 0, 2)).toMatchObject({ gaps: 0, repeats: 2, reorders: 0 })
})

test('an offset that comes late is a reorder and no gap', () => {
  expect(audit(0, 2, 1, 3)).toMatchObject({ gaps: 0, repeats: 0, reorders: 1 })
})

test('a late offset that comes again is a repeat as well', () => {
  expect(audit(0, 5, 3, 3)).toMatchObject({ gaps: 3, repeats: 1, reorders: 1 })
})
