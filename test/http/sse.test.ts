/** Event streams as responses of node:http: heartbeats, readers that do not read, and what is sent to many alike. */

import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { eventText } from '../../broker/http/event-text.ts'
import { type EventStream, EventStreams } from '../../broker/http/sse.ts'
import { Unsent } from '../../broker/unsent.ts'
import { afterwards } from '../broker/brokers.ts'
import { eventually, VirtualClock } from '../broker/virtual-clock.ts'
import { EventParser } from './event-parser.ts'

const HEARTBEAT_MS = 15_000

/** A server that answers every request with an event stream, and what all of them hold unsent. */
async function serve() {
  const clock = new VirtualClock()
  const unsent = new Unsent()
  const streams = new EventStreams(clock, unsent)
  const begun: { stream: EventStream; response: ServerResponse }[] = []
  const server = createServer((_request, response) => {
    const stream = streams.of(response)
    stream.open({ 'x-own': 'yes' })
    begun.push({ stream, response })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  afterwards(async () => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const next = async <T>(made: T, before: number): Promise<{ stream: EventStream; response: ServerResponse } & T> => {
    await eventually(() => begun.length > before)
    return { ...(begun[before] as (typeof begun)[number]), ...made }
  }
  return {
    clock,
    unsent,
    streams,
    /** One who reads what comes. */
    async reader() {
      const before = begun.length
      const parser = new EventParser()
      const response = new Promise<IncomingMessage>((resolve) => {
        get({ port, agent: false }, (incoming) => {
          incoming.on('data', (bytes) => parser.feed(bytes))
          incoming.on('error', () => undefined)
          resolve(incoming)
        })
      })
      return next({ parser, incoming: await response }, before)
    },
    /** One who sends this and never reads, unless told to. */
    async deaf(request = 'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n') {
      const socket: Socket = connect(port, '127.0.0.1')
      socket.pause()
      socket.on('error', () => undefined)
      const before = begun.length
      socket.write(request)
      afterwards(async () => void socket.destroy())
      return next({ socket }, before)
    },
  }
}

describe('an event stream', () => {
  test('has the headers that keep proxies from holding it back, and says when to come back', async () => {
    const { incoming, parser } = await (await serve()).reader()
    expect(incoming.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-store, no-transform',
      'x-accel-buffering': 'no',
      'x-own': 'yes',
    })
    expect(incoming.headers['content-encoding']).toBeUndefined()
    await eventually(() => parser.retryMs === 1000)
  })

  test('gets a comment in silence, and none when it is told something anyhow', async () => {
    const { clock, reader } = await serve()
    const { stream, parser } = await reader()
    await clock.advance(HEARTBEAT_MS)
    expect(parser.comments).toBe(0)
    await clock.advance(HEARTBEAT_MS)
    await eventually(() => parser.comments === 1)
    stream.send(eventText('something'))
    await clock.advance(HEARTBEAT_MS)
    await eventually(() => parser.events.length === 1)
    expect(parser.comments).toBe(1)
  })

  test('sends what it is told in order, in shares and alone, and ends behind it', async () => {
    const { reader } = await serve()
    const { stream, parser, incoming } = await reader()
    const expected: string[] = []
    for (let i = 0; i < 50; i++) {
      const data = `${i}${'x'.repeat([0, 40, 70_000][i % 3] as number)}`
      expected.push(data)
      if (i % 4 < 2) stream.share({ bytes: Buffer.from(eventText(data)), wire: null })
      else stream.send(eventText(data))
      if (i % 7 === 0) await eventually(() => parser.events.length === i + 1)
    }
    stream.end(eventText('the end'))
    stream.send(eventText('too late'))
    await eventually(() => incoming.complete)
    expect(parser.events.map(({ data }) => data)).toEqual([...expected, 'the end'])
  })

  test('is sent as it is to who speaks HTTP/1.0', async () => {
    const { stream, socket } = await (await serve()).deaf('GET / HTTP/1.0\r\n\r\n')
    let received = ''
    socket.on('data', (bytes) => {
      received += bytes
    })
    socket.resume()
    stream.share({ bytes: Buffer.from(eventText('a')), wire: null })
    stream.send(eventText('b'))
    stream.end()
    await eventually(() => socket.readableEnded)
    expect(received.split('\r\n\r\n')[1]).toBe('retry: 1000\n\ndata:a\n\ndata:b\n\n')
  })

  test('holds a bounded number of bytes, tells of all of them, and calls back when they are taken', async () => {
    const { unsent, deaf } = await serve()
    const { stream, socket } = await deaf()
    let sent = 0
    while (!stream.clogged) {
      stream.send(eventText('x'.repeat(10_000)))
      sent += 10_000
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(unsent.bytes).toBeGreaterThan(200_000)
    expect(unsent.bytes).toBeLessThan(400_000)
    let unclogged = false
    stream.whenUnclogged(() => {
      unclogged = true
    })
    let received = 0
    socket.on('data', (bytes) => {
      received += bytes.length
    })
    socket.resume()
    await eventually(() => unclogged && received > sent)
    await eventually(() => unsent.bytes < 100)
  })

  test('counts as full with less when all together hold too much', async () => {
    const { unsent, deaf } = await serve()
    const { stream } = await deaf()
    while (unsent.bytes < 40_000) {
      stream.send(eventText('x'.repeat(10_000)))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(stream.clogged).toBe(false)
    unsent.held(100_000_000)
    expect(stream.clogged).toBe(true)
  })

  test('of which its reader takes nothing for a minute is cut off, and one of a slow reader is not', async () => {
    const { clock, unsent, deaf } = await serve()
    const stuck = await deaf()
    const slow = await deaf()
    let cut = false
    stuck.response.on('close', () => {
      cut = true
    })
    for (const { stream } of [stuck, slow]) {
      while (!stream.clogged) {
        stream.send(eventText('x'.repeat(10_000)))
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    for (let beat = 0; beat < 8; beat++) {
      await clock.advance(HEARTBEAT_MS)
      // It takes a little, and more comes.
      slow.socket.resume()
      await eventually(() => !slow.stream.clogged)
      slow.socket.pause()
      while (!slow.stream.clogged) {
        slow.stream.send(eventText('x'.repeat(10_000)))
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await eventually(() => cut)
    expect(slow.response.destroyed).toBe(false)
    expect(unsent.bytes).toBeLessThan(400_000)
  })

  test('is forgotten when it is over', async () => {
    const { streams, unsent, reader, deaf } = await serve()
    const { incoming } = await reader()
    const { stream, socket } = await deaf()
    while (!stream.clogged) {
      stream.send(eventText('x'.repeat(10_000)))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(streams.count).toBe(2)
    incoming.destroy()
    socket.destroy()
    await eventually(() => streams.count === 0)
    expect(unsent.bytes).toBe(0)
  })
})
