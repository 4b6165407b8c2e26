/**
 * Readers that never read, over real sockets, of a broker in a process of its own: they cost bounded memory, and neither the
 * publisher nor a reader that does read waits for them.
 */

import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { connect } from '../../client/index.ts'
import { encodeFrame, FRAMES_TYPE, LIMITS, UP, type UpFrame } from '../../protocol/index.ts'
import { Peer } from '../broker/peer.ts'
import type { Reading } from '../broker/reading.ts'
import { httpAddressOf } from '../client/transport.ts'
import { LiveBroker } from '../live/live-broker.ts'

const MiB = 1024 * 1024
const TOPIC = 'flow/stuck'
const STUCK = 1_000
const APPENDS = 400
const APPEND_BYTES = 16 * 1024
/** Over HTTP: each is sent more than all of them together may hold. */
const STUCK_HTTP = 10
const HTTP_APPENDS = 160
const HTTP_APPEND_BYTES = 200 * 1024
/** Beside what sockets hold: code that was compiled, the journal in memory, and what LevelDB keeps. */
const MARGIN_BYTES = 48 * MiB

let live: LiveBroker
let peers: Peer[] = []

afterEach(async () => {
  for (const peer of peers) peer.socket.terminate()
  peers = []
  expect(await live.stop()).toBe(0)
})

const used = ({ heapUsed, external }: NodeJS.MemoryUsage): number => heapUsed + external

/** Connects readers that take nothing from their sockets once they are subscribed, whatever their credit. */
async function stuckReaders(count: number): Promise<Reading[]> {
  const readings: Reading[] = []
  for (let i = 0; i < count; i++) {
    const peer = await Peer.connect(live.url)
    peers.push(peer)
    await peer.attach(TOPIC, { observe: true })
    readings.push(await peer.read({ start: true }, { creditBytes: LIMITS.creditMaxBytes, raw: i % 2 === 0 }))
    peer.socket.pause()
  }
  return readings
}

/** What the broker holds once it does not hold more from one look to the next, several times in a row. */
async function settledMemory(): Promise<number> {
  let most = 0
  for (let same = 0; same < 5; same++) {
    const now = used(await live.memory())
    if (now > most + MiB) same = 0
    most = Math.max(most, now)
  }
  return most
}

/** Connections over HTTP that take nothing of their open answers once they are subscribed. */
async function stuckOverHttp(count: number): Promise<ClientRequest[]> {
  const requests: ClientRequest[] = []
  for (let i = 0; i < count; i++) {
    const open = request(`${httpAddressOf(live)}/v1/connections`, {
      method: 'POST',
      headers: { 'content-type': FRAMES_TYPE },
    })
    const options = { creditBytes: LIMITS.creditMaxBytes, raw: true }
    for (const frame of [
      [UP.hello, 1, {}],
      [UP.attach, 1, 0, TOPIC, { observe: true }],
      [UP.subscribe, 2, 0, 0, { start: true }, options],
    ] as const satisfies UpFrame[])
      open.write(encodeFrame(frame))
    open.end()
    const [response] = (await once(open, 'response')) as [IncomingMessage]
    response.pause()
    requests.push(open)
  }
  return requests
}

describe('a thousand readers that never read', () => {
  test('cost the broker bounded memory, and nobody else anything', async () => {
    live = await LiveBroker.start({ lingerMs: 'forever' })
    const broker = connect(live.url)
    const session = await broker.session<string>(TOPIC)
    const value = 'x'.repeat(APPEND_BYTES)
    await session.append(value)
    const readings = await stuckReaders(STUCK)
    const before = used(await live.memory())

    // The healthy reader gets everything, in order, while the others stand still.
    const healthy = (async () => {
      let next = 0
      for await (const record of session.records({ raw: true })) {
        expect(record.offset).toBe(next++)
        if (next === APPENDS) return
      }
    })()
    for (let i = 1; i < APPENDS; i++) await session.append(value)
    await healthy

    const grown = used(await live.memory()) - before
    const bound = LIMITS.unsentBytes + STUCK * (LIMITS.unsentShareBytes + APPEND_BYTES) + MARGIN_BYTES
    expect(grown).toBeLessThan(bound)
    // Unbounded, it would be this and more, beyond what the kernel holds of each socket.
    expect(STUCK * APPENDS * APPEND_BYTES).toBeGreaterThan(bound * 10)
    expect((await live.stats()).connections).toBe(STUCK + 1)

    // Those who read again get all of it, from where they stood.
    for (const [i, peer] of peers.slice(0, 5).entries()) {
      peer.socket.resume()
      await peer.until(() => readings[i]?.position === APPENDS)
    }
    await broker.close()
  }, 240_000)
})

test('readers over HTTP that never read cost the broker bounded memory, too', async () => {
  live = await LiveBroker.start({ lingerMs: 'forever' })
  const broker = connect(live.url)
  const session = await broker.session<string>(TOPIC)
  const value = 'x'.repeat(HTTP_APPEND_BYTES)
  for (let i = 0; i < HTTP_APPENDS; i++) await session.append(value)
  const before = used(await live.memory())
  const stuck = await stuckOverHttp(STUCK_HTTP)
  const grown = (await settledMemory()) - before
  expect((await live.stats()).connections).toBe(STUCK_HTTP + 1)
  const bound = LIMITS.unsentBytes + STUCK_HTTP * (LIMITS.unsentShareBytes + HTTP_APPEND_BYTES) + MARGIN_BYTES
  expect(grown).toBeLessThan(bound)
  expect(STUCK_HTTP * HTTP_APPENDS * HTTP_APPEND_BYTES).toBeGreaterThan(bound * 2)
  for (const open of stuck) open.destroy()
  await broker.close()
}, 120_000)
