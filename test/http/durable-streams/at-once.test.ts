/**
 * Ordinary appends and reads are served before any route sees them. Whoever asks must not be able to tell: each request here is made
 * twice, as an ordinary one and as one that the routes serve, on topics that are alike.
 */

import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../protocol/index.ts'
import { HeldStore } from '../../broker/held-store.ts'
import { eventually, turn } from '../../broker/virtual-clock.ts'
import { HttpBroker } from '../http.ts'

const TEXT = { 'content-type': 'text/plain' }
const JSON_TYPE = { 'content-type': 'application/json' }

type Way = 'ordinary' | 'routes'

/** A percent in the name, or a parameter that is not looked at, is enough to be no ordinary request. The names are of the same length. */
const PATHS = { ordinary: '/v1/stream/way/shorter', routes: '/v1/stream/way/longer%72' } as const

interface Asked {
  readonly method: 'PUT' | 'POST' | 'GET' | 'DELETE'
  readonly headers?: Record<string, string>
  readonly body?: string
  /** Of a read; the offset of the answer before it is `last`. */
  readonly offset?: string
}

/** Answers without what differs from one to the next: when, and which topic. */
async function answers(http: HttpBroker, way: Way, asked: readonly Asked[]): Promise<unknown> {
  const told: unknown[] = []
  let last = '-1'
  let etag = ''
  for (const [i, { method, headers = {}, body, offset }] of asked.entries()) {
    const from = offset === 'last' ? last : offset
    const query = from === undefined ? '' : `?offset=${from}${way === 'routes' ? '&cursor=1' : ''}`
    const all: Record<string, string> = { ...headers, 'x-request-id': `request-${i}` }
    if (all['if-none-match'] !== undefined) all['if-none-match'] = etag
    const response = await http.fetch(`${PATHS[way]}${query}`, { method, headers: all, body })
    last = response.headers.get('stream-next-offset') ?? last
    etag = response.headers.get('etag') ?? etag
    const text = await response.text()
    const { date: _, ...rest } = Object.fromEntries(response.headers)
    told.push({ asked: `${method} ${offset ?? ''} ${body ?? ''}`, status: response.status, ...rest, text })
  }
  const epoch = last.slice(17)
  const alike = JSON.stringify(told)
    .replaceAll(epoch, 'EPOCH')
    .replaceAll(`\\"${Number(epoch).toString(36)}:`, '\\"TAG:')
    .replaceAll(/way\/(?:shorter|longer(?:r|%72))/g, 'NAME')
  return JSON.parse(alike)
}

const producer = (sequence: number, epoch = 0): Record<string, string> => ({
  ...TEXT,
  'producer-id': 'p',
  'producer-epoch': String(epoch),
  'producer-seq': String(sequence),
})

