/** Sessions as things that are listed, described, made, kept and deleted by plain HTTP. */

import { describe, expect, it } from 'vitest'
import type { PolicyInfo, TopicInfo } from '../../protocol/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { HttpBroker } from './http.ts'

const json = (method: string, body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
})

const put = (body?: unknown): RequestInit => (body === undefined ? { method: 'PUT' } : json('PUT', body))
const append = (http: HttpBroker, name: string): Promise<unknown> =>
  http.json(`/v1/records/${name}`, json('POST', { text: 'hi' }), 201)

describe('a list of sessions', () => {
  it('is by prefix of whole segments, page by page, each with a link to the next', async () => {
    const http = await HttpBroker.start()
    for (const name of ['support', 'support/1', 'support/2', 'support/2/x', 'support2', 'other'])
      await append(http, name)
    const names: string[] = []
    for (let path: string | undefined = '/v1/sessions?prefix=support&limit=2'; path !== undefined; ) {
      const response = await http.fetch(path)
      const page = (await response.json()) as { sessions: TopicInfo[]; more: boolean }
      names.push(...page.sessions.map(({ name }) => name))
      path = /^<(.*)>; rel="next"$/.exec(response.headers.get('link') ?? '')?.[1]
      expect(path !== undefined).toBe(page.more)
    }
    expect(names).toEqual(['support', 'support/1', 'support/2', 'support/2/x'])
  })

  it('has the state of each', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/sessions/kept', put({ lingerMs: 'forever' }), 201)
    const peer = await http.test.peer()
    await peer.attach('held')
    expect(await http.json('/v1/sessions')).toMatchObject({
      sessions: [
        { name: 'held', hold: 'attached', lingerMs: 3_600_000, nextOffset: 0 },
        { name: 'kept', hold: 'kept', lingerMs: 'forever' },
      ],
      more: false,
    })
  })

  it('is refused for a prefix or a page that is none', async () => {
    const http = await HttpBroker.start()
    expect(await http.problem('/v1/sessions?prefix=a//b')).toMatchObject({ status: 400, code: 'BAD_NAME' })
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'limit=-1', 'limit=1&limit=2', 'after=', 'more=1']) {
      expect(await http.problem(`/v1/sessions?${query}`), query).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    }
  })
})

