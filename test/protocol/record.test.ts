/** Records: every kind comes back from its bytes, and bytes that are not records are refused. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  CONTEXT_OP,
  contextOpName,
  isStreamEnd,
  kindName,
  NO_DATA,
  type RecordExtras,
  RecordWalker,
  STREAM_STATE,
  streamStateName,
  tagName,
  writeMessage,
  writeToken,
} from '../../protocol/index.ts'
import { type AnyRecord, codeOf, edits, encodeRecords, mutate, readerOf, records } from './arbitraries.ts'

const walk = (bytes: Uint8Array): RecordWalker => new RecordWalker(readerOf(bytes))
const bytesOf = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)

/** Reads every field of every record, as a broker and a client together would. */
function readAll(bytes: Uint8Array): AnyRecord[] {
  const walker = walk(bytes)
  const found: AnyRecord[] = []
  while (walker.next()) {
    walker.checkData()
    const data = walker.recordData()
    const extras = walker.extras()
    const kind = kindName(walker.kind)
    if (kind === 'message') found.push({ kind, data, extras })
    else if (kind === 'context') found.push({ kind, op: contextOpName(walker.code), name: walker.name(), data, extras })
    else if (kind === 'checkpoint') found.push({ kind, name: walker.name(), data, extras })
    else if (kind === 'stream') {
      found.push({ kind, state: streamStateName(walker.code), streamId: walker.name(), data, extras })
    } else found.push({ kind, streamId: walker.name(), part: walker.part(), data })
  }
  return found
}

const normal = (list: readonly AnyRecord[]): unknown =>
  list.map((item) => ({
    ...item,
    data: item.data.tag === 'bytes' ? [...item.data.value] : item.data,
    extras: 'extras' in item ? plainExtras(item.extras) : {},
  }))

const plainExtras = ({ parts, ...others }: RecordExtras = {}): unknown =>
  parts === undefined ? others : { ...others, parts: { ...parts, sha256: [...parts.sha256] } }

describe('records', () => {
  it('of every kind come back, with extras, and with tokens that repeat their stream', () => {
    fc.assert(
      fc.property(records, (list) => {
        expect(normal(readAll(encodeRecords(list)))).toEqual(normal(list))
      }),
    )
  })

  it('lie one behind the other: each begins where the one before ended', () => {
    fc.assert(
      fc.property(records, (list) => {
        const walker = walk(encodeRecords(list))
        let end = 0
        while (walker.next()) {
          expect(walker.start).toBe(end)
          end = walker.dataTo
        }
        expect(end).toBe(walker.bytes.length)
      }),
    )
  })

  it('keep a token’s stream and part across a named record between it and its repeat', () => {
    const list: AnyRecord[] = [
      { kind: 'token', streamId: 's', part: 'reasoning', data: { tag: 'text', value: 'a' } },
      { kind: 'checkpoint', name: 'c', data: NO_DATA },
      { kind: 'token', streamId: 's', part: 'reasoning', data: { tag: 'text', value: 'b' } },
      { kind: 'stream', state: 'done', streamId: 'other', data: NO_DATA },
      { kind: 'token', streamId: 's', part: 'reasoning', data: { tag: 'json', value: '1' } },
    ]
    expect(normal(readAll(encodeRecords(list)))).toEqual(normal(list))
  })

  it('cost a repeated token two bytes beside its text', () => {
    const out = new ByteWriter()
    writeToken(out, 's', 'text', { tag: 'text', value: 'hello' }, false)
    const first = out.length
    writeToken(out, 's', 'text', { tag: 'text', value: ' world' }, true)
    expect(out.length - first).toBe(2 + ' world'.length)
  })

  it('of any size come back, around the sizes at which the length grows', () => {
    for (const size of [0, 1, 23, 24, 25, 126, 127, 128, 129, 16_381, 16_382, 16_383, 16_384, 70_000]) {
      const value = 'é'.repeat(size)
      const list: AnyRecord[] = [
        { kind: 'message', data: { tag: 'text', value } },
        { kind: 'token', streamId: 's', part: 'text', data: { tag: 'text', value } },
        { kind: 'token', streamId: 's', part: 'text', data: { tag: 'text', value } },
      ]
      expect(readAll(encodeRecords(list)).map((item) => item.data.value === value)).toEqual([true, true, true])
    }
  })

  it('skip extras that a later version may add', () => {
    // kind 1 with extras: tag 99 of one byte, then tag 1 with the id "i"
    expect(readAll(bytesOf(8, 0x41, 6, 99, 1, 0, 1, 1, 0x69))).toEqual([
      { kind: 'message', data: { tag: 'text', value: '' }, extras: { id: 'i' } },
    ])
  })

  it('of large messages say where their content lies, and have none themselves', () => {
    const sha256 = Uint8Array.from({ length: 32 }, (_, i) => i)
    const out = new ByteWriter()
    writeMessage(out, { tag: 'json', value: '' }, { id: 'i', parts: { size: 300_000, sha256, uploadId: 'u-1' } })
    writeMessage(out, { tag: 'json', value: '1' }, { id: 'j' })
    const walker = walk(out.copy())
    walker.next()
    // Not JSON by itself, and not to be: what it says of its content is all there is.
    walker.checkData()
    expect(walker.parts()).toEqual({ size: 300_000, sha256, uploadId: 'u-1' })
    expect(walker.dataTo - walker.dataFrom).toBe(0)
    walker.next()
    expect(walker.parts()).toBeUndefined()
  })

  it('know ends from interruptions', () => {
    const states = Object.keys(STREAM_STATE) as (keyof typeof STREAM_STATE)[]
    expect(states.filter(isStreamEnd)).toEqual(['done', 'stopped', 'failed'])
    expect(Object.values(CONTEXT_OP).map(contextOpName)).toEqual(Object.keys(CONTEXT_OP))
    expect(([0, 1, 2] as const).map(tagName)).toEqual(['text', 'json', 'bytes'])
  })
})

