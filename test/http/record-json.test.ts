/** Records between the bytes of the log and JSON, there and back, and what is refused on the way in. */

import { describe, expect, it } from 'vitest'
import {
  linesOf,
  type Records,
  recordsOfBytes,
  recordsOfEnd,
  recordsOfJson,
  recordsOfMessage,
  recordsOfTokens,
} from '../../broker/http/sessions/record-body.ts'
import { eachRecord, eachText, type JsonRecord, type Wanted } from '../../broker/http/sessions/record-json.ts'
import {
  BatchReader,
  ByteReader,
  ByteWriter,
  FORM,
  writeBatchHeader,
  writeMessage,
  writeRun,
} from '../../protocol/index.ts'

const TIME = 1_750_000_000_000

/** A raw batch of records, as its reader stands on it. */
function batchOf({ bytes, count }: Records, base = 0, principal?: string): BatchReader {
  const out = new ByteWriter()
  writeBatchHeader(out, FORM.raw, base, count, TIME, bytes.length, { principal })
  out.raw(bytes)
  return stoodOn(out)
}

function stoodOn(out: ByteWriter): BatchReader {
  const batch = new BatchReader(new ByteReader(out.copy()))
  batch.advance()
  return batch
}

function shown(batch: BatchReader, from = 0, to = Number.POSITIVE_INFINITY, wanted: Wanted = {}): unknown[] {
  const found: JsonRecord[] = []
  eachRecord(batch, from, to, wanted, (record) => found.push(record))
  return found.map(({ json }) => JSON.parse(json))
}

const textOf = (batch: BatchReader, wanted: Wanted, from = 0): string => {
  const pieces: Uint8Array[] = []
  eachText(batch, from, Number.POSITIVE_INFINITY, wanted, (piece) => pieces.push(piece))
  return Buffer.concat(pieces).toString()
}

const codeOf = (act: () => unknown): [string, unknown] => {
  try {
    act()
    return ['ok', null]
  } catch (error) {
    const { code, details } = error as { code: string; details: { index?: number; line?: number } }
    return [code, details.index ?? details.line]
  }
}

describe('records as JSON', () => {
  it('come back as they were posted, with their place', () => {
    const posted = [
      { kind: 'message', id: 'msg-1', trace: '00-ab', json: { role: 'user', n: [1.5, null] } },
      { kind: 'message', text: 'a "text"\nof two lines 🙂' },
      { kind: 'message', base64: 'AAEC/w==' },
      { kind: 'context', op: 'set', name: 'plän', json: ['look'] },
      { kind: 'context', op: 'delete', name: 'plän' },
      { kind: 'checkpoint', name: 'answered', json: { step: 3 } },
      { kind: 'checkpoint', name: 'bare' },
    ]
    expect(shown(batchOf(recordsOfJson(posted), 7))).toEqual(
      posted.map((record, i) => ({ offset: 7 + i, timeMs: TIME, ...record })),
    )
  })

  it('are messages unless they say otherwise, and a single one needs no list', () => {
    expect(shown(batchOf(recordsOfJson({ text: 'hi' })))).toMatchObject([{ kind: 'message', text: 'hi' }])
  })

  it('show who wrote them', () => {
    expect(shown(batchOf(recordsOfJson({ text: 'hi' }), 0, 'ada'))).toMatchObject([{ principal: 'ada' }])
  })

  it('keep JSON text as it was sent, on one line', () => {
    const batch = batchOf(recordsOfMessage({ tag: 'json', value: '{\r\n  "n": 12345678901234567890.10\n}' }, {}))
    const lines: string[] = []
    eachRecord(batch, 0, 1, {}, ({ json }) => lines.push(json))
    expect(lines).toEqual([`{"offset":0,"timeMs":${TIME},"kind":"message","json":{   "n": 12345678901234567890.10 }}`])
  })

  it('show a large message by what it is', () => {
    const out = new ByteWriter()
    const parts = { size: 5_000_000, sha256: new Uint8Array(32).fill(0xab), uploadId: 'u1' }
    writeMessage(out, { tag: 'text', value: '' }, { parts })
    expect(shown(batchOf({ bytes: out.view(), count: 1 }))).toMatchObject([
      { large: { tag: 'text', size: 5_000_000, sha256: 'ab'.repeat(32), uploadId: 'u1' } },
    ])
  })

  it('are only those within the offsets asked for', () => {
    const batch = batchOf(recordsOfJson(['a', 'b', 'c', 'd'].map((text) => ({ text }))), 10)
    expect(shown(batch, 11, 13)).toMatchObject([{ offset: 11 }, { offset: 12 }])
  })

  it('join tokens in runs where the batch is coalesced', () => {
    const out = new ByteWriter()
    const run = {
      tag: 0,
      streamId: 's',
      part: 'text',
      first: 5,
      last: 8,
      sizes: [1, 2, 1],
      data: Buffer.from('abcd'),
    } as const
    const content = new ByteWriter()
    writeRun(content, 5, run)
    writeBatchHeader(out, FORM.coalesced, 5, 4, TIME, content.length)
    out.raw(content.view())
    expect(shown(stoodOn(out))).toEqual([
      { offset: 5, lastOffset: 8, tokens: 3, timeMs: TIME, kind: 'token', streamId: 's', part: 'text', text: 'abcd' },
    ])
  })
})

