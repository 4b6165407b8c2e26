/** The socket over HTTP, against a server by script: what it sends, in which order, and what it makes of what can go wrong. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, connect } from '../../client/index.ts'
import { DOWN, LIMITS, UP } from '../../protocol/index.ts'
import { HttpPeer, listed, messageOf } from './http-peer.ts'
import { VirtualClock } from './virtual-clock.ts'

let peer: HttpPeer
let clock: VirtualClock
let broker: Broker

beforeEach(async () => {
  peer = await HttpPeer.start()
  clock = new VirtualClock()
  broker = connect(peer.url, { clock, token: 'secret' })
})

afterEach(async () => {
  const closed = broker.close().catch(() => {})
  clock.advance(LIMITS.closeFlushMs)
  await closed
  await peer.stop()
})

/** Waits for the client to be in that state. */
function state(wanted: Broker['state']): Promise<void> {
  return new Promise((resolve) => {
    if (broker.state === wanted) resolve()
    broker.onState((now) => now === wanted && resolve())
  })
}

/** Answers what the last request asked for. */
const answer = (): void => peer.say(listed(peer.asked.at(-1)?.frames[0]))

describe('a connection over HTTP', () => {
  it('is opened with the hello, and everything goes to its own address', async () => {
    const listing = broker.list()
    await peer.until(() => peer.asked.length === 2)
    answer()
    await listing
    expect(peer.asked.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'POST /v1/connections',
      'POST /v1/connections/abc',
    ])
    expect(peer.asked[0]?.frames).toMatchObject([[UP.hello, 1, { token: 'secret' }]])
  })

  it('has the token in a header of every request, and never in an address', async () => {
    const listing = broker.list()
    await peer.until(() => peer.asked.length === 2)
    answer()
    await listing
    await broker.close()
    expect(peer.asked).toHaveLength(3)
    for (const { url, headers } of peer.asked) {
      expect(headers.authorization).toBe('Bearer secret')
      expect(url).not.toContain('secret')
    }
  })

  it('sends one request after the other, and what was written meanwhile together in the next, in order', async () => {
    peer.takesAll = false
    const asked = [broker.list()]
    await peer.until(() => peer.asked.length === 2)
    for (let i = 0; i < 3; i++) {
      asked.push(broker.describe(`t${i}`).then(() => ({ topics: [], more: false })))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(peer.asked).toHaveLength(2)
    peer.asked[1]?.response.writeHead(204).end()
    await peer.until(() => peer.asked.length === 3)
    expect(peer.asked[2]?.frames.map(([, , name]) => name)).toEqual(['t0', 't1', 't2'])
    for (const one of asked) one.catch(() => {})
  })

  it('is closed behind the last message', async () => {
    peer.takesAll = false
    const listing = broker.list()
    await peer.until(() => peer.asked.length === 2)
    answer()
    await listing
    const closed = broker.close()
    await new Promise((resolve) => setImmediate(resolve))
    expect(peer.asked).toHaveLength(2)
    peer.asked[1]?.response.writeHead(204).end()
    await peer.until(() => peer.asked.length === 3)
    expect(peer.asked[2]).toMatchObject({ method: 'DELETE', url: '/v1/connections/abc' })
    peer.asked[2]?.response.writeHead(204).end()
    await closed
  })

  it('takes what comes in pieces of any size', async () => {
    const listing = [broker.list(), broker.list()]
    await peer.until(() => peer.asked.length === 2)
    const [first, second] = peer.asked[1]?.frames ?? []
    const bytes = Buffer.concat([messageOf(listed(first)), messageOf(listed(second))])
    for (const byte of bytes) {
      peer.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await Promise.all(listing)).toHaveLength(2)
  })

  it('answers a ping with a message of no bytes, if it has nothing else to say', async () => {
    await Promise.race([broker.list(), peer.until(() => peer.asked.length === 2)])
    peer.write(messageOf())
    await peer.until(() => peer.asked.length === 3)
    expect(peer.asked[2]).toMatchObject({ method: 'POST', url: '/v1/connections/abc', frames: [] })
  })

  it('goes by the fetch that it is given', async () => {
    const urls: string[] = []
    const other = connect(peer.url, {
      fetch: (url, init) => {
        urls.push(url)
        return fetch(url, init)
      },
    })
    const listing = other.list()
    await peer.until(() => peer.asked.length === 2)
    answer()
    await listing
    await other.close()
    expect(urls[0]).toBe(`${peer.url}/v1/connections`)
    expect(urls).toHaveLength(3)
  })
})