describe('bytes that are not records', () => {
  const wrong: Record<string, Uint8Array> = {
    'an empty record': bytesOf(0),
    'kind 0': bytesOf(1, 0x00),
    'kind 6': bytesOf(1, 0x06),
    'kind 7': bytesOf(1, 0x07),
    'data tag 3': bytesOf(1, 0x19),
    'the highest bit of a head': bytesOf(1, 0x81),
    'a repeat on a message': bytesOf(1, 0x21),
    'a repeat without a token before it': bytesOf(2, 0x22, 0x61),
    'a repeat of JSON without a token before it': bytesOf(2, 0x2a, 0x31),
    'a token without a stream': bytesOf(1, 0x02),
    'a token without a part': bytesOf(3, 0x02, 1, 0x61),
    'a token whose part ends beyond it': bytesOf(5, 0x02, 1, 0x61, 2, 0x62, 0x63),
    'a stream id of no bytes': bytesOf(3, 0x02, 0, 0),
    'a checkpoint of no name': bytesOf(2, 0x04, 0),
    'a context op 0': bytesOf(4, 0x03, 0, 1, 0x61),
    'a context op 4': bytesOf(4, 0x03, 4, 1, 0x61),
    'a context record without an op': bytesOf(1, 0x03),
    'a stream state 7': bytesOf(4, 0x05, 7, 1, 0x61),
    'extras that are missing': bytesOf(1, 0x41),
    'extras whose second size byte is missing': bytesOf(2, 0x41, 0x80),
    'extras that end beyond their record': bytesOf(3, 0x41, 2, 1, 9, 9),
    'extras of more than 16 KiB': bytesOf(4, 0x41, 0xff, 0xff, 0x01),
    'parts without a hash': bytesOf(6, 0x41, 4, 3, 2, 9, 9),
    'an extra without a size': bytesOf(3, 0x41, 1, 1),
    'an extra that ends beyond the extras': bytesOf(5, 0x41, 2, 1, 1, 0x61),
    'a length beyond the bytes': bytesOf(200, 1, 0x01),
    'a length of 2^53-1': bytesOf(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x01),
  }
  for (const [what, bytes] of Object.entries(wrong)) {
    it(`are refused: ${what}`, () => {
      expect(codeOf(() => readAll(bytes))).toBe('BAD_FRAME')
    })
  }

  it('are refused when cut anywhere inside a record, and never read beyond', () => {
    fc.assert(
      fc.property(records, (list) => {
        const bytes = encodeRecords(list)
        const starts = new Set([0, bytes.length])
        for (const walker = walk(bytes); walker.next(); ) starts.add(walker.start)
        for (let cut = 0; cut <= bytes.length; cut++) {
          const short = codeOf(() => readAll(bytes.subarray(0, cut)))
          expect(short).toBe(starts.has(cut) ? undefined : 'BAD_FRAME')
          // the same with what follows still in the buffer
          const walker = new RecordWalker(new ByteReader(bytes, 0, cut))
          expect(
            codeOf(() => {
              while (walker.next()) expect(walker.dataTo).toBeLessThanOrEqual(cut)
            }),
          ).toBe(short)
        }
      }),
      { numRuns: 30 },
    )
  })

  it('never cause another error than a typed one, whatever is changed in them', () => {
    fc.assert(
      fc.property(records, edits, (list, changes) => {
        const code = codeOf(() => readAll(mutate(encodeRecords(list), changes)))
        expect([undefined, 'BAD_FRAME', 'BAD_VALUE', 'BAD_NAME']).toContain(code)
      }),
      { numRuns: 500 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect([undefined, 'BAD_FRAME', 'BAD_VALUE', 'BAD_NAME']).toContain(codeOf(() => readAll(bytes)))
      }),
      { numRuns: 500 },
    )
  })
})

