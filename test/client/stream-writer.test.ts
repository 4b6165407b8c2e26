/** What a stream writer sends, holds back and is told, against a peer by script. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, connect, type Session, type StreamWriter } from '../../client/index.ts'
import { type ByteWriter, LIMITS, UP, writeStream, writeToken } from '../../protocol/index.ts'
import { Peer, type SentEntry } from './peer.ts'
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
  const closed = broker.close().catch(() => {})
  clock.advance(LIMITS.closeFlushMs)
  await closed
  await peer.stop()
})

/** A new stream that the peer opened at this offset. */
async function open(id: string, fence = 0): Promise<StreamWriter> {
  const opening = session.openStream(id)
  const [, request] = await peer.take(UP.openStream)
  peer.reply(request, { fence, offset: fence, stream: info(id, 'open', fence) })
  return opening
}

function info(streamId: string, state: string, fence: number): Record<string, unknown> {
  return { streamId, state, live: true, openOffset: fence, fence, lastOffset: fence }
}

async function takeEntry(): Promise<SentEntry> {
  const [entry, ...more] = await peer.takeAppends()
  expect(more).toEqual([])
  if (entry === undefined) throw new Error('an append frame without an entry')
  return entry
}

function ackAll(entries: readonly SentEntry[]): void {
  for (const entry of entries) peer.ack(entry, entry.sequence * 100)
}

describe('tokens', () => {
  it('written in one go travel as one append with the fence, and the end with them', async () => {
    const stream = await open('s', 5)
    stream.write('Hel')
    stream.write('lo')
    stream.write('hm', { part: 'reasoning' })
    stream.writeJson({ a: 1 })
    stream.write(new Uint8Array([52, 50]))
    const ended = stream.end({ tokens: 5 })
    const entry = await takeEntry()
    expect(entry).toMatchObject({ producerEpoch: 0, sequence: 1, fence: 5 })
    expect(entry.records).toEqual(['2:Hel', '2:lo', '2:hm', '2:{"a":1}', '2:42', '5:{"tokens":5}'])
    peer.ack(entry, 6)
    expect((await ended).offset).toBe(11)
  })

  it('of parallel streams share one append each, but none gets before a message that was written earlier', async () => {
    const one = await open('one', 0)
    const two = await open('two', 1)
    for (const text of ['a', 'b', 'c']) {
      one.write(text)
      two.write(text.toUpperCase())
    }
    session.append('between').catch(() => {})
    one.write('d')
    const entries = await peer.takeAppends()
    expect(entries.map(({ fence, records }) => [fence, records.join(' ')])).toEqual([
      [0, '2:a 2:b 2:c'],
      [1, '2:A 2:B 2:C'],
      [-1, '1:"between"'],
      [0, '2:d'],
    ])
  })

  it('beyond 64 KiB become several, none of which cuts a character', async () => {
    const stream = await open('s')
    const text = `x${'😀'.repeat(40_000)}`
    stream.write(text)
    stream.end().catch(() => {})
    const { records } = await takeEntry()
    const pieces = records.slice(0, -1).map((record) => record.slice(2))
    expect(pieces.join('')).toBe(text)
    expect(pieces.length).toBeGreaterThan(2)
    for (const piece of pieces)
      expect(new TextEncoder().encode(piece).length).toBeLessThanOrEqual(LIMITS.clientTokenBytes)
  })

  it('hold back the first half of a character until the second comes, per part', async () => {
    const stream = await open('s')
    const [first, second] = ['😀'.slice(0, 1), '😀'.slice(1)]
    stream.write(`a${first}`)
    stream.write(first, { part: 'other' })
    stream.write(`${second}b`)
    stream.write(`${second}c`, { part: 'other' })
    stream.end().catch(() => {})
    expect((await takeEntry()).records).toEqual(['2:a', '2:😀b', '2:😀c', '5:'])
  })

  it('write a half that stays alone as U+FFFD at the end, as any encoder does', async () => {
    const stream = await open('s')
    stream.write('a\ud83d')
    stream.end().catch(() => {})
    expect((await takeEntry()).records).toEqual(['2:a', '2:\ufffd', '5:'])
  })

  it('are refused at the call when they are neither text nor bytes, or the part has no proper name', async () => {
    const stream = await open('s')
    expect(() => stream.write(1 as unknown as string)).toThrow(expect.objectContaining({ code: 'BAD_VALUE' }))
    expect(() => stream.writeJson(Number.NaN)).toThrow(expect.objectContaining({ code: 'BAD_VALUE' }))
    expect(() => stream.write('x', { part: 'a\nb' })).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
    expect(() => stream.write(new Uint8Array(LIMITS.appendBytes))).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
    )
    stream.end().catch(() => {})
    expect((await takeEntry()).records).toEqual(['5:'])
  })
})

