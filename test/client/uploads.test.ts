/** What a session sends of large messages, frame by frame, against a peer by script. */

import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type AppendOptions, type AppendProgress, type Broker, connect, type Session } from '../../client/index.ts'
import {
  ByteReader,
  DOWN,
  KIND,
  LIMITS,
  newAppendEntry,
  type RecordParts,
  RecordWalker,
  readAppendEntry,
  tagName,
  UP,
  type Up,
} from '../../protocol/index.ts'
import { entriesOf, Peer } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

const PART = LIMITS.partBytes

let peer: Peer
let brokers: Broker[]

beforeEach(async () => {
  peer = await Peer.start()
  brokers = []
})

afterEach(async () => {
  await peer.stop()
  // What is not acknowledged is waited for; nobody does here.
  for (const broker of brokers) broker.close().catch(() => {})
})

/** Time is real: how fast a socket takes parts is up to the machine. Nothing here waits for time to pass. */
async function open(options: Parameters<typeof connect>[1] = {}): Promise<Session> {
  const broker = connect(peer.url, { reconnect: { minMs: 1, maxMs: 2 }, ...options })
  brokers.push(broker)
  return broker.session('a')
}

/** Bytes of which no two parts are the same. */
function content(size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let i = 0; i < size; i++) bytes[i] = i ^ (i >>> 8) ^ (i >>> 16)
  return bytes
}

/** Answers `upload` and grants all that there is. */
async function begin(storedParts = 0, grants = 100): Promise<Up<typeof UP.upload>> {
  const frame = await peer.take(UP.upload)
  peer.reply(frame[1], { storedParts, offset: null })
  if (grants > 0) peer.send([DOWN.partGrant, frame[2], frame[3], grants])
  return frame
}

/** Takes so many parts, makes sure that each is the next, and answers them. */
async function takeParts(count: number, first = 0): Promise<Uint8Array> {
  const taken: Uint8Array[] = []
  for (let i = 0; i < count; i++) {
    const [, request, , , index, crc, bytes] = await peer.take(UP.part)
    expect([index, crc]).toEqual([first + i, crc32(bytes)])
    taken.push(bytes)
    peer.reply(request, {})
  }
  return Buffer.concat(taken)
}

/** The one record of the next append, which it acknowledges. */
async function takeCommit(base = 0): Promise<{ tag: string; id?: string; parts: RecordParts }> {
  const frame = await peer.take(UP.append)
  const entry = newAppendEntry()
  readAppendEntry(new ByteReader(frame[1]), entry)
  const walker = new RecordWalker(new ByteReader(frame[1], entry.from, entry.to))
  expect([walker.next(), walker.kind, walker.data().length]).toEqual([true, KIND.message, 0])
  const { parts, id } = walker.extras() ?? {}
  const [sent] = entriesOf(frame)
  if (parts === undefined || sent === undefined) throw new Error('not the record of a large message')
  peer.ack(sent, base)
  return { tag: tagName(walker.tag), id, parts }
}

/** What came over the wire of one upload. */
async function takeAll(parts: number): Promise<{ tag: string; bytes: Uint8Array; size: number | undefined }> {
  const [, , , uploadId, { tag, size }] = await begin()
  const bytes = await takeParts(parts)
  const commit = await takeCommit()
  expect(commit).toMatchObject({ tag, parts: { size: bytes.length, uploadId } })
  expect(Buffer.from(commit.parts.sha256)).toEqual(createHash('sha256').update(bytes).digest())
  return { tag, bytes, size }
}

/** A source that tells how far it was read and whether it was stopped. */
class Source implements AsyncIterable<Uint8Array> {
  read = 0
  stopped = false
  private readonly pieces: number
  private readonly after: () => Promise<void>

  constructor(pieces: number, after: () => Promise<void> = async () => {}) {
    this.pieces = pieces
    this.after = after
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      while (this.read < this.pieces) {
        this.read++
        yield content(PART)
      }
      await this.after()
    } finally {
      this.stopped = true
    }
  }
}

const endless = (): ReadableStream<Uint8Array> =>
  new ReadableStream({ start: (controller) => controller.enqueue(content(3)) })

const never = (): Promise<void> => new Promise(() => {})

