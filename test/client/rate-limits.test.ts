/** What a client does when a broker lets in less than it sends: it waits as long as it is told, and keeps the order. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Broker, connect } from '../../client/index.ts'
import { retryDelayMs } from '../../client/passing.ts'
import { encodeFrame, LIMITS, LitetopicError, UP } from '../../protocol/index.ts'
import { Peer, type SentEntry } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

let peer: Peer
let clock: VirtualClock
let broker: Broker

beforeEach(async () => {
  peer = await Peer.start()
  clock = new VirtualClock()
  broker = connect(peer.url, { clock })
})

afterEach(async () => {
  const closed = broker.close().catch(() => {})
  clock.advance(LIMITS.closeFlushMs)
  await closed
  await peer.stop()
})

const rated = { limit: 'recordsPerSecond', value: 11, bound: 10, retryAfterMs: 1_500 }

it('sends again what was over a rate when the broker said, with the same numbers and in the same order', async () => {
  const session = await broker.session('a')
  const stored = [session.append('one'), session.append('two'), session.append('three')]
  const [one, two, three] = (await peer.takeAppends()) as [SentEntry, SentEntry, SentEntry]
  peer.ack(one, 0)
  peer.refuse(two, 'RATE_LIMITED', rated)
  peer.refuse(three, 'SEQUENCE_GAP')
  await peer.caughtUp(broker)
  stored.push(session.append('four'))
  clock.advance(1_499)
  await peer.caughtUp(broker)
  expect(peer.received.filter(([type]) => type === UP.append)).toHaveLength(1)
  clock.advance(1)
  const again = await peer.takeAppends()
  expect(again).toMatchObject([two, three, { sequence: 3, records: ['1:"four"'] }])
  again.forEach((entry, i) => {
    peer.ack(entry, 1 + i)
  })
  expect((await Promise.all(stored)).map(({ offset }) => offset)).toEqual([0, 1, 2, 3])
})

it('waits anew each time that it is still too much', async () => {
  const session = await broker.session('a')
  const stored = session.append('one')
  for (const retryAfterMs of [100, 2_000, 1]) {
    const [entry] = (await peer.takeAppends()) as [SentEntry]
    peer.refuse(entry, 'RATE_LIMITED', { ...rated, retryAfterMs })
    await peer.caughtUp(broker)
    clock.advance(retryAfterMs)
  }
  const [entry] = (await peer.takeAppends()) as [SentEntry]
  expect(entry).toMatchObject({ producerEpoch: 0, sequence: 0 })
  peer.ack(entry, 0)
  await stored
})

it('asks a request again that was over a rate', async () => {
  const session = await broker.session('a')
  const stopped = session.stop('s')
  peer.error((await peer.take(UP.stop))[1], 'RATE_LIMITED', rated)
  await peer.caughtUp(broker)
  clock.advance(1_500)
  peer.reply((await peer.take(UP.stop))[1], { streams: [] })
  await expect(stopped).resolves.toEqual([])
})

it('does not ask again when it has been closed meanwhile', async () => {
  const session = await broker.session('a')
  const stopped = expect(session.stop('s')).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
  peer.error((await peer.take(UP.stop))[1], 'RATE_LIMITED', rated)
  await peer.caughtUp(broker)
  await session.close().catch(() => {})
  await stopped
  expect(clock.waits()).not.toContain(1_500)
})

it('adds a little by chance to the wait, and waits no longer than is sensible', () => {
  const refused = (details: Record<string, unknown>): LitetopicError =>
    new LitetopicError('RATE_LIMITED', 'too much', details)
  expect(retryDelayMs(refused({ retryAfterMs: 1_000 }), 0)).toBe(1_000)
  expect(retryDelayMs(refused({ retryAfterMs: 1_000 }), 0.999)).toBe(1_100)
  expect(retryDelayMs(refused({ retryAfterMs: 1e12 }), 0)).toBe(LIMITS.retryAfterMaxMs)
  for (const retryAfterMs of [undefined, 'soon', -1, Number.NaN]) {
    expect(retryDelayMs(refused({ retryAfterMs }), 0.5)).toBe(LIMITS.clientRetryMs)
  }
})

it('sends no message larger than the broker said in its welcome', async () => {
  const messageBytes = 300_000
  peer.welcome = { messageBytes }
  const session = await broker.session('a')
  for (let i = 0; i < 6; i++) void session.append('x'.repeat(120_000)).catch(() => {})
  const sizes: number[] = []
  for (let entries = 0; entries < 6; ) {
    const frame = await peer.take(UP.append)
    sizes.push(encodeFrame(frame).length)
    entries += Math.round(frame[1].length / 120_000)
  }
  expect(Math.max(...sizes)).toBeLessThanOrEqual(messageBytes)
})