describe('data on its way in', () => {
  const check = (bytes: Uint8Array): string | undefined =>
    codeOf(() => {
      for (const walker = walk(bytes); walker.next(); ) walker.checkData()
    })

  it('must be UTF-8 when it is tagged so, and JSON when it is tagged so', () => {
    expect(check(bytesOf(2, 0x01, 0xff))).toBe('BAD_VALUE')
    expect(check(bytesOf(2, 0x09, 0xff))).toBe('BAD_VALUE')
    expect(check(bytesOf(2, 0x09, 0x7b))).toBe('BAD_VALUE')
    expect(check(bytesOf(1, 0x09))).toBe('BAD_VALUE')
    expect(check(bytesOf(2, 0x11, 0xff))).toBeUndefined()
  })

  it('must have names, parts and ids of UTF-8 without control characters', () => {
    expect(check(bytesOf(3, 0x04, 1, 0xff))).toBe('BAD_NAME')
    expect(check(bytesOf(3, 0x04, 1, 0x00))).toBe('BAD_NAME')
    expect(check(bytesOf(5, 0x02, 1, 0x61, 1, 0xff))).toBe('BAD_NAME')
    expect(check(bytesOf(5, 0x41, 3, 1, 1, 0xff))).toBe('BAD_NAME')
    expect(check(bytesOf(5, 0x41, 3, 1, 1, 0x0a))).toBe('BAD_NAME')
    expect(check(bytesOf(4, 0x41, 2, 1, 0))).toBe('BAD_NAME')
  })

  it('must lie in parts only as at least one byte, all of it, and in an upload with a name', () => {
    const large = (size: number, uploadId: string, value = ''): Uint8Array => {
      const out = new ByteWriter()
      writeMessage(out, { tag: 'text', value }, { parts: { size, sha256: new Uint8Array(32), uploadId } })
      return out.copy()
    }
    expect(check(large(1, 'u'))).toBeUndefined()
    expect(check(large(0, 'u'))).toBe('BAD_VALUE')
    expect(check(large(1, 'u', 'more'))).toBe('BAD_VALUE')
    expect(check(large(1, ''))).toBe('BAD_NAME')
    expect(check(large(1, 'u\n'))).toBe('BAD_NAME')
    expect(check(large(1, 'u'.repeat(256)))).toBe('BAD_NAME')
    expect(check(large(1, 'u'.repeat(255)))).toBeUndefined()
  })

  it('must have an id of at most 255 bytes', () => {
    const out = new ByteWriter()
    writeMessage(out, NO_DATA, { id: 'i'.repeat(255) })
    expect(check(out.copy())).toBeUndefined()
    out.reset()
    writeMessage(out, NO_DATA, { id: 'i'.repeat(256) })
    expect(check(out.copy())).toBe('BAD_NAME')
  })
})