describe('a large message', () => {
  const bytes = content(2 * PART + 5)

  it('is uploaded in parts of the same size, then its record is appended, and tells its place', async () => {
    const session = await open()
    const stored = session.append(bytes, { id: 'm', trace: 't' })
    const [, , , uploadId, options] = await begin()
    expect(options).toEqual({ tag: 'bytes', id: 'm', size: bytes.length })
    expect(Buffer.compare(await takeParts(3), bytes)).toBe(0)
    const { id, parts } = await takeCommit(7)
    expect([id, parts.uploadId, parts.size]).toEqual(['m', uploadId, bytes.length])
    expect(Buffer.from(parts.sha256)).toEqual(createHash('sha256').update(bytes).digest())
    const { offset, cursor } = await stored
    expect([offset, session.cursor]).toEqual([7, cursor])
  })

  it.each<[string, unknown, string, Uint8Array]>([
    ['a string as text', 'é'.repeat(PART), 'text', Buffer.from('é'.repeat(PART))],
    [
      'a string that is no Unicode as JSON',
      `\ud800${'x'.repeat(PART)}`,
      'json',
      Buffer.from(`"\\ud800${'x'.repeat(PART)}"`),
    ],
    ['any other JSON value as its text', { a: 'x'.repeat(PART) }, 'json', Buffer.from(`{"a":"${'x'.repeat(PART)}"}`)],
    ['bytes as they are', bytes, 'bytes', bytes],
  ])('sends %s', async (_, value, tag, expected) => {
    const session = (await open()) as Session<unknown>
    const stored = session.append(value)
    const sent = await takeAll(Math.ceil(expected.length / PART))
    expect([sent.tag, sent.size]).toEqual([tag, expected.length])
    expect(Buffer.compare(sent.bytes, expected)).toBe(0)
    await stored
  })

  it.each<[string, () => Parameters<Session['append']>[0], number | undefined]>([
    ['a Blob', () => new Blob([bytes]), bytes.length],
    ['a File', () => new File([bytes], 'name'), bytes.length],
    ['a web stream', () => new Blob([bytes]).stream(), undefined],
    ['a Readable', () => Readable.from([bytes.subarray(0, 7), bytes.subarray(7)]), undefined],
  ])('comes from %s', async (_, source, size) => {
    const session = await open()
    const stored = session.append(source())
    const sent = await takeAll(3)
    expect([sent.tag, sent.size]).toEqual(['bytes', size])
    expect(Buffer.compare(sent.bytes, bytes)).toBe(0)
    await stored
  })

  it('tells how much of it is durable, and of how much once that is known', async () => {
    const session = await open()
    const seen: AppendProgress[] = []
    let goOn = (): void => {}
    const told = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const stored = session.append(new Source(2, () => told), { onProgress: (progress) => seen.push(progress) })
    await begin()
    await takeParts(2)
    await peer.caughtUp(brokers[0] as Broker)
    goOn()
    await takeCommit()
    await stored
    expect(seen.slice(0, 3)).toEqual([0, PART, 2 * PART].map((sentBytes) => ({ sentBytes, totalBytes: null })))
    expect(seen.at(-1)).toEqual({ sentBytes: 2 * PART, totalBytes: 2 * PART })
    const known = new Source(1)
    const blob = { size: PART, stream: () => Readable.toWeb(Readable.from(known)) as ReadableStream<Uint8Array> }
    const second = session.append(blob, { onProgress: ({ totalBytes }) => expect(totalBytes).toBe(PART) })
    await takeAll(1)
    await second
  })

  it('is in one append if a source turns out to be small', async () => {
    const session = await open()
    const seen: AppendProgress[] = []
    for (const source of [new Blob(['abc']), new Blob(['abc']).stream(), Readable.from([Buffer.from('abc')])]) {
      const stored = session.append(source, { onProgress: (progress) => seen.push(progress) })
      const [entry] = await peer.takeAppends()
      expect(entry?.records).toEqual(['1:abc'])
      if (entry !== undefined) peer.ack(entry, 0)
      await stored
    }
    expect(seen).toEqual([1, 2, 3].map(() => ({ sentBytes: 3, totalBytes: 3 })))
    expect(peer.received.filter(([type]) => type === UP.upload)).toEqual([])
  })

  it('is uploaded however small a source is in a session with a schema, which is for values', async () => {
    const schema = {
      '~standard': { version: 1 as const, vendor: 'x', validate: () => ({ issues: [{ message: 'no' }] }) },
    }
    const broker = connect(peer.url)
    brokers.push(broker)
    const session = await broker.session('a', { schema })
    const stored = session.append(new Blob(['abc']))
    expect(Buffer.from((await takeAll(1)).bytes).toString()).toBe('abc')
    await stored
    await expect(session.append(new Blob([]))).rejects.toMatchObject({ code: 'BAD_VALUE' })
  })
})

