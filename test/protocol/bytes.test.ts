/** Varints, times, text and cursors: what is written is what is read, and nothing is read beyond the end. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  copyBytes,
  formatCursor,
  isUtf8,
  parseCursor,
  readText,
  readTime,
  varintSize,
  writeText,
  writeTime,
  writeVarint,
} from '../../protocol/index.ts'
import { anyText, codeOf, uint53 } from './arbitraries.ts'

describe('varints', () => {
  it('come back as they were written, up to 2^53-1, in the size foretold', () => {
    fc.assert(
      fc.property(uint53, (value) => {
        const bytes = new Uint8Array(8)
        const size = writeVarint(bytes, 0, value)
        expect(size).toBe(varintSize(value))
        expect(new ByteReader(bytes, 0, size).varint()).toBe(value)
      }),
    )
  })

  it('are refused beyond 2^53-1, however long they are', () => {
    const tooLarge = [
      [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
      new Array(8).fill(0xff),
      new Array(5000).fill(0x80),
    ]
    for (const bytes of tooLarge) {
      expect(codeOf(() => new ByteReader(Uint8Array.from(bytes)).varint())).toBe('BAD_FRAME')
    }
    const largest = Uint8Array.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])
    expect(new ByteReader(largest).varint()).toBe(Number.MAX_SAFE_INTEGER)
  })

  it('are refused when their bytes end too early', () => {
    const bytes = new Uint8Array(8)
    const size = writeVarint(bytes, 0, Number.MAX_SAFE_INTEGER)
    for (let cut = 0; cut < size; cut++) {
      expect(codeOf(() => new ByteReader(bytes, 0, cut).varint())).toBe('BAD_FRAME')
    }
  })
})

describe('times', () => {
  it('come back as they were written, in 48 bits', () => {
    fc.assert(
      fc.property(
        fc.maxSafeNat().map((value) => value % 2 ** 48),
        (ms) => {
          const bytes = new Uint8Array(6)
          expect(writeTime(bytes, 0, ms)).toBe(6)
          expect(readTime(bytes, 0)).toBe(ms)
          expect(new ByteReader(bytes).time()).toBe(ms)
          expect(codeOf(() => new ByteReader(bytes, 0, 5).time())).toBe('BAD_FRAME')
        },
      ),
    )
  })
})

describe('text', () => {
  it('comes back as it was written, short or long, beyond 16 bits too', () => {
    fc.assert(
      fc.property(anyText, fc.nat(9), (text, at) => {
        const bytes = new Uint8Array(at + text.length * 3)
        const end = writeText(bytes, at, text)
        expect(Buffer.from(bytes.subarray(at, end)).toString('utf8')).toBe(text)
        expect(readText(bytes, at, end)).toBe(text)
        expect(isUtf8(bytes, at, end)).toBe(true)
      }),
    )
  })

  it('is checked as UTF-8 the way the platform does', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const again = Buffer.from(Buffer.from(bytes).toString('utf8'), 'utf8')
        expect(isUtf8(bytes, 0, bytes.length)).toBe(again.equals(bytes))
      }),
    )
  })

  it('keeps a byte order mark', () => {
    const bytes = new Uint8Array(9)
    expect(readText(bytes, 0, writeText(bytes, 0, '\ufeffa'))).toBe('\ufeffa')
  })

  it('with a length byte is refused beyond 255 bytes of UTF-8', () => {
    const out = new ByteWriter(1)
    out.shortText('é'.repeat(127))
    expect(new ByteReader(out.view()).shortText()).toBe('é'.repeat(127))
    expect(codeOf(() => new ByteWriter(1).shortText('é'.repeat(128)))).toBe('BAD_NAME')
  })
})

describe('a byte writer', () => {
  it('grows from nothing and keeps every value in order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(uint53, anyText, fc.uint8Array({ maxLength: 120 })), { maxLength: 8 }),
        (values) => {
          const out = new ByteWriter(0)
          for (const [number, text, raw] of values) {
            out.u8(number % 256)
            out.varint(number)
            out.time(number % 2 ** 48)
            out.varint(Buffer.byteLength(text))
            out.text(text)
            out.varint(raw.length)
            out.slice(raw, 0, raw.length)
            out.raw(raw)
          }
          const reader = new ByteReader(out.copy())
          for (const [number, text, raw] of values) {
            expect(reader.u8()).toBe(number % 256)
            expect(reader.varint()).toBe(number)
            expect(reader.time()).toBe(number % 2 ** 48)
            expect(Buffer.from(reader.view(reader.varint())).toString()).toBe(text)
            const size = reader.varint()
            expect([...reader.view(size), ...reader.view(size)]).toEqual([...raw, ...raw])
          }
          expect(reader.done).toBe(true)
          out.reset()
          expect(out.view().length).toBe(0)
        },
      ),
    )
  })

  it('copies short and long pieces alike', () => {
    const source = Uint8Array.from({ length: 200 }, (_, i) => i)
    for (const size of [0, 1, 48, 49, 150]) {
      const target = new Uint8Array(200)
      expect(copyBytes(source, 20, 20 + size, target, 10)).toBe(10 + size)
      expect(target.subarray(10, 10 + size)).toEqual(source.subarray(20, 20 + size))
    }
  })
})

describe('a cursor', () => {
  const cursor = fc.record({
    incarnation: fc.stringMatching(/^[0-9a-f]{12}$/),
    epoch: uint53,
    next: uint53,
  })

  it('comes back from its text, which has 40 characters', () => {
    fc.assert(
      fc.property(cursor, (value) => {
        const text = formatCursor(value)
        expect(text).toHaveLength(40)
        expect(parseCursor(text)).toEqual(value)
      }),
    )
  })

  it('sorts as text the way its offset does', () => {
    fc.assert(
      fc.property(cursor, uint53, (value, next) => {
        const [one, other] = [formatCursor(value), formatCursor({ ...value, next })]
        expect(one < other).toBe(value.next < next)
      }),
    )
  })

  it('is refused when it is anything else, numbers beyond 2^53-1 included', () => {
    const good = formatCursor({ incarnation: '0123456789ab', epoch: 1, next: 2 })
    const wrong = [
      '',
      'x',
      good.toUpperCase(),
      `${good}0`,
      good.slice(1),
      `${good}\n`,
      'f'.repeat(40),
      `g${good.slice(1)}`,
    ]
    for (const text of wrong) expect(codeOf(() => parseCursor(text))).toBe('BAD_CURSOR')
  })
})
