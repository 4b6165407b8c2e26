/** What a session sends and what becomes of it, against a peer by script. */

import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import {
  type Broker,
  type ByteSource,
  connect,
  type SessionRecord,
  type StandardSchemaV1,
  type Value,
} from '../../client/index.ts'
import { LIMITS, UP } from '../../protocol/index.ts'
import { Peer } from './peer.ts'
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

/** Loses the connection and gets the next one, up to the attach. */
async function reconnect(): Promise<void> {
  const waiting = new Promise<void>((resolve) => {
    const stop = broker.onState((state) => {
      if (state !== 'waiting') return
      stop()
      resolve()
    })
  })
  peer.drop()
  await waiting
  clock.advance(LIMITS.reconnectMinMs)
}

const gone = { code: 'GONE' }

describe('appending', () => {
  it('sends what is written in one go as one message, an append each, in order', async () => {
    const session = await broker.session('a')
    const stored = [session.append('one'), session.append({ two: [1, null] }), session.append(new Uint8Array([51]))]
    const entries = await peer.takeAppends()
    expect(entries).toMatchObject([
      { producerEpoch: 0, sequence: 0, fence: -1, records: ['1:"one"'] },
      { sequence: 1, records: ['1:{"two":[1,null]}'] },
      { sequence: 2, records: ['1:3'] },
    ])
    entries.forEach((entry, i) => {
      peer.ack(entry, 10 + i)
    })
    expect((await Promise.all(stored)).map(({ offset }) => offset)).toEqual([10, 11, 12])
    expect(session.cursor).toBe((await stored[2])?.cursor)
  })

  it('stores a list, or a checkpoint with its records, as one append', async () => {
    const session = await broker.session<number>('a')
    const all = session.appendAll([1, 2, 3])
    const checkpoint = session.checkpoint('half', { step: 1 }, { records: [4] })
    const [first, second] = await peer.takeAppends()
    expect([first?.records, second?.records]).toEqual([
      ['1:1', '1:2', '1:3'],
      ['1:4', '4:{"step":1}'],
    ])
    if (first !== undefined && second !== undefined) {
      peer.ack(first, 0)
      peer.ack(second, 3)
    }
    expect((await all).offset).toBe(0)
    expect((await checkpoint).offset).toBe(4)
  })

  it.each([
    ['undefined', undefined],
    ['a function', () => 1],
    ['NaN', Number.NaN],
    ['a Date', { at: new Date(0) }],
    ['a Map', [new Map()]],
    ['a bigint', 1n],
    ['a hole', new Array(1)],
    ['an instance', new (class Message {})()],
  ])('throws BAD_VALUE at the call for %s', async (_, value) => {
    const session = await broker.session<unknown>('a')
    expect(() => session.append(value)).toThrow(expect.objectContaining({ code: 'BAD_VALUE' }))
    expect(() => session.context.set('x', value)).toThrow(expect.objectContaining({ code: 'BAD_VALUE' }))
    expect(peer.received.some(([type]) => type === UP.append)).toBe(false)
  })

  it('throws BAD_VALUE for a value that contains itself, and lets properties that are undefined be left out', async () => {
    const session = await broker.session<unknown>('a')
    const loop: Record<string, unknown> = {}
    loop.self = loop
    expect(() => session.append(loop)).toThrow(expect.objectContaining({ code: 'BAD_VALUE' }))
    session.append({ a: undefined, b: 1 }).catch(() => {})
    expect((await peer.takeAppends())[0]?.records).toEqual(['1:{"b":1}'])
  })

  it('throws LIMIT_EXCEEDED at the call for several messages beyond what one append holds, and BAD_NAME for an id that is none', async () => {
    const session = await broker.session('a')
    for (const size of [LIMITS.appendBytes, LIMITS.appendBytes - 10]) {
      expect(() => session.appendAll(['x', 'x'.repeat(size)])).toThrow(
        expect.objectContaining({ code: 'LIMIT_EXCEEDED', details: expect.objectContaining({ limit: 'appendBytes' }) }),
      )
    }
    expect(() => session.appendAll(['é'.repeat(LIMITS.appendBytes / 2)])).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
    )
    expect(() => session.append('x', { id: '' })).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
    expect(() => session.checkpoint('latest')).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
  })

  it('rejects the append that the broker refuses, and only that one', async () => {
    const session = await broker.session('a')
    const refused = expect(session.append(1)).rejects.toMatchObject({ code: 'CLOSED', details: { why: 'test' } })
    const stored = session.append(2)
    const [first] = await peer.takeAppends()
    if (first !== undefined) peer.refuse(first, 'CLOSED', { why: 'test' })
    await refused
    const [again] = await peer.takeAppends()
    expect(again).toMatchObject({ producerEpoch: 1, sequence: 0, records: ['1:2'] })
    if (again !== undefined) peer.ack(again, 0)
    await stored
  })

  it('sends again, a moment later, what the store could not take', async () => {
    const session = await broker.session('a')
    const stored = session.append(1)
    const [first] = await peer.takeAppends()
    if (first === undefined) throw new Error('nothing came')
    peer.refuse(first, 'STORE_UNAVAILABLE')
    await peer.caughtUp(broker)
    clock.advance(LIMITS.clientRetryMs)
    const [again] = await peer.takeAppends()
    expect(again).toEqual(first)
    peer.ack(first, 0)
    await stored
  })

  it('rejects with BUFFER_FULL rather than hold more than the hard bound', async () => {
    const session = await broker.session('a')
    const text = 'x'.repeat(200_000)
    const waiting: Promise<unknown>[] = []
    for (let i = 0; i < 20; i++) waiting.push(session.append(text).catch(() => {}))
    await expect(session.append(text)).rejects.toMatchObject({ code: 'BUFFER_FULL' })
  })
})