describe('the parts of an upload', () => {
  it('are sent only as they are granted, and the source is read no further than they are kept', async () => {
    const session = await open()
    const source = new Source(100)
    const stored = session.append(source)
    const [, , handle, uploadId] = await begin(0, 0)
    await peer.caughtUp(brokers[0] as Broker)
    expect(peer.received.filter(([type]) => type === UP.part)).toHaveLength(0)
    peer.send([DOWN.partGrant, handle, uploadId, 2])
    await takeParts(2)
    await peer.caughtUp(brokers[0] as Broker)
    expect(peer.received.filter(([type]) => type === UP.part)).toHaveLength(2)
    expect(source.read).toBeLessThanOrEqual(2 + LIMITS.partsPerConnection + 1)
    peer.send([DOWN.partGrant, handle, uploadId, 1], [DOWN.partGrant, handle, uploadId, 0])
    await peer.caughtUp(brokers[0] as Broker)
    expect(peer.received.filter(([type]) => type === UP.part)).toHaveLength(2)
    stored.catch(() => {})
  })

  it.each<[string, string, Record<string, unknown>]>([
    ['for the time being', 'RATE_LIMITED', { retryAfterMs: 1 }],
    ['because its grant was taken back meanwhile', 'LIMIT_EXCEEDED', { limit: 'partsPerConnection', retryAfterMs: 1 }],
  ])(
    'are sent again from the one that was refused %s, when the broker has said how far it is',
    async (_, code, details) => {
      const session = await open()
      const stored = session.append(content(3 * PART))
      await begin(0, 3)
      const requests = [await peer.take(UP.part), await peer.take(UP.part), await peer.take(UP.part)].map(
        ([, request]) => request,
      )
      peer.reply(requests[0] as number, {})
      peer.error(requests[1] as number, code, details)
      peer.error(requests[2] as number, 'BAD_REQUEST')
      await begin(1)
      await takeParts(2, 1)
      await takeCommit()
      await stored
    },
  )

  it('go on after a lost connection where the broker says, with the same upload', async () => {
    const session = await open()
    const bytes = content(4 * PART)
    const stored = session.append(bytes)
    const [, , , uploadId] = await peer.take(UP.upload)
    peer.drop()
    await begin(0, 4)
    const first = await takeParts(1)
    await peer.take(UP.part)
    peer.drop()
    const [, , handle, again] = await begin(2, 0)
    expect(again).toBe(uploadId)
    await peer.caughtUp(brokers[0] as Broker)
    const before = peer.received.length
    await peer.caughtUp(brokers[0] as Broker)
    expect(peer.received.slice(before).filter(([type]) => type === UP.part)).toEqual([])
    peer.send([DOWN.partGrant, handle, uploadId, 2])
    const rest = await takeParts(2, 2)
    expect(Buffer.compare(first, bytes.subarray(0, PART))).toBe(0)
    expect(Buffer.compare(rest, bytes.subarray(2 * PART))).toBe(0)
    expect((await takeCommit()).parts.size).toBe(bytes.length)
    await stored
  })

  it('leave room for what is written meanwhile: appends go between any two of them', async () => {
    const session = await open()
    const other = await brokers[0]?.session('b')
    const stored = session.append(content(12 * PART))
    await begin()
    const done = takeParts(12)
    let sent = 0
    let finished = false
    const writing = (async () => {
      while (!finished) {
        const acknowledged = other?.append(`${sent++}`)
        const [entry] = await peer.takeAppends()
        if (entry !== undefined) peer.ack(entry, sent)
        await acknowledged
      }
    })()
    await done
    finished = true
    await writing
    await takeCommit()
    await stored
    const order = peer.received.flatMap(([type]) =>
      type === UP.part ? ['part'] : type === UP.append ? ['append'] : [],
    )
    const upToLastPart = order.slice(0, order.lastIndexOf('part'))
    // As many as there was time for, and never the whole message first.
    expect(upToLastPart.filter((kind) => kind === 'append').length).toBeGreaterThan(3)
  })

  it('of two uploads go in turn', async () => {
    const one = await open()
    const other = (await brokers[0]?.session('b')) as Session
    const both = [one.append(content(3 * PART)), other.append(content(3 * PART))]
    const frames = [await peer.take(UP.upload), await peer.take(UP.upload)]
    for (const [, request] of frames) peer.reply(request, { storedParts: 0 })
    peer.send(
      ...frames.map(([, , handle, id]): [typeof DOWN.partGrant, number, string, number] => [
        DOWN.partGrant,
        handle,
        id,
        3,
      ]),
    )
    const handles: number[] = []
    for (let i = 0; i < 6; i++) {
      const [, request, handle] = await peer.take(UP.part)
      handles.push(handle)
      peer.reply(request, {})
    }
    expect(new Set(handles.slice(0, 2)).size).toBe(2)
    expect(new Set(handles.slice(2, 4)).size).toBe(2)
    for (let records = 0; records < 2; ) {
      for (const entry of await peer.takeAppends()) peer.ack(entry, records++)
    }
    await Promise.all(both)
  })
})

