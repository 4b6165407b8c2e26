/** Writing by the Durable Streams protocol: what WebSocket clients see of it and it of them, who may retry, and what is refused. */

import { describe, expect, it } from 'vitest'
import type { BrokerOptions } from '../../../broker/index.ts'
import { LIMITS } from '../../../protocol/index.ts'
import { message } from '../../broker/brokers.ts'
import { HttpBroker, problemOf } from '../http.ts'

const PATH = '/v1/stream/chat/1'
const JSON_TYPE = { 'content-type': 'application/json' }
const TEXT = { 'content-type': 'text/plain' }

async function broker(options: BrokerOptions = {}): Promise<{
  http: HttpBroker
  put(headers?: Record<string, string>, body?: string): Promise<Response>
  post(headers: Record<string, string>, body?: string): Promise<Response>
  text(): Promise<string>
}> {
  const http = await HttpBroker.start(options)
  return {
    http,
    put: (headers = TEXT, body) => http.fetch(PATH, { method: 'PUT', headers, body }),
    post: (headers, body) => http.fetch(PATH, { method: 'POST', headers, body }),
    text: async () => (await http.fetch(PATH)).text(),
  }
}

const producer = (sequence: number, epoch = 0, id = 'p'): Record<string, string> => ({
  ...TEXT,
  'producer-id': id,
  'producer-epoch': String(epoch),
  'producer-seq': String(sequence),
})
const offsetOf = (response: Response): string => response.headers.get('stream-next-offset') ?? ''

describe('WebSocket clients and the protocol see the same', () => {
  it('one record for each message of a JSON body, with its bytes', async () => {
    const { http, put, post } = await broker()
    expect((await put(JSON_TYPE, '[{"n": 1.0}, 12345678901234567890]')).status).toBe(201)
    expect((await post(JSON_TYPE, '[[1],"x"]')).status).toBe(204)
    const peer = await http.test.peer()
    await peer.attach('chat/1', { create: false })
    const reading = await peer.read({ start: true }, { raw: true })
    await peer.until(() => reading.records.length === 4)
    expect(reading.records.map(({ kind, data }) => [kind, data])).toEqual([
      ['message', 'json:{"n": 1.0}'],
      ['message', 'json:12345678901234567890'],
      ['message', 'json:[1]'],
      ['message', 'json:"x"'],
    ])
  })

  it('text as text, other bytes as bytes, and text that is cut within a character as bytes', async () => {
    const { http, put, post } = await broker()
    await put(TEXT, 'zw\u00f6lf')
    await http.fetch(PATH, { method: 'POST', headers: TEXT, body: Buffer.from([0xc3]) })
    await post(TEXT, 'x')
    const peer = await http.test.peer()
    await peer.attach('chat/1', { producer: 'w' })
    const reading = await peer.read({ start: true }, { raw: true })
    await peer.until(() => reading.records.length === 3)
    expect(reading.records.map(({ data }) => data)).toEqual(['text:zw\u00f6lf', 'bytes:c3', 'text:x'])
    await peer.append({ sequence: 0 }, message('from a WebSocket'))
    const served = Buffer.from(await (await http.fetch(PATH)).arrayBuffer())
    expect(served).toEqual(
      Buffer.concat([Buffer.from('zw\u00f6lf'), Buffer.from([0xc3]), Buffer.from('xfrom a WebSocket')]),
    )
  })

  it('a topic of a WebSocket client takes JSON, and is confirmed as such', async () => {
    const { http, put, post, text } = await broker()
    const peer = await http.test.peer()
    await peer.attach('chat/1', { producer: 'w' })
    expect((await post(JSON_TYPE, '{"a":1}')).status).toBe(204)
    expect((await put(JSON_TYPE)).status).toBe(200)
    expect(await problemOf(await put(TEXT))).toMatchObject({ status: 409, code: 'TOPIC_EXISTS' })
    expect(await problemOf(await post(TEXT, 'x'))).toMatchObject({ status: 409, code: 'CONTENT_TYPE_MISMATCH' })
    expect(await text()).toBe('[{"a":1}]')
  })

  it('that it is closed', async () => {
    const { http, put, post } = await broker()
    await put()
    const peer = await http.test.peer()
    await peer.attach('chat/1', { producer: 'w' })
    const last = await post({ ...TEXT, 'stream-closed': 'true' }, 'last')
    expect([last.status, last.headers.get('stream-closed')]).toEqual([204, 'true'])
    await expect(peer.append({ sequence: 0 }, message('late'))).rejects.toMatchObject({ code: 'CLOSED' })
    const read = await http.fetch(PATH)
    expect([await read.text(), read.headers.get('stream-closed')]).toEqual(['last', 'true'])
  })
})

