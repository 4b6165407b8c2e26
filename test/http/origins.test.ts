/** Web pages: those of the broker's own origin may use it, others only if they are allowed; and no page by a name of its own. About 1 s. */

import { request } from 'node:http'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { BrokerOptions } from '../../broker/index.ts'
import { accessOf, RIGHTS } from '../broker/access.ts'
import { TestBroker } from '../broker/brokers.ts'
import { HttpBroker } from './http.ts'

const APP = 'https://app.example.com'
const EVIL = 'https://evil.example'

/** As a browser asks: fetch would not let a host or an origin be set. */
function ask(
  http: HttpBroker,
  headers: Record<string, string>,
  method = 'GET',
): Promise<{ status: number; headers: object; body: string }> {
  const { host, port } = http.test.broker
  return new Promise((resolve, reject) => {
    const asked = request(
      { host, port, path: '/v1/broker', method, headers: { connection: 'close', ...headers } },
      (answer) => {
        let body = ''
        answer.setEncoding('utf8').on('data', (text) => {
          body += text
        })
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }))
      },
    )
    asked.on('error', reject).end()
  })
}

/** The status that the upgrade is answered with, 101 if there is a WebSocket. */
function upgrade(http: HttpBroker, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(http.test.broker.url, 'litetopic.v1', { headers })
    socket.on('open', () => resolve(101))
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
    socket.on('open', () => socket.terminate())
    socket.on('error', () => undefined)
  })
}

const start = async (options: BrokerOptions = {}): Promise<HttpBroker> =>
  new HttpBroker(await TestBroker.start(options))

describe('a page', () => {
  it('of another origin is refused, whatever it asks for; of its own, and what is no page, it is not', async () => {
    const http = await start()
    const own = `127.0.0.1:${http.test.broker.port}`
    for (const [status, headers] of [
      [200, {}],
      [200, { origin: `http://${own}`, host: own, 'sec-fetch-site': 'same-origin' }],
      [200, { origin: `https://${own}`, host: own }],
      [200, { 'sec-fetch-site': 'none' }],
      [403, { origin: EVIL }],
      [403, { origin: 'null' }],
      [403, { origin: 'not an origin' }],
      [403, { origin: `http://127.0.0.1:1` }],
      [403, { origin: `http://${own}.evil.example` }],
      // As for an image, or a click.
      [403, { 'sec-fetch-site': 'cross-site' }],
      [403, { 'sec-fetch-site': 'same-site' }],
    ] as const) {
      const answer = await ask(http, headers as Record<string, string>)
      expect([headers, answer.status]).toEqual([headers, status])
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin')
      expect(answer.headers).toMatchObject({ 'cross-origin-resource-policy': 'same-origin' })
      if (status === 403)
        expect(JSON.parse(answer.body)).toMatchObject({ code: 'ACCESS_DENIED', details: { reason: 'origin' } })
      expect([headers, await upgrade(http, headers as Record<string, string>)]).toEqual([
        headers,
        status === 200 ? 101 : 403,
      ])
    }
    expect((await ask(http, { origin: EVIL }, 'OPTIONS')).status).toBe(403)
  })

  it('of an origin that is allowed is let in, and sees the answer', async () => {
    const http = await start({ allowOrigins: [APP, 'http://localhost:3000'] })
    const preflight = await ask(http, { origin: APP, 'access-control-request-headers': 'authorization' }, 'OPTIONS')
    expect([preflight.status, preflight.headers]).toMatchObject([
      204,
      {
        'access-control-allow-origin': APP,
        'access-control-allow-headers': 'authorization',
        vary: 'origin, access-control-request-headers',
      },
    ])
    const seen = await ask(http, { origin: 'http://localhost:3000' })
    expect(seen).toMatchObject({ status: 200, headers: { 'access-control-allow-origin': 'http://localhost:3000' } })
    expect((await ask(http, { origin: EVIL })).status).toBe(403)
    expect((await ask(http, {})).headers).toMatchObject({ vary: expect.stringContaining('origin') })
    expect([await upgrade(http, { origin: APP }), await upgrade(http, { origin: EVIL })]).toEqual([101, 403])
    const open = await start({ allowOrigins: ['*'] })
    expect(await ask(open, { origin: EVIL })).toMatchObject({
      status: 200,
      headers: { 'access-control-allow-origin': '*' },
    })
  })

  it('that has its own name lead to this machine is refused, as long as nobody is asked for a token', async () => {
    const rebound = { host: 'evil.example:7171', origin: 'http://evil.example:7171' }
    const http = await start({ publicUrl: 'https://broker.example.com' })
    for (const [status, host] of [
      [403, 'evil.example:7171'],
      [403, 'localhost.evil.example'],
      [403, '127.0.0.1.evil.example'],
      [403, '192.168.0.7'],
      [200, 'localhost:7171'],
      [200, 'LOCALHOST'],
      [200, '127.0.0.1'],
      [200, '[::1]:7171'],
      [200, 'broker.example.com'],
    ] as const) {
      expect([host, (await ask(http, { host })).status]).toEqual([host, status])
    }
    expect(await upgrade(http, rebound)).toBe(403)
    const open = await start({ host: '0.0.0.0', insecureOpen: true })
    expect((await ask(open, { host: 'evil.example' })).status).toBe(200)
    expect((await ask(open, { host: 'a b', origin: EVIL })).status).toBe(403)
    const access = await accessOf({ admin: { '': RIGHTS } })
    const guarded = await start({ accessFile: access.path })
    expect((await ask(guarded, rebound)).status).toBe(401)
  })
})

it('what is no origin keeps the broker from starting', async () => {
  for (const origin of ['app.example.com', 'https://app.example.com/', 'https://app.example.com/x', '']) {
    await expect(start({ allowOrigins: [origin] })).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  }
})
