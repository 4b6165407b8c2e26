/** Bodies of requests: bounded each, bounded together, given up when they do not come on, and refused when cut off. */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { everybody } from '../../broker/access/identity.ts'
import { answerProblem } from '../../broker/http/answers.ts'
import { addRoutes } from '../../broker/http/assemble.ts'
import { Face, type FaceOptions } from '../../broker/http/face.ts'
import { createApp } from '../../broker/http/fastify.ts'
import { rawBodies } from '../../broker/http/parsers.ts'
import { Counts } from '../../broker/observe/counts.ts'
import { Unsent } from '../../broker/unsent.ts'
import { LIMITS } from '../../protocol/index.ts'
import { afterwards } from '../broker/brokers.ts'
import { eventually, VirtualClock } from '../broker/virtual-clock.ts'
import { problemOf } from './http.ts'

/** A face without a store, with routes of its own that tell what they were given. */
class EchoServer {
  readonly clock = new VirtualClock()
  /** With what a face without a store is asked for, and no more. */
  readonly face = new Face({
    core: () => null,
    clock: this.clock,
    unsent: new Unsent(),
    counts: new Counts({ commit: () => undefined, journalWrite: () => undefined }),
    maxMessageBytes: LIMITS.largeMessageBytes,
    frameBytes: LIMITS.messageBytes,
    authority: { identify: everybody, isConfigured: false },
    pages: { allowOrigins: [], publicHost: null, anyHost: false },
  } as unknown as FaceOptions)
  /** Requests that came to a route. */
  readonly taken: string[] = []
  /** While it is set, responses wait. */
  gate: Promise<void> | null = null
  base = ''
  port = 0

  static async start(): Promise<EchoServer> {
    const echo = new EchoServer()
    const { face } = echo
    const { app, http } = createApp(
      answerProblem,
      (request, response, routes) => {
        face.begun(request, response)
        routes(request, response)
      },
      () => 'id',
    )
    addRoutes(app, face)
    const schema = {
      body: { type: 'object', required: ['a'], additionalProperties: false, properties: { a: { type: 'integer' } } },
      querystring: { type: 'object', additionalProperties: false, properties: { limit: { type: 'integer' } } },
    }
    app.post('/test/json', { schema }, async (request) => ({ body: request.body, query: request.query }))
    app.register((own, _options, done) => {
      rawBodies(own, face)
      own.post('/test/raw', { bodyLimit: LIMITS.httpBodiesBytes }, async (request) => {
        echo.taken.push(request.url)
        await echo.gate
        return { size: (request.body as Buffer | undefined)?.length ?? 0 }
      })
      done()
    })
    await app.ready()
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    echo.port = (http.address() as AddressInfo).port
    echo.base = `http://127.0.0.1:${echo.port}`
    afterwards(async () => {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    })
    return echo
  }

  post(path: string, body: string | Uint8Array, type = 'application/json'): Promise<Response> {
    return fetch(`${this.base}${path}`, { method: 'POST', body, headers: { 'content-type': type } })
  }

  /** Sends the beginning of a request, and nothing more. */
  begin(head: string): Socket {
    const socket = connect(this.port, '127.0.0.1')
    socket.write(`POST ${head}`)
    afterwards(async () => socket.destroy())
    return socket
  }
}

/** What comes back on the socket until it has these words. */
async function reading(socket: Socket, words: string): Promise<string> {
  let got = ''
  socket.on('data', (piece) => {
    got += piece
  })
  await eventually(() => got.includes(words))
  return got
}

const HEAD = '/test/raw HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n'

