/** What of a log is served in which form, and what a body is stored as. */

import { expect, test } from 'vitest'
import type { Form } from '../../../broker/http/durable-streams/media-type.ts'
import { PageWriter } from '../../../broker/http/durable-streams/page.ts'
import { encodeBody } from '../../../broker/http/durable-streams/records.ts'
import {
  ByteWriter,
  FORM,
  LIMITS,
  type RecordData,
  writeBatchHeader,
  writeContext,
  writeMessage,
  writeToken,
} from '../../../protocol/index.ts'

type Fill = (out: ByteWriter) => void
const text = (value: string): RecordData => ({ tag: 'text', value })
const json = (value: string): RecordData => ({ tag: 'json', value })
const bytes = (...value: number[]): RecordData => ({ tag: 'bytes', value: Uint8Array.from(value) })
const message =
  (data: RecordData): Fill =>
  (out) =>
    writeMessage(out, data)
const token =
  (value: string, repeat = false): Fill =>
  (out) =>
    writeToken(out, 'reply', 'text', text(value), repeat)
const context: Fill = (out) => writeContext(out, 'set', 'x', json('{}'))
const large: Fill = (out) =>
  writeMessage(out, text(''), { parts: { size: 3_000_000, sha256: new Uint8Array(32), uploadId: 'u' } })

/** Batches back to back, each of the records given, from offset `base` on. */
function batches(base: number, ...each: Fill[][]): Uint8Array {
  const out = new ByteWriter()
  for (const fills of each) {
    const records = new ByteWriter()
    for (const fill of fills) fill(records)
    writeBatchHeader(out, FORM.raw, base, fills.length, 0, records.length)
    out.raw(records.view())
    base += fills.length
  }
  return out.copy()
}

function page(form: Form, log: Uint8Array, from = 0, maxBytes = 1_000_000, to = 1_000): PageWriter {
  const writer = new PageWriter(form, from, maxBytes)
  writer.add(log, to)
  return writer
}

const mixed = batches(
  0,
  [message(text('é"')), message(json('1.0'))],
  [context, token('a'), token('b', true), message(bytes(0, 255))],
)

test('a page of bytes is the data of messages and tokens, one behind the other', () => {
  const writer = page('bytes', mixed)
  expect(writer.body()).toEqual(Buffer.concat([Buffer.from('é"1.0ab'), Buffer.from([0, 255])]))
  expect(writer.next).toBe(6)
})

test('a page of JSON has JSON as it is stored, text as a string, and bytes as one in base64', () => {
  expect(page('json', mixed).body().toString()).toBe('["é\\"",1.0,"a","b","AP8="]')
  expect(page('json', batches(0)).body().toString()).toBe('[]')
})

test('other kinds of records are stepped over, and keep their offsets', () => {
  const writer = page('text', batches(7, [context, context]), 7)
  expect(writer.isEmpty).toBe(true)
  expect(writer.body().toString()).toBe('')
  expect(writer.next).toBe(9)
})

test('a page begins where it is asked to, within a batch, and ends before what is not committed', () => {
  const log = batches(3, [token('a'), token('b', true), token('c', true)], [token('d')], [token('e')])
  const writer = page('text', log, 5, 1_000, 7)
  expect(writer.body().toString()).toBe('cd')
  expect(writer.next).toBe(7)
})

test('a page is full with the record that reaches its bound', () => {
  const log = batches(0, [token('aaa'), token('bbb', true), token('ccc', true)])
  const writer = page('text', log, 0, 4)
  expect([writer.body().toString(), writer.next, writer.isFull]).toEqual(['aaabbb', 2, true])
})

test('nothing behind a gap is served', () => {
  const writer = page('text', batches(5, [token('x')]), 4)
  expect([writer.isEmpty, writer.next]).toEqual([true, 4])
})

test('a large message has a page of its own', () => {
  const log = batches(0, [message(text('small'))], [large], [message(text('behind'))])
  const before = page('text', log)
  expect([before.body().toString(), before.next, before.large]).toEqual(['small', 1, null])
  const alone = page('text', log, 1)
  expect([alone.body().length, alone.next, alone.isEmpty]).toEqual([0, 2, false])
  expect(alone.large).toEqual({ offset: 1, tag: 'text', size: 3_000_000 })
})

test('a body becomes one record, in JSON mode one for each message, and is read as it was sent', () => {
  const cases: [Form, Buffer, number, string][] = [
    ['json', Buffer.from(' [ {"n": 1.0} ,[2], "x" ]'), 3, '[{"n": 1.0},[2],"x"]'],
    ['text', Buffer.from('zwölf'), 1, 'zwölf'],
    ['text', Buffer.from([0x61, 0xc3]), 1, Buffer.from([0x61, 0xc3]).toString('latin1')],
    ['bytes', Buffer.from([0, 1, 255]), 1, Buffer.from([0, 1, 255]).toString('latin1')],
  ]
  for (const [form, body, count, read] of cases) {
    const encoded = encodeBody(body, form)
    expect(encoded.count).toBe(count)
    const out = new ByteWriter()
    writeBatchHeader(out, FORM.raw, 0, count, 0, encoded.bytes.length)
    out.raw(encoded.bytes)
    const served = page(form, out.copy()).body()
    expect(read === served.toString() || read === served.toString('latin1')).toBe(true)
  }
})

test('messages that do not fit one append together are refused', () => {
  const exceeds = (body: string): void => {
    expect(() => encodeBody(Buffer.from(body), 'json')).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }))
  }
  exceeds(`[${'1,'.repeat(LIMITS.appendRecords)}1]`)
  exceeds(`["${'x'.repeat(LIMITS.appendBytes / 2)}","${'x'.repeat(LIMITS.appendBytes / 2)}"]`)
})