describe('a session', () => {
  it('is described in full', async () => {
    const http = await HttpBroker.start({ lingerMs: 60_000 })
    await http.json(
      '/v1/records/a',
      json('POST', [
        { text: 'hi' },
        { kind: 'checkpoint', name: 'c' },
        { kind: 'context', op: 'set', name: 'p', json: 1 },
      ]),
      201,
    )
    const shown = await http.json<TopicInfo & { cursor: string }>('/v1/sessions/a')
    expect(shown).toMatchObject({
      name: 'a',
      firstOffset: 0,
      nextOffset: 3,
      hold: 'lingering',
      residency: 'resident',
      attachments: 0,
      streams: [],
      checkpoints: 1,
      contextEntries: 1,
      closed: false,
      exclusive: false,
      reclaimAtMs: http.test.clock.wallMs() + 60_000,
      policy: { lingerMs: 60_000, maxBytes: null },
    })
    const after = await http.json(`/v1/records/a?cursor=${shown.cursor}`)
    expect(after).toMatchObject({ records: [], cursor: shown.cursor, more: false })
  })

  it('is created once, and its policy is what was put last', async () => {
    const http = await HttpBroker.start()
    const response = await http.fetch('/v1/sessions/a/b', put({ lingerMs: 1000, maxRecords: 5 }))
    expect([response.status, response.headers.get('location')]).toEqual([201, '/v1/sessions/a/b'])
    expect(await response.json()).toMatchObject({ policy: { lingerMs: 1000, maxRecords: 5 } })
    expect(await http.json('/v1/sessions/a/b', put())).toMatchObject({ policy: { lingerMs: 1000, maxRecords: 5 } })
    const again = await http.json<TopicInfo>('/v1/sessions/a/b', put({ lingerMs: 'forever' }))
    expect(again.policy).toMatchObject({ lingerMs: 'forever', maxRecords: 5 })
    expect(again.hold).toBe('attached')
  })

  it('has what is patched of its policy changed, and is pinned by an endless linger', async () => {
    const http = await HttpBroker.start({ lingerMs: 10_000 })
    await append(http, 'a')
    const patched = await http.json<{ policy: PolicyInfo }>('/v1/sessions/a', json('PATCH', { lingerMs: 'forever' }))
    expect(patched.policy).toMatchObject({ lingerMs: 'forever' })
    await http.test.clock.advance(60_000)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ hold: 'kept', reclaimAtMs: null })
    await http.json('/v1/sessions/a', json('PATCH', { lingerMs: 5_000 }))
    await http.test.clock.advance(5_100)
    await eventually(async () => (await http.fetch('/v1/sessions/a')).status === 404)
    expect(await http.problem('/v1/sessions/a', json('PATCH', { lingerMs: 1 }))).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('is deleted; with an epoch, only that incarnation', async () => {
    const http = await HttpBroker.start()
    const { epoch } = await http.json<TopicInfo>('/v1/sessions/a', put(), 201)
    const remove = (query = ''): Promise<Response> => http.fetch(`/v1/sessions/a${query}`, { method: 'DELETE' })
    expect((await remove()).status).toBe(204)
    expect(await http.problem('/v1/sessions/a', { method: 'DELETE' })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await http.problem(`/v1/sessions/a?epoch=${epoch}`, { method: 'DELETE' })).toMatchObject({ code: 'GONE' })
    await append(http, 'a')
    for (const method of ['DELETE', 'GET', 'PUT']) {
      const refused = await http.problem(`/v1/sessions/a?epoch=${epoch}`, { method })
      expect(refused, method).toMatchObject({ status: 410, code: 'RECREATED' })
    }
    expect(await http.json('/v1/sessions/a')).toMatchObject({ nextOffset: 1 })
  })

  it('is guarded by conditions', async () => {
    const http = await HttpBroker.start()
    const first = await http.fetch('/v1/sessions/a', put())
    const tag = first.headers.get('etag') as string
    const same = await http.fetch('/v1/sessions/a')
    const shownTag = same.headers.get('etag') as string
    const asked = (headers: Record<string, string>, init: RequestInit = {}): Promise<Response> =>
      http.fetch('/v1/sessions/a', { ...init, headers: { ...(init.headers as object), ...headers } })
    expect((await asked({ 'if-none-match': shownTag })).status).toBe(304)
    expect((await asked({ 'if-none-match': shownTag }, { method: 'HEAD' })).status).toBe(304)
    expect((await asked({ 'if-none-match': '*' }, put())).status).toBe(412)
    expect((await asked({ 'if-match': '"other"' }, { method: 'DELETE' })).status).toBe(412)
    expect((await asked({ 'if-match': shownTag }, json('PATCH', { lingerMs: 5 }))).status).toBe(200)
    const refused = await asked({ 'if-match': shownTag }, json('PATCH', { lingerMs: 6 }))
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([412, 'BAD_REQUEST'])
    expect((await http.json<TopicInfo>('/v1/sessions/a')).policy).toMatchObject({ lingerMs: 5 })
    expect(tag).not.toBe('')
    expect((await http.fetch('/v1/sessions/new', { ...put(), headers: { 'if-match': '*' } })).status).toBe(412)
    expect((await http.fetch('/v1/sessions/new')).status).toBe(404)
    const together = ['one', 'two', 'three'].map(() =>
      http.fetch('/v1/sessions/new', { ...put(), headers: { 'if-none-match': '*' } }),
    )
    const statuses = (await Promise.all(together)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([201, 412, 412])
  })

  it('is left as it was by a body that is none', async () => {
    const http = await HttpBroker.start()
    await append(http, 'a')
    const before = await http.json('/v1/sessions/a')
    const bad: [RequestInit, number][] = [
      [json('PUT', { lingerMs: -1 }), 400],
      [json('PUT', { lingerMs: 'ever' }), 400],
      [json('PUT', { maxBytes: 0 }), 400],
      [json('PUT', { colour: 'red' }), 400],
      [json('PUT', []), 400],
      [json('PATCH', null), 400],
      [{ method: 'PATCH' }, 400],
      [{ method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{' }, 400],
      [{ method: 'PUT', headers: { 'content-type': 'text/plain' }, body: 'hi' }, 415],
      [{ method: 'POST', body: 'hi' }, 405],
    ]
    for (const [init, status] of bad) {
      const problem = await http.problem('/v1/sessions/a', init)
      expect([init.method, init.body, problem.status, problem.code]).toEqual([
        init.method,
        init.body,
        status,
        'BAD_REQUEST',
      ])
    }
    expect(await http.json('/v1/sessions/a')).toEqual(before)
    expect((await http.fetch('/v1/sessions/new', json('PUT', { lingerMs: -1 }))).status).toBe(400)
    expect((await http.fetch('/v1/sessions/new')).status).toBe(404)
  })

  it('is closed, once and for all', async () => {
    const http = await HttpBroker.start()
    await append(http, 'a')
    const closed = await http.json('/v1/close/a', { method: 'POST' })
    expect(closed).toMatchObject({ nextOffset: 1 })
    expect(await http.json('/v1/close/a', { method: 'POST' })).toEqual(closed)
    expect(await http.problem('/v1/records/a', json('POST', { text: 'b' }))).toMatchObject({
      status: 409,
      code: 'CLOSED',
    })
    expect(await http.json('/v1/sessions/a')).toMatchObject({ closed: true, nextOffset: 1 })
    expect(await http.problem('/v1/close/b', { method: 'POST' })).toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('a fork', () => {
  const textsOf = async (http: HttpBroker, name: string): Promise<unknown[]> =>
    (await http.json<{ records: { text: string }[] }>(`/v1/records/${name}`)).records.map(({ text }) => text)

  it('shares the records up to some point, and goes on by itself', async () => {
    const http = await HttpBroker.start()
    for (const text of ['a', 'b', 'c']) await http.json('/v1/records/a', json('POST', { text }), 201)
    const { cursor } = await http.json<{ cursor: string }>('/v1/records/a?limit=2')
    const response = await http.fetch('/v1/fork/a', json('POST', { as: 'b/fork', at: { cursor } }))
    expect([response.status, response.headers.get('location')]).toEqual([201, '/v1/sessions/b/fork'])
    expect(await response.json()).toMatchObject({ name: 'b/fork', nextOffset: 2, forkedFrom: { name: 'a', offset: 2 } })
    await http.json('/v1/records/b/fork', json('POST', { text: 'own' }), 201)
    expect(await textsOf(http, 'b/fork')).toEqual(['a', 'b', 'own'])
    expect(await textsOf(http, 'a')).toEqual(['a', 'b', 'c'])
    await http.json('/v1/fork/a', json('POST', { as: 'end' }), 201)
    expect(await textsOf(http, 'end')).toEqual(['a', 'b', 'c'])
  })

  it('is made once, and not of what is not there', async () => {
    const http = await HttpBroker.start()
    await append(http, 'a')
    await append(http, 'other')
    const fork = (body: object, from = 'a'): ReturnType<HttpBroker['problem']> =>
      http.problem(`/v1/fork/${from}`, json('POST', body))
    await http.json('/v1/fork/a', json('POST', { as: 'fork', at: { offset: 1 } }), 201)
    await http.json('/v1/fork/a', json('POST', { as: 'fork', at: { offset: 1 } }), 200)
    expect(await fork({ as: 'fork', at: { offset: 0 } })).toMatchObject({ status: 409, code: 'TOPIC_EXISTS' })
    expect(await fork({ as: 'other' })).toMatchObject({ status: 409, code: 'TOPIC_EXISTS' })
    expect(await fork({ as: 'new', at: { offset: 9 } })).toMatchObject({ status: 416, code: 'OFFSET_BEYOND_END' })
    expect(await fork({ as: 'new', at: { offset: 0, checkpoint: null } })).toMatchObject({ code: 'BAD_REQUEST' })
    expect(await fork({ as: 'new' }, 'none')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await fork({ as: '../up' })).toMatchObject({ status: 400, code: 'BAD_NAME' })
    expect((await http.fetch('/v1/sessions/new')).status).toBe(404)
  })
})

describe('the life of a session', () => {
  it('ends so long after it was last read or written, or at a time', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/sessions/a', put({ lingerMs: 'forever', ttlMs: 10_000 }), 201)
    const atMs = http.test.clock.wallMs() + 30_000
    await http.json('/v1/sessions/b', put({ lingerMs: 'forever', expiresAtMs: atMs }), 201)
    expect(await http.json('/v1/sessions/b')).toMatchObject({ policy: { ttlMs: null, expiresAtMs: atMs } })
    await http.test.clock.advance(9_000)
    await http.json('/v1/records/a')
    await http.test.clock.advance(9_000)
    expect((await http.fetch('/v1/sessions/a')).status).toBe(200)
    await http.json('/v1/sessions/a', json('PATCH', { ttlMs: null }))
    await http.test.clock.advance(30_000)
    expect((await http.fetch('/v1/sessions/b')).status).toBe(404)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ hold: 'kept' })
  })
})

describe('the broker', () => {
  it('says who it is', async () => {
    const http = await HttpBroker.start()
    const { cursor } = await http.json<{ cursor: string }>('/v1/sessions/a', put(), 201)
    const broker = await http.json<{ incarnation: string }>('/v1/broker')
    expect(broker).toMatchObject({ server: expect.stringMatching(/^litetopic\/\d/), version: 1 })
    expect(cursor.startsWith(broker.incarnation)).toBe(true)
  })
})
