/** Who may do what over HTTP: every operation of /openapi.json is refused without a token, and without each right that it needs. About 6 s. */

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { AUDIT_FILE } from '../../broker/access/audit.ts'
import type { Right } from '../../broker/access/rights.ts'
import { connect } from '../../client/index.ts'
import { CONNECTIONS_PATH, encodeFrame, FRAMES_TYPE, LIMITS, UP } from '../../protocol/index.ts'
import { accessOf, everyCombination, RIGHTS, type TestAccess } from '../broker/access.ts'
import { afterwards, message, TestBroker } from '../broker/brokers.ts'
import { eventually } from '../broker/virtual-clock.ts'
import type { Call } from './drive.ts'
import { DRIVES } from './drives.ts'
import { HttpBroker, problemOf } from './http.ts'

/** The rights that an operation needs; `any`: some; `token`: none, but a token; `public`: not even that; `wake`: the token of a wake. */
const NEEDS: Readonly<Record<string, readonly Right[] | 'any' | 'token' | 'public' | 'wake'>> = {
  'GET /openapi.json': 'public',
  'GET /problems/{code}': 'public',
  'GET /metrics': ['manage'],
  'GET /v1/broker': 'token',
  'POST /v1/access-tokens': ['read'],
  'GET /v1/sessions': 'token',
  'GET /v1/sessions/{name}': ['read'],
  'PUT /v1/sessions/{name}': ['read', 'write'],
  'PATCH /v1/sessions/{name}': ['read', 'manage'],
  'DELETE /v1/sessions/{name}': ['manage'],
  'POST /v1/fork/{name}': ['read', 'write'],
  'POST /v1/close/{name}': ['write'],
  'POST /v1/trim/{name}': ['manage'],
  'GET /v1/attachment/{name}': 'any',
  'DELETE /v1/attachment/{name}': ['write'],
  'GET /v1/records/{name}': ['read'],
  'POST /v1/records/{name}': ['write'],
  'GET /v1/events/{name}': ['read'],
  'GET /v1/context/{name}': ['read'],
  'PUT /v1/context/{name}': ['write'],
  'POST /v1/context/{name}': ['write'],
  'DELETE /v1/context/{name}': ['write'],
  'GET /v1/checkpoints/{name}': ['read'],
  'POST /v1/checkpoints/{name}': ['write'],
  'GET /v1/resume/{name}': ['read'],
  'GET /v1/streams/{name}': ['read'],
  'POST /v1/streams/{name}': ['read', 'write'],
  'POST /v1/tokens/{name}': ['write'],
  'POST /v1/end/{name}': ['write'],
  'POST /v1/stop/{name}': ['stop'],
  'GET /v1/data/{name}': ['read'],
  'HEAD /v1/data/{name}': ['read'],
  'POST /v1/data/{name}': ['write'],
  'PUT /v1/stream/{name}': ['write', 'read'],
  'POST /v1/stream/{name}': ['write'],
  'HEAD /v1/stream/{name}': ['read'],
  'GET /v1/stream/{name}': ['read'],
  'DELETE /v1/stream/{name}': ['manage'],
  'GET /v1/stream/__ds/jwks.json': 'public',
  'PUT /v1/stream/__ds/subscriptions/{id}': ['read', 'write', 'manage'],
  'GET /v1/stream/__ds/subscriptions/{id}': ['read'],
  'DELETE /v1/stream/__ds/subscriptions/{id}': ['read', 'manage'],
  'POST /v1/stream/__ds/subscriptions/{id}/streams': ['read', 'manage'],
  'DELETE /v1/stream/__ds/subscriptions/{id}/streams/{name}': ['read', 'manage'],
  'POST /v1/stream/__ds/subscriptions/{id}/claim': ['read'],
  'POST /v1/stream/__ds/subscriptions/{id}/ack': 'wake',
  'POST /v1/stream/__ds/subscriptions/{id}/release': 'wake',
  'POST /v1/stream/__ds/subscriptions/{id}/callback': 'wake',
}

const bearer = (token: string | undefined) => ({ authorization: `Bearer ${token}` })

