/** What readers get of what is delivered, against a peer by script. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Broker,
  connect,
  type Reader,
  type Session,
  type SessionRecord,
  type TokenRecord,
} from '../../client/index.ts'
import {
  type ByteWriter,
  DOWN,
  FORM,
  formatCursor,
  LIMITS,
  TAG,
  UP,
  ByteWriter as Writer,
  writeCheckpoint,
  writeContext,
  writeMessage,
  writeRun,
  writeStream,
  writeToken,
} from '../../protocol/index.ts'
import { INCARNATION, Peer } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

let peer: Peer
let clock: VirtualClock
let broker: Broker
let session: Session

beforeEach(async () => {
  peer = await Peer.start()
  clock = new VirtualClock()
  broker = connect(peer.url, { clock })
  session = await broker.session('a')
})

afterEach(async () => {
  await broker.close()
  await peer.stop()
})

const cursor = (next: number): string => formatCursor({ incarnation: INCARNATION, epoch: 7, next })
const token =
  (text: string, repeat = true) =>
  (out: ByteWriter) => {
    writeToken(out, 's', 'text', { tag: 'text', value: text }, repeat)
  }
const message = (value: unknown) => (out: ByteWriter) => {
  writeMessage(out, { tag: 'json', value: JSON.stringify(value) })
}
const next = <V>(reader: Reader<V>): Promise<V | undefined> => reader.next().then(({ value }) => value)

/** Answers the next subscribe, so that deliveries begin at `position`; gives the subscription's number. */
async function subscribed(position: number): Promise<number> {
  const [, request, , subscription] = await peer.take(UP.subscribe)
  peer.reply(request, { next: position, firstOffset: 0, nextOffset: 100 })
  return subscription
}

interface RunOf {
  readonly stream: string
  readonly first: number
  readonly last: number
  readonly texts: readonly string[]
}

function deliverRuns(subscription: number, base: number, count: number, runs: readonly RunOf[]): void {
  const content = new Writer()
  for (const { stream, first, last, texts } of runs) {
    const data = new TextEncoder().encode(texts.join(''))
    const sizes = texts.map((text) => text.length)
    writeRun(content, base, { tag: TAG.text, streamId: stream, part: 'text', first, last, sizes, data })
  }
  peer.deliverBatch(subscription, FORM.coalesced, base, count, content)
}

describe('records', () => {
  it('come decoded, with their place and a cursor behind each', async () => {
    const reader = session.records({ from: { offset: 300 } })
    const first = next(reader)
    peer.deliver(await subscribed(300), 300, [
      message({ a: 1 }),
      (out) => writeMessage(out, { tag: 'bytes', value: new Uint8Array([1, 2]) }, { id: 'x', trace: 't' }),
      (out) => writeStream(out, 'open', 's'),
      token('Hi', false),
      token('\u00e9'),
      (out) => writeToken(out, 's', 'tool', { tag: 'json', value: '[1]' }, false),
      (out) => writeToken(out, 's', 'tool', { tag: 'bytes', value: new Uint8Array([9]) }, true),
      (out) => writeContext(out, 'set', 'c', { tag: 'text', value: 'v' }),
      (out) => writeContext(out, 'delete', 'c', { tag: 'bytes', value: new Uint8Array(0) }),
      (out) => writeCheckpoint(out, 'p', { tag: 'json', value: 'null' }),
      (out) => writeStream(out, 'failed', 's', { tag: 'json', value: '{"message":"no"}' }),
    ])
    const records = [await first]
    for (let i = 1; i < 11; i++) records.push(await next(reader))
    const place = (offset: number) => ({
      offset,
      lastOffset: offset,
      cursor: cursor(offset + 1),
      timeMs: 1_000,
      live: true,
    })
    const ofStream = { kind: 'token', streamId: 's', count: 1 }
    expect(records).toEqual([
      { ...place(300), kind: 'message', value: { a: 1 } },
      { ...place(301), kind: 'message', value: new Uint8Array([1, 2]), id: 'x', trace: 't' },
      { ...place(302), kind: 'stream', streamId: 's', state: 'open' },
      { ...place(303), ...ofStream, part: 'text', text: 'Hi' },
      { ...place(304), ...ofStream, part: 'text', text: 'é' },
      { ...place(305), ...ofStream, part: 'tool', value: [1] },
      { ...place(306), ...ofStream, part: 'tool', bytes: new Uint8Array([9]) },
      { ...place(307), kind: 'context', op: 'set', name: 'c', value: 'v' },
      { ...place(308), kind: 'context', op: 'delete', name: 'c' },
      { ...place(309), kind: 'checkpoint', name: 'p', state: null },
      { ...place(310), kind: 'stream', streamId: 's', state: 'failed', detail: { message: 'no' } },
    ])
    expect(reader.cursor).toBe(cursor(311))
  })

  it('below the position asked for are skipped, also in the middle of a run of repeated tokens', async () => {
    const reader = session.batches({ from: { offset: 12 } })
    const first = next(reader)
    const subscription = await subscribed(12)
    peer.deliver(subscription, 10, [token('a', false), token('b'), token('c'), token('d')])
    expect((await first)?.map((record) => (record as TokenRecord).text)).toEqual(['c', 'd'])
    const second = next(reader)
    peer.deliver(subscription, 10, [token('again', false), token('b'), token('c'), token('d')])
    peer.deliver(subscription, 14, [token('e', false)])
    expect((await second)?.map((record) => (record as TokenRecord).text)).toEqual(['e'])
  })

  it('of a hole are not jumped over: the reader ends', async () => {
    const reader = session.records()
    const first = reader.next()
    const subscription = await subscribed(0)
    peer.deliver(subscription, 1, [token('x', false)])
    await expect(first).rejects.toMatchObject({ code: 'BAD_FRAME', details: { expected: 0 } })
    expect((await peer.take(UP.unsubscribe))[2]).toBe(subscription)
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })
})

