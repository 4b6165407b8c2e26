/** Bounds that an operator sets, each met: what the error names, and that a refusal counts nothing. */

import { describe, expect, test } from 'vitest'
import type { BrokerOptions, LimitOptions, PrefixLimits } from '../../broker/index.ts'
import { connect } from '../../client/index.ts'
import { LIMITS, UP } from '../../protocol/index.ts'
import { VirtualClock as ClientClock } from '../client/virtual-clock.ts'
import { afterwards, message, streamEnd, TestBroker, token } from './brokers.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'
import type { Refusal } from './refusal.ts'
import { turn } from './virtual-clock.ts'

const limited = (limits: LimitOptions, prefixes: Record<string, PrefixLimits> = {}): BrokerOptions => ({
  limits,
  policies: Object.fromEntries(Object.entries(prefixes).map(([prefix, bounds]) => [prefix, { limits: bounds }])),
})

async function start(limits: LimitOptions, prefixes?: Record<string, PrefixLimits>): Promise<[TestBroker, Peer]> {
  const broker = await TestBroker.start(limited(limits, prefixes))
  return [broker, await broker.peer()]
}

/** Code and details of a refusal. */
const told = ({ code, details }: Refusal): unknown => [code, details]

describe('the size of a message', () => {
  const large = message('x'.repeat(11))

  test.each<[string, LimitOptions, Record<string, PrefixLimits>, Record<string, unknown>]>([
    ['a connection', { connection: { messageBytes: 10 } }, {}, { scope: 'connection' }],
    ['a topic', { topic: { messageBytes: 10 } }, {}, { scope: 'topic', topic: 'a/b' }],
    ['a prefix', {}, { a: { messageBytes: 10 } }, { scope: 'prefix', prefix: 'a' }],
  ])('is bound by that of %s, for each record of an append by itself', async (_, limits, prefixes, scope) => {
    const [, peer] = await start(limits, prefixes)
    await peer.attach('a/b', { producer: 'p' })
    const refusal = await refusalOf(peer.append({ sequence: 0 }, message('small'), large))
    expect(told(refusal)).toEqual(['LIMIT_EXCEEDED', { limit: 'messageBytes', value: 11, bound: 10, ...scope }])
    expect(refusal.message).toMatch(/would have 11 with messageBytes at most 10: send less/)
    expect(await peer.append({ sequence: 0 }, message('0123456789'), message('0123456789'))).toBe(0)
  })
})

describe('the size of a frame', () => {
  test('is told in welcome; beyond it the connection ends', async () => {
    const frameBytes = LIMITS.messageBytesLeast
    const [broker, peer] = await start({ connection: { frameBytes } })
    expect(peer.welcome?.messageBytes).toBe(frameBytes)
    peer.sendBytes(Buffer.alloc(frameBytes + 1))
    expect(told((await peer.closedBy()) as Refusal)).toEqual([
      'FRAME_TOO_LARGE',
      { limit: 'frameBytes', value: frameBytes + 1, bound: frameBytes, scope: 'connection' },
    ])
    const other = await broker.peer()
    await other.attach('a', { producer: 'p' })
    const full = message('x'.repeat(LIMITS.appendBytes - 100))
    expect(await other.append({ sequence: 0 }, full)).toBe(0)
  })

  test('is that of the protocol when nothing is set', async () => {
    const [, peer] = await start({})
    expect(peer.welcome?.messageBytes).toBe(LIMITS.messageBytes)
  })
})

describe('attachments and subscriptions', () => {
  test.each<[string, LimitOptions, Record<string, PrefixLimits>, Record<string, unknown>, string]>([
    ['a connection', { connection: { attachments: 2 } }, {}, { scope: 'connection' }, 'z'],
    ['a topic', { topic: { attachments: 2 } }, {}, { scope: 'topic', topic: 'a/b' }, 'a/b'],
    ['a prefix', {}, { a: { attachments: 2 } }, { scope: 'prefix', prefix: 'a' }, 'a/c'],
  ])('attachments are bound by those of %s, until one is given up', async (_, limits, prefixes, scope, third) => {
    const [, peer] = await start(limits, prefixes)
    await peer.attach('a/b', {}, 0)
    await peer.attach('a/b', { observe: true }, 1)
    const refusal = await refusalOf(peer.attach(third, {}, 2))
    expect(told(refusal)).toEqual(['LIMIT_EXCEEDED', { limit: 'attachments', value: 3, bound: 2, ...scope }])
    await peer.ask(UP.detach, 0)
    expect(await codeOf(peer.attach(third, {}, 2))).toBe('ok')
    expect((await refusalOf(peer.attach(third, {}, 0))).code).toBe('LIMIT_EXCEEDED')
  })

  test('a refused attachment creates no topic', async () => {
    const [, peer] = await start({ connection: { attachments: 1 } })
    await peer.attach('a')
    await refusalOf(peer.attach('b', {}, 1))
    expect((await peer.ask(UP.list, '', {})).topics.map(({ name }) => name)).toEqual(['a'])
  })

  test('those of a connection that drops are given up', async () => {
    const [broker, peer] = await start({}, { a: { attachments: 1, subscriptions: 1 } })
    await peer.attach('a/b')
    await peer.read({ start: true })
    await broker.drop(peer)
    const next = await broker.peer()
    await next.attach('a/b')
    await next.read({ start: true })
  })

  test.each<[string, LimitOptions, Record<string, PrefixLimits>, Record<string, unknown>]>([
    ['a connection', { connection: { subscriptions: 2 } }, {}, { scope: 'connection' }],
    ['a topic', { topic: { subscriptions: 2 } }, {}, { scope: 'topic', topic: 'a/b' }],
    ['a prefix', {}, { 'a/b': { subscriptions: 2 } }, { scope: 'prefix', prefix: 'a/b' }],
  ])('subscriptions are bound by those of %s, until one has ended', async (_, limits, prefixes, scope) => {
    const [, peer] = await start(limits, prefixes)
    await peer.attach('a/b')
    await peer.read({ start: true }, { id: 1 })
    await peer.read({ start: true }, { id: 2 })
    const refusal = await refusalOf(peer.ask(UP.subscribe, 0, 3, { start: true }, {}))
    expect(told(refusal)).toEqual(['LIMIT_EXCEEDED', { limit: 'subscriptions', value: 3, bound: 2, ...scope }])
    await peer.ask(UP.unsubscribe, 1)
    await peer.read({ start: true }, { id: 4 })
    expect((await refusalOf(peer.ask(UP.subscribe, 0, 5, { start: true }, {}))).code).toBe('LIMIT_EXCEEDED')
  })
})