describe('an upload that comes to nothing', () => {
  it.each<[string, (session: Session, options: AppendOptions) => Promise<unknown>]>([
    ['while its parts are on their way', (session, options) => session.append(content(9 * PART), options)],
    ['while its source has nothing to give', (session, options) => session.append(new Source(1, never), options)],
  ])('is abandoned when it is aborted %s, and rejects with the reason', async (_, append) => {
    const session = await open()
    const controller = new AbortController()
    const rejected = expect(append(session, { signal: controller.signal })).rejects.toBe('enough')
    const [, , , uploadId] = await begin()
    await takeParts(1)
    controller.abort('enough')
    await rejected
    const [, request, , abandoned] = await peer.take(UP.abandon)
    expect(abandoned).toBe(uploadId)
    peer.reply(request, {})
    await session.flush()
  })

  it('stops a stream that has nothing to give, at once', async () => {
    const session = await open()
    const readable = new Readable({ read: () => {} })
    let cancelled: unknown
    const web = new ReadableStream<Uint8Array>({
      cancel: (reason) => {
        cancelled = reason
      },
    })
    for (const source of [readable, web]) {
      const controller = new AbortController()
      const rejected = expect(session.append(source, { signal: controller.signal })).rejects.toBe('enough')
      controller.abort('enough')
      await rejected
    }
    expect([readable.destroyed, cancelled]).toEqual([true, 'enough'])
  })

  it('is never begun when it was aborted before, and is taken back when it was aborted while nothing could be sent', async () => {
    const session = await open()
    await expect(session.append(content(PART), { signal: AbortSignal.abort('no') })).rejects.toBe('no')
    await expect(session.append('small', { signal: AbortSignal.abort('no') })).rejects.toBe('no')
    peer.onAttach = () => null
    peer.drop()
    await peer.until(() => peer.connections === 2)
    const controller = new AbortController()
    const small = session.append('small', { signal: controller.signal })
    controller.abort('changed my mind')
    await expect(small).rejects.toBe('changed my mind')
    peer.send(peer.attached((await peer.take(UP.attach))[1]))
    void session.append('next').catch(() => {})
    expect((await peer.takeAppends()).map(({ records }) => records)).toEqual([['1:"next"']])
    expect(peer.received.some(([type]) => type === UP.upload)).toBe(false)
  })

  it('rejects at once when it is aborted while its record is on its way, which may be stored all the same', async () => {
    const session = await open()
    const controller = new AbortController()
    const stored = session.append(content(PART), { signal: controller.signal })
    await begin()
    await takeParts(1)
    const [entry] = await peer.takeAppends()
    controller.abort('too late')
    await expect(stored).rejects.toBe('too late')
    await peer.take(UP.abandon)
    if (entry !== undefined) peer.ack(entry, 3)
    await session.flush()
    expect(session.cursor).toMatch(/4$/)
  })

  it('is abandoned on the next connection if it was aborted without one', async () => {
    const session = await open()
    const controller = new AbortController()
    const stored = session.append(content(3 * PART), { signal: controller.signal })
    const [, , , uploadId] = await begin(0, 1)
    await takeParts(1)
    peer.onAttach = () => null
    peer.drop()
    await peer.until(() => peer.connections === 2)
    controller.abort('gone')
    await expect(stored).rejects.toBe('gone')
    peer.send(peer.attached((await peer.take(UP.attach))[1]))
    expect((await peer.take(UP.abandon))[3]).toBe(uploadId)
    expect(peer.received.filter(([type]) => type === UP.upload)).toHaveLength(1)
  })

  it('rejects with what its source throws', async () => {
    const session = await open()
    const error = new Error('the disk is gone')
    const source = new Source(2, () => Promise.reject(error))
    const rejected = expect(session.append(source)).rejects.toBe(error)
    await begin()
    await rejected
    await peer.take(UP.abandon)
    await session.flush()
  })

  it.each<[string, () => Parameters<Session['append']>[0]]>([
    ['text', () => Readable.from(['text']) as unknown as AsyncIterable<Uint8Array>],
    ['fewer bytes than it said', () => ({ size: 5, stream: () => new Blob(['abc']).stream() })],
    ['more bytes than it said, and does not end', () => ({ size: 2, stream: endless })],
  ])('is BAD_VALUE when its source gives %s', async (_, source) => {
    const session = await open()
    await expect(session.append(source())).rejects.toMatchObject({ code: 'BAD_VALUE' })
  })

  it('rejects with the refusal of the broker, and stops its source', async () => {
    const session = await open()
    const source = new Source(100)
    const stored = session.append(source)
    peer.error((await peer.take(UP.upload))[1], 'LIMIT_EXCEEDED', { limit: 'largeMessageBytes' })
    await expect(stored).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', details: { limit: 'largeMessageBytes' } })
    await peer.take(UP.abandon)
    expect(source.stopped).toBe(true)
  })

  it('rejects with the refusal of a part, or of the record', async () => {
    const session = await open()
    const first = session.append(content(PART))
    await begin()
    peer.error((await peer.take(UP.part))[1], 'BAD_VALUE')
    await expect(first).rejects.toMatchObject({ code: 'BAD_VALUE' })
    const second = session.append(content(PART))
    await begin()
    await takeParts(1)
    const [entry] = await peer.takeAppends()
    if (entry !== undefined) peer.refuse(entry, 'UPLOAD_UNKNOWN')
    await expect(second).rejects.toMatchObject({ code: 'UPLOAD_UNKNOWN' })
  })

  it('is UPLOAD_UNKNOWN when the broker has less of it after a lost connection than it said before', async () => {
    const session = await open()
    const stored = session.append(content(3 * PART))
    await begin(0, 1)
    await takeParts(1)
    peer.drop()
    await begin(0)
    await expect(stored).rejects.toMatchObject({ code: 'UPLOAD_UNKNOWN' })
  })

  it('is RECREATED when the topic is another one after a lost connection', async () => {
    const session = await open()
    const stored = session.append(new Source(1, never))
    await begin(0, 1)
    await takeParts(1)
    peer.onAttach = ([, request]) => [DOWN.error, request, 'RECREATED', 'another one', {}]
    peer.drop()
    await expect(stored).rejects.toMatchObject({ code: 'RECREATED' })
  })

  it('is nothing to upload when the id is in the log already: its source is stopped, and it gets that place', async () => {
    const session = await open()
    const source = new Source(100)
    const stored = session.append(source, { id: 'm' })
    peer.reply((await peer.take(UP.upload))[1], { storedParts: 0, offset: 4 })
    const { offset, cursor } = await stored
    expect([offset, session.cursor]).toEqual([4, cursor])
    expect(source.stopped).toBe(true)
    await peer.caughtUp(brokers[0] as Broker)
    expect(peer.received.some(([type]) => type === UP.part || type === UP.abandon)).toBe(false)
  })

  it('rejects with what onProgress throws, and the connection lives', async () => {
    const session = await open()
    const error = new Error('my own')
    const onProgress = (): never => {
      throw error
    }
    const rejected = expect(session.append(content(PART), { onProgress })).rejects.toBe(error)
    await begin()
    await rejected
    await peer.caughtUp(brokers[0] as Broker)
    expect(peer.connections).toBe(1)
  })
})

describe('flushing and closing', () => {
  it('flush waits for what is being uploaded, and rejects if it is refused', async () => {
    const session = await open()
    const stored = session.append(content(PART))
    stored.catch(() => {})
    let flushed = false
    const flush = session.flush().finally(() => {
      flushed = true
    })
    await begin()
    const part = await peer.take(UP.part)
    await peer.caughtUp(brokers[0] as Broker)
    expect(flushed).toBe(false)
    peer.error(part[1], 'BAD_VALUE')
    await expect(flush).rejects.toMatchObject({ code: 'BAD_VALUE' })
  })

  it('close gives up after its time what is still being uploaded, and has it deleted before it leaves', async () => {
    const clock = new VirtualClock()
    const session = await open({ clock })
    const stored = expect(session.append(new Source(1, never))).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await begin(0, 0)
    const closed = expect(session.close()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    clock.advance(LIMITS.closeFlushMs)
    await Promise.all([stored, closed])
    await peer.take(UP.detach)
    const types = peer.received.map(([type]) => type)
    expect(types.indexOf(UP.abandon)).toBeGreaterThan(0)
    expect(types.indexOf(UP.abandon)).toBeLessThan(types.indexOf(UP.detach))
  })
})
