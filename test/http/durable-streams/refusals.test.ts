/** Bad requests by the Durable Streams protocol: each is told by status and problem document, and leaves the stream as it was. */

import { connect } from 'node:net'
import { beforeEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../protocol/index.ts'
import { HttpBroker, problemOf } from '../http.ts'

const PATH = '/v1/stream/chat/1'
const TEXT = { 'content-type': 'text/plain' }
const JSON_TYPE = { 'content-type': 'application/json' }
let http: HttpBroker

beforeEach(async () => {
  http = await HttpBroker.start()
  await http.fetch(PATH, { method: 'PUT', headers: TEXT, body: 'as it was' })
  await http.fetch('/v1/stream/json', { method: 'PUT', headers: JSON_TYPE, body: '["as it was"]' })
})

/** Status and code that the request is answered with; the streams must be as they were. */
async function refused(path: string, init: RequestInit): Promise<[number, string]> {
  const response = await http.fetch(path, init)
  expect(response.headers.get('x-content-type-options')).toBe('nosniff')
  const { status, code } = await problemOf(response)
  expect(await (await http.fetch(PATH)).text()).toBe('as it was')
  expect(await (await http.fetch('/v1/stream/json')).text()).toBe('["as it was"]')
  return [status, code]
}

describe('is refused', () => {
  it('a method that a stream does not have, with those that it has', async () => {
    expect(await refused(PATH, { method: 'PATCH', headers: TEXT, body: 'x' })).toEqual([405, 'BAD_REQUEST'])
    const { headers } = await http.fetch(PATH, { method: 'PATCH' })
    expect(headers.get('allow')?.split(', ').sort()).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'])
  })

  it('a content type that is none, none, or another one than that of the stream', async () => {
    const post = (type: Record<string, string>): Promise<[number, string]> =>
      refused(PATH, { method: 'POST', headers: type, body: Buffer.from('x') })
    expect(await post({})).toEqual([400, 'BAD_REQUEST'])
    expect((await post({ 'content-type': 'text' }))[0]).toBe(415)
    expect(await post(JSON_TYPE)).toEqual([400, 'BAD_VALUE'])
    expect(await post({ 'content-type': 'text/html' })).toEqual([409, 'CONTENT_TYPE_MISMATCH'])
  })

  it('a body that is empty, not JSON, an empty array, or of more messages than fit one append', async () => {
    const post = (body: string | Buffer): Promise<[number, string]> =>
      refused('/v1/stream/json', { method: 'POST', headers: JSON_TYPE, body })
    expect(await post('')).toEqual([400, 'BAD_REQUEST'])
    expect(await post('[]')).toEqual([400, 'BAD_REQUEST'])
    for (const body of ['{', '[1,]', 'x', Buffer.from([0x22, 0xff, 0x22])]) {
      expect(await post(body)).toEqual([400, 'BAD_VALUE'])
    }
    const many = JSON.stringify(Array.from({ length: LIMITS.appendRecords + 1 }, () => 1))
    expect(await post(many)).toEqual([413, 'LIMIT_EXCEEDED'])
    const long = JSON.stringify(Array.from({ length: 3 }, () => 'x'.repeat(100_000)))
    expect(await post(long)).toEqual([413, 'LIMIT_EXCEEDED'])
  })

  it('a header that is not what it should be', async () => {
    const post = (headers: Record<string, string>): Promise<[number, string]> =>
      refused(PATH, { method: 'POST', headers: { ...TEXT, ...headers }, body: 'x' })
    expect(await post({ 'producer-id': 'p' })).toEqual([400, 'BAD_REQUEST'])
    const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
    expect(await post({ ...producer, 'producer-seq': '1e3' })).toEqual([400, 'BAD_REQUEST'])
    expect(await post({ ...producer, 'producer-id': 'x'.repeat(256) })).toEqual([400, 'BAD_NAME'])
    expect(await post({ 'stream-seq': 'x'.repeat(LIMITS.streamSeqBytes + 1) })).toEqual([413, 'LIMIT_EXCEEDED'])
    const put = (headers: Record<string, string>): Promise<[number, string]> =>
      refused('/v1/stream/new', { method: 'PUT', headers: { ...TEXT, ...headers } })
    expect(await put({ 'stream-ttl': '1.5' })).toEqual([400, 'BAD_REQUEST'])
    expect(await put({ 'stream-expires-at': 'tomorrow' })).toEqual([400, 'BAD_REQUEST'])
    expect(await put({ 'stream-fork-offset': 'x' })).toEqual([400, 'BAD_REQUEST'])
    expect((await http.fetch('/v1/stream/new', { method: 'HEAD' })).status).toBe(404)
  })

  it('a Stream-Seq that is not greater than the last one', async () => {
    const post = (seq: string): Promise<Response> =>
      http.fetch('/v1/stream/seq', { method: 'POST', headers: { ...TEXT, 'stream-seq': seq }, body: seq })
    await http.fetch('/v1/stream/seq', { method: 'PUT', headers: TEXT })
    expect((await post('09')).status).toBe(204)
    for (const seq of ['09', '08', '0']) {
      expect(await problemOf(await post(seq))).toMatchObject({ status: 409, code: 'STREAM_SEQ_STALE' })
    }
    expect((await post('1')).status).toBe(204)
    expect(await (await http.fetch('/v1/stream/seq')).text()).toBe('091')
  })

  it('a name that is none', async () => {
    for (const path of ['/v1/stream/a%20b', '/v1/stream/', '/v1/stream/a//b']) {
      expect(await refused(path, { method: 'PUT', headers: TEXT })).toEqual([400, 'BAD_NAME'])
      expect(await refused(path, { method: 'DELETE' })).toEqual([400, 'BAD_NAME'])
    }
  })

  it('a body that is too large', async () => {
    const body = Buffer.alloc(LIMITS.httpBodyBytes + 1)
    const post = { method: 'PUT', headers: { 'content-type': 'application/octet-stream' }, body }
    expect(await refused('/v1/stream/new', post)).toEqual([413, 'LIMIT_EXCEEDED'])
    expect((await http.fetch('/v1/stream/new', { method: 'HEAD' })).status).toBe(404)
  })
})

it.each([
  { policies: { new: { limits: { recordsPerSecond: 1 } } } },
  { policies: { new: { limits: { bytes: 50 } } } },
  { policies: { new: { limits: { messageBytes: 5 } } } },
  { limits: { topic: { bytes: 5 } } },
])('what a stream is to begin with, and is refused for its bounds, makes no stream: %j', async (options) => {
  const bound = await HttpBroker.start(options)
  const put = (name: string): Promise<Response> =>
    bound.fetch(`/v1/stream/new/${name}`, {
      method: 'PUT',
      headers: TEXT,
      body: 'forty bytes, or so, are too many for some',
    })
  await put('other')
  const { status } = await put('one')
  expect([413, 429]).toContain(status)
  // Had it been made, the next one would be answered as if all were there.
  expect((await bound.fetch('/v1/stream/new/one')).status).toBe(404)
  await bound.test.clock.advance(1000)
  const again = await put('one')
  expect(again.status).toBe(status === 429 ? 201 : status)
})

it('a body that is cut off is not appended, and creates nothing', async () => {
  for (const [method, path] of [
    ['POST', PATH],
    ['PUT', '/v1/stream/cut'],
  ] as const) {
    const socket = connect(http.test.broker.port, http.test.broker.host)
    const head = [`${method} ${path} HTTP/1.1`, 'Host: x', 'Content-Type: text/plain', 'Content-Length: 100']
    await new Promise<void>((sent) => socket.write(`${head.join('\r\n')}\r\n\r\nhalf of it`, () => sent()))
    // It has been read when what comes behind it is answered.
    await http.fetch(PATH)
    await new Promise<void>((closed) => socket.once('close', () => closed()).destroy())
  }
  expect(await (await http.fetch(PATH)).text()).toBe('as it was')
  expect((await http.fetch('/v1/stream/cut', { method: 'HEAD' })).status).toBe(404)
})