describe('a producer that sends again', () => {
  it('is answered as done, however long ago it was, also by a broker that was killed meanwhile', async () => {
    const { http, put, post, text } = await broker()
    await put()
    const sent = 3 * LIMITS.appendsInFlight
    for (let sequence = 0; sequence < sent; sequence++) {
      expect((await post(producer(sequence), 'x')).status).toBe(200)
    }
    for (const again of [0, sent - LIMITS.appendsInFlight - 1, sent - 1]) {
      const repeat = await post(producer(again), 'y')
      expect([repeat.status, repeat.headers.get('producer-seq')]).toEqual([204, String(sent - 1)])
    }
    const killed = new HttpBroker(await http.test.kill())
    const repeat = await killed.fetch(PATH, { method: 'POST', headers: producer(sent - 1), body: 'y' })
    expect(repeat.status).toBe(204)
    expect(await text()).toBe('x'.repeat(sent))
  })

  it('is told what is expected when something is missing, and which epoch has replaced its own', async () => {
    const { put, post } = await broker()
    await put()
    const unknown = await post(producer(3), 'x')
    expect(unknown.headers.get('producer-expected-seq')).toBe('0')
    expect(await problemOf(unknown)).toMatchObject({ status: 409, code: 'PRODUCER_UNKNOWN' })
    await post(producer(0), 'x')
    const gap = await post(producer(2), 'x')
    const { headers } = gap
    expect([headers.get('producer-expected-seq'), headers.get('producer-received-seq')]).toEqual(['1', '2'])
    expect(await problemOf(gap)).toMatchObject({ status: 409, code: 'SEQUENCE_GAP' })
    expect(await problemOf(await post(producer(5, 1), 'x'))).toMatchObject({ status: 400, code: 'SEQUENCE_GAP' })
    expect((await post(producer(0, 1), 'x')).status).toBe(200)
    const stale = await post(producer(1, 0), 'x')
    expect(stale.headers.get('producer-epoch')).toBe('1')
    expect(await problemOf(stale)).toMatchObject({ status: 403, code: 'PRODUCER_STALE' })
  })

  it('is answered as done after it closed the stream, while others are refused', async () => {
    const { put, post, text } = await broker()
    await put()
    await post(producer(0), 'x')
    const close = { ...producer(1), 'stream-closed': 'true' }
    expect((await post(close, 'last')).status).toBe(200)
    const repeat = await post(close, 'another')
    expect([repeat.status, repeat.headers.get('stream-closed')]).toEqual([204, 'true'])
    for (const headers of [producer(2), producer(7), producer(0, 0, 'q'), TEXT]) {
      const refused = await post(headers, 'late')
      expect([refused.headers.get('stream-closed'), offsetOf(refused)]).toEqual(['true', offsetOf(repeat)])
      expect(await problemOf(refused)).toMatchObject({ status: 409, code: 'CLOSED' })
    }
    expect((await post({ 'stream-closed': 'true' })).status).toBe(204)
    expect(await text()).toBe('xlast')
  })
})