async function start(principals = everyCombination()): Promise<{ http: HttpBroker; access: TestAccess }> {
  const access = await accessOf(principals)
  const test = await TestBroker.start({ accessFile: access.path, webhookHosts: ['127.0.0.1'] })
  test.token = access.keys.admin
  return { http: new HttpBroker(test), access }
}

/** A principal that has exactly these rights is made by its name. */
const nameOf = (rights: readonly Right[]): string => `has-${[...rights].sort().join('-')}`

function principals() {
  const sets = Object.values(NEEDS).flatMap((needs) => (typeof needs === 'string' ? [] : [needs]))
  return { ...everyCombination(), ...Object.fromEntries(sets.map((rights) => [nameOf(rights), { '': rights }])) }
}

/** Asks each operation as who may not, and then as who may. */
class Trial {
  readonly http: HttpBroker
  private readonly access: TestAccess
  private readonly method: string
  private readonly needs: readonly Right[] | 'any' | 'token'
  private readonly denied = new Set<Right>()

  constructor(http: HttpBroker, access: TestAccess, key: string, needs: readonly Right[] | 'any' | 'token') {
    this.http = http
    this.access = access
    this.method = key.split(' ')[0] as string
    this.needs = needs
  }

  readonly call: Call = async (path, init = {}) => {
    expect(await this.status(path, init, null)).toBe(401)
    if (this.needs !== 'token') expect(await this.status(path, init, 'nobody')).toBe(403)
    if (typeof this.needs !== 'string') await this.asWithout(path, init, this.needs)
    const name = typeof this.needs === 'string' ? 'admin' : nameOf(this.needs)
    const response = await this.ask(path, init, name)
    expect([path, name, response.status]).not.toEqual([path, name, 403])
    expect(response.status).not.toBe(401)
    return response
  }

  /** Was it refused for want of each right that it needs? */
  check(key: string): void {
    if (typeof this.needs !== 'string') expect([key, [...this.denied].sort()]).toEqual([key, [...this.needs].sort()])
  }

  private async asWithout(path: string, init: RequestInit, needs: readonly Right[]): Promise<void> {
    for (const right of needs) {
      const status = await this.status(path, init, `no-${right}`)
      if (status === 403) this.denied.add(right)
      else expect([path, right, needs.length > 1]).toEqual([path, right, true])
    }
  }

  private async status(path: string, init: RequestInit, name: string | null): Promise<number> {
    const response = await this.ask(path, init, name)
    const code = response.status === 401 ? 'UNAUTHENTICATED' : 'ACCESS_DENIED'
    if (response.status === 401) expect(response.headers.get('www-authenticate')).toBe('Bearer')
    if (response.status >= 400 && this.method !== 'HEAD') expect(await response.json()).toMatchObject({ code })
    else await response.body?.cancel()
    return response.status
  }

  private ask(path: string, init: RequestInit, name: string | null): Promise<Response> {
    const headers = new Headers(init.headers)
    headers.set('authorization', name === null ? 'Basic eDp5' : `Bearer ${this.access.keys[name]}`)
    return this.http.fetch(path, { ...init, headers, method: this.method })
  }
}

describe('each operation', () => {
  it('is known to the table of what it needs', async () => {
    const { http } = await start()
    const { paths } = await http.json<{ paths: Record<string, object> }>('/openapi.json')
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    const known = operations.filter((key) => key in NEEDS || key.replace('HEAD', 'GET') in NEEDS)
    expect(operations.filter((key) => !known.includes(key))).toEqual([])
    expect(Object.keys(NEEDS).filter((key) => !operations.includes(key))).toEqual([])
  })

  const asked = Object.entries(NEEDS).filter(
    (entry): entry is [string, readonly Right[] | 'any' | 'token'] => entry[1] !== 'public' && entry[1] !== 'wake',
  )
  it.each(asked)(
    '%s is refused before it does anything, without a token, without rights, without %s',
    async (key, needs) => {
      const { http, access } = await start(principals())
      const trial = new Trial(http, access, key, needs)
      await DRIVES[key]?.(trial.call, http)
      trial.check(key)
    },
  )

  it('that is public needs no token, and a report of a wake takes none but its own', async () => {
    const { http, access } = await start()
    for (const [key, needs] of Object.entries(NEEDS)) {
      const [method = '', path = ''] = key.split(' ')
      const isCallback = path.endsWith('callback')
      const at = path.replace('{code}', 'NOT_FOUND').replace('{id}', isCallback ? 'h' : 's')
      if (needs === 'public') expect((await fetch(`${http.base}${at}`)).status).toBe(200)
      if (needs !== 'wake') continue
      const put = isCallback
        ? { type: 'webhook', pattern: 'd/*', webhook: { url: 'http://127.0.0.1:9/' } }
        : { type: 'pull-wake', pattern: 'd/*', wake_stream: 'wake/pool' }
      const headers = { 'content-type': 'application/json' }
      await http.fetch(`/v1/stream/__ds/subscriptions/${isCallback ? 'h' : 's'}`, {
        method: 'PUT',
        headers,
        body: JSON.stringify(put),
      })
      const body = JSON.stringify({ wake_id: 'w', generation: 1 })
      const response = await http.fetch(at, { method, headers: { ...headers, ...bearer(access.keys.admin) }, body })
      expect([key, response.status]).toEqual([key, 401])
    }
  })
})