describe('too much', () => {
  const piece = 'x'.repeat(20_000)

  it('makes write return false, and ready wait until enough is acknowledged', async () => {
    const stream = await open('s')
    let more = true
    while (more) more = stream.write(piece)
    let isReady = false
    const ready = stream.ready.then(() => {
      isReady = true
    })
    const entries = await peer.takeAppends()
    expect(isReady).toBe(false)
    ackAll(entries)
    await ready
    expect(stream.write('more')).toBe(true)
  })

  it('is BUFFER_FULL for who does not wait, but the stream can still be ended', async () => {
    const stream = await open('s')
    expect(() => {
      for (let i = 0; i < 300; i++) stream.write(piece)
    }).toThrow(expect.objectContaining({ code: 'BUFFER_FULL' }))
    const ended = expect(stream.end()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    const closed = broker.close().catch(() => {})
    clock.advance(LIMITS.closeFlushMs)
    await Promise.all([ended, closed])
  })

  it('does not keep who waits waiting when the stream is over', async () => {
    const stream = await open('s')
    while (stream.write(piece));
    const { ready } = stream
    peer.send([71, 0, 'stopped', { streamId: 's', fence: 0 }])
    await new Promise((resolve) => stream.signal.addEventListener('abort', resolve))
    await stream.ready
    await ready
  })
})

describe('a writer that cannot go on', () => {
  it('is told of a stop by its signal, its end, its flush and the next write', async () => {
    const stream = await open('s')
    stream.write('a')
    const flushed = expect(stream.flush()).rejects.toMatchObject({ code: 'STREAM_STOPPED' })
    const entry = await takeEntry()
    peer.send([71, 0, 'stopped', { streamId: 's', fence: 0, reason: 'enough' }])
    await new Promise((resolve) => stream.signal.addEventListener('abort', resolve))
    const error = expect.objectContaining({ code: 'STREAM_STOPPED', details: { streamId: 's', reason: 'enough' } })
    expect(stream.signal.reason).toEqual(error)
    expect(() => stream.write('b')).toThrow(error)
    await expect(stream.end()).rejects.toEqual(error)
    peer.ack(entry, 1)
    await flushed
  })

  it.each([
    ['FENCED', {}, 'FENCED'],
    ['STREAM_ENDED', { state: 'stopped' }, 'STREAM_STOPPED'],
    ['STREAM_ENDED', { state: 'done' }, 'STREAM_ENDED'],
    ['STREAM_UNKNOWN', {}, 'STREAM_UNKNOWN'],
  ])('is aborted by %s %o, and what it has not sent is dropped, but nothing of others', async (code, details, seen) => {
    const stream = await open('s')
    stream.write('a')
    const entry = await takeEntry()
    stream.write('b')
    const ended = expect(stream.end()).rejects.toMatchObject({ code: seen })
    const stored = session.append('other')
    const sentTogether = await peer.takeAppends()
    peer.refuse(entry, code, details)
    for (const late of sentTogether) peer.refuse(late, 'SEQUENCE_GAP')
    await ended
    const again = await takeEntry()
    expect(again).toMatchObject({ producerEpoch: 1, sequence: 0, records: ['1:"other"'] })
    peer.ack(again, 9)
    await stored
    expect(stream.signal.reason).toMatchObject({ code: seen })
  })

  it('is told the reason of a stop also by the refusal of what it wrote since', async () => {
    const stream = await open('s')
    stream.write('a')
    peer.refuse(await takeEntry(), 'STREAM_ENDED', { state: 'stopped', detail: '{"reason":"enough"}' })
    await expect(stream.flush()).rejects.toMatchObject({ code: 'STREAM_STOPPED', details: { reason: 'enough' } })
  })

  it('learns after a lost connection that the stream was stopped or taken over meanwhile', async () => {
    const [stopped, taken, fine] = [await open('stopped', 0), await open('taken', 1), await open('fine', 2)]
    const waiting = new Promise<void>((resolve) => void broker.onState((state) => state === 'waiting' && resolve()))
    peer.drop()
    await waiting
    clock.advance(LIMITS.reconnectMinMs)
    for (const state of [
      { ...info('stopped', 'stopped', 0), detail: '{"reason":"enough"}' },
      { ...info('taken', 'resumed', 9), openOffset: 1 },
      info('fine', 'lost', 2),
    ]) {
      const [, request] = await peer.take(UP.stream)
      peer.reply(request, { stream: state })
    }
    await Promise.all(
      [stopped, taken].map(
        ({ signal }) => signal.aborted || new Promise((resolve) => signal.addEventListener('abort', resolve)),
      ),
    )
    expect(stopped.signal.reason).toMatchObject({ code: 'STREAM_STOPPED', details: { reason: 'enough' } })
    expect(taken.signal.reason).toMatchObject({ code: 'FENCED' })
    expect(fine.write('on')).toBe(true)
  })

  it('refuses writing after its end, and ending twice', async () => {
    const stream = await open('s')
    const ended = stream.end()
    expect(() => stream.write('x')).toThrow(expect.objectContaining({ code: 'STREAM_ENDED' }))
    await expect(stream.fail(new Error('no'))).rejects.toMatchObject({ code: 'STREAM_ENDED' })
    peer.ack(await takeEntry(), 1)
    await ended
    await stream.flush()
    expect(stream.signal.aborted).toBe(false)
  })

  it('is shut out by another one in the same session', async () => {
    const before = await open('s', 0)
    const continuing = session.continue('s')
    const [, request, , , , , mode] = await peer.take(UP.openStream)
    expect(mode).toBe('continue')
    peer.reply(request, { fence: 1, offset: 1, stream: { ...info('s', 'resumed', 1), openOffset: 0 } })
    const after = await continuing
    expect(before.signal.reason).toMatchObject({ code: 'FENCED' })
    expect([after.resumed, after.fence, after.text]).toEqual([true, 1, ''])
    expect(after.write('x')).toBe(true)
  })
})

describe('a writer that goes on with a stream', () => {
  it("has the text of each part that is durable, from the opening up to its own record, and no other stream's", async () => {
    const continuing = session.continue('s')
    const [, request] = await peer.take(UP.openStream)
    peer.reply(request, { fence: 6, offset: 6, stream: { ...info('s', 'resumed', 6), openOffset: 1 } })
    const [, subscribe, , subscription, from] = await peer.take(UP.subscribe)
    expect(from).toEqual({ offset: 1 })
    peer.reply(subscribe, { next: 1, firstOffset: 0, nextOffset: 8 })
    const token = (id: string, part: string, value: string) => (out: ByteWriter) => {
      writeToken(out, id, part, { tag: 'text', value }, false)
    }
    peer.deliver(subscription, 1, [(out) => writeStream(out, 'open', 's'), token('s', 'text', 'a')])
    peer.deliver(subscription, 3, [token('other', 'text', 'x'), token('s', 'reasoning', 'b')])
    await peer.caughtUp(broker)
    peer.deliver(subscription, 5, [token('s', 'text', 'c'), (out) => writeStream(out, 'resumed', 's')])
    const stream = await continuing
    expect([...stream.parts]).toEqual([
      ['text', 'ac'],
      ['reasoning', 'b'],
    ])
    expect([stream.text, stream.resumed]).toEqual(['ac', true])
    await peer.take(UP.unsubscribe)
  })
})

describe('piping', () => {
  it('writes all pieces, waits where there is no room, and does not end the stream', async () => {
    const stream = await open('s')
    let pulled = 0
    const source = async function* (): AsyncGenerator<string> {
      for (; pulled < 20; pulled++) yield 'x'.repeat(20_000)
    }
    const piped = stream.pipe(source())
    const first = await peer.takeAppends()
    expect(pulled).toBeLessThan(20)
    ackAll(first)
    ackAll(await peer.takeAppends())
    await piped
    expect(pulled).toBe(20)
    expect(stream.write('y')).toBe(true)
  })

  it('takes web streams and plain iterables', async () => {
    const stream = await open('s')
    await stream.pipe(['a', 'b'])
    await stream.pipe(
      new ReadableStream<string>({
        start(controller) {
          controller.enqueue('c')
          controller.close()
        },
      }),
    )
    stream.end().catch(() => {})
    const records: string[] = []
    while (!records.includes('5:')) for (const entry of await peer.takeAppends()) records.push(...entry.records)
    expect(records).toEqual(['2:a', '2:b', '2:c', '5:'])
  })

  it('stops at once when the stream is stopped, though no further piece ever comes, and lets go of the source', async () => {
    const stream = await open('s')
    let released = false
    const source: AsyncIterable<string> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: () => {
          released = true
          return Promise.resolve({ done: true, value: undefined })
        },
      }),
    }
    const piped = expect(stream.pipe(source)).rejects.toMatchObject({ code: 'STREAM_STOPPED' })
    peer.send([71, 0, 'stopped', { streamId: 's', fence: 0 }])
    await piped
    expect(released).toBe(true)
  })

  it('rejects with what the source throws', async () => {
    const stream = await open('s')
    const source = async function* (): AsyncGenerator<string> {
      yield 'a'
      throw new Error('the model is gone')
    }
    await expect(stream.pipe(source())).rejects.toThrow('the model is gone')
    expect(stream.signal.aborted).toBe(false)
  })
})
