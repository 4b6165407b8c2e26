/** Clients that send what is no HTTP, or ask for what is not there: each is answered or cut off, and holds nothing afterwards. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { HttpBroker } from './http.ts'

/** A client that never closes its side. */
function open(http: HttpBroker, bytes: string): Socket {
  const { port, host } = http.test.broker
  const socket = connect({ port, host, allowHalfOpen: true })
  socket.write(bytes)
  return socket
}

describe('what is no HTTP', () => {
  it('in the middle of a body is answered, and holds the topic no longer, though the client stays', async () => {
    const http = await HttpBroker.start()
    const head =
      'POST /v1/data/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n'
    const socket = open(http, `${head}5\r\nhello\r\nzz\r\n`)
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 .*"reason":"HPE_INVALID_CHUNK_SIZE"/s)
    const attachments = async (): Promise<unknown> =>
      (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments
    while ((await attachments()) !== 0);
    socket.destroy()
  })

  it('behind a request whose answer is open ends that answer, and is no part of it', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/sessions/a', { method: 'PUT' }, 201)
    const socket = open(http, 'GET /v1/events/a HTTP/1.1\r\nhost: localhost\r\n\r\n')
    let told = ''
    socket.on('data', (piece) => {
      told += piece
      if (told.includes('event: live') && socket.writable) socket.end('\0junk\r\n\r\n')
    })
    await once(socket, 'close')
    expect(told).toContain('event: live')
    expect(told.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
  })
})

describe('a request that asks for HTTP/2', () => {
  const h2c = 'connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n'

  it('is answered as one that does not, with its body and what comes behind it', async () => {
    const http = await HttpBroker.start()
    const post = `POST /v1/records/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n${h2c}\r\nhello`
    const socket = open(http, `${post}GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`)
    const told = await text(socket)
    expect(told.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 201', 'HTTP/1.1 200'])
    const { records } = await http.json<{ records: unknown[] }>('/v1/records/a')
    expect(records).toMatchObject([{ text: 'hello' }])
    socket.destroy()
  })
})

describe('what cannot be had is refused with a problem document:', () => {
  const asked = (path: string, ...headers: string[]): string =>
    `GET ${path} HTTP/1.1\r\n${['host: localhost', 'sec-websocket-version: 13', ...headers].join('\r\n')}\r\n\r\n`
  const upgrade = ['connection: Upgrade', 'upgrade: websocket']
  const key = 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=='

  for (const [what, bytes, status, code, detail] of [
    ['a WebSocket where there is none', asked('/v1/other', ...upgrade, key), 404, 'NOT_FOUND', '/v1/ws'],
    ['a WebSocket without a key', asked('/v1/ws', ...upgrade), 400, 'BAD_REQUEST', 'Sec-WebSocket-Key'],
    [
      'what is expected beside 100-continue',
      asked('/', 'expect: more', 'connection: close'),
      417,
      'BAD_REQUEST',
      '100',
    ],
  ] as const) {
    it(what, async () => {
      const http = await HttpBroker.start()
      const socket = open(http, bytes)
      const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n')
      expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} .*\r\ncontent-type: application/problem\\+json\r\n`, 's'))
      expect(JSON.parse(body)).toMatchObject({ status, code, detail: expect.stringContaining(detail) })
      socket.destroy()
    })
  }
})

describe('JSON', () => {
  const json = (body: string | Uint8Array<ArrayBuffer>): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })

  it('that is nested as deep as a body may be is refused where it cannot be kept', async () => {
    const http = await HttpBroker.start()
    const deep = '['.repeat(200_000) + ']'.repeat(200_000)
    const problem = await http.problem('/v1/records/a', json(`{"json":${deep}}`))
    expect(problem).toMatchObject({ status: 400, code: 'BAD_VALUE' })
    expect(await http.problem('/v1/sessions/a')).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('that is not UTF-8 is refused, and not taken for another text', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/sessions/a', { method: 'PUT' }, 201)
    const body = new Uint8Array([...Buffer.from('{"streamId":"'), 0xff, ...Buffer.from('"}')])
    expect(await http.problem('/v1/stop/a', json(body))).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })
})

describe('a query', () => {
  it('that is no encoding of UTF-8 is refused, and not taken for another text', async () => {
    const http = await HttpBroker.start()
    const text = { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hi' }
    for (const id of ['%ff', '%', '%zz', '%ed%a0%80']) {
      const problem = await http.problem(`/v1/records/a?id=${id}`, text)
      expect(problem, id).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    }
    await http.json('/v1/records/a?id=%25ff', text, 201)
  })
})
