/** The listener that HTTP and WebSockets share: what holds for all requests, and how it ends. */

import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { encodingFor } from '../../broker/http/compress.ts'
import { STATUS } from '../../broker/http/problem.ts'
import { ERRORS, LIMITS } from '../../protocol/index.ts'
import { message } from '../broker/brokers.ts'
import { HttpBroker, problemOf } from './http.ts'

/** Sends bytes as they are, and returns all that comes back until the connection is closed. */
function raw(http: HttpBroker, bytes: string): Promise<string> {
  const socket = connect(http.test.broker.port, http.test.broker.host)
  socket.write(bytes)
  return text(socket)
}

describe('the HTTP face', () => {
  it('describes a session that was written by WebSocket, on the same port', async () => {
    const http = await HttpBroker.start()
    const peer = await http.test.peer()
    await peer.attach('support/ticket-42', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('hi'))
    const told = await http.json('/v1/sessions/support/ticket-42')
    expect(told).toMatchObject({ name: 'support/ticket-42', firstOffset: 0, nextOffset: 1, hold: 'attached' })
    expect(await http.json('/v1/sessions/support%2Fticket-42')).toEqual(told)
  })

  it('answers what is not there, and names that are none, with a problem', async () => {
    const http = await HttpBroker.start()
    expect(await http.problem('/v1/sessions/no/such')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await http.problem('/v1/nothing')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    for (const name of ['a//b', 'a b', '..%2Fx', '%00', `${'x'.repeat(256)}`, '%E2%82%AC']) {
      const problem = await http.problem(`/v1/sessions/${name}`)
      expect(problem, name).toMatchObject({ status: 400, code: 'BAD_NAME' })
    }
    expect(await http.problem('/v1/sessions/%zz')).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })

  it('tells which methods a path takes, and answers the preflight of a page', async () => {
    const http = await HttpBroker.start({ allowOrigins: ['*'] })
    const wrong = await http.fetch('/openapi.json', { method: 'POST' })
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS'])
    expect(await problemOf(wrong)).toMatchObject({ code: 'BAD_REQUEST', details: { methods: ['GET', 'HEAD'] } })
    const asked = { origin: 'https://app.test', 'access-control-request-headers': 'content-type, x-trace' }
    const preflight = await http.fetch('/v1/sessions/a', { method: 'OPTIONS', headers: asked })
    expect(preflight.status).toBe(204)
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-allow-headers': 'content-type, x-trace',
      'access-control-allow-methods': expect.stringContaining('POST'),
    })
    const nowhere = await http.fetch('/v1/nothing', { method: 'OPTIONS', headers: asked })
    expect(nowhere.status).toBe(404)
    expect(nowhere.headers.get('access-control-allow-origin')).toBe('*')
  })

  it('gives every request an id, which is the one of the caller if it is one to print', async () => {
    const http = await HttpBroker.start()
    const id = async (given: string): Promise<string> =>
      (await http.problem('/v1/sessions/none', { headers: { 'x-request-id': given } })).instance
    expect(await id('trace-7')).toBe('trace-7')
    const made = [await id('no "quotes"'), await id(''), await id('x'.repeat(129))]
    expect(new Set(made).size).toBe(3)
    for (const one of made) expect(one).toMatch(/^[\w-]{8}-\w+$/)
  })

  it('greets who comes without a path, and says what is behind the path of the WebSocket', async () => {
    const http = await HttpBroker.start()
    const response = await http.fetch('/')
    expect(response.status).toBe(200)
    expect(await response.text()).toContain('/v1/ws')
    expect(await http.problem('/v1/ws')).toMatchObject({ status: 426, code: 'BAD_REQUEST' })
  })

  it('answers HEAD as GET, without the body', async () => {
    const http = await HttpBroker.start()
    const whole = await http.fetch('/openapi.json', { headers: { 'accept-encoding': 'identity' } })
    const size = (await whole.arrayBuffer()).byteLength
    const head = await http.fetch('/openapi.json', { method: 'HEAD', headers: { 'accept-encoding': 'identity' } })
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, `${size}`, ''])
  })

  it('refuses what is too long before the path is looked at, and what is no HTTP', async () => {
    const http = await HttpBroker.start()
    const long = await http.problem(`/v1/sessions/a?x=${'x'.repeat(LIMITS.httpUrlBytes)}`)
    expect(long).toMatchObject({ status: 414, code: 'LIMIT_EXCEEDED', details: { limit: 'httpUrlBytes' } })
    const headers = await raw(
      http,
      `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(LIMITS.httpHeaderBytes)}\r\n\r\n`,
    )
    expect(headers).toMatch(/^HTTP\/1\.1 431 /)
    expect(headers).toContain('"limit":"httpHeaderBytes"')
    const other = await raw(http, 'EHLO broker\r\n\r\n')
    expect(other).toMatch(/^HTTP\/1\.1 400 .*application\/problem\+json.*"code":"BAD_REQUEST"/s)
  })

  it('compresses JSON for who accepts it, by the weight of what they accept', async () => {
    const http = await HttpBroker.start()
    const plain = await http.fetch('/openapi.json', { headers: { 'accept-encoding': 'identity' } })
    expect([plain.headers.get('content-encoding'), plain.headers.get('vary')]).toEqual([null, 'accept-encoding'])
    const document = await plain.text()
    for (const encoding of ['gzip', 'br']) {
      const response = await http.fetch('/openapi.json', { headers: { 'accept-encoding': encoding } })
      expect([response.headers.get('content-encoding'), await response.text()]).toEqual([encoding, document])
    }
    const chosen = ['gzip, br', 'br;q=0, gzip', 'br;q=0.5, gzip;q=0.8', '*', '*;q=0', 'deflate', '', undefined]
    expect(chosen.map(encodingFor)).toEqual(['br', 'gzip', 'gzip', 'br', null, null, null, null])
  })

  it('has a status for every error code, and tells what each means', async () => {
    expect(Object.keys(STATUS).sort()).toEqual(Object.keys(ERRORS).sort())
    for (const status of Object.values(STATUS)) expect(status).toBeGreaterThanOrEqual(400)
    const http = await HttpBroker.start()
    expect(await http.json('/problems/TRIMMED')).toEqual({
      code: 'TRIMMED',
      means: ERRORS.TRIMMED.means,
      status: 410,
      retry: false,
    })
    expect(await http.problem('/problems/NO_SUCH')).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('describes itself by OpenAPI 3.1', async () => {
    const http = await HttpBroker.start()
    const document = await http.json<{
      openapi: string
      paths: Record<string, Record<string, { operationId: string; responses: Record<string, unknown> }>>
    }>('/openapi.json')
    expect(document.openapi).toBe('3.1.0')
    const operations = Object.values(document.paths).flatMap((path) => Object.values(path))
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { responses } of operations)
      expect(Object.keys(responses)).toEqual(expect.arrayContaining(['400', '503']))
    expect(document.paths['/v1/sessions/{name}']?.get).toMatchObject({
      parameters: expect.arrayContaining([expect.objectContaining({ name: 'name', in: 'path', required: true })]),
    })
  })
})
