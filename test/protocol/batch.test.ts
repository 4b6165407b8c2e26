/** Batches, runs and the entries of the three hot frames: round trips, cuts and changed bytes. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  APPEND_HEADER_BYTES,
  BATCH_HEADER_BYTES,
  BatchReader,
  ByteWriter,
  FORM,
  LIMITS,
  newAppendEntry,
  RecordWalker,
  readAckEntry,
  readAppendEntry,
  readRun,
  writeAckEntry,
  writeAppendEntry,
  writeBatchHeader,
} from '../../protocol/index.ts'
import {
  codeOf,
  edits,
  encodeBatch,
  encodeRecords,
  encodeRun,
  mutate,
  readerOf,
  records,
  run,
  uint53,
} from './arbitraries.ts'

const time = fc.nat(2 ** 31 - 1).map((value) => value * 65_536)
const principal = fc.option(fc.string({ unit: 'grapheme', maxLength: 60 }), { nil: undefined })

/** Reads everything there is in batches, one behind the other. */
function readBatches(bytes: Uint8Array): { base: number; count: number; found: number; principal?: string }[] {
  const batches = new BatchReader(readerOf(bytes))
  const all = []
  while (batches.advance()) {
    const content = batches.content()
    let found = 0
    if (batches.form === FORM.raw) for (const walker = new RecordWalker(content); walker.next(); ) found++
    else for (; !content.done; found++) readRun(content, batches.base)
    all.push({ base: batches.base, count: batches.count, found, ...batches.envelope() })
  }
  return all
}

describe('a raw batch', () => {
  it('comes back with its range, time, principal and records', () => {
    fc.assert(
      fc.property(uint53, time, principal, records, (base, timeMs, who, list) => {
        const bytes = encodeBatch(base, list, timeMs, who)
        const batch = new BatchReader(readerOf(bytes))
        expect(batch.advance()).toBe(true)
        expect([batch.form, batch.start, batch.end]).toEqual([FORM.raw, 0, bytes.length])
        expect([batch.base, batch.count, batch.timeMs]).toEqual([base, list.length, timeMs])
        expect(batch.next).toBe(base + list.length)
        expect(batch.envelope()).toEqual(who === undefined ? {} : { principal: who })
        expect(batch.bytes.subarray(batch.contentFrom, batch.end)).toEqual(encodeRecords(list))
        expect(batch.advance()).toBe(false)
      }),
    )
  })

  it('has a header no larger than foretold', () => {
    const out = new ByteWriter(0)
    const most = Number.MAX_SAFE_INTEGER
    writeBatchHeader(out, FORM.raw, most, LIMITS.appendRecords, 2 ** 48 - 1, LIMITS.appendBytes)
    expect(out.length).toBeLessThanOrEqual(BATCH_HEADER_BYTES)
  })

  it('stands behind another one in the same bytes', () => {
    fc.assert(
      fc.property(fc.array(records, { maxLength: 4 }), (lists) => {
        const all = Buffer.concat(lists.map((list, i) => encodeBatch(i * 100, list)))
        const expected = lists.map((list, i) => ({ base: i * 100, count: list.length, found: list.length }))
        expect(readBatches(all)).toEqual(expected)
      }),
      { numRuns: 50 },
    )
  })

  it('skips extras that a later version may add', () => {
    const bytes = Uint8Array.from([0x81, 5, 0, 0, 0, 0, 0, 0, 0, 5, 77, 0, 1, 1, 0x70, 0])
    expect(readBatches(bytes)).toEqual([{ base: 5, count: 0, found: 0, principal: 'p' }])
  })
})

describe('a run', () => {
  it('comes back with its offsets, sizes and data', () => {
    fc.assert(
      fc.property(
        uint53.filter((value) => value < 2 ** 52),
        fc.array(run, { maxLength: 4 }),
        (base, runs) => {
          for (const one of runs) {
            const placed = { ...one, first: base + one.first, last: base + one.last }
            const { bytes, data } = encodeRun(base, placed)
            const reader = readerOf(bytes)
            expect(readRun(reader, base)).toEqual({ ...placed, data })
            expect(reader.done).toBe(true)
            for (let cut = 0; cut < bytes.length; cut++) {
              expect(codeOf(() => readRun(readerOf(bytes.subarray(0, cut)), base))).toBe('BAD_FRAME')
            }
          }
        },
      ),
      { numRuns: 50 },
    )
  })

  it('is refused with an unknown tag, or with more tokens or data than there are bytes', () => {
    const head = [0, 1, 0x61, 0, 0, 0]
    const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]
    expect(codeOf(() => readRun(readerOf(Uint8Array.from([3, 1, 0x61, 0, 0, 0, 0])), 0))).toBe('BAD_FRAME')
    expect(codeOf(() => readRun(readerOf(Uint8Array.from([...head, ...huge, 1, 1])), 0))).toBe('BAD_FRAME')
    expect(codeOf(() => readRun(readerOf(Uint8Array.from([...head, 2, ...huge, ...huge])), 0))).toBe('BAD_FRAME')
  })
})