describe('after a lost connection', () => {
  it('attaches to the same incarnation and sends what was not acknowledged again, byte for byte', async () => {
    const session = await broker.session('a', { lingerMs: 5 })
    expect(peer.received[1]).toMatchObject([UP.attach, 1, 0, 'a', { policy: { lingerMs: 5 } }])
    const appended = [session.append(1), session.append(2), session.append(3)]
    const before = await peer.takeAppends()
    if (before[0] !== undefined) peer.ack(before[0], 0)
    await appended[0]
    peer.onAttach = (frame) => peer.attached(frame[1], { producer: { producerEpoch: 0, sequence: 1 }, nextOffset: 2 })
    await reconnect()
    expect(await peer.takeAppends()).toEqual(before.slice(1))
    const attach = peer.received.filter((frame) => frame[0] === UP.attach)[1]
    expect(attach).toMatchObject([
      UP.attach,
      expect.any(Number),
      0,
      'a',
      { epoch: 7, producer: expect.stringMatching(/^[0-9a-f]{32}$/) },
    ])
    expect(attach?.[4]).not.toHaveProperty('policy')
    for (const [i, entry] of before.entries()) peer.ack(entry, i)
    await Promise.all(appended)
  })

  it('says PRODUCER_UNKNOWN of what may be stored already when the broker has forgotten who wrote it', async () => {
    const session = await broker.session('a')
    const first = session.append(1)
    const [entry] = await peer.takeAppends()
    if (entry !== undefined) peer.ack(entry, 0)
    await first
    const inDoubt = expect(session.append(2)).rejects.toMatchObject({ code: 'PRODUCER_UNKNOWN' })
    await peer.takeAppends()
    await reconnect()
    await inDoubt
    session.append(3).catch(() => {})
    expect(await peer.takeAppends()).toMatchObject([{ producerEpoch: 1, sequence: 0, records: ['1:3'] }])
  })

  it.each(['GONE', 'RECREATED'])('ends with %s if the topic is not the same any more', async (code) => {
    const session = await broker.session('a')
    const error = { code }
    const waiting = [
      expect(session.append(1)).rejects.toMatchObject(error),
      expect(session.stream('x')).rejects.toMatchObject(error),
      expect(session.records().next()).rejects.toMatchObject({ code, details: { outcome: code.toLowerCase() } }),
      expect(session.flush()).rejects.toMatchObject(error),
    ]
    await peer.takeAppends()
    peer.onAttach = () => null
    await reconnect()
    peer.error((await peer.take(UP.attach))[1], code)
    await Promise.all(waiting)
    await expect(session.append(2)).rejects.toMatchObject(error)
    await session.close()
  })

  it('attaches when the store is back if it cannot at first, for the first time or again', async () => {
    peer.onAttach = () => null
    const opening = broker.session('a')
    peer.error((await peer.take(UP.attach))[1], 'STORE_UNAVAILABLE')
    await peer.caughtUp(broker)
    clock.advance(LIMITS.clientRetryMs)
    peer.send(peer.attached((await peer.take(UP.attach))[1]))
    const session = await opening
    const stored = session.append(1)
    await peer.takeAppends()
    await reconnect()
    peer.error((await peer.take(UP.attach))[1], 'STORE_UNAVAILABLE')
    await peer.caughtUp(broker)
    clock.advance(LIMITS.clientRetryMs)
    peer.send(peer.attached((await peer.take(UP.attach))[1]))
    const [entry] = await peer.takeAppends()
    if (entry !== undefined) peer.ack(entry, 0)
    await stored
  })
})