describe('a stream that is created', () => {
  it('is there with its first data, or not at all', async () => {
    const { http, put } = await broker()
    const begun = put({ ...JSON_TYPE, 'stream-closed': 'true' }, '[1,2,3]')
    const created = await begun
    expect([created.status, created.headers.get('location')]).toEqual([201, `${http.base}${PATH}`])
    const killed = new HttpBroker(await http.test.kill())
    const read = await killed.fetch(PATH)
    expect([await read.text(), read.headers.get('stream-closed')]).toEqual(['[1,2,3]', 'true'])
    expect(offsetOf(read)).toBe(offsetOf(created))
  })

  it('lingers for ever, unless the policy of a prefix of its name says otherwise', async () => {
    const policies = { short: { lingerMs: 1000 }, bound: { maxBytes: 1_000_000 } }
    const http = await HttpBroker.start({ lingerMs: 60_000, policies })
    const linger = async (name: string): Promise<unknown> => {
      await http.fetch(`/v1/stream/${name}`, { method: 'PUT', headers: TEXT })
      return (await http.json<{ lingerMs: unknown }>(`/v1/sessions/${name}`)).lingerMs
    }
    expect(await Promise.all(['a', 'bound/a', 'short/a'].map(linger))).toEqual(['forever', 'forever', 1000])
    await http.test.pass(() => http.test.broker.stats().reclaimed === 1, 10)
    await http.test.clock.advance(10 * 86_400_000)
    expect((await http.fetch('/v1/stream/a', { method: 'HEAD' })).status).toBe(200)
    expect((await http.fetch('/v1/stream/short/a', { method: 'HEAD' })).status).toBe(404)
  })

  it('goes when it has not been used for its time to live, or at its expiry, whoever uses it', async () => {
    const { http, put, post } = await broker()
    await put({ ...TEXT, 'stream-ttl': '60' })
    const expiresAt = new Date(http.test.clock.wallMs() + 100_000).toISOString()
    const other = '/v1/stream/other'
    await http.fetch(other, { method: 'PUT', headers: { ...TEXT, 'stream-expires-at': expiresAt } })
    const statuses = async (): Promise<number[]> =>
      Promise.all([PATH, other].map(async (path) => (await http.fetch(path, { method: 'HEAD' })).status))
    for (const use of [() => http.fetch(PATH), () => post(TEXT, 'x'), () => post({ 'stream-closed': 'true' })]) {
      await http.test.clock.advance(40_000)
      expect(await statuses()).toEqual([200, http.test.clock.wallMs() < Date.parse(expiresAt) ? 200 : 404])
      expect((await use()).ok).toBe(true)
    }
    const { headers } = await http.fetch(PATH, { method: 'HEAD' })
    expect([headers.get('stream-ttl'), headers.get('stream-expires-at')]).toEqual(['60', null])
    await http.test.clock.advance(61_000)
    expect(await statuses()).toEqual([404, 404])
  })

  it('with another time to live or expiry than the one that there is, is refused', async () => {
    const { put } = await broker({ policies: { chat: { ttlMs: 3_600_000 } } })
    expect((await put({ ...TEXT, 'stream-ttl': '60' })).status).toBe(201)
    expect((await put({ ...TEXT, 'stream-ttl': '60' })).status).toBe(200)
    const expiry = { 'stream-expires-at': '2999-01-01T00:00:00Z' }
    const others: Record<string, string>[] = [{}, { 'stream-ttl': '61' }, expiry]
    for (const headers of others) {
      expect(await problemOf(await put({ ...TEXT, ...headers }))).toMatchObject({ code: 'TOPIC_EXISTS' })
    }
  })

  it('under a prefix whose topics have a time to live is confirmed without one', async () => {
    const { put } = await broker({ policies: { chat: { ttlMs: 3_600_000 } } })
    expect([(await put()).status, (await put()).status]).toEqual([201, 200])
  })

  it('is confirmed as it is, and not written again', async () => {
    const { put, text } = await broker()
    await put(TEXT, 'once')
    const again = await put({ 'content-type': 'TEXT/plain; charset=utf-8' }, 'twice')
    expect([again.status, again.headers.get('content-type')]).toEqual([200, 'text/plain'])
    expect(await text()).toBe('once')
    for (const headers of [{ ...TEXT, 'stream-closed': 'true' }, JSON_TYPE, {}]) {
      expect(await problemOf(await put(headers))).toMatchObject({ status: 409, code: 'TOPIC_EXISTS' })
    }
  })

  it('by many at once is created once', async () => {
    const { put, text } = await broker()
    const answers = await Promise.all(Array.from({ length: 10 }, () => put(TEXT, 'x')))
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201])
    expect(await text()).toBe('x')
  })
})

it('a stream that is deleted is not there any more', async () => {
  const { http, put } = await broker()
  await put()
  const remove = (): Promise<Response> => http.fetch(PATH, { method: 'DELETE' })
  expect((await remove()).status).toBe(204)
  expect(await problemOf(await remove())).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  expect((await http.fetch(PATH, { method: 'HEAD' })).status).toBe(404)
})