describe('runs', () => {
  it('are one record with all the text, the range and the sizes', async () => {
    const reader = session.records()
    const first = next(reader)
    deliverRuns(await subscribed(0), 0, 3, [{ stream: 's', first: 0, last: 2, texts: ['He', 'l', 'lo'] }])
    expect(await first).toMatchObject({
      text: 'Hello',
      offset: 0,
      lastOffset: 2,
      count: 3,
      sizes: [2, 1, 2],
      live: false,
    })
    expect(reader.cursor).toBe(cursor(3))
  })

  it('that overlap have the cursor of where none of them is open, so that reading on there loses nothing', async () => {
    const reader = session.batches()
    const first = next(reader)
    deliverRuns(await subscribed(10), 10, 10, [
      { stream: 'a', first: 10, last: 11, texts: ['1', '2'] },
      { stream: 'b', first: 12, last: 16, texts: ['1', '2', '3'] },
      { stream: 'c', first: 13, last: 15, texts: ['1', '2'] },
      { stream: 'd', first: 17, last: 19, texts: ['1', '2', '3'] },
    ])
    expect((await first)?.map((record) => record.cursor)).toEqual([12, 12, 17, 20].map(cursor))
  })
})

describe('a lost connection', () => {
  async function reconnect(): Promise<void> {
    const waiting = new Promise<void>((resolve) => void broker.onState((state) => state === 'waiting' && resolve()))
    peer.drop()
    await waiting
    clock.advance(LIMITS.reconnectMinMs)
  }

  it('is crossed at the place where deliveries stopped, taken or not', async () => {
    const reader = session.records({ raw: true, creditBytes: 1_000 })
    const first = next(reader)
    const subscription = await subscribed(0)
    peer.deliver(subscription, 0, [token('a', false), token('b')])
    peer.deliver(subscription, 2, [token('c', false)])
    expect(await first).toMatchObject({ text: 'a' })
    await reconnect()
    const [, request, , again, from, options] = await peer.take(UP.subscribe)
    expect([again, from, options.raw]).toEqual([subscription, { cursor: cursor(3) }, true])
    peer.reply(request, { next: 3, firstOffset: 0, nextOffset: 3 })
    peer.deliver(subscription, 3, [token('d', false)])
    const rest = [await next(reader), await next(reader), await next(reader)]
    expect(rest.map((record) => (record as TokenRecord).text)).toEqual(['b', 'c', 'd'])
  })

  it('before the broker said where it begins is followed by the same question', async () => {
    const reader = session.records({ from: { last: 5 } })
    const first = next(reader)
    expect((await peer.take(UP.subscribe))[4]).toEqual({ last: 5 })
    await reconnect()
    const [, request, , subscription, from] = await peer.take(UP.subscribe)
    expect(from).toEqual({ last: 5 })
    peer.reply(request, { next: 8, firstOffset: 0, nextOffset: 13 })
    peer.deliver(subscription, 8, [message(1)])
    expect(await first).toMatchObject({ offset: 8 })
  })

  it.each([
    ['TRIMMED', 'trimmed', { firstOffset: 50, cursor: cursor(50) }, 50],
    ['DIVERGED', 'diverged', { commonOffset: 1 }, 1],
    ['RECREATED', 'recreated', {}, 1],
  ])(
    'ends the reader with %s where it cannot be crossed, with outcome and cursor',
    async (code, outcome, details, at) => {
      const reader = session.records()
      const first = next(reader)
      peer.deliver(await subscribed(0), 0, [message(1)])
      await first
      const second = expect(reader.next()).rejects.toMatchObject({
        code,
        details: { ...details, outcome, cursor: cursor(at) },
      })
      await reconnect()
      peer.error((await peer.take(UP.subscribe))[1], code, details)
      await second
      expect(await reader.next()).toMatchObject({ done: true })
    },
  )
})

