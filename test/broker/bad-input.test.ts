/** Bad input gets a typed error with its own code, and costs no other client anything. */

import { connect } from 'node:net'
import { pack } from 'msgpackr'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { encodeFrame, LIMITS, PROTOCOL_VERSION, UP, type UpFrame } from '../../protocol/index.ts'
import { afterwards, message, TestBroker, tempDir } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { appendEntry, codeOf, Peer, refusalOf } from './peer.ts'
import { eventually, turn } from './virtual-clock.ts'

let broker: TestBroker
let bystander: Peer
let sequence: number

/** Goes on unharmed throughout: what it appends is acknowledged and delivered to it. */
beforeEach(async () => {
  broker = await TestBroker.start()
  bystander = await broker.peer()
  await bystander.attach('bystander', { producer: 'p' })
  sequence = 0
  await bystander.append({ sequence: sequence++ }, message('before'))
})

afterEach(async () => {
  expect(await bystander.append({ sequence }, message('after'))).toBe(sequence)
  const reading = await bystander.read({ start: true }, { id: 99 })
  await bystander.until(() => reading.position === sequence + 1)
  expect(bystander.closeCode).toBe(null)
})

describe('a connection that cannot go on is told why and closed', () => {
  const cases: [string, string, number, (peer: Peer) => void][] = [
    ['a frame type of no version', 'UNKNOWN_FRAME', 1002, (peer) => peer.send([60, 1] as unknown as UpFrame)],
    [
      'one kept for more about large messages',
      'UNKNOWN_FRAME',
      1002,
      (peer) => peer.send([28, 1] as unknown as UpFrame),
    ],
    ['a frame of the wrong shape', 'BAD_FRAME', 1002, (peer) => peer.send([UP.list, 1, 7] as unknown as UpFrame)],
    ['a frame that is no array', 'BAD_FRAME', 1002, (peer) => peer.sendBytes(pack({ type: 1 }))],
    ['bytes that are not msgpack', 'BAD_FRAME', 1002, (peer) => peer.sendBytes(Buffer.of(0xc1, 0xff))],
    ['an extension type', 'BAD_FRAME', 1002, (peer) => peer.sendBytes(pack([UP.list, 1, new Date(0), {}]))],
    ['an empty message', 'BAD_FRAME', 1002, (peer) => peer.sendBytes(Buffer.alloc(0))],
    ['a text message', 'BAD_FRAME', 1002, (peer) => peer.socket.send('hello')],
    ['a message too large', 'FRAME_TOO_LARGE', 1009, (peer) => peer.sendBytes(Buffer.alloc(LIMITS.messageBytes + 1))],
    ['a second hello', 'BAD_FRAME', 1002, (peer) => peer.send([UP.hello, PROTOCOL_VERSION, {}])],
    ['bytes that are no append entries', 'BAD_FRAME', 1002, (peer) => peer.send([UP.append, Buffer.of(1, 2, 3)])],
    [
      'an append for a handle beyond its bound',
      'BAD_FRAME',
      1002,
      (peer) =>
        peer.send([UP.append, appendEntry({ sequence: 0, handle: LIMITS.handlesPerConnection }, [message('a')])]),
    ],
    ['an append of no records', 'BAD_FRAME', 1002, (peer) => peer.send([UP.append, appendEntry({ sequence: 0 }, [])])],
  ]

  for (const [what, code, closeCode, act] of cases) {
    test(`${what} is ${code}`, async () => {
      const peer = await broker.peer()
      act(peer)
      expect((await peer.closedBy())?.code).toBe(code)
      expect(peer.closeCode).toBe(closeCode)
    })
  }

  test('records that are broken, or another number than said, are BAD_FRAME', async () => {
    const entries = [
      appendEntry({ sequence: 0 }, [message('one')], 2),
      appendEntry({ sequence: 0 }, [(out) => out.raw(Uint8Array.of(9, 1))], 1),
      appendEntry({ sequence: 0 }, [(out) => out.raw(Uint8Array.of(2, 0x22, 65))], 1),
    ]
    for (const entry of entries) {
      const peer = await broker.peer()
      await peer.attach('a', { producer: 'p' })
      peer.send([UP.append, entry])
      expect((await peer.closedBy())?.code).toBe('BAD_FRAME')
    }
    expect(await codeOf(bystander.ask(UP.describe, 'a'))).toBe('ok')
    expect((await bystander.ask(UP.describe, 'a')).nextOffset).toBe(0)
  })

  test('anything before hello is HELLO_EXPECTED, and so is nothing at all for a while', async () => {
    const hasty = await broker.peer({ hello: false })
    hasty.send([UP.list, 1, '', {}])
    expect((await hasty.closedBy())?.code).toBe('HELLO_EXPECTED')
    const mute = await broker.peer({ hello: false })
    await broker.clock.advance(LIMITS.helloMs - 100)
    expect(mute.closeCode).toBe(null)
    await broker.clock.advance(200)
    expect((await mute.closedBy())?.code).toBe('HELLO_EXPECTED')
  })

  test('a hello that is there in time is taken, also by a broker that is too busy to read it in time', async () => {
    // So that nothing else falls due with it.
    await broker.clock.advance(500)
    const peer = await broker.peer({ hello: false })
    await broker.clock.advance(LIMITS.helloMs - 1)
    peer.send([UP.hello, PROTOCOL_VERSION, {}])
    // Before the loop has turned.
    const passed = broker.clock.advance(1)
    await Promise.all([passed, peer.until(() => peer.welcome !== null)])
    expect(peer.closeCode).toBe(null)
  })

  test('a version that is not spoken here is VERSION_MISMATCH', async () => {
    const peer = await broker.peer({ hello: false })
    peer.send([UP.hello, 0, {}])
    const refused = await peer.closedBy()
    expect([refused?.code, refused?.details.version]).toEqual(['VERSION_MISMATCH', PROTOCOL_VERSION])
  })

  test('a peer that does not answer pings is cut off, and one that does is not', async () => {
    const silent = await broker.peer()
    silent.socket.pause()
    const before = broker.broker.stats().connections
    await broker.clock.advance(LIMITS.pingMs * 2 + 1000)
    await eventually(() => broker.broker.stats().connections === before - 1)
  })

  test('and so is each of many, though they are not all pinged at once', async () => {
    const before = broker.broker.stats().connections
    const silent = await Promise.all(Array.from({ length: 150 }, () => broker.peer()))
    for (const { socket } of silent) socket.pause()
    await broker.clock.advance(LIMITS.pingMs * 2 + 1000)
    await eventually(() => broker.broker.stats().connections === before)
  })
})