describe('prefixes', () => {
  test('all that cover a name count, in whole segments, and not only the longest', async () => {
    const [, peer] = await start({}, { '': { attachments: 3 }, a: { attachments: 2 }, 'a/b': { attachments: 1 } })
    await peer.attach('a/b/c', {}, 0)
    expect((await refusalOf(peer.attach('a/b', {}, 1))).details).toMatchObject({ prefix: 'a/b', value: 2 })
    await peer.attach('a/bc', {}, 1)
    expect((await refusalOf(peer.attach('a', {}, 2))).details).toMatchObject({ prefix: 'a', value: 3 })
    await peer.attach('ab', {}, 2)
    expect((await refusalOf(peer.attach('b', {}, 3))).details).toMatchObject({ prefix: '', value: 4 })
  })
})

describe('the bytes stored in a topic', () => {
  const kilobyte = message('x'.repeat(1_000))

  test('refuse what goes beyond them, and a refusal uses no sequence', async () => {
    const [, peer] = await start({ topic: { bytes: 2_500 } })
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, kilobyte)
    await peer.append({ sequence: 1 }, kilobyte)
    const codes = peer.together(() => [
      refusalOf(peer.append({ sequence: 2 }, kilobyte)),
      refusalOf(peer.append({ sequence: 3 }, message('small'))),
    ])
    const [refused, behind] = await Promise.all(codes)
    const { bytes } = await peer.ask(UP.describe, 'a')
    // The record has 3 bytes beside its text.
    expect(told(refused as Refusal)).toEqual([
      'LIMIT_EXCEEDED',
      { limit: 'bytes', value: bytes + 1_003, bound: 2_500, scope: 'topic', topic: 'a' },
    ])
    expect(behind?.code).toBe('SEQUENCE_GAP')
    expect(await peer.append({ sequence: 2 }, message('small'))).toBe(2)
  })

  test('let a stream end where nothing else is let in', async () => {
    const [, peer] = await start({ topic: { bytes: 2_000 } })
    await peer.attach('a', { producer: 'p' })
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.ask(UP.openStream, 0, 0, 1, 't', 'create')
    const { bytes } = await peer.ask(UP.describe, 'a')
    // Exactly as much as is allowed; the record has 3 bytes beside its text.
    await peer.append({ sequence: 2 }, message('x'.repeat(2_000 - bytes - 3)))
    const place = { sequence: 3, fence: fence as number }
    expect(await codeOf(peer.append(place, token('s', 'x'), streamEnd('done', 's')))).toBe('LIMIT_EXCEEDED')
    expect(await codeOf(peer.append(place, streamEnd('done', 's')))).toBe('ok')
    expect(await codeOf(peer.ask(UP.openStream, 0, 0, 4, 'u'.repeat(100), 'create'))).toBe('LIMIT_EXCEEDED')
    expect(await codeOf(peer.ask(UP.stop, 0, 'v'.repeat(100), {}))).toBe('LIMIT_EXCEEDED')
    const reason = 'r'.repeat(100)
    expect((await peer.ask(UP.stop, 0, 't', { reason })).streams).toMatchObject([{ state: 'stopped' }])
  })
})