describe('the end of a topic', () => {
  it('ends the session with GONE when it is deleted or reclaimed while attached', async () => {
    const session = await broker.session('a')
    const waiting = expect(session.append(1)).rejects.toMatchObject(gone)
    await peer.takeAppends()
    peer.send([71, 0, 'reclaimed', {}])
    await waiting
    expect(await peer.take(UP.detach)).toMatchObject([UP.detach, expect.any(Number), 0])
    await expect(session.resume()).rejects.toMatchObject(gone)
  })

  it('gives the handle to another session only when the broker has let go of it', async () => {
    const first = await broker.session('a')
    await first.close()
    expect((await broker.session('b')).epoch).toBe(7)
    const [, detach] = await peer.take(UP.detach)
    peer.reply(detach, {})
    await peer.caughtUp(broker)
    await broker.session('c')
    const handles = peer.received.flatMap((frame) => (frame[0] === UP.attach ? [frame[2]] : []))
    expect(handles).toEqual([0, 1, 0])
  })
})

it('fails at once what was not sent yet when an exclusive session takes the topic, and waits for the rest', async () => {
  const session = await broker.session('a')
  const writes = Array.from({ length: LIMITS.appendsInFlight + 1 }, (_, i) => session.append(i))
  const entries = await peer.takeAppends()
  peer.send([71, 0, 'fenced', { fence: 1 }])
  await expect(writes.at(-1)).rejects.toMatchObject({ code: 'FENCED', details: { fence: 1 } })
  entries.forEach((entry, i) => {
    peer.ack(entry, i)
  })
  expect((await Promise.all(writes.slice(0, -1))).map(({ offset }) => offset)).toEqual(entries.map((_, i) => i))
})

describe('closing a session', () => {
  it('waits for what was written, then detaches and rejects what comes after', async () => {
    const session = await broker.session('a')
    const stored = session.append(1)
    const closed = session.close()
    const [entry] = await peer.takeAppends()
    expect(peer.received.some(([type]) => type === UP.detach)).toBe(false)
    if (entry !== undefined) peer.ack(entry, 0)
    await stored
    await closed
    await peer.take(UP.detach)
    await expect(session.append(2)).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
  })

  it('detaches also when it is just being attached again: the broker would hold the topic for it', async () => {
    const session = await broker.session('a')
    peer.onAttach = () => null
    await reconnect()
    const [, attach, handle] = await peer.take(UP.attach)
    const closed = session.close()
    const [, detach, left] = await peer.take(UP.detach)
    expect(left).toBe(handle)
    peer.send(peer.attached(attach))
    peer.reply(detach, {})
    await closed
  })

  it('waits, if it has the topic for itself, until the broker has let go of it', async () => {
    const session = await broker.session('a', { exclusive: true })
    let isClosed = false
    const closed = session.close().then(() => {
      isClosed = true
    })
    const [, detach] = await peer.take(UP.detach)
    await peer.caughtUp(broker)
    expect(isClosed).toBe(false)
    peer.reply(detach, {})
    await closed
  })
})

interface Chat {
  readonly role: string
  readonly content: string
}

/** A schema by hand: what a library's would do. */
const chatSchema: StandardSchemaV1<unknown, Chat> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const { role, content } = value as Partial<Chat>
      if (typeof role !== 'string') return { issues: [{ message: 'must be text', path: ['role'] }] }
      return { value: { role, content: content ?? 'nothing' } }
    },
  },
}

describe('a schema', () => {
  it('refuses a message at the call, and stores what was given, not what it makes of it', async () => {
    const session = await broker.session('a', { schema: chatSchema })
    expect(() => session.append({ content: 'x' } as Chat)).toThrow(
      expect.objectContaining({
        code: 'SCHEMA_INVALID',
        details: { issues: [{ message: 'must be text', path: 'role' }] },
      }),
    )
    session.append({ role: 'user' } as Chat).catch(() => {})
    expect((await peer.takeAppends())[0]?.records).toEqual(['1:{"role":"user"}'])
  })

  it('gives the session its type', async () => {
    const session = await broker.session('a', { schema: chatSchema })
    expectTypeOf(session.append).parameter(0).toEqualTypeOf<Chat | ByteSource>()
    type Read = Awaited<ReturnType<ReturnType<typeof session.records>['next']>>
    expectTypeOf<Read>().toEqualTypeOf<IteratorResult<SessionRecord<Chat>, undefined>>()
    const plain = await broker.session<Chat>('b')
    expectTypeOf(plain.append).parameter(0).toEqualTypeOf<Chat | ByteSource>()
    const untyped = await broker.session('c')
    expectTypeOf(untyped.append).parameter(0).toEqualTypeOf<Value | ByteSource>()
  })
})
