/** How a client finds its broker, loses it and comes back, against a peer by script. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, type ConnectOptions, connect, type SocketFactory } from '../../client/index.ts'
import { openSocket } from '../../client/websocket.ts'
import { DOWN, LIMITS, UP } from '../../protocol/index.ts'
import { Peer } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

let peer: Peer
let clock: VirtualClock
let brokers: Broker[]

beforeEach(async () => {
  peer = await Peer.start()
  clock = new VirtualClock()
  brokers = []
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await peer.stop()
})

/** WebSockets that cannot be opened while the network is down. */
class Network {
  down = false
  attempts = 0

  readonly open: SocketFactory = (url, events) => {
    this.attempts++
    if (!this.down) return openSocket(url, events)
    setImmediate(() => events.closed('the network is down'))
    return { send: () => {}, bufferedBytes: 0, close: () => {}, terminate: () => {} }
  }
}

function client(options: ConnectOptions = {}): Broker {
  const broker = connect(peer.url, { clock, ...options })
  brokers.push(broker)
  return broker
}

/** Resolves when the broker is in the state. */
function inState(broker: Broker, wanted: Broker['state']): Promise<void> {
  return new Promise((resolve) => {
    if (broker.state === wanted) return resolve()
    const stop = broker.onState((state) => {
      if (state !== wanted) return
      stop()
      resolve()
    })
  })
}