describe('the end', () => {
  it('comes after everything that was delivered before it', async () => {
    const reader = session.records()
    const first = next(reader)
    const subscription = await subscribed(0)
    peer.deliver(subscription, 0, [message(1), message(2)])
    peer.send([70, subscription, 'GONE', 'gone', {}])
    expect(await first).toMatchObject({ value: 1 })
    expect(await next(reader)).toMatchObject({ value: 2 })
    await expect(reader.next()).rejects.toMatchObject({ code: 'GONE', details: { outcome: 'gone', cursor: cursor(2) } })
  })

  it('of the loop ends the subscription, and nothing else', async () => {
    const deliver = async (): Promise<number> => {
      const subscription = await subscribed(0)
      peer.deliver(subscription, 0, [message(1), message(2)])
      return subscription
    }
    const delivered = deliver()
    for await (const record of session.records()) {
      expect(record).toMatchObject({ value: 1 })
      break
    }
    expect((await peer.take(UP.unsubscribe))[2]).toBe(await delivered)
    expect(peer.received.some(([type]) => type === UP.detach || type === UP.stop)).toBe(false)
  })

  it('comes with the reason of the signal', async () => {
    const controller = new AbortController()
    const reader = session.records({ signal: controller.signal })
    const first = reader.next()
    await subscribed(0)
    controller.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    await expect(session.records({ signal: controller.signal }).next()).rejects.toThrow('enough')
  })

  it('comes with CONNECTION_CLOSED for the readers of a closed session', async () => {
    const first = expect(session.records().next()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await subscribed(0)
    await session.close()
    await first
  })
})

describe('a store that cannot be read for a while', () => {
  it('does not end a reader: it asks again at its place', async () => {
    const reader = session.records()
    const first = next(reader)
    const subscription = await subscribed(0)
    peer.deliver(subscription, 0, [message(1)])
    expect(await first).toMatchObject({ offset: 0 })
    const second = next(reader)
    peer.send([DOWN.subscriptionEnd, subscription, 'STORE_UNAVAILABLE', 'not now', {}])
    await peer.caughtUp(broker)
    clock.advance(LIMITS.clientRetryMs)
    const [, request, , again, from] = await peer.take(UP.subscribe)
    expect(from).toEqual({ cursor: cursor(1) })
    peer.reply(request, { next: 1, firstOffset: 0, nextOffset: 2 })
    peer.deliver(again, 1, [message(2)])
    expect(await second).toMatchObject({ offset: 1 })
  })
})

describe('credit', () => {
  it('is granted again when half of it has been taken, not before', async () => {
    const reader = session.batches({ creditBytes: 100 })
    const first = next(reader)
    const [, request, , subscription, , options] = await peer.take(UP.subscribe)
    expect(options.creditBytes).toBe(100)
    peer.reply(request, { next: 0, firstOffset: 0, nextOffset: 0 })
    peer.deliver(subscription, 0, [message('x'.repeat(10))])
    await first
    const second = next(reader)
    peer.deliver(subscription, 1, [message('x'.repeat(40))])
    await second
    const [, granted, bytes] = await peer.take(UP.credit)
    expect(granted).toBe(subscription)
    expect(bytes).toBeGreaterThanOrEqual(50)
    expect(peer.received.filter(([type]) => type === UP.credit)).toHaveLength(1)
  })

  it('is not granted for what nobody takes, and on a new connection what waits here counts', async () => {
    const reader = session.records({ creditBytes: 1_000 })
    const first = next(reader)
    const subscription = await subscribed(0)
    peer.deliver(subscription, 0, [message(1)])
    await first
    peer.deliver(subscription, 1, [message('x'.repeat(600))])
    const waiting = new Promise<void>((resolve) => void broker.onState((state) => state === 'waiting' && resolve()))
    await peer.caughtUp(broker)
    expect(peer.received.some(([type]) => type === UP.credit)).toBe(false)
    peer.drop()
    await waiting
    clock.advance(LIMITS.reconnectMinMs)
    const [, request, , again, , { creditBytes = 0 }] = await peer.take(UP.subscribe)
    expect(creditBytes).toBeLessThan(400)
    // Taken before the answer: it is granted with it, for nothing that is delivered may come to remind of it.
    await next(reader)
    peer.reply(request, { next: 2, firstOffset: 0, nextOffset: 2 })
    const [, granted, bytes] = await peer.take(UP.credit)
    expect([granted, bytes > 600]).toEqual([again, true])
  })
})

describe('where to read from', () => {
  it.each([
    [undefined, { start: true }],
    ['live', { live: true }],
    [{ last: 3 }, { last: 3 }],
    [{ time: new Date(5) }, { timeMs: 5 }],
    [{ checkpoint: 'latest' }, { checkpoint: null }],
    [{ checkpoint: 'c' }, { checkpoint: 'c' }],
    [cursor(3), { cursor: cursor(3) }],
  ])('%o is asked as %o', async (from, asked) => {
    const reader = session.records({ from })
    void reader.next()
    expect((await peer.take(UP.subscribe))[4]).toEqual(asked)
    await reader.return()
  })

  it('is checked at the call', () => {
    const bad = (options: Parameters<typeof session.records>[0], code: string) =>
      expect(() => session.records(options)).toThrow(expect.objectContaining({ code }))
    bad({ from: 'nowhere' }, 'BAD_CURSOR')
    bad({ from: { last: -1 } }, 'BAD_REQUEST')
    bad({ from: { checkpoint: '' } }, 'BAD_NAME')
    bad({ creditBytes: 0 }, 'BAD_REQUEST')
  })
})

describe('as a web stream', () => {
  it('gives the same records, and cancelling it ends the subscription', async () => {
    const stream: ReadableStream<SessionRecord> = session.records().toReadableStream()
    const reader = stream.getReader()
    const first = reader.read()
    peer.deliver(await subscribed(0), 0, [message(1)])
    expect((await first).value).toMatchObject({ value: 1 })
    await reader.cancel()
    await peer.take(UP.unsubscribe)
  })
})

describe('a schema', () => {
  it('that refuses a message ends the reader after what was good, with the cursor to go on behind it', async () => {
    const picky = await broker.session<number>('b', {
      schema: {
        '~standard': {
          version: 1,
          vendor: 'test',
          validate: (value) =>
            typeof value === 'number' ? { value: value * 2 } : { issues: [{ message: 'a number' }] },
        },
      },
    })
    const reader = picky.records()
    const first = next(reader)
    peer.deliver(await subscribed(0), 0, [message(1), message('two'), message(3)])
    expect(await first).toMatchObject({ value: 2 })
    await expect(reader.next()).rejects.toMatchObject({
      code: 'SCHEMA_INVALID',
      details: { offset: 1, cursor: cursor(2) },
    })
  })
})