describe('rates', () => {
  const scopes: [string, (bounds: PrefixLimits) => BrokerOptions, Record<string, unknown>][] = [
    ['a connection', (connection) => limited({ connection }), { scope: 'connection' }],
    ['a topic', (topic) => limited({ topic }), { scope: 'topic', topic: 'a/b' }],
    ['a prefix', (a) => limited({}, { a }), { scope: 'prefix', prefix: 'a' }],
  ]

  test.each(scopes)('of records of %s: a burst of one second, then as many per second', async (_, options, scope) => {
    const broker = await TestBroker.start(options({ recordsPerSecond: 10 }))
    const peer = await broker.peer()
    await peer.attach('a/b', { producer: 'p' })
    const ten = Array.from({ length: 10 }, () => message('m'))
    await peer.append({ sequence: 0 }, ...ten)
    const refusal = await refusalOf(peer.append({ sequence: 1 }, ...ten.slice(0, 3)))
    const facts = { limit: 'recordsPerSecond', value: 13, bound: 10, ...scope, retryAfterMs: 300 }
    expect(told(refusal)).toEqual(['RATE_LIMITED', facts])
    await broker.clock.advance(299)
    expect((await refusalOf(peer.append({ sequence: 1 }, ...ten.slice(0, 3)))).details.retryAfterMs).toBe(1)
    await broker.clock.advance(1)
    expect(await peer.append({ sequence: 1 }, ...ten.slice(0, 3))).toBe(10)
    await broker.clock.advance(60_000)
    await peer.append({ sequence: 2 }, ...ten)
    expect(await codeOf(peer.append({ sequence: 3 }, message('m')))).toBe('RATE_LIMITED')
  })

  test.each(scopes)('of bytes of %s', async (_, options, scope) => {
    const broker = await TestBroker.start(options({ bytesPerSecond: 1_000 }))
    const peer = await broker.peer()
    await peer.attach('a/b', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('x'.repeat(897)))
    const refusal = await refusalOf(peer.append({ sequence: 1 }, message('x'.repeat(197))))
    const facts = { limit: 'bytesPerSecond', value: 1_100, bound: 1_000, ...scope, retryAfterMs: 100 }
    expect(told(refusal)).toEqual(['RATE_LIMITED', facts])
    await broker.clock.advance(100)
    expect(await peer.append({ sequence: 1 }, message('x'.repeat(197)))).toBe(1)
  })

  test('let in one append of more than a second holds, and make up for it', async () => {
    const [broker, peer] = await start({ topic: { bytesPerSecond: 1_000 } })
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('x'.repeat(4_997)))
    const { details } = await refusalOf(peer.append({ sequence: 1 }, message('x'.repeat(9_997))))
    expect(details.retryAfterMs).toBe(5_000)
    await broker.clock.advance(5_000)
    expect(await peer.append({ sequence: 1 }, message('x'.repeat(9_997)))).toBe(1)
  })

  test('of one scope are not used up by what another refuses', async () => {
    const [, peer] = await start({ connection: { recordsPerSecond: 2 }, topic: { recordsPerSecond: 1 } })
    for (const handle of [0, 1]) await peer.attach(`a${handle}`, { producer: 'p' }, handle)
    await peer.append({ sequence: 0 }, message('m'))
    for (let i = 0; i < 5; i++) {
      expect((await refusalOf(peer.append({ sequence: 1 }, message('m')))).details.scope).toBe('topic')
    }
    expect(await codeOf(peer.append({ handle: 1, sequence: 0 }, message('m')))).toBe('ok')
  })

  test('count the opening of streams and stops of what was never opened, not repeats or stops of what is open', async () => {
    const [, peer] = await start({ connection: { recordsPerSecond: 2 } })
    await peer.attach('a', { producer: 'p' })
    for (let i = 0; i < 3; i++) await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.ask(UP.stop, 0, 'never opened', {})
    expect(await codeOf(peer.ask(UP.openStream, 0, 0, 1, 't', 'create'))).toBe('RATE_LIMITED')
    expect(await codeOf(peer.ask(UP.stop, 0, 'nor this', {}))).toBe('RATE_LIMITED')
    expect((await peer.ask(UP.stop, 0, 's', {})).streams).toMatchObject([{ state: 'stopped' }])
  })

  test('a client waits and loses neither order nor anything', async () => {
    const broker = await TestBroker.start(limited({ topic: { recordsPerSecond: 100 } }))
    const clock = new ClientClock()
    const client = connect(broker.broker.url, { clock })
    afterwards(() => client.close())
    const session = await client.session('a')
    const stored: number[] = []
    const expected = Array.from({ length: 1_000 }, (_, i) => i)
    const writing = expected.map((i) => session.append(i).then(({ offset }) => stored.push(offset)))
    let isDone = false
    void Promise.all(writing).then(() => {
      isDone = true
    })
    const before = broker.clock.monotonicMs()
    while (!isDone) {
      await turn()
      if (clock.waits().every((ms) => ms > 1_000)) continue
      await broker.clock.advance(10)
      clock.advance(10)
    }
    expect(stored).toEqual(expected)
    // The first hundred at once, the rest as the rate allows.
    expect(broker.clock.monotonicMs() - before).toBeGreaterThanOrEqual(8_900)
    const reading = session.records({ raw: true })
    for (const i of expected) expect(await reading.next()).toMatchObject({ value: { offset: i, value: i } })
    await reading.return?.()
  })
})