describe('connecting', () => {
  it('happens at the first request, at the path of the protocol, and says hello with the token', async () => {
    const broker = client({ token: () => Promise.resolve('secret') })
    expect([broker.state, peer.connections]).toEqual(['idle', 0])
    await broker.session('a')
    expect(broker.state).toBe('open')
    expect(peer.received[0]).toEqual([UP.hello, 1, { token: 'secret', client: 'litetopic-ts' }])
    expect(broker.url).toMatch(/\/v1\/ws$/)
  })

  it('refuses addresses that are none of a WebSocket', () => {
    for (const url of ['', 'nowhere', 'ftp://a', '/v1/ws']) {
      expect(() => connect(url)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
    }
  })

  it('keeps trying while there is nobody, with growing pauses, and then goes through with what was asked', async () => {
    const network = new Network()
    network.down = true
    const broker = client({ webSocket: network.open })
    const session = broker.session('a')
    await inState(broker, 'waiting')
    expect(broker.lastError?.code).toBe('BROKER_UNREACHABLE')
    clock.advance(LIMITS.reconnectMinMs)
    await inState(broker, 'waiting')
    expect(clock.waits()).toEqual([LIMITS.reconnectMinMs])
    network.down = false
    clock.advance(LIMITS.reconnectMinMs)
    expect((await session).epoch).toBe(7)
    expect(network.attempts).toBe(3)
  })

  it('gives up on a broker that does not answer the hello, and tries again', async () => {
    peer.welcome = null
    const broker = client()
    broker.describe('a').catch(() => {})
    await peer.take(UP.hello)
    clock.advance(LIMITS.helloMs)
    await inState(broker, 'waiting')
    expect(broker.lastError).toMatchObject({ code: 'BROKER_UNREACHABLE' })
  })

  it('waits twice as long with each attempt for a broker that is overrun', async () => {
    peer.welcome = null
    const broker = client()
    broker.describe('a').catch(() => {})
    for (const [attempt, patienceMs] of [LIMITS.helloMs, LIMITS.helloMs * 2, LIMITS.helloMs * 4].entries()) {
      await peer.until(() => peer.received.filter(([type]) => type === UP.hello).length === attempt + 1)
      clock.advance(patienceMs - 1)
      expect(broker.state).toBe('connecting')
      clock.advance(1)
      await inState(broker, 'waiting')
      clock.advance(LIMITS.reconnectMaxMs)
    }
  })

  it.each(['UNAUTHENTICATED', 'VERSION_MISMATCH'] as const)('rejects everything for good on %s', async (code) => {
    peer.welcome = null
    const broker = client()
    const waiting = [broker.session('a'), broker.describe('a')]
    await peer.take(UP.hello)
    peer.error(0, code)
    for (const request of waiting) await expect(request).rejects.toMatchObject({ code })
    await expect(broker.session('b')).rejects.toMatchObject({ code })
    expect(broker.state).toBe('closed')
  })

  it('fetches another token when one runs out on an open connection', async () => {
    let tokens = 0
    const broker = client({ token: () => `token-${++tokens}` })
    await broker.session('a')
    peer.error(0, 'UNAUTHENTICATED')
    await inState(broker, 'waiting')
    clock.advance(LIMITS.reconnectMinMs)
    await peer.until(() => peer.connections === 2 && peer.received.length >= 4)
    expect(peer.received.filter(([type]) => type === UP.hello)[1]).toMatchObject([UP.hello, 1, { token: 'token-2' }])
  })

  it('tries again when the token cannot be had', async () => {
    let fails = true
    const token = (): string => {
      if (fails) throw new Error('no network')
      return 'got it'
    }
    const broker = client({ token })
    const session = broker.session('a')
    await inState(broker, 'waiting')
    expect(broker.lastError?.message).toContain('no network')
    fails = false
    clock.advance(LIMITS.reconnectMinMs)
    await session
  })
})

describe('an open connection', () => {
  it('asks a silent broker for an answer, and gives it up when none comes', async () => {
    peer.welcome = { pingMs: 1_000 }
    const broker = client()
    await broker.session('a')
    clock.advance(1_000)
    const [, probe] = await peer.take(UP.unsubscribe)
    expect(broker.state).toBe('open')
    peer.error(probe, 'UNKNOWN_HANDLE')
    await peer.caughtUp(broker)
    clock.advance(1_000)
    await peer.take(UP.unsubscribe)
    clock.advance(1_000)
    await inState(broker, 'waiting')
    expect(broker.lastError?.message).toContain('silent')
  })

  it('is given up when the broker talks nonsense, and replaced', async () => {
    const broker = client()
    await broker.session('a')
    peer.reply(4_711, {})
    await inState(broker, 'waiting')
    expect(broker.lastError?.code).toBe('BAD_FRAME')
  })

  it('comes back after the delay that a broker going away asks for', async () => {
    const broker = client()
    await broker.session('a')
    peer.send([DOWN.goaway, 'restart', { minDelayMs: 3_000, maxDelayMs: 9_000 }])
    peer.error(0, 'SHUTTING_DOWN')
    await inState(broker, 'waiting')
    expect(clock.waits()).toEqual([3_000])
  })

  it('asks again on the next one what was not answered', async () => {
    const broker = client()
    const described = broker.describe('a')
    await peer.take(UP.describe)
    peer.drop()
    await inState(broker, 'waiting')
    clock.advance(LIMITS.reconnectMinMs)
    peer.error((await peer.take(UP.describe))[1], 'NOT_FOUND')
    await expect(described).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('closing', () => {
  it('rejects what waits and whatever comes after with CONNECTION_CLOSED', async () => {
    const broker = client()
    const waiting = expect(broker.describe('a')).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await peer.take(UP.describe)
    await broker.close()
    await waiting
    await expect(broker.session('a')).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    expect(broker.state).toBe('closed')
    await broker.close()
  })

  it('waits for what was written', async () => {
    const broker = client()
    const session = await broker.session('a')
    const appended = session.append('x')
    const closed = broker.close()
    const [entry] = await peer.takeAppends()
    expect(broker.state).toBe('open')
    if (entry !== undefined) peer.ack(entry, 0)
    expect((await appended).offset).toBe(0)
    await closed
  })

  it('waits for what was written, and says so when it was not stored in time', async () => {
    const broker = client()
    const session = await broker.session('a')
    const appended = expect(session.append('x')).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await peer.takeAppends()
    const closed = expect(broker.close()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    clock.advance(LIMITS.closeFlushMs)
    await Promise.all([closed, appended])
  })

  it('leaves no timer behind', async () => {
    const broker = client()
    await broker.session('a')
    await broker.close()
    expect(clock.waits()).toEqual([])
  })

  it('stops trying to connect', async () => {
    const network = new Network()
    network.down = true
    const broker = client({ webSocket: network.open })
    const session = expect(broker.session('a')).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await inState(broker, 'waiting')
    await broker.close()
    await session
    expect(clock.waits()).toEqual([])
  })
})