describe('a request that makes no sense is refused, and the connection goes on', () => {
  test('bad names, of topics and of what lives in them', async () => {
    const peer = await broker.peer()
    for (const name of ['', '/a', 'a/', 'a//b', '.', 'a/..', 'ä', 'a b']) {
      expect([name, await codeOf(peer.attach(name))]).toEqual([name, 'BAD_NAME'])
    }
    await peer.attach('a', { producer: 'p' })
    expect(await codeOf(peer.ask(UP.openStream, 0, 0, 0, '', 'create'))).toBe('BAD_NAME')
    expect(await codeOf(peer.ask(UP.stop, 0, 'a\u0000b', {}))).toBe('BAD_NAME')
    expect(await codeOf(peer.ask(UP.stream, 0, ''))).toBe('BAD_NAME')
    expect(await codeOf(peer.attach('b', { producer: '' }, 1))).toBe('BAD_NAME')
    expect(await codeOf(peer.attach('b', { policy: { maxAgeMs: 0 } }, 1))).toBe('BAD_REQUEST')
    expect(await codeOf(peer.attach('b', {}, 1))).toBe('ok')
  })

  test('and the requests beside it in the same message are answered', async () => {
    const peer = await broker.peer()
    const codes = peer.together(() => [
      codeOf(peer.attach('a', { producer: 'p' })),
      codeOf(peer.attach('..', {}, 1)),
      codeOf(peer.attach('b', {}, 0)),
      codeOf(peer.ask(UP.describe, 'none')),
      codeOf(peer.append({ sequence: 0 }, message('x'))),
    ])
    expect(await Promise.all(codes)).toEqual(['ok', 'BAD_NAME', 'HANDLE_IN_USE', 'NOT_FOUND', 'ok'])
  })
})

