/** Durable Streams subscriptions: how they are configured, and wakes that workers claim. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { Rig, type StreamBody } from './webhooks.ts'

interface Claimed {
  readonly wake_id: string
  readonly generation: number
  readonly token: string
  readonly streams: readonly StreamBody[]
  readonly lease_ttl_ms: number
}

async function claim(rig: Rig, id = 'p', worker = 'w1'): Promise<Claimed> {
  const response = await rig.send('POST', `${id}/claim`, { worker })
  expect(response.status).toBe(200)
  return (await response.json()) as Claimed
}

const report = ({ wake_id, generation }: Claimed, more: object = {}): object => ({ wake_id, generation, ...more })

const all = (claimed: Claimed): object =>
  report(claimed, {
    acks: claimed.streams.map(({ path, tail_offset }) => ({ stream: path, offset: tail_offset })),
    done: true,
  })

describe('a subscription', () => {
  test('is made once, confirmed by the same configuration, and refused with another one', async () => {
    const rig = await Rig.start()
    await rig.append('events/a')
    await rig.append('events/b/c')
    const body = { type: 'pull-wake', pattern: '/events/*', streams: ['m/2', 'm/1'], wake_stream: 'wake/pool' }
    const created = await rig.put('s', { ...body, description: 'events' })
    expect(created.status).toBe(201)
    const told = (await created.json()) as Record<string, unknown>
    expect(told).toMatchObject({
      id: 's',
      subscription_id: 's',
      type: 'pull-wake',
      pattern: 'events/*',
      webhook: null,
      wake_stream: 'wake/pool',
      lease_ttl_ms: 30_000,
      status: 'active',
      description: 'events',
      created_at: new Date(rig.clock.wallMs()).toISOString(),
    })
    const streams = told.streams as StreamBody[]
    expect(streams.map(({ path, link_type }) => [path, link_type])).toEqual([
      ['events/a', 'glob'],
      ['m/1', 'explicit'],
      ['m/2', 'explicit'],
    ])
    // At its end: what was there is not told.
    expect(streams[0]?.acked_offset).toMatch(/^0000000000000001_/)
    const again = await rig.put('s', { ...body, streams: ['m/1', 'm/2', 'm/1'], description: 'events' })
    expect([again.status, await again.json()]).toEqual([200, told])
    expect(await rig.get('s')).toEqual(told)
    expect(await rig.refused('PUT', 's', body)).toBe('409 SUBSCRIPTION_ALREADY_EXISTS')
    expect((await rig.send('DELETE', 's')).status).toBe(204)
    expect((await rig.send('DELETE', 's')).status).toBe(204)
    expect(await rig.refused('GET', 's')).toBe('404 SUBSCRIPTION_NOT_FOUND')
    expect((await rig.put('s', body)).status).toBe(201)
  })

  test.each([
    ['no type', { pattern: 'a' }],
    ['no stream', { type: 'pull-wake', wake_stream: 'w' }],
    ['another type', { type: 'push', pattern: 'a', wake_stream: 'w' }],
    ['a bad pattern', { type: 'pull-wake', pattern: 'a*', wake_stream: 'w' }],
    ['a bad stream', { type: 'pull-wake', streams: ['a//b'], wake_stream: 'w' }],
    ['no wake stream', { type: 'pull-wake', pattern: 'a' }],
    ['its own wake stream', { type: 'pull-wake', streams: ['w'], wake_stream: 'w' }],
    ['no webhook', { type: 'webhook', pattern: 'a' }],
    ['a webhook without url', { type: 'webhook', pattern: 'a', webhook: {} }],
    ['a short lease', { type: 'pull-wake', pattern: 'a', wake_stream: 'w', lease_ttl_ms: 999 }],
    ['a long lease', { type: 'pull-wake', pattern: 'a', wake_stream: 'w', lease_ttl_ms: 600_001 }],
    ['half a lease', { type: 'pull-wake', pattern: 'a', wake_stream: 'w', lease_ttl_ms: 1000.5 }],
    ['streams that are none', { type: 'pull-wake', streams: [1], wake_stream: 'w' }],
    ['no JSON', '{'],
    ['no object', []],
  ])('with %s is refused', async (_what, body) => {
    const rig = await Rig.start()
    expect(await rig.refused('PUT', 's', body)).toBe('400 INVALID_REQUEST')
    expect(await rig.refused('GET', 's')).toBe('404 SUBSCRIPTION_NOT_FOUND')
  })

  test('is refused beyond its bounds', async () => {
    const rig = await Rig.start()
    const pull = { type: 'pull-wake', wake_stream: 'w' }
    const description = 'x'.repeat(LIMITS.wakerTextBytes + 1)
    expect(await rig.refused('PUT', 's', { ...pull, pattern: 'a', description })).toBe('413 LIMIT_EXCEEDED')
    const streams = Array.from({ length: LIMITS.wakerTopics + 1 }, (_, i) => `s/${i}`)
    expect(await rig.refused('PUT', 's', { ...pull, streams })).toBe('413 LIMIT_EXCEEDED')
    expect((await rig.put('s', { ...pull, streams: streams.slice(1) })).status).toBe(201)
    expect(await rig.refused('POST', 's/streams', { streams: ['one/more'] })).toBe('413 LIMIT_EXCEEDED')
    expect((await rig.get('s')).streams).toHaveLength(LIMITS.wakerTopics)
    const ids = Array.from({ length: LIMITS.wakers - 1 }, (_, i) => `s${i}`)
    await Promise.all(ids.map((id) => rig.put(id, { ...pull, streams: ['a'] })))
    expect(await rig.refused('PUT', 'last', { ...pull, streams: ['a'] })).toBe('413 LIMIT_EXCEEDED')
  }, 60_000)

  test('answers other paths and methods as what they are', async () => {
    const rig = await Rig.start()
    const wrong = await rig.send('GET', 's/claim')
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST, OPTIONS'])
    expect((await rig.send('OPTIONS', 's/claim')).headers.get('access-control-allow-methods')).toContain('POST')
    expect((await rig.send('PATCH', 's')).status).toBe(405)
    expect(await rig.refused('POST', 's/nothing', {})).toBe('404 NOT_FOUND')
    for (const path of [
      '/v1/stream/__ds',
      '/v1/stream/__ds/x',
      '/v1/stream/%5F%5Fds/x',
      '/v1/stream/__ds/subscriptions',
    ]) {
      expect((await rig.http.fetch(path, { method: 'PUT', body: 'x' })).status, path).toBe(404)
    }
    expect(await rig.http.json<object[]>('/v1/stream/__ds/jwks.json')).toEqual({ keys: [expect.any(Object)] })
    const text = await rig.http.fetch('/v1/stream/__ds/subscriptions/s', { method: 'PUT', body: 'x' })
    expect(text.status).toBe(415)
  })

  test('is given streams by name, and has them taken back', async () => {
    const rig = await Rig.start()
    await rig.append('other/a')
    await rig.append('events/a')
    await rig.pull('p')
    expect((await rig.send('POST', 'p/streams', { streams: ['other/a', '/events/a/', 'not/there'] })).status).toBe(204)
    const links = async (): Promise<unknown[]> =>
      (await rig.get('p')).streams.map(({ path, link_type, acked_offset }) => [
        path,
        link_type,
        acked_offset.slice(0, 16),
      ])
    expect(await links()).toEqual([
      ['events/a', 'explicit', '0000000000000001'],
      ['not/there', 'explicit', '0000000000000000'],
      ['other/a', 'explicit', '0000000000000001'],
    ])
    for (const path of ['events/a', 'other/a', 'never/was']) {
      expect((await rig.send('DELETE', `p/streams/${encodeURIComponent(path)}`)).status).toBe(204)
    }
    expect((await rig.send('DELETE', 'p/streams/not/there')).status).toBe(204)
    // The pattern still matches that one.
    expect(await links()).toEqual([['events/a', 'glob', '0000000000000001']])
    await rig.append('other/a')
    expect(await rig.refused('POST', 'p/claim', { worker: 'w' })).toBe('409 NO_PENDING_WORK')
    expect(await rig.refused('POST', 'none/streams', { streams: [] })).toBe('404 SUBSCRIPTION_NOT_FOUND')
    expect(await rig.refused('POST', 'p/streams', { streams: ['a b'] })).toBe('400 INVALID_REQUEST')
    expect(await rig.refused('POST', 'p/streams', { streams: ['wake/pool'] })).toBe('400 INVALID_REQUEST')
  })
})

describe('a wake that is pulled', () => {
  test('is written to the wake stream once, claimed by one worker, and over when he is done', async () => {
    const rig = await Rig.start()
    await rig.pull('p')
    await rig.append('events/a')
    await rig.append('events/a')
    await rig.append('events/b')
    await rig.append('outside/a')
    await eventually(async () => (await rig.wakes()).length > 0)
    const claimed = await claim(rig)
    expect(await rig.wakes()).toEqual([
      { type: 'wake', subscription_id: 'p', stream: 'events/a', generation: 1, ts: rig.clock.wallMs() },
    ])
    expect(claimed).toMatchObject({ generation: 1, wake_id: expect.stringMatching(/^w_/), lease_ttl_ms: 30_000 })
    expect(claimed.streams.map((stream) => [stream.path, stream.acked_offset < stream.tail_offset])).toEqual([
      ['events/a', true],
      ['events/b', true],
    ])
    const busy = await rig.send('POST', 'p/claim', { worker: 'w2' })
    expect(await busy.json()).toMatchObject({
      error: { code: 'ALREADY_CLAIMED', current_holder: 'w1', generation: 1 },
    })
    // One stream is done, and the worker goes on.
    const [first] = claimed.streams as [StreamBody]
    const some = report(claimed, { acks: [{ stream: first.path, offset: first.tail_offset }] })
    const going = await rig.send('POST', 'p/ack', some, claimed.token)
    expect(await going.json()).toEqual({ ok: true, next_wake: false })
    await rig.append('events/c')
    const ended = await rig.send('POST', 'p/ack', all(claimed), claimed.token)
    expect(await ended.json()).toEqual({ ok: true, next_wake: true })
    const next = await claim(rig)
    expect([next.generation, next.streams.map(({ path }) => path)]).toEqual([2, ['events/c']])
    await rig.send('POST', 'p/ack', all(next), next.token)
    expect(await rig.refused('POST', 'p/claim', { worker: 'w' })).toBe('409 NO_PENDING_WORK')
  })

  test('is written again when its worker releases it, or his lease runs out', async () => {
    const rig = await Rig.start()
    await rig.pull('p', { pattern: 'events/*', lease_ttl_ms: 10_000 })
    await rig.append('events/a')
    const first = await claim(rig)
    expect((await rig.send('POST', 'p/release', report(first), first.token)).status).toBe(204)
    await eventually(async () => (await rig.wakes()).length === 2)
    const second = await claim(rig)
    await rig.clock.advance(9_000)
    // An acknowledgement of nothing is a heartbeat.
    expect((await rig.send('POST', 'p/ack', report(second), second.token)).status).toBe(200)
    await rig.clock.advance(9_000)
    expect((await rig.send('POST', 'p/ack', report(second), second.token)).status).toBe(200)
    await rig.clock.advance(10_001)
    await eventually(async () => (await rig.wakes()).length === 3)
    expect(await rig.refused('POST', 'p/ack', all(second), second.token)).toBe('409 FENCED')
    expect((await rig.wakes()).map(({ generation }) => generation)).toEqual([1, 2, 3])
    expect((await claim(rig, 'p', 'w2')).generation).toBe(3)
  })

  test('is not touched by who may not', async () => {
    const rig = await Rig.start()
    await rig.pull('p')
    await rig.pull('q')
    await rig.append('events/a')
    const mine = await claim(rig)
    const other = await claim(rig, 'q')
    const refused = (body: object, token?: string, path = 'p/ack') => rig.refused('POST', path, body, token)
    expect(await refused(all(mine))).toBe('401 TOKEN_INVALID')
    expect(await refused(all(mine), 'x.y')).toBe('401 TOKEN_INVALID')
    expect(await refused(all(mine), `${mine.token.slice(0, -4)}AAAA`)).toBe('401 TOKEN_INVALID')
    expect(await refused(all(mine), other.token)).toBe('401 TOKEN_INVALID')
    expect(await refused({ ...all(mine), generation: 2 }, mine.token)).toBe('409 FENCED')
    expect(await refused({ ...all(mine), wake_id: other.wake_id }, mine.token)).toBe('409 FENCED')
    expect(await refused(report(mine), mine.token, 'p/callback')).toBe('400 INVALID_REQUEST')
    expect(await refused(report(mine), mine.token, 'none/ack')).toBe('404 SUBSCRIPTION_NOT_FOUND')
    const [{ path, acked_offset, tail_offset }] = mine.streams as [StreamBody]
    const ack = (stream: string, offset: string): object => report(mine, { acks: [{ stream, offset }], done: true })
    const beyond = `${'2'.padStart(16, '0')}${tail_offset.slice(16)}`
    for (const offset of ['-1', 'now', 'x', beyond, `${tail_offset.slice(0, 17)}${'1'.padStart(16, '0')}`]) {
      expect(await refused(ack(path, offset), mine.token), offset).toBe('409 INVALID_OFFSET')
    }
    expect(await refused(ack('events/none', tail_offset), mine.token)).toBe('409 INVALID_OFFSET')
    // All of it or nothing.
    const half = report(mine, {
      acks: [
        { stream: path, offset: tail_offset },
        { stream: path, offset: beyond },
      ],
    })
    expect(await refused(half, mine.token)).toBe('409 INVALID_OFFSET')
    expect((await rig.get('p')).streams[0]?.acked_offset).toBe(acked_offset)
    expect((await rig.send('POST', 'p/ack', all(mine), mine.token)).status).toBe(200)
    expect(await refused(ack(path, acked_offset), mine.token)).toBe('409 FENCED')
    await rig.clock.advance(LIMITS.wakeTokenMs + 1)
    expect(await refused(all(mine), mine.token)).toBe('401 TOKEN_EXPIRED')
  })

  test('fails for who worked on a subscription that was deleted', async () => {
    const rig = await Rig.start()
    await rig.pull('p')
    await rig.append('events/a')
    const claimed = await claim(rig)
    await rig.send('DELETE', 'p')
    expect(await rig.refused('POST', 'p/ack', all(claimed), claimed.token)).toBe('404 SUBSCRIPTION_NOT_FOUND')
    await rig.pull('p')
    await rig.append('events/a')
    await claim(rig)
    expect(await rig.refused('POST', 'p/ack', all(claimed), claimed.token)).toBe('409 FENCED')
  })

  test('is written when the wake stream is made later', async () => {
    const rig = await Rig.start()
    await rig.put('p', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake/pool' })
    await rig.append('events/a')
    await eventually(async () => (await rig.get('p')).status === 'failed')
    await rig.create('wake/pool')
    await rig.clock.advance(LIMITS.wakeRetryMinMs * 1.2)
    await eventually(async () => (await rig.wakes()).length === 1)
    expect((await rig.get('p')).status).toBe('active')
  })

  test('is not written where an exclusive session writes, nor beyond the limits of the wake stream', async () => {
    const rig = await Rig.start({ policies: { wake: { limits: { recordsPerSecond: 1 } } } })
    await rig.pull('p')
    const holder = await rig.http.test.peer()
    await holder.attach('wake/pool', { producer: 'holder', exclusive: true })
    await rig.append('events/a')
    await eventually(async () => (await rig.get('p')).status === 'failed')
    expect(await rig.wakes()).toEqual([])
    await holder.ask(UP.detach, 0)
    await rig.clock.advance(LIMITS.wakeRetryMinMs * 1.2)
    await eventually(async () => (await rig.get('p')).status === 'active')
    const claimed = await claim(rig)
    await rig.send('POST', 'p/release', report(claimed), claimed.token)
    await eventually(async () => (await rig.get('p')).status === 'failed')
    expect(await rig.wakes()).toHaveLength(1)
    // A retry may come before the limit lets the next record in, and the one behind it later.
    while ((await rig.wakes()).length < 2) await rig.clock.advance(LIMITS.wakeRetryMinMs)
  })

  test('never tells of the wake stream itself', async () => {
    const rig = await Rig.start()
    await rig.pull('p', { pattern: '**' })
    await rig.append('a')
    const claimed = await claim(rig)
    expect(claimed.streams.map(({ path }) => path)).toEqual(['a'])
    await rig.send('POST', 'p/ack', all(claimed), claimed.token)
    expect(await rig.refused('POST', 'p/claim', { worker: 'w' })).toBe('409 NO_PENDING_WORK')
  })

  test('forgets a stream that is deleted, and tells of the one that comes behind it from its beginning', async () => {
    const rig = await Rig.start()
    await rig.append('events/a')
    await rig.append('events/a')
    await rig.pull('p', { pattern: 'events/*', streams: ['named'] })
    await rig.append('named')
    const before = await claim(rig)
    await rig.send('POST', 'p/ack', all(before), before.token)
    for (const topic of ['events/a', 'named']) await rig.delete(topic)
    await eventually(async () => (await rig.get('p')).streams.length === 1)
    expect(await rig.refused('POST', 'p/claim', { worker: 'w' })).toBe('409 NO_PENDING_WORK')
    await rig.append('events/a')
    await rig.append('named')
    const claimed = await claim(rig)
    expect(
      claimed.streams.map(({ path, acked_offset, tail_offset }) => [
        path,
        ...[acked_offset, tail_offset].map((offset) => Number(offset.slice(0, 16))),
      ]),
    ).toEqual([
      ['events/a', 0, 1],
      ['named', 0, 1],
    ])
  })

  test('tells of so many streams, and the next one of the rest', async () => {
    const rig = await Rig.start()
    await rig.pull('p')
    for (let i = 0; i <= LIMITS.wakeTopics; i++) await rig.append(`events/${i}`)
    const first = await claim(rig)
    expect(first.streams).toHaveLength(LIMITS.wakeTopics)
    const ended = await rig.send('POST', 'p/ack', all(first), first.token)
    expect(await ended.json()).toEqual({ ok: true, next_wake: true })
    expect((await claim(rig)).streams).toHaveLength(1)
  }, 60_000)

  test('comes also for topics that were dormant', async () => {
    const rig = await Rig.start({ lingerMs: 'forever' })
    await rig.append('events/a')
    await rig.http.test.broker.close()
    await rig.kill()
    await rig.pull('p')
    await rig.clock.advance(60_000)
    await rig.append('events/a')
    expect(
      (await claim(rig)).streams.map(({ acked_offset, tail_offset }) =>
        [acked_offset, tail_offset].map((offset) => Number(offset.slice(0, 16))),
      ),
    ).toEqual([[1, 2]])
  })
})