const CASES: Readonly<Record<string, readonly Asked[]>> = {
  'appends of text, and reads of all, of the rest, of nothing, and of what is known': [
    { method: 'PUT', headers: TEXT },
    { method: 'GET' },
    { method: 'POST', headers: TEXT, body: 'zw\u00f6lf' },
    { method: 'GET', offset: '-1' },
    { method: 'POST', headers: { 'content-type': 'Text/Plain; charset=utf-8' }, body: 'x' },
    { method: 'GET' },
    { method: 'GET', offset: 'last' },
    { method: 'GET', headers: { 'if-none-match': 'that of the answer before' }, offset: 'last' },
    { method: 'GET', headers: { 'accept-encoding': 'gzip' } },
  ],
  'JSON, of several messages, of one, of none, and what is none': [
    { method: 'PUT', headers: JSON_TYPE },
    { method: 'POST', headers: JSON_TYPE, body: '[{"n": 1.0},"\u00e9"]' },
    { method: 'POST', headers: JSON_TYPE, body: '[]' },
    { method: 'POST', headers: JSON_TYPE, body: '[1' },
    { method: 'POST', headers: JSON_TYPE, body: '[1,]' },
    { method: 'POST', headers: JSON_TYPE, body: 'true' },
    { method: 'GET' },
  ],
  'producers: what is new, a repeat, a gap, one that is stale, and headers that are none': [
    { method: 'PUT', headers: TEXT },
    { method: 'POST', headers: producer(0), body: 'a' },
    { method: 'POST', headers: producer(1), body: 'b' },
    { method: 'POST', headers: producer(0), body: 'a' },
    { method: 'POST', headers: producer(7), body: 'c' },
    { method: 'POST', headers: producer(0, 1), body: 'd' },
    { method: 'POST', headers: producer(2, 0), body: 'e' },
    { method: 'POST', headers: { ...TEXT, 'producer-id': 'p' }, body: 'f' },
    { method: 'GET' },
  ],
  'refusals: another type, none, no body, no stream, an offset beyond the end or of another stream, and a closed stream':
    [
      { method: 'POST', headers: TEXT, body: 'a' },
      { method: 'GET' },
      { method: 'PUT', headers: TEXT },
      { method: 'POST', headers: JSON_TYPE, body: '1' },
      { method: 'POST', headers: { 'content-type': 'nonsense' }, body: '1' },
      { method: 'POST', headers: { 'content-type': 'text' }, body: '1' },
      { method: 'POST', headers: { 'content-type': 'text/' }, body: '1' },
      { method: 'POST', headers: TEXT },
      { method: 'GET', offset: `${'9'.repeat(16)}_${'1'.repeat(16)}` },
      { method: 'GET', offset: 'nonsense' },
      { method: 'POST', headers: { ...TEXT, 'stream-seq': 'b' }, body: 'a' },
      { method: 'POST', headers: { ...TEXT, 'stream-seq': 'a' }, body: 'a' },
      { method: 'POST', headers: { ...TEXT, 'stream-closed': 'true' }, body: 'b' },
      { method: 'POST', headers: TEXT, body: 'c' },
      { method: 'POST', headers: producer(0), body: 'c' },
      { method: 'GET' },
      { method: 'GET', offset: 'last' },
      { method: 'DELETE' },
      { method: 'POST', headers: TEXT, body: 'd' },
      { method: 'GET' },
    ],
  'what is larger than an ordinary request': [
    { method: 'PUT', headers: TEXT },
    { method: 'POST', headers: TEXT, body: 'x'.repeat(LIMITS.httpAtOnceBytes) },
    { method: 'POST', headers: TEXT, body: 'y'.repeat(LIMITS.httpAtOnceBytes + 1) },
    { method: 'GET' },
  ],
}

describe('an ordinary request is answered as the routes answer it:', () => {
  for (const [what, asked] of Object.entries(CASES)) {
    it(what, async () => {
      const http = await HttpBroker.start()
      expect(await answers(http, 'ordinary', asked)).toEqual(await answers(http, 'routes', asked))
    })
  }

  it('but a read of what is stored does not wait for an append that is not', async () => {
    const store = await HeldStore.open()
    const http = await HttpBroker.start({ store })
    await http.fetch(PATHS.ordinary, { method: 'PUT', headers: TEXT, body: 'stored' })
    const commit = store.holdJournal()
    const append = http.fetch(PATHS.ordinary, { method: 'POST', headers: TEXT, body: ' later' })
    while (http.test.broker.stats().attachments === 0) await turn()
    expect(await (await http.fetch(PATHS.ordinary)).text()).toBe('stored')
    commit()
    expect((await append).status).toBe(204)
    expect(await (await http.fetch(PATHS.ordinary)).text()).toBe('stored later')
  })

  it('what lies below __ds is no stream, whatever topics there are', async () => {
    const http = await HttpBroker.start()
    const peer = await http.test.peer()
    await peer.attach('__ds/x', { producer: 'p' })
    expect((await http.fetch('/v1/stream/__ds/x')).status).toBe(404)
    expect((await http.fetch('/v1/stream/__ds/x', { method: 'POST', headers: JSON_TYPE, body: '1' })).status).toBe(404)
  })
})