it('a policy is given to a session that there is only with manage, and to a new one by who creates it', async () => {
  const { http, access } = await start(principals())
  const headers = { 'content-type': 'application/json', ...bearer(access.keys['has-read-write']) }
  const put = () => http.fetch('/v1/sessions/t', { method: 'PUT', headers, body: '{"lingerMs":1000}' })
  expect([(await put()).status, (await put()).status]).toEqual([201, 403])
})

describe('a token', () => {
  it('is taken by a route, and never asked for where there is none', async () => {
    const { http } = await start()
    expect((await fetch(`${http.base}/v1/nothing`)).status).toBe(404)
    expect((await fetch(`${http.base}/v1/sessions/a`, { method: 'OPTIONS' })).status).toBe(204)
    const problem = await problemOf(await fetch(`${http.base}/v1/sessions/a`))
    expect(problem).toMatchObject({ status: 401, code: 'UNAUTHENTICATED', details: { reason: 'missing' } })
    expect(await problemOf(await fetch(`${http.base}/v1/sessions/a?token=x&access_token=y`))).toMatchObject({
      status: 401,
    })
  })

  it('that is revoked ends the event stream and the attachment that it has opened, with a typed event', async () => {
    const { http, access } = await start()
    const peer = await http.test.peer()
    await peer.attach('t', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('x'))
    const headers = bearer(access.keys['only-read'])
    const opened = await Promise.all(['events', 'attachment'].map((what) => http.fetch(`/v1/${what}/t`, { headers })))
    await access.revoke('only-read')
    await http.test.broker.reload()
    for (const response of opened) {
      const text = await response.text()
      expect(text).toMatch(/event: problem\n/)
      expect(text).toContain('"code":"UNAUTHENTICATED"')
    }
    expect((await http.fetch('/v1/events/t', { headers })).status).toBe(401)
  })

  it('opens a connection over HTTP, on which nobody of another principal may send', async () => {
    const { http, access } = await start()
    const client = connect(http.base, { token: access.keys.admin })
    afterwards(() => client.close())
    const session = await client.session('t')
    expect(await session.append('x')).toMatchObject({ offset: 0 })
    const hello = { method: 'POST', body: encodeFrame([UP.hello, 1, {}]), headers: { 'content-type': FRAMES_TYPE } }
    expect((await fetch(`${http.base}${CONNECTIONS_PATH}`, hello)).status).toBe(401)
    const opened = await http.fetch(CONNECTIONS_PATH, hello)
    const id = opened.headers.get('litetopic-connection')
    const frame = { ...hello, body: encodeFrame([UP.describe, 1, 't']) }
    const send = (token: string | undefined) =>
      fetch(`${http.base}${CONNECTIONS_PATH}/${id}`, { ...frame, headers: { ...frame.headers, ...bearer(token) } })
    expect((await fetch(`${http.base}${CONNECTIONS_PATH}/${id}`, frame)).status).toBe(401)
    expect((await send(access.keys['only-read'])).status).toBe(404)
    expect((await send(access.keys.admin)).status).toBe(204)
    await opened.body?.cancel()
  })

  it('limits who has shown wrong ones by the address that a proxy here tells', async () => {
    const { http, access } = await start()
    const from = (address: string, token: string) =>
      http.fetch('/v1/broker', { headers: { ...bearer(token), 'x-forwarded-for': `6.6.6.6, ${address}` } })
    for (let i = 0; i < 20; i++) expect((await from('10.0.0.1', `x${i}`)).status).toBe(401)
    const limited = await from('10.0.0.1', access.keys.admin ?? '')
    expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '60'])
    expect((await from('10.0.0.2', access.keys.admin ?? '')).status).toBe(200)
  })

  it('that is over before the body has come stores nothing, on the fast way past the routes, too', async () => {
    const { http, access } = await start()
    const type = { 'content-type': 'text/plain' }
    const created = await http.fetch('/v1/stream/t', { method: 'PUT', headers: type, body: 'x' })
    expect(created.status).toBe(201)
    const peer = await http.test.peer()
    const issue = { topic: 't', can: ['read' as const, 'write' as const] }
    const issued = await Promise.all([3_600_000, 1_000].map((forMs) => peer.ask(UP.issueToken, { ...issue, forMs })))
    const tokens = [access.keys['only-write'], ...issued.map(({ token }) => token)]
    const slow = tokens.map((token) => {
      const asked = request(`${http.base}/v1/stream/t`, {
        method: 'POST',
        headers: { ...type, ...bearer(token), 'content-length': 2 },
      })
      asked.write('a')
      return { asked, answered: once(asked, 'response') as Promise<[IncomingMessage]> }
    })
    await eventually(() => slow.every(({ asked }) => (asked.socket?.bytesWritten ?? 0) > 0))
    // An answer behind them: they have been looked at.
    await http.fetch('/v1/broker')
    await http.test.clock.advance(2_000)
    await access.revoke('only-write')
    await http.test.broker.reload()
    const statuses = slow.map(async ({ asked, answered }) => {
      asked.end('b')
      const [{ statusCode }] = await answered
      return statusCode
    })
    expect(await Promise.all(statuses)).toEqual([401, 204, 401])
  })

  it('that is missing again and again does not fill the audit log', async () => {
    const { http, access } = await start()
    const from = (address: string) => fetch(`${http.base}/v1/broker`, { headers: { 'x-forwarded-for': address } })
    await Promise.all(Array.from({ length: 50 }, () => from('10.0.0.1')))
    expect((await from('10.0.0.2')).status).toBe(401)
    await http.test.broker.close()
    const audit = await readFile(join(dirname(access.path), AUDIT_FILE), 'utf8')
    const addresses = [...audit.matchAll(/"event":"refuse","address":"([^"]+)"/g)].map(([, address]) => address)
    const one = addresses.filter((address) => address === '10.0.0.1')
    expect([one.length, addresses.length]).toEqual([LIMITS.accessFailures, LIMITS.accessFailures + 1])
  })

  it('writes its principal into what is appended, and into the record of a stop', async () => {
    const { http, access } = await start()
    const post = (path: string, body: unknown, name: string) => {
      const headers = { 'content-type': 'application/json', ...bearer(access.keys[name]) }
      return http.fetch(path, { method: 'POST', headers, body: JSON.stringify(body) })
    }
    await post('/v1/records/t', [{ text: 'a' }, { text: 'b' }], 'only-write')
    await post('/v1/stop/t', { streamId: 's', reason: 'enough' }, 'only-stop')
    const told = await http.json<{ records: { principal?: string }[] }>('/v1/records/t?raw=true')
    expect(told.records.map(({ principal }) => principal)).toEqual(['only-write', 'only-write', 'only-stop'])
  })
})

it('a broker without access says so, and listens elsewhere only if it is told twice', async () => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1']) {
    await expect(TestBroker.start({ host })).rejects.toMatchObject({ code: 'BAD_REQUEST', details: { host } })
  }
  const open = await TestBroker.start({ host: '0.0.0.0', insecureOpen: true })
  expect(open.broker.hasAccess).toBe(false)
  const access = await accessOf({ admin: { '': RIGHTS } })
  const guarded = await TestBroker.start({ host: '0.0.0.0', accessFile: access.path })
  expect(guarded.broker.hasAccess).toBe(true)
})