describe('the body of a request', () => {
  it('is checked against the schema of its route, and so is the query', async () => {
    const echo = await EchoServer.start()
    const good = await echo.post('/test/json?limit=7', '{"a":1}', 'application/json; charset=utf-8')
    expect(await good.json()).toEqual({ body: { a: 1 }, query: { limit: 7 } })
    const bad = ['{"a":"1"}', '{"a":1,"b":2}', '{"a":', '', '[]', '{"a":1,"__proto__":{"b":1}}']
    for (const body of bad) {
      const problem = await problemOf(await echo.post('/test/json', body))
      expect(problem, body).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    }
    for (const query of ['limit=x', 'limit=01', 'limit=1&limit=2', 'limit=-1e99', 'other=1']) {
      const problem = await problemOf(await echo.post(`/test/json?${query}`, '{"a":1}'))
      expect(problem, query).toMatchObject({ status: 400, code: 'BAD_REQUEST', details: { reason: 'SCHEMA' } })
    }
  })

  it('is refused with 415 where its type is none that the route takes', async () => {
    const echo = await EchoServer.start()
    expect(await problemOf(await echo.post('/test/json', 'a=1', 'text/plain'))).toMatchObject({ status: 415 })
    expect(await problemOf(await echo.post('/test/json', 'a=1', 'nonsense'))).toMatchObject({ status: 415 })
  })

  it('is refused with 413 beyond the bound of its route, told or not', async () => {
    const echo = await EchoServer.start()
    const large = `{"a":${' '.repeat(LIMITS.httpBodyBytes)}1}`
    const told = await problemOf(await echo.post('/test/json', large))
    expect(told).toMatchObject({ status: 413, code: 'LIMIT_EXCEEDED', details: { limit: 'httpBodyBytes' } })
    const head =
      '/test/json HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n'
    const socket = echo.begin(head)
    const answer = reading(socket, 'LIMIT_EXCEEDED')
    for (let sent = 0; sent <= LIMITS.httpBodyBytes; sent += 65_536) socket.write(`10000\r\n${' '.repeat(65_536)}\r\n`)
    expect(await answer).toMatch(/^HTTP\/1\.1 413 /)
  })

  it('counts with all others until its response has ended, and is refused beyond their bound', async () => {
    const echo = await EchoServer.start()
    let open = (): void => undefined
    echo.gate = new Promise((resolve) => {
      open = resolve
    })
    const half = new Uint8Array(LIMITS.httpBodiesBytes / 2)
    const first = [echo.post('/test/raw?1', half, 'x/y'), echo.post('/test/raw?2', half, 'x/y')]
    await eventually(() => echo.taken.length === 2)
    const refused = await problemOf(await echo.post('/test/raw?3', 'x', 'x/y'))
    expect(refused).toMatchObject({ status: 429, code: 'RATE_LIMITED', details: { limit: 'httpBodiesBytes' } })
    open()
    for (const response of await Promise.all(first)) expect(await response.json()).toEqual({ size: half.length })
    expect(await (await echo.post('/test/raw?4', half, 'x/y')).json()).toEqual({ size: half.length })
  })

  it('is given up when it does not move, and not while it does', async () => {
    const echo = await EchoServer.start()
    const slow = echo.begin(`${HEAD}content-length: 4\r\n\r\n`)
    const stuck = echo.begin(`${HEAD}content-length: 4\r\n\r\nab`)
    const [ofSlow, ofStuck] = [reading(slow, '"size":4'), reading(stuck, 'httpBodyIdleMs')]
    for (const piece of ['a', 'b', 'c', 'd']) {
      slow.write(piece)
      // What was written is read when the next one is answered.
      await (await echo.post('/test/raw', 'x', 'x/y')).text()
      await (await echo.post('/test/raw', 'x', 'x/y')).text()
      await echo.clock.advance(LIMITS.httpBodyIdleMs)
    }
    expect(await ofStuck).toMatch(/^HTTP\/1\.1 408 /)
    expect(await ofSlow).toMatch(/^HTTP\/1\.1 200 /)
  })

  it('is given up when it only drips, so that a few slow ones do not take the room of all', async () => {
    const echo = await EchoServer.start()
    const dripping = echo.begin(`${HEAD}content-length: 1000\r\n\r\n`)
    const answer = reading(dripping, 'httpBodyMs')
    for (let waitedMs = 0; waitedMs < LIMITS.httpBodyMs; waitedMs += LIMITS.httpBodyIdleMs) {
      dripping.write('a')
      await (await echo.post('/test/raw', 'x', 'x/y')).text()
      await (await echo.post('/test/raw', 'x', 'x/y')).text()
      await echo.clock.advance(LIMITS.httpBodyIdleMs)
    }
    expect(await answer).toMatch(/^HTTP\/1\.1 408 /)
  })

  it('that is cut off never comes to its route', async () => {
    const echo = await EchoServer.start()
    const socket = echo.begin(`${HEAD}content-length: 4\r\n\r\nab`)
    await (await echo.post('/test/raw?before', 'x', 'x/y')).text()
    socket.destroy()
    await once(socket, 'close')
    await (await echo.post('/test/raw?behind', 'x', 'x/y')).text()
    expect(echo.taken).toEqual(['/test/raw?before', '/test/raw?behind'])
  })
})