/** All that comes on a connection that is sent these bytes, until there are so many answers. */
async function exchange(http: HttpBroker, bytes: string, count: number): Promise<string> {
  const { port, host } = http.test.broker
  const socket = connect({ port, host })
  socket.write(bytes)
  let told = ''
  while ((told.match(/HTTP\/1\.1 \d+/g)?.length ?? 0) < count) told += String((await once(socket, 'data'))[0])
  socket.destroy()
  return told
}

describe('on one connection', () => {
  const request = (method: string, query = '', body = ''): string => {
    const headers = `host: localhost\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n`
    return `${method} ${PATHS.ordinary}${query} HTTP/1.1\r\n${headers}\r\n${body}`
  }

  it('requests that are sent without waiting are answered in order, and appended in order', async () => {
    const http = await HttpBroker.start()
    await http.fetch(PATHS.ordinary, { method: 'PUT', headers: TEXT })
    const all = ['a', 'b', 'c'].map((body) => request('POST', '', body)).join('')
    const told = await exchange(http, `${all}${request('GET', '?offset=-1&x=1')}`, 4)
    expect(told.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 204', 'HTTP/1.1 204', 'HTTP/1.1 204', 'HTTP/1.1 200'])
    expect(await (await http.fetch(PATHS.ordinary)).text()).toBe('abc')
  })

  it('a body behind a read means nothing, and the next request is read as one', async () => {
    const http = await HttpBroker.start()
    await http.fetch(PATHS.ordinary, { method: 'PUT', headers: TEXT, body: 'data' })
    const body = 'POST / HTTP/1.1\r\n'.repeat(10_000)
    const told = await exchange(http, `${request('GET', '', body)}${request('GET')}`, 2)
    expect(told.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200'])
  })

  it('an append whose client is gone before it is stored is stored all the same, and holds nothing', async () => {
    const store = await HeldStore.open()
    const http = await HttpBroker.start({ store })
    await http.fetch(PATHS.ordinary, { method: 'PUT', headers: TEXT })
    const commit = store.holdJournal()
    const { port, host } = http.test.broker
    const socket = connect({ port, host })
    socket.write(request('POST', '', 'gone'))
    await eventually(() => http.test.broker.stats().attachments === 1)
    socket.destroy()
    await eventually(() => http.test.broker.stats().attachments === 0)
    commit()
    await eventually(async () => (await (await http.fetch(PATHS.ordinary)).text()) === 'gone')
  })

  it('an append that is cut off in its body stores nothing, and holds nothing', async () => {
    const http = await HttpBroker.start()
    await http.fetch(PATHS.ordinary, { method: 'PUT', headers: TEXT })
    const { port, host } = http.test.broker
    const socket = connect({ port, host })
    socket.end(request('POST', '', 'whole').slice(0, -1))
    socket.resume()
    await once(socket, 'close')
    expect(await (await http.fetch(PATHS.ordinary)).text()).toBe('')
    expect(http.test.broker.stats().attachments).toBe(0)
  })
})

describe('a running request is an attachment:', () => {
  for (const way of ['ordinary', 'routes'] as const) {
    it(`the linger begins anew behind an append and a read (${way})`, async () => {
      const http = await HttpBroker.start({ policies: { way: { lingerMs: 10_000 } } })
      const query = way === 'ordinary' ? '' : '?cursor=1'
      await http.fetch(PATHS[way], { method: 'PUT', headers: TEXT })
      await http.test.clock.advance(6_000)
      expect((await http.fetch(PATHS[way], { method: 'POST', headers: TEXT, body: 'x' })).status).toBe(204)
      await http.test.clock.advance(6_000)
      expect((await http.fetch(`${PATHS[way]}${query}`)).status).toBe(200)
      await http.test.clock.advance(6_000)
      expect((await http.fetch(`${PATHS[way]}${query}`)).status).toBe(200)
      await http.test.clock.advance(11_000)
      expect((await http.fetch(`${PATHS[way]}${query}`)).status).toBe(404)
    })
  }
})