describe('tokens', () => {
  const ended = recordsOfTokens('s', 'text', ['Hel', 'lo', { part: 'reasoning', text: 'hm' }, { json: [1] }], {
    streamId: 's',
    state: 'failed',
    detail: { message: 'no' },
  })

  it('are strings or have a part and data, and the end comes behind them', () => {
    expect(ended.count).toBe(5)
    expect(shown(batchOf(ended))).toMatchObject([
      { kind: 'token', streamId: 's', part: 'text', text: 'Hel' },
      { part: 'text', text: 'lo' },
      { part: 'reasoning', text: 'hm' },
      { part: 'text', json: [1] },
      { kind: 'stream', streamId: 's', state: 'failed', json: { message: 'no' } },
    ])
  })

  it('are told by stream and part', () => {
    const batch = batchOf(ended)
    expect(shown(batch, 0, 9, { stream: 't' })).toEqual([])
    expect(shown(batch, 0, 9, { stream: 's' })).toHaveLength(5)
    expect(shown(batch, 0, 9, { stream: 's', part: 'reasoning' })).toMatchObject([{ offset: 2 }])
  })

  it('are text in the order of the log, from an offset on, of all parts or one', () => {
    const batch = batchOf(ended)
    expect(textOf(batch, { stream: 's' })).toBe('Hellohm')
    expect(textOf(batch, { stream: 's', part: 'text' })).toBe('Hello')
    expect(textOf(batch, { stream: 's', part: 'text' }, 1)).toBe('lo')
    expect(textOf(batch, { stream: 't' })).toBe('')
  })

  it('can be an end alone', () => {
    expect(shown(batchOf(recordsOfEnd({ streamId: 's', state: 'done' })))).toMatchObject([{ state: 'done' }])
  })
})

describe('bodies that are refused', () => {
  const bad: [string, unknown, string][] = [
    ['no object', 'hi', 'BAD_REQUEST'],
    ['null', null, 'BAD_REQUEST'],
    ['an unknown field', { text: 'a', colour: 1 }, 'BAD_REQUEST'],
    ['two kinds of data', { text: 'a', json: 1 }, 'BAD_REQUEST'],
    ['a message without data', {}, 'BAD_REQUEST'],
    ['a message with a name', { text: 'a', name: 'n' }, 'BAD_REQUEST'],
    ['text that is none', { text: 1 }, 'BAD_REQUEST'],
    ['half a surrogate pair', { text: '\ud83d' }, 'BAD_VALUE'],
    ['base64 that is none', { base64: 'a' }, 'BAD_VALUE'],
    ['a token', { kind: 'token', text: 'a' }, 'BAD_REQUEST'],
    ['a stream record', { kind: 'stream' }, 'BAD_REQUEST'],
    ['context without an op', { kind: 'context', name: 'n', text: 'a' }, 'BAD_REQUEST'],
    ['context without a name', { kind: 'context', op: 'set', text: 'a' }, 'BAD_REQUEST'],
    ['a set without data', { kind: 'context', op: 'set', name: 'n' }, 'BAD_REQUEST'],
    ['a delete with data', { kind: 'context', op: 'delete', name: 'n', text: 'a' }, 'BAD_REQUEST'],
    ['a name with a control character', { kind: 'checkpoint', name: 'a\u0001' }, 'BAD_NAME'],
    ['an empty id', { text: 'a', id: '' }, 'BAD_NAME'],
    ['an id that is no string', { text: 'a', id: 5 }, 'BAD_REQUEST'],
    ['an id that is not that of the first', { text: 'a', id: 'x' }, 'BAD_REQUEST'],
  ]
  for (const [what, record, code] of bad) {
    it(`${what}, with its place`, () => {
      expect(codeOf(() => recordsOfJson([{ text: 'fine' }, record]))).toEqual([code, 1])
    })
  }

  it('tokens without data, or with an unknown field', () => {
    expect(codeOf(() => recordsOfTokens('s', 'text', ['a', {}], null))).toEqual(['BAD_REQUEST', 1])
    expect(codeOf(() => recordsOfTokens('s', 'text', [{ text: 'a', id: 'x' }], null))).toEqual(['BAD_REQUEST', 0])
  })

  it('more records than an append may have', () => {
    expect(codeOf(() => recordsOfJson(Array.from({ length: 16_385 }, () => ({ text: 'a' }))))[0]).toBe('LIMIT_EXCEEDED')
  })

  it('lines that are not JSON, with the number of the line', () => {
    expect(linesOf('{"text":"a"}\r\n\n"b"\n')).toEqual([{ text: 'a' }, 'b'])
    expect(codeOf(() => linesOf('1\n{'))).toEqual(['BAD_VALUE', 2])
  })

  it('bytes that are no records', () => {
    expect(codeOf(() => recordsOfBytes(new Uint8Array([9, 1]), false))[0]).toBe('BAD_FRAME')
    expect(codeOf(() => recordsOfBytes(new Uint8Array(0), false))[0]).toBe('BAD_REQUEST')
    const two = recordsOfJson([{ text: 'a' }, { text: 'b' }])
    expect(recordsOfBytes(two.bytes, false).count).toBe(2)
    const json = recordsOfMessage({ tag: 'json', value: '{' }, {})
    expect(codeOf(() => recordsOfBytes(json.bytes, false))[0]).toBe('BAD_VALUE')
    const end = recordsOfEnd({ streamId: 's', state: 'done' })
    expect(codeOf(() => recordsOfBytes(end.bytes, false))[0]).toBe('BAD_REQUEST')
    expect(recordsOfBytes(end.bytes, true).count).toBe(1)
  })
})
