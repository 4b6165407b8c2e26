/** Large messages as their readers get them: fetched, checked, ranged and resumed, against a peer by script. */

import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import {
  type Broker,
  connect,
  type LargeMessageRecord,
  type LargeProgress,
  type LargeValue,
  type SessionRecord,
  type StandardSchemaV1,
} from '../../client/index.ts'
import { type DataTag, LIMITS, UP, type Up, writeMessage } from '../../protocol/index.ts'
import { Peer } from './peer.ts'

const PART = LIMITS.partBytes

interface Chat {
  readonly role: string
}

const chatSchema: StandardSchemaV1<unknown, Chat> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) =>
      typeof (value as Chat)?.role === 'string' ? { value: value as Chat } : { issues: [{ message: 'no role' }] },
  },
}

let peer: Peer
let broker: Broker

beforeEach(async () => {
  peer = await Peer.start()
  broker = connect(peer.url, { reconnect: { minMs: 1, maxMs: 2 } })
})

afterEach(async () => {
  await broker.close()
  await peer.stop()
})

/** Gives the first record of a session that reads: a large message at offset 3. */
async function largeRecord<T = unknown>(
  content: Uint8Array,
  tag: DataTag = 'bytes',
  options: { schema?: StandardSchemaV1<unknown, T> } = {},
): Promise<LargeMessageRecord<T>> {
  const session = await broker.session<T>('a', { schema: options.schema })
  const first = session.records().next()
  const [, request, , subscription] = await peer.take(UP.subscribe)
  peer.reply(request, { next: 3, firstOffset: 0, nextOffset: 4 })
  const sha256 = createHash('sha256').update(content).digest()
  const parts = { size: content.length, sha256, uploadId: 'u' }
  const empty = tag === 'bytes' ? { tag, value: new Uint8Array(0) } : { tag, value: '' }
  peer.deliver(subscription, 3, [(out) => writeMessage(out, empty, { id: 'm', trace: 't', parts })])
  const record = (await first).value
  if (record?.kind !== 'message' || record.large === undefined) throw new Error('no large message')
  return record
}

/** Answers every fetch, as a broker with this content would; returns those that were answered. */
function serve(content: Uint8Array): Up<typeof UP.fetch>[] {
  const answered: Up<typeof UP.fetch>[] = []
  void (async () => {
    for (;;) {
      const frame = await peer.take(UP.fetch)
      answered.push(frame)
      answer(frame, content)
    }
  })()
  return answered
}

function answer([, request, , , from, maxBytes]: Up<typeof UP.fetch>, content: Uint8Array): void {
  const to = Math.min(from + maxBytes, (Math.floor(from / PART) + 1) * PART, content.length)
  peer.reply(request, { bytes: content.slice(from, to), size: content.length })
}

const fetches = (): Up<typeof UP.fetch>[] =>
  peer.received.filter((frame): frame is Up<typeof UP.fetch> => frame[0] === UP.fetch)

function content(size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let i = 0; i < size; i++) bytes[i] = i ^ (i >>> 8) ^ (i >>> 16)
  return bytes
}

async function all(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}

describe('the record of a large message', () => {
  it('comes at its place with what is known of it, and nothing of its content', async () => {
    const record = await largeRecord(content(3 * PART))
    expect(record).toMatchObject({
      kind: 'message',
      offset: 3,
      id: 'm',
      trace: 't',
      large: { size: 3 * PART, tag: 'bytes' },
    })
    expect(Object.keys(record)).not.toContain('value')
    expect(Object.keys(record)).not.toContain('parts')
    expect(JSON.parse(JSON.stringify(record)).large).toEqual({ size: 3 * PART, tag: 'bytes' })
    expect(fetches()).toEqual([])
  })

  it('is told from others by its types', () => {
    const read = (record: SessionRecord<Chat>): void => {
      if (record.kind !== 'message') return
      expectTypeOf(record.value).toEqualTypeOf<Chat | undefined>()
      if (record.large) {
        expectTypeOf(record.large).toEqualTypeOf<LargeValue<Chat>>()
        expectTypeOf(record.large.json()).resolves.toEqualTypeOf<Chat>()
      } else expectTypeOf(record.value).toEqualTypeOf<Chat>()
    }
    expect(read).toBeTypeOf('function')
  })
})