describe('a client that asks faster than it is answered', () => {
  test('is not read from while as many requests wait as may', async () => {
    const store = await HeldStore.open()
    const slow = await TestBroker.start({ store })
    const [peer, other] = [await slow.peer(), await slow.peer()]
    store.hold()
    const asked = peer.together(() =>
      Array.from({ length: LIMITS.requestsInFlight + 1 }, () => codeOf(peer.ask(UP.describe, 'none'))),
    )
    await other.roundTrip()
    let isAnswered = false
    const behind = peer.ask(UP.unsubscribe, 7).then(() => {
      isAnswered = true
    })
    for (let i = 0; i < 10; i++) await other.roundTrip()
    expect(isAnswered).toBe(false)
    store.release()
    expect(new Set(await Promise.all(asked))).toEqual(new Set(['NOT_FOUND']))
    await behind
  })

  test('and does not read its answers is not read from either, and cut off when it takes nothing more', async () => {
    const greedy = await broker.peer()
    await greedy.attach('a', { producer: 'p' })
    for (let i = 0; i < 4; i++) await greedy.append({ sequence: i }, message('x'.repeat(250_000)))
    greedy.socket.pause()
    for (let id = 0; id < 60; id++) {
      greedy.send([UP.subscribe, 1000 + id, 0, id, { start: true }, { raw: true, creditBytes: LIMITS.creditMaxBytes }])
    }
    const before = broker.broker.stats().connections
    // One by one, so that some come when the socket is full and are not read.
    for (let i = 0; i < 50; i++) {
      await turn()
      greedy.send([UP.list, 2000 + i, '', {}])
    }
    await broker.clock.advance(LIMITS.pingMs * 3 + 1000)
    await eventually(() => broker.broker.stats().connections === before - 1)
  })
})

describe('starting', () => {
  test('on a port that is taken is PORT_IN_USE, and leaves the data directory free', async () => {
    const dataDir = await tempDir()
    const { port } = broker.broker
    const refused = await refusalOf(startBroker({ port, dataDir }))
    expect([refused.code, refused.details.port]).toEqual(['PORT_IN_USE', port])
    await TestBroker.start({ dataDir })
  })

  test('on a data directory that another broker has open is DATA_DIR_IN_USE, and harms neither', async () => {
    const dataDir = await tempDir()
    const first = await TestBroker.start({ dataDir })
    const peer = await first.peer()
    await peer.attach('a', { producer: 'p' })
    expect(await codeOf(startBroker({ port: 0, dataDir }))).toBe('DATA_DIR_IN_USE')
    expect(await peer.append({ sequence: 0 }, message('still'))).toBe(0)
  })

  test('with a policy for what is no prefix is BAD_NAME', async () => {
    expect(await codeOf(startBroker({ port: 0, dataDir: null, policies: { '../a': {} } }))).toBe('BAD_NAME')
  })
})

describe('closing', () => {
  test('tells clients when to come back, and keeps what was acknowledged', async () => {
    const dataDir = await tempDir()
    const first = await TestBroker.start({ dataDir })
    const peer = await first.peer()
    await peer.attach('a', { producer: 'p' })
    const acknowledged = [peer.append({ sequence: 0 }, message('a')), peer.append({ sequence: 1 }, message('b'))]
    await Promise.all(acknowledged)
    const next = await first.restart()
    expect(peer.goaway).toMatchObject({ minDelayMs: expect.any(Number), maxDelayMs: expect.any(Number) })
    expect(peer.closeCode).toBe(1001)
    expect((await (await next.peer()).ask(UP.describe, 'a')).nextOffset).toBe(2)
    expect(await codeOf(Peer.connect(first.broker.url))).toBe('ECONNREFUSED')
  })

  test('does not wait for a socket that never became a WebSocket, and can be asked twice', async () => {
    const one = await TestBroker.start()
    const socket = connect(one.broker.port, one.broker.host)
    afterwards(async () => socket.destroy())
    socket.on('error', () => undefined)
    await new Promise((resolve) => socket.once('connect', resolve))
    await one.peer()
    await Promise.all([one.broker.close(), one.broker.close()])
  })

  test('leaves nothing behind of an attach and a lookup under way', async () => {
    const one = await TestBroker.start({ dataDir: await tempDir(), residencyIdleMs: 100 })
    const peer = await one.peer()
    for (let i = 0; i < 50; i++) await peer.attach(`t/${i}`, {}, i)
    await one.drop(peer)
    await one.dormant()
    const late = await one.peer()
    late.sendBytes(
      Buffer.concat(Array.from({ length: 50 }, (_, i) => encodeFrame([UP.attach, i + 1, i, `t/${i}`, {}]))),
    )
    const next = await one.restart()
    expect((await (await next.peer()).ask(UP.list, 't', {})).topics).toHaveLength(50)
    expect(one.log).toEqual([])
  })
})