describe('bytes that are not batches', () => {
  it('are refused when cut anywhere', () => {
    fc.assert(
      fc.property(records, principal, (list, who) => {
        const bytes = encodeBatch(7, list, 0, who)
        for (let cut = 1; cut < bytes.length; cut++) {
          expect(codeOf(() => readBatches(bytes.subarray(0, cut)))).toBe('BAD_FRAME')
        }
      }),
      { numRuns: 30 },
    )
  })

  it('are refused with a form that this version does not have', () => {
    for (const form of [0, 3, 0x7f, 0x80, 0xff]) {
      expect(codeOf(() => readBatches(Uint8Array.from([form, 0, 0, 0, 0, 0, 0, 0, 0, 0])))).toBe('BAD_FRAME')
    }
  })

  it('never cause another error than BAD_FRAME, whatever is changed in them', () => {
    fc.assert(
      fc.property(records, principal, edits, (list, who, changes) => {
        const code = codeOf(() => readBatches(mutate(encodeBatch(7, list, 0, who), changes)))
        expect([undefined, 'BAD_FRAME']).toContain(code)
      }),
      { numRuns: 500 },
    )
    fc.assert(
      fc.property(run, edits, (one, changes) => {
        const code = codeOf(() => readRun(readerOf(mutate(encodeRun(0, one).bytes, changes)), 0))
        expect([undefined, 'BAD_FRAME']).toContain(code)
      }),
      { numRuns: 500 },
    )
  })
})

describe('entries', () => {
  const fence = fc.oneof(
    fc.constant(-1),
    uint53.filter((value) => value < Number.MAX_SAFE_INTEGER),
  )
  const handle = fc.nat(LIMITS.handlesPerConnection - 1)
  const append = fc.record({ handle, producerEpoch: uint53, sequence: uint53, fence, list: records })

  it('of append come back, one behind the other', () => {
    fc.assert(
      fc.property(fc.array(append, { maxLength: 4 }), (all) => {
        const out = new ByteWriter(0)
        for (const one of all) {
          const bytes = encodeRecords(one.list)
          writeAppendEntry(
            out,
            one.handle,
            one.producerEpoch,
            one.sequence,
            one.fence,
            one.list.length,
            bytes,
            bytes.length,
          )
        }
        const reader = readerOf(out.copy())
        const entry = newAppendEntry()
        for (const { list, ...one } of all) {
          readAppendEntry(reader, entry)
          expect(entry).toMatchObject({ ...one, count: list.length })
          expect(reader.bytes.subarray(entry.from, entry.to)).toEqual(encodeRecords(list))
        }
        expect(reader.done).toBe(true)
      }),
    )
  })

  it('of append have a header no larger than foretold', () => {
    const out = new ByteWriter(0)
    const most = Number.MAX_SAFE_INTEGER
    writeAppendEntry(out, most, most, most, most - 1, most, new Uint8Array(0), 0)
    expect(out.length).toBeLessThanOrEqual(APPEND_HEADER_BYTES)
  })

  it('of append are refused when cut anywhere', () => {
    fc.assert(
      fc.property(append, (one) => {
        const out = new ByteWriter(0)
        const bytes = encodeRecords(one.list)
        writeAppendEntry(
          out,
          one.handle,
          one.producerEpoch,
          one.sequence,
          one.fence,
          one.list.length,
          bytes,
          bytes.length,
        )
        for (let cut = 0; cut < out.length; cut++) {
          const reader = readerOf(out.view().subarray(0, cut))
          expect(codeOf(() => readAppendEntry(reader, newAppendEntry()))).toBe('BAD_FRAME')
        }
      }),
      { numRuns: 30 },
    )
  })

  it('of append are refused beyond their bounds with the reader behind them, so that the next one can be read', () => {
    const out = new ByteWriter(0)
    const tooLong = new Uint8Array(LIMITS.appendBytes + 1)
    writeAppendEntry(out, 1, 0, 0, -1, 1, tooLong, tooLong.length)
    writeAppendEntry(out, 2, 0, 0, -1, LIMITS.appendRecords + 1, new Uint8Array(1), 1)
    writeAppendEntry(out, 3, 0, 0, -1, 0, new Uint8Array(0), 0)
    const reader = readerOf(out.copy())
    const entry = newAppendEntry()
    expect(codeOf(() => readAppendEntry(reader, entry))).toBe('LIMIT_EXCEEDED')
    expect(entry.handle).toBe(1)
    expect(codeOf(() => readAppendEntry(reader, entry))).toBe('LIMIT_EXCEEDED')
    expect(entry.handle).toBe(2)
    expect(codeOf(() => readAppendEntry(reader, entry))).toBe('BAD_FRAME')
    expect(reader.done).toBe(true)
  })

  it('of ack come back, and are refused when cut', () => {
    fc.assert(
      fc.property(uint53, uint53, uint53, uint53, (handle, producerEpoch, sequence, base) => {
        const out = new ByteWriter(0)
        writeAckEntry(out, handle, producerEpoch, sequence, base)
        const entry = { handle: 0, producerEpoch: 0, sequence: 0, base: 0 }
        readAckEntry(readerOf(out.copy()), entry)
        expect(entry).toEqual({ handle, producerEpoch, sequence, base })
        for (let cut = 0; cut < out.length; cut++) {
          expect(codeOf(() => readAckEntry(readerOf(out.view().subarray(0, cut)), entry))).toBe('BAD_FRAME')
        }
      }),
    )
  })
})