describe('its content', () => {
  const bytes = content(5 * PART + 9)

  it('comes whole as bytes or as a Blob, again each time', async () => {
    const { large } = await largeRecord(bytes)
    serve(bytes)
    const seen: LargeProgress[] = []
    expect(Buffer.compare(await large.bytes({ onProgress: (progress) => seen.push(progress) }), bytes)).toBe(0)
    expect(seen.map(({ receivedBytes }) => receivedBytes)).toEqual(
      [1, 2, 3, 4, 5, 5].map((n, i) => n * PART + (i === 5 ? 9 : 0)),
    )
    const blob = await large.blob('image/png')
    expect([blob.type, blob.size]).toEqual(['image/png', bytes.length])
    expect(Buffer.compare(new Uint8Array(await blob.arrayBuffer()), bytes)).toBe(0)
  })

  it('comes as text and as the value appended, cut between the bytes of a character or not', async () => {
    const text = 'é€👋'.repeat(PART / 4)
    const encoded = Buffer.from(text)
    const { large } = await largeRecord(encoded, 'text')
    serve(encoded)
    expect(await large.text()).toBe(text)
    expect(await large.json()).toBe(text)
    expect((await large.blob()).type).toBe('text/plain;charset=utf-8')
  })

  it('comes as JSON that the schema has seen', async () => {
    const encoded = Buffer.from(JSON.stringify({ role: 'x'.repeat(PART) }))
    const { large } = await largeRecord(encoded, 'json', { schema: chatSchema })
    serve(encoded)
    expect((await large.json()).role).toHaveLength(PART)
    expect((await large.blob()).type).toBe('application/json')
  })

  it('is SCHEMA_INVALID as JSON if the schema refuses it', async () => {
    const encoded = Buffer.from('{"role":1}')
    const { large } = await largeRecord(encoded, 'json', { schema: chatSchema })
    serve(encoded)
    await expect(large.json()).rejects.toMatchObject({ code: 'SCHEMA_INVALID', details: { offset: 3 } })
    expect(await large.text()).toBe('{"role":1}')
  })

  it.each<[string, Uint8Array, 'text' | 'json']>([
    ['text if it is not UTF-8', Uint8Array.of(0xff, 1), 'text'],
    ['text if it ends within a character', Uint8Array.of(0x41, 0xc3), 'text'],
    ['JSON if it is not JSON', Buffer.from('{"role":'), 'json'],
  ])('is BAD_VALUE as %s', async (_, encoded, how) => {
    const { large } = await largeRecord(encoded)
    serve(encoded)
    await expect(large[how]()).rejects.toMatchObject({ code: 'BAD_VALUE' })
  })

  it('streams in parts, some ahead of the reader and none before it is read', async () => {
    const { large } = await largeRecord(bytes)
    const reader = large.stream().getReader()
    await peer.caughtUp(broker)
    expect(fetches()).toEqual([])
    const first = reader.read()
    await peer.until(() => fetches().length === 3)
    await peer.caughtUp(broker)
    expect(fetches().map(([, , , offset, from, max]) => [offset, from, max])).toEqual(
      [0, 1, 2].map((n) => [3, n * PART, PART]),
    )
    answer(await peer.take(UP.fetch), bytes)
    expect((await first).value).toHaveLength(PART)
    await peer.caughtUp(broker)
    expect(fetches()).toHaveLength(3)
    await reader.cancel()
  })

  it('streams from any byte on, to the end of each part', async () => {
    const { large } = await largeRecord(bytes)
    const answered = serve(bytes)
    const from = 4 * PART - 7
    expect(Buffer.compare(await all(large.stream({ from })), bytes.subarray(from))).toBe(0)
    expect(answered.map((frame) => [frame[4], frame[5]])).toEqual([
      [from, 7],
      [4 * PART, PART],
      [5 * PART, 9],
    ])
    expect(await all(large.stream({ from: bytes.length }))).toHaveLength(0)
    for (const wrong of [-1, 0.5, bytes.length + 1]) {
      expect(() => large.stream({ from: wrong })).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
    }
  })

  it('is a stream of Node, too', async () => {
    const { large } = await largeRecord(bytes)
    serve(bytes)
    const hash = createHash('sha256')
    for await (const piece of Readable.fromWeb(large.stream() as Parameters<typeof Readable.fromWeb>[0]))
      hash.update(piece)
    expect(hash.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'))
  })

  it('goes on after a lost connection at the byte where it was', async () => {
    const { large } = await largeRecord(bytes)
    const reading = all(large.stream())
    for (let part = 0; part < 2; part++) answer(await peer.take(UP.fetch), bytes)
    await peer.until(() => fetches().length === 5)
    peer.drop()
    const before = fetches().length
    const answered = serve(bytes)
    expect(Buffer.compare(await reading, bytes)).toBe(0)
    expect(fetches().length - before).toBe(answered.length)
    expect(answered.map((frame) => frame[4])).toEqual([2, 3, 4, 5].map((part) => part * PART))
  })

  it('is asked for again when it is refused for the time being', async () => {
    const { large } = await largeRecord(content(5))
    const reading = large.bytes()
    peer.error((await peer.take(UP.fetch))[1], 'STORE_UNAVAILABLE', { retryAfterMs: 1 })
    serve(content(5))
    expect(Buffer.from(await reading)).toEqual(Buffer.from(content(5)))
  })

  it('is STORE_CORRUPT before its end if a byte is another, but only its beginning tells', async () => {
    const { large } = await largeRecord(bytes)
    const flipped = bytes.slice()
    flipped[PART + 1]! ^= 1
    serve(flipped)
    let received = 0
    const reading = (async () => {
      for await (const piece of large.stream()) received += piece.length
    })()
    await expect(reading).rejects.toMatchObject({ code: 'STORE_CORRUPT', details: { offset: 3 } })
    expect(received).toBeLessThan(bytes.length)
    await expect(large.bytes()).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
    expect(await all(large.stream({ from: 1 }))).toHaveLength(bytes.length - 1)
  })

  it('is BAD_FRAME if the broker gives another length than asked for', async () => {
    const { large } = await largeRecord(content(5))
    const reading = large.bytes()
    peer.reply((await peer.take(UP.fetch))[1], { bytes: content(4), size: 5 })
    await expect(reading).rejects.toMatchObject({ code: 'BAD_FRAME' })
  })

  it('rejects with what the broker refuses, such as TRIMMED, and with what ends the session', async () => {
    const { large } = await largeRecord(bytes)
    const trimmed = large.bytes()
    peer.error((await peer.take(UP.fetch))[1], 'TRIMMED', { firstOffset: 9 })
    await expect(trimmed).rejects.toMatchObject({ code: 'TRIMMED', details: { firstOffset: 9 } })
    const reading = large.bytes()
    const closed = broker.close()
    await expect(reading).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await closed
    await expect(large.text()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
  })

  it('is no longer read when it is aborted or cancelled, without a connection as well', async () => {
    const { large } = await largeRecord(bytes)
    await expect(large.bytes({ signal: AbortSignal.abort('before') })).rejects.toBe('before')
    expect(fetches()).toEqual([])
    const controller = new AbortController()
    const onProgress = (): never => expect.fail('it had ended')
    const reading = large.bytes({ signal: controller.signal, onProgress })
    await peer.until(() => fetches().length === 3)
    peer.onAttach = () => null
    peer.drop()
    controller.abort('enough')
    await expect(reading).rejects.toBe('enough')
    const reader = large.stream({ onProgress }).getReader()
    const read = reader.read()
    await new Promise(setImmediate)
    await reader.cancel()
    expect(await read).toEqual({ done: true, value: undefined })
    peer.send(peer.attached((await peer.take(UP.attach))[1]))
    serve(bytes)
    await peer.until(() => fetches().length === 9)
    await peer.caughtUp(broker)
  })

  it('is no longer read when onProgress throws', async () => {
    const { large } = await largeRecord(bytes)
    serve(bytes)
    const error = new Error('my own')
    const onProgress = (): never => {
      throw error
    }
    await expect(large.bytes({ onProgress })).rejects.toBe(error)
  })
})