describe('a connection over HTTP that fails', () => {
  it('is opened anew when its open answer breaks off, and asks again what was not answered', async () => {
    const listing = broker.list()
    await peer.until(() => peer.asked.length === 2)
    peer.drop()
    await state('waiting')
    clock.advance(LIMITS.reconnectMinMs)
    await peer.until(() => peer.asked.length === 4)
    answer()
    await listing
    expect(peer.asked.map(({ url }) => url).filter((url) => url === '/v1/connections')).toHaveLength(2)
  })

  it('is opened anew when a message is not taken', async () => {
    peer.takesAll = false
    const listing = broker.list()
    await peer.until(() => peer.asked.length === 2)
    peer.asked[1]?.response.writeHead(404).end()
    await state('waiting')
    expect(broker.lastError).toMatchObject({ code: 'BROKER_UNREACHABLE', details: { status: 404 } })
    clock.advance(LIMITS.reconnectMinMs)
    await peer.until(() => peer.asked.length === 4)
    answer()
    await listing
  })

  it('is not tried again before whoever refused it said', async () => {
    peer.onOpen = ({ response }) => response.writeHead(503, { 'retry-after': '7' }).end('<html>busy</html>')
    const listing = broker.list()
    await state('waiting')
    expect(broker.lastError).toMatchObject({ code: 'BROKER_UNREACHABLE', details: { status: 503, retryAfterMs: 7000 } })
    clock.advance(6_999)
    expect(broker.state).toBe('waiting')
    peer.onOpen = () => peer.welcome()
    clock.advance(1)
    await peer.until(() => peer.asked.length === 3)
    answer()
    await listing
  })

  it('says what the problem was', async () => {
    const problem = { code: 'SHUTTING_DOWN', detail: 'the broker is stopping', details: { minDelayMs: 1 } }
    peer.onOpen = ({ response }) => {
      response.writeHead(503, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
    }
    broker.list().catch(() => {})
    await state('waiting')
    expect(broker.lastError).toMatchObject({ code: 'SHUTTING_DOWN', details: { status: 503, minDelayMs: 1 } })
  })

  it('is over for good when the token is refused', async () => {
    peer.onOpen = ({ response }) => response.writeHead(401).end()
    await expect(broker.list()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(broker.state).toBe('closed')
  })

  it('is given up when it is not welcomed in time, as through a proxy that gathers answers', async () => {
    peer.onOpen = ({ response }) => void response.writeHead(200, { 'litetopic-connection': 'abc' }).flushHeaders()
    broker.list().catch(() => {})
    await peer.until(() => peer.asked.length === 1)
    clock.advance(LIMITS.helloMs)
    await state('waiting')
    expect(broker.lastError).toMatchObject({ code: 'BROKER_UNREACHABLE' })
  })

  it('is one with somebody else when the answer names no connection, or holds what no broker says', async () => {
    for (const open of [
      () => peer.asked.at(-1)?.response.writeHead(200).end('hello'),
      () => {
        peer.asked.at(-1)?.response.writeHead(200, { 'litetopic-connection': 'abc' })
        peer.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 0]))
      },
      () => {
        peer.asked.at(-1)?.response.writeHead(200, { 'litetopic-connection': 'abc' })
        peer.say([DOWN.goaway, 'early', { minDelayMs: 0, maxDelayMs: 0 }])
      },
    ]) {
      peer.onOpen = open
      const other = connect(peer.url, { clock })
      const waiting = new Promise<void>((resolve) => other.onState((now) => now === 'waiting' && resolve()))
      other.list().catch(() => {})
      await waiting
      expect(other.lastError?.code).toMatch(/BROKER_UNREACHABLE|BAD_FRAME/)
      await other.close()
    }
  })
})
