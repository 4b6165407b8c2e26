/** Token streams: who may open, write and end one; stop; and what becomes of one whose writer is gone. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { json, message, streamEnd, TestBroker, token, tokens } from './brokers.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'
import type { Reading } from './reading.ts'

async function writer(broker: TestBroker, producer = 'p'): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach('a', { producer })
  return peer
}

async function follower(broker: TestBroker): Promise<{ peer: Peer; reading: Reading }> {
  const peer = await broker.peer()
  await peer.attach('a', { observe: true })
  return { peer, reading: await peer.read({ start: true }) }
}

const openStream = (peer: Peer, sequence: number, mode: 'create' | 'continue' | 'join' = 'create', id = 's') =>
  peer.ask(UP.openStream, 0, 0, sequence, id, mode)

describe('opening', () => {
  test('create opens a stream once; its fence is the offset of its open record', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    await peer.append({ sequence: 0 }, message('hi'))
    const { fence, offset, stream } = await openStream(peer, 1)
    expect([fence, offset]).toEqual([1, 1])
    expect(stream).toMatchObject({ streamId: 's', state: 'open', live: true, openOffset: 1, fence: 1 })
    const exists = await refusalOf(openStream(peer, 2))
    expect(exists.code).toBe('STREAM_EXISTS')
    expect(exists.details.stream).toMatchObject({ streamId: 's', state: 'open' })
    expect(await codeOf(openStream(peer, 2, 'continue', 'other'))).toBe('STREAM_UNKNOWN')
  })

  test('a repeat is answered from the present state', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    const [first, second] = peer.together(() => [openStream(peer, 0), openStream(peer, 0)])
    expect(await second).toEqual(await first)
    await peer.append({ sequence: 1, fence: 0 }, token('s', 'x'), streamEnd('done', 's'))
    expect((await openStream(peer, 0)).stream).toMatchObject({ state: 'done', live: false })
  })

  test('a repeat of what was no opening, of a stream that is not known, is STREAM_UNKNOWN', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker, 'p')
    await peer.append({ sequence: 0 }, message('one'))
    expect(await codeOf(peer.ask(UP.openStream, 0, 0, 0, 's', 'create'))).toBe('STREAM_UNKNOWN')
    expect(broker.log).toEqual([])
  })

  test('continue takes a live stream over: the former writer is told and FENCED', async () => {
    const broker = await TestBroker.start()
    const [one, two] = [await writer(broker, 'one'), await writer(broker, 'two')]
    await openStream(one, 0)
    await one.append({ sequence: 1, fence: 0 }, token('s', 'a'))
    const { fence, stream } = await openStream(two, 0, 'continue')
    expect(fence).toBe(2)
    expect(stream).toMatchObject({ state: 'resumed', live: true, openOffset: 0, fence: 2 })
    await one.notice('fenced')
    expect(one.notices[0]?.facts).toMatchObject({ streamId: 's', fence: 2 })
    const fenced = await refusalOf(one.append({ sequence: 2, fence: 0 }, token('s', 'b')))
    expect([fenced.code, fenced.details.fence]).toEqual(['FENCED', 2])
    expect(await codeOf(two.append({ sequence: 1, fence: 2 }, token('s', 'b')))).toBe('ok')
    expect(await codeOf(two.append({ sequence: 2 }, token('s', 'c')))).toBe('FENCED')
  })

  test('join opens what is new, reports what is live elsewhere or ended, and takes over what is interrupted', async () => {
    const broker = await TestBroker.start()
    const [one, two] = [await writer(broker, 'one'), await writer(broker, 'two')]
    expect((await openStream(one, 0, 'join')).fence).toBe(0)
    const report = await openStream(two, 0, 'join')
    expect(report).toMatchObject({ fence: null, offset: null, stream: { state: 'open', live: true } })
    expect((await openStream(two, 0, 'join')).fence).toBe(null)
    await broker.drop(one)
    expect((await openStream(two, 1, 'join')).fence).toBe(1)
    await two.append({ sequence: 2, fence: 1 }, streamEnd('done', 's', json({ tokens: 3 })))
    const three = await writer(broker, 'three')
    const ended = await openStream(three, 0, 'join')
    expect(ended).toMatchObject({ fence: null, stream: { state: 'done', live: false, detail: '{"tokens":3}' } })
    expect(await codeOf(openStream(three, 1, 'continue'))).toBe('STREAM_ENDED')
    expect(await three.ask(UP.stream, 0, 's')).toMatchObject({ stream: { state: 'done' } })
    expect(await three.ask(UP.stream, 0, 'none')).toEqual({ stream: null })
  })

  test('no more than 64 are open at once', async () => {
    const peer = await writer(await TestBroker.start())
    const { openStreamsPerTopic } = LIMITS
    for (let i = 0; i < openStreamsPerTopic; i++) await openStream(peer, i, 'create', `s${i}`)
    const refused = await refusalOf(openStream(peer, openStreamsPerTopic, 'create', 'late'))
    expect([refused.code, refused.details.limit]).toEqual(['LIMIT_EXCEEDED', 'openStreamsPerTopic'])
    await peer.ask(UP.stop, 0, 's0', {})
    expect(await codeOf(openStream(peer, openStreamsPerTopic, 'create', 'late'))).toBe('ok')
  })

  test('by a client that is gone before its turn leaves no stream live', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const first = await writer(broker)
    await openStream(first, 0, 'create', 'ended')
    await first.append({ sequence: 1, fence: 0 }, streamEnd('done', 'ended'))
    await broker.drop(first)
    await broker.dormant()
    const peer = await writer(broker, 'q')
    peer.together(() => {
      void openStream(peer, 0)
      void peer.ask(UP.detach, 0)
    })
    await peer.roundTrip()
    await peer.attach('a', { producer: 'q' })
    const { stream } = await peer.ask(UP.stream, 0, 's')
    expect(stream?.live ?? false).toBe(false)
  })
})

describe('writing', () => {
  test('tokens and ends of other streams, other states, and records behind an end are refused', async () => {
    const peer = await writer(await TestBroker.start())
    await openStream(peer, 0, 'create', 's')
    await openStream(peer, 1, 'create', 't')
    const refused = [
      [token('s', 'x'), token('t', 'y')],
      [token('t', 'y')],
      [streamEnd('stopped', 's')],
      [streamEnd('open', 's')],
    ]
    for (const records of refused) {
      expect(await codeOf(peer.append({ sequence: 2, fence: 0 }, ...records))).toBe('BAD_REQUEST')
    }
    const behind = [streamEnd('done', 's'), token('s', 'x')]
    expect(await codeOf(peer.append({ sequence: 2, fence: 0 }, ...behind))).toBe('STREAM_ENDED')
    expect(
      await codeOf(peer.append({ sequence: 2, fence: 0 }, streamEnd('failed', 's', json({ message: 'no' })))),
    ).toBe('ok')
    expect(await codeOf(peer.append({ sequence: 3, fence: 0 }, token('s', 'x')))).toBe('STREAM_ENDED')
    expect(await codeOf(peer.append({ sequence: 3, fence: 1 }, ...tokens('t', 'x', 'y')))).toBe('ok')
  })
})

describe('stop', () => {
  test('ends one stream durably, tells its writer, and returns the same end ever after', async () => {
    const broker = await TestBroker.start()
    const [peer, browser] = [await writer(broker), await broker.peer()]
    await browser.attach('a')
    await openStream(peer, 0)
    const { streams } = await browser.ask(UP.stop, 0, 's', { reason: 'enough' })
    expect(streams).toMatchObject([{ streamId: 's', state: 'stopped', live: false, detail: '{"reason":"enough"}' }])
    await peer.notice('stopped')
    expect(peer.notices[0]?.facts).toEqual({ streamId: 's', fence: 0, reason: 'enough' })
    const ended = await refusalOf(peer.append({ sequence: 1, fence: 0 }, token('s', 'x')))
    expect([ended.code, ended.details.state]).toEqual(['STREAM_ENDED', 'stopped'])
    expect((await browser.ask(UP.stop, 0, 's', { reason: 'again' })).streams).toEqual(streams)
    const next = await broker.kill()
    const after = await writer(next)
    expect((await after.ask(UP.stop, 0, 's', {})).streams).toEqual(streams)
    expect(await codeOf(openStream(after, 1, 'continue'))).toBe('STREAM_ENDED')
  })

  test('without an id ends every stream that is open', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    for (const [i, id] of ['s', 't', 'u'].entries()) await openStream(peer, i, 'create', id)
    await peer.append({ sequence: 3, fence: 0 }, streamEnd('done', 's'))
    const { streams } = await peer.ask(UP.stop, 0, null, {})
    expect(streams.map(({ streamId, state }) => `${streamId} ${state}`)).toEqual(['t stopped', 'u stopped'])
    expect((await peer.ask(UP.stop, 0, null, {})).streams).toEqual([])
  })

  test('of an id never opened makes it born stopped', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    expect((await peer.ask(UP.stop, 0, 's', {})).streams).toMatchObject([{ state: 'stopped' }])
    expect(await codeOf(openStream(peer, 0, 'create'))).toBe('STREAM_EXISTS')
    expect((await openStream(peer, 0, 'join')).stream.state).toBe('stopped')
  })

  test('of an end that came first returns that end', async () => {
    const peer = await writer(await TestBroker.start())
    await openStream(peer, 0)
    const [done, stopped] = peer.together(() => [
      peer.append({ sequence: 1, fence: 0 }, streamEnd('done', 's')),
      peer.ask(UP.stop, 0, 's', {}),
    ])
    await done
    expect(((await stopped) as { streams: unknown[] }).streams).toMatchObject([{ state: 'done' }])
  })
})

describe('a writer that is gone', () => {
  test('leaves its stream interrupted at once and lost after the grace, not before', async () => {
    const broker = await TestBroker.start({ streamGraceMs: 10_000 })
    const peer = await writer(broker)
    await openStream(peer, 0)
    const { peer: reader, reading } = await follower(broker)
    await broker.drop(peer)
    await reader
      .ask(UP.stream, 0, 's')
      .then(({ stream }) => expect(stream).toMatchObject({ state: 'open', live: false }))
    await broker.clock.advance(9900)
    await reader.roundTrip()
    expect(reading.states('s')).toEqual(['open'])
    await broker.clock.advance(200)
    await reader.until(() => reading.states('s').length === 2)
    expect(reading.states('s')).toEqual(['open', 'lost'])
    const again = await writer(broker, 'q')
    expect((await openStream(again, 0, 'continue')).fence).toBe(2)
    await reader.until(() => reading.states('s').at(-1) === 'resumed')
    await broker.clock.advance(60_000)
    await reader.roundTrip()
    expect(reading.states('s')).toEqual(['open', 'lost', 'resumed'])
  })

  test('and is back within the grace goes on with the fence it has, and is live without a word', async () => {
    const broker = await TestBroker.start({ streamGraceMs: 10_000 })
    let peer = await writer(broker)
    await openStream(peer, 0)
    const { peer: reader, reading } = await follower(broker)
    await broker.drop(peer)
    await broker.clock.advance(5000)
    peer = await writer(broker)
    expect((await reader.ask(UP.stream, 0, 's')).stream?.live).toBe(true)
    await broker.clock.advance(60_000)
    await peer.append({ sequence: 1, fence: 0 }, token('s', 'on'))
    await reader.until(() => reading.text('s') === 'on')
    expect(reading.states('s')).toEqual(['open'])
    await broker.drop(peer)
    await broker.clock.advance(10_100)
    await reader.until(() => reading.states('s').at(-1) === 'lost')
  })

  test('and is back after it was lost goes on with the fence it has, and readers see that it is resumed', async () => {
    let broker = await TestBroker.start({ streamGraceMs: 10_000 })
    let peer = await writer(broker)
    await openStream(peer, 0)
    const { peer: reader, reading } = await follower(broker)
    await broker.drop(peer)
    await broker.clock.advance(10_100)
    await reader.until(() => reading.states('s').at(-1) === 'lost')
    peer = await writer(broker)
    await reader.until(() => reading.states('s').at(-1) === 'resumed')
    await peer.append({ sequence: 1, fence: 0 }, token('s', 'on'))
    await reader.until(() => reading.text('s') === 'on')
    expect(reading.states('s')).toEqual(['open', 'lost', 'resumed'])
    broker = await broker.restart()
    peer = await writer(broker)
    expect((await peer.ask(UP.stream, 0, 's')).stream).toMatchObject({ state: 'resumed', fence: 0, live: true })
    expect(await codeOf(peer.append({ sequence: 2, fence: 0 }, token('s', 'and on')))).toBe('ok')
  })

  test('whose former connection is not known to be gone is live on the new one', async () => {
    const broker = await TestBroker.start({ streamGraceMs: 10_000 })
    const former = await writer(broker)
    await openStream(former, 0)
    const peer = await writer(broker)
    await broker.drop(former)
    await broker.clock.advance(60_000)
    expect((await peer.ask(UP.stream, 0, 's')).stream).toMatchObject({ state: 'open', live: true })
    expect(peer.notices).toEqual([])
  })

  test('because the broker was killed leaves the stream a full grace from the start on', async () => {
    for (const how of ['kill', 'restart'] as const) {
      const broker = await TestBroker.start({ streamGraceMs: 10_000 })
      const peer = await writer(broker)
      await openStream(peer, 0)
      await broker.clock.advance(9000)
      const next = await broker[how]()
      await next.clock.advance(9800)
      const { peer: reader, reading } = await follower(next)
      await reader.until(() => reading.position === 1)
      await next.clock.advance(400)
      await reader.until(() => reading.states('s').length === 2)
      expect(reading.states('s')).toEqual(['open', 'lost'])
    }
  })

  test.each(['drop', 'kill', 'restart', 'restart from the head'])(
    'by a %s is lost after the grace also when nobody is there to see it',
    async (how) => {
      let broker = await TestBroker.start({ streamGraceMs: 10_000, residencyIdleMs: 100 })
      const peer = await writer(broker)
      await openStream(peer, 0)
      if (how === 'restart from the head') await broker.clock.advance(2 * LIMITS.quietMs)
      if (how === 'drop') await broker.drop(peer)
      else broker = how === 'kill' ? await broker.kill() : await broker.restart()
      await broker.clock.advance(10_100)
      await broker.dormant()
      const { peer: reader, reading } = await follower(broker)
      await reader.until(() => reading.position >= 2)
      expect(reading.states('s')).toEqual(['open', 'lost'])
      await broker.clock.advance(60_000)
      await reader.roundTrip()
      expect(reading.states('s')).toEqual(['open', 'lost'])
    },
  )

  test('is not missed by a stream that was stopped meanwhile', async () => {
    const broker = await TestBroker.start({ streamGraceMs: 10_000 })
    const peer = await writer(broker)
    await openStream(peer, 0)
    const { peer: reader, reading } = await follower(broker)
    await broker.drop(peer)
    await reader.ask(UP.stop, 0, 's', {})
    await broker.clock.advance(20_000)
    await reader.roundTrip()
    expect(reading.states('s')).toEqual(['open', 'stopped'])
  })
})
