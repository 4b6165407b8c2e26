/** The text of events, and the cursors of live reads: pure. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextCursor } from '../../broker/http/durable-streams/live-cursor.ts'
import { eventText, HEARTBEAT, retryText } from '../../broker/http/event-text.ts'
import { EventParser } from './event-parser.ts'

/** Text full of what means something in an event stream. */
const nastyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\n',
        '\r',
        '\r\n',
        '\n\n',
        ':',
        ' ',
        'data:',
        'data: ',
        'event: x',
        'id: 7',
        'retry: 1',
        '\0',
        '\u2028',
      ),
      fc.string({ unit: 'binary', maxLength: 5 }),
      fc.constantFrom('\ud800', '\udc00', '\ufeff', '😀'),
    ),
    { maxLength: 20 },
  )
  .map((pieces) => pieces.join(''))

const word = fc.stringMatching(/^[a-z0-9_]{1,12}$/)

const wellFormed = (text: string): string => Buffer.from(text).toString()

/** What a reader makes of the text, however it is cut. */
function parsed(text: string, cuts: readonly number[] = []): EventParser {
  const bytes = Buffer.from(text)
  const parser = new EventParser()
  let from = 0
  for (const to of [...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    parser.feed(bytes.subarray(from, to))
    from = to
  }
  return parser
}

describe('an event', () => {
  test('is read as it was written, whatever its data hold and however it is cut on its way', () => {
    const events = fc.array(fc.record({ data: nastyText, event: word, id: word }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(events, fc.array(fc.nat(2000), { maxLength: 8 }), (written, cuts) => {
        const text = written.map(({ data, ...fields }) => eventText(data, fields) + HEARTBEAT).join('')
        const { events: read, comments } = parsed(text, cuts)
        const expected = written.map((fields) => ({
          ...fields,
          // Newlines are one kind, and what is not a character cannot be sent as one.
          data: wellFormed(fields.data.replace(/\r\n|\r/g, '\n')),
        }))
        expect(read).toEqual(expected)
        expect(comments).toBe(written.length)
      }),
    )
  })

  test('without a name or an id has none, and empty data is an event', () => {
    expect(eventText('x')).toBe('data:x\n\n')
    expect(parsed(eventText('')).events).toEqual([{ event: 'message', data: '', id: '' }])
    expect(parsed(eventText('a', { id: '1' }) + eventText('b')).events.map(({ id }) => id)).toEqual(['1', '1'])
  })

  test('keeps spaces at the beginning of its lines', () => {
    expect(parsed(eventText(' a\n  b\n c')).events[0]?.data).toBe(' a\n  b\n c')
  })

  test('may be tens of megabytes, of lines and of one line', () => {
    for (const data of ['x'.repeat(4_000_000), 'ab\n'.repeat(300_000)]) {
      expect(parsed(eventText(data)).events[0]?.data === data).toBe(true)
    }
  })

  test('may say when to come back', () => {
    expect(parsed(retryText(1234.4)).retryMs).toBe(1234)
  })
})

describe('the cursor of a live read', () => {
  const dayMs = Date.UTC(2024, 9, 10)

  test('is the number of the interval of 20 s since 2024-10-09', () => {
    expect(nextCursor(undefined, Date.UTC(2024, 9, 9))).toBe('0')
    expect(nextCursor(undefined, dayMs + 19_999)).toBe('4320')
    expect(nextCursor(undefined, dayMs + 20_000)).toBe('4321')
  })

  test('is beyond the one that the reader sent, by an interval to an hour', () => {
    for (const random of [0, 0.5, 0.999_999]) {
      const ahead = Number(nextCursor('4320', dayMs, () => random)) - 4320
      expect(ahead).toBeGreaterThanOrEqual(1)
      expect(ahead).toBeLessThanOrEqual(180)
    }
    expect(nextCursor('4319', dayMs)).toBe('4320')
  })

  test('only ever grows, whatever it is given', () => {
    const sent = fc.oneof(fc.maxSafeNat().map(String), fc.string(), fc.constant(undefined))
    fc.assert(
      fc.property(sent, fc.double({ min: 0, max: 0.9999, noNaN: true }), (text, random) => {
        const cursor = nextCursor(text, dayMs, () => random)
        expect(cursor).toMatch(/^\d+$/)
        expect(BigInt(cursor)).toBeGreaterThanOrEqual(4320n)
        if (text !== undefined && /^\d{1,15}$/.test(text)) expect(BigInt(cursor)).toBeGreaterThan(BigInt(text))
      }),
    )
  })
})
