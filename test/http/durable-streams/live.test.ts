/** Live reads by the Durable Streams protocol, of topics that WebSocket clients write: event streams and long polls. */

import { describe, expect, test } from 'vitest'
import { ByteWriter, LIMITS, type RecordData, UP, writeMessage } from '../../../protocol/index.ts'
import { checkpoint, json, message } from '../../broker/brokers.ts'
import { large, upload } from '../../broker/large.ts'
import type { Fill } from '../../broker/peer.ts'
import { eventually, turn } from '../../broker/virtual-clock.ts'
import type { ParsedEvent } from '../event-parser.ts'
import { EventReader } from '../event-reader.ts'
import { HttpBroker } from '../http.ts'

const NAME = 'chat/1'
const PATH = `/v1/stream/${NAME}`

interface Control {
  readonly streamNextOffset: string
  readonly streamCursor?: string
  readonly upToDate?: boolean
  readonly streamClosed?: boolean
}

async function start(contentType?: string) {
  const http = await HttpBroker.start()
  const peer = await http.test.peer()
  await peer.attach(NAME, { producer: 'p', contentType })
  let sequence = 0
  return {
    http,
    peer,
    append: (...fills: Fill[]) => peer.append({ sequence: sequence++ }, ...fills),
    close(...fills: Fill[]) {
      const out = new ByteWriter()
      for (const fill of fills) fill(out)
      const records = fills.length === 0 ? {} : { records: out.copy(), count: fills.length }
      return peer.ask(UP.closeTopic, 0, 0, sequence++, records)
    },
    number: () => sequence++,
    events: (query = 'offset=-1') => EventReader.open(`${http.base}${PATH}?live=sse&${query}`),
    poll: (query: string, init: RequestInit = {}) => http.fetch(`${PATH}?live=long-poll&${query}`, init),
    async tail(): Promise<string> {
      const response = await http.fetch(`${PATH}?offset=now`)
      return response.headers.get('stream-next-offset') as string
    },
  }
}

const record =
  (data: RecordData): Fill =>
  (out) =>
    writeMessage(out, data)

function controls(events: readonly ParsedEvent[]): Control[] {
  return events.filter(({ event }) => event === 'control').map(({ data }) => JSON.parse(data))
}

function dataOf({ events }: EventReader): string[] {
  return events.filter(({ event }) => event === 'data').map(({ data }) => data)
}

const values = (reader: EventReader): unknown[] => dataOf(reader).flatMap((data) => JSON.parse(data))
const isUpToDate = ({ events }: EventReader): boolean => controls(events).at(-1)?.upToDate === true

describe('live=sse', () => {
  test('sends what there is as one event, then each append as it comes, each with where to read on', async () => {
    const { append, events, tail } = await start()
    await append(message('a'), checkpoint('c'), record(json({ b: 1 })))
    await append(message('c'))
    const reader = await events()
    await reader.until(isUpToDate)
    expect(reader.headers).toMatchObject({ 'content-type': 'text/event-stream', 'x-content-type-options': 'nosniff' })
    expect(reader.headers['stream-sse-data-encoding']).toBeUndefined()
    expect(dataOf(reader)).toEqual(['["a",{"b":1},"c"]'])
    expect(controls(reader.events)).toEqual([
      { streamNextOffset: await tail(), streamCursor: expect.stringMatching(/^\d+$/), upToDate: true },
    ])
    await append(message('d'), message('e'))
    await reader.until((is) => values(is).length === 5)
    expect(dataOf(reader).at(-1)).toBe('["d","e"]')
    // What has no data here moves the offset on all the same.
    await append(checkpoint('later'))
    const end = await tail()
    await reader.until((is) => controls(is.events).at(-1)?.streamNextOffset === end)
    expect(values(reader)).toHaveLength(5)
    expect(reader.events.map(({ event }) => event)).toEqual(['data', 'control', 'data', 'control', 'control'])
  })

  test('goes on at the offset of any control event', async () => {
    const { append, events } = await start()
    const live = await events()
    for (let i = 0; i < 6; i++) await append(message(`${i}`), message(`${i}!`))
    await live.until((is) => values(is).length === 12)
    for (const [i, { streamNextOffset }] of controls(live.events).entries()) {
      const rest = await events(`offset=${streamNextOffset}`)
      await rest.until(isUpToDate)
      const before = live.events.slice(
        0,
        live.events.findIndex(({ data }) => data.includes(streamNextOffset)),
      )
      const read = before.filter(({ event }) => event === 'data').flatMap(({ data }) => JSON.parse(data))
      expect([i, [...read, ...values(rest)]]).toEqual([i, values(live)])
      rest.close()
    }
  })

  test('from now on sends nothing of before, and says at once where that is', async () => {
    const { append, events, tail } = await start('text/plain')
    await append(message('before'))
    const reader = await events('offset=now')
    await reader.until(isUpToDate)
    expect(controls(reader.events)[0]?.streamNextOffset).toBe(await tail())
    await append(message('one\r\ntwo\rthree\n'))
    await reader.until((is) => dataOf(is).length === 1)
    expect(dataOf(reader)).toEqual(['one\ntwo\nthree\n'])
  })

  test('has bytes in base64', async () => {
    const { append, events } = await start('application/octet-stream')
    const all = Uint8Array.from({ length: 256 }, (_, i) => i)
    await append(record({ tag: 'bytes', value: all }))
    const reader = await events()
    await reader.until(isUpToDate)
    await append(record({ tag: 'bytes', value: all.slice(3, 8) }), record({ tag: 'bytes', value: all.slice(8, 9) }))
    await reader.until((is) => dataOf(is).length === 2)
    expect(reader.headers['stream-sse-data-encoding']).toBe('base64')
    const [first, second] = dataOf(reader).map((data) => Buffer.from(data, 'base64'))
    expect(first).toEqual(Buffer.from(all))
    expect(second).toEqual(Buffer.from(all.slice(3, 9)))
  })

  test('has text in whole characters, however they were cut when they were appended', async () => {
    const { append, close, events } = await start('text/plain')
    const whole = Buffer.from('a€😀ü')
    const cut = (from: number, to: number): Fill => record({ tag: 'bytes', value: whole.subarray(from, to) })
    const live = await events()
    await live.until(isUpToDate)
    for (let at = 0; at < whole.length; at++) {
      await append(cut(at, at + 1))
      const late = await events()
      await late.until(({ events: seen }) => seen.some(({ event }) => event === 'control'))
      expect('a€😀ü'.startsWith(dataOf(late).join(''))).toBe(true)
      late.close()
    }
    await live.until((is) => dataOf(is).join('').length === 'a€😀ü'.length)
    expect(dataOf(live)).toEqual(['a', '€', '😀', 'ü'])
    expect(isUpToDate(live)).toBe(true)
    for (const [i, { streamNextOffset }] of controls(live.events).entries()) {
      const rest = await events(`offset=${streamNextOffset}`)
      await rest.until(isUpToDate)
      expect(dataOf(rest).join('')).toBe(dataOf(live).slice(i).join(''))
      rest.close()
    }
    // What is never made whole is not kept back for ever.
    await append(cut(1, 2))
    await close()
    await live.end()
    expect(dataOf(live).at(-1)).toBe('\ufffd')
  })

  test.each([
    ['text/plain', 'text', `ü\r\n${'€ \n'.repeat(200_000)}`],
    ['application/json', 'json', `{"a":"${'ü'.repeat(400_000)}",\n"b":2}`],
    ['application/octet-stream', 'bytes', 'ü'.repeat(350_001)],
  ] as const)('sends large messages as they come: %s', async (type, tag, content) => {
    const { peer, number, append, events } = await start(type)
    const body = Buffer.from(content)
    const put = async (uploadId: string): Promise<void> => {
      await upload(peer, { uploadId, tag }, body)
      await peer.append({ sequence: number() }, large(uploadId, body, tag))
    }
    await put('first')
    const reader = await events()
    await reader.until(isUpToDate)
    await put('second')
    const last: RecordData = tag === 'bytes' ? { tag, value: Buffer.from('1') } : { tag, value: '1' }
    await append(record(last))
    await reader.until((is) => dataOf(is).length === 3)
    const read = (data: string): string => {
      if (tag === 'json') return JSON.stringify(JSON.parse(data)[0])
      return tag === 'bytes' ? Buffer.from(data, 'base64').toString() : data
    }
    const expected = tag === 'json' ? JSON.stringify(JSON.parse(content)) : content.replaceAll('\r\n', '\n')
    const found = dataOf(reader).map(read)
    expect(found[2]).toBe('1')
    expect(found[0] === expected && found[1] === expected).toBe(true)
  })

  test('ends when the stream is closed, behind its last data', async () => {
    const { append, close, events, tail } = await start()
    await append(message('a'))
    const reader = await events()
    await reader.until(isUpToDate)
    await close(message('b'), message('c'))
    await reader.end()
    expect(values(reader)).toEqual(['a', 'b', 'c'])
    const end = await tail()
    expect(controls(reader.events).at(-1)).toEqual({ streamNextOffset: end, upToDate: true, streamClosed: true })
    for (const offset of [end, 'now']) {
      const again = await events(`offset=${offset}`)
      await again.end()
      expect(again.events.map(({ data }) => JSON.parse(data))).toEqual([
        { streamNextOffset: end, upToDate: true, streamClosed: true },
      ])
    }
  })

  test('ends after a minute, to be taken up again with a greater cursor', async () => {
    const { http, append, events } = await start()
    const reader = await events()
    await reader.until(isUpToDate)
    const first = Number(controls(reader.events)[0]?.streamCursor)
    for (let second = 0; second < 45; second++) await http.test.clock.advance(1000)
    await append(message('a'))
    await reader.until((is) => values(is).length === 1)
    expect(Number(controls(reader.events).at(-1)?.streamCursor)).toBe(first + 2)
    expect(reader.isOver).toBe(false)
    for (let second = 45; second < 61; second++) await http.test.clock.advance(1000)
    await reader.end()
    const again = await events(`offset=-1&cursor=${first + 100}`)
    await again.until(isUpToDate)
    expect(Number(controls(again.events)[0]?.streamCursor)).toBeGreaterThan(first + 100)
    expect(http.test.broker.stats().attachments).toBe(2)
  })

  test('of a reader that is slow costs no memory, and nothing is lost', async () => {
    const { http, append, events } = await start()
    const reader = await events()
    await reader.until(isUpToDate)
    reader.response.pause()
    const line = 'x'.repeat(100_000)
    for (let i = 0; i < 200; i++) await append(message(`${i} ${line}`))
    expect(http.test.broker.stats().unsentBytes).toBeLessThan(2_000_000)
    reader.response.resume()
    await reader.until((is) => is.events.at(-2)?.data.includes('"199 ') === true)
    // Who is behind gets pages.
    expect(dataOf(reader).length).toBeLessThan(150)
    expect(values(reader).map((value) => Number.parseInt(value as string, 10))).toEqual(
      Array.from({ length: 200 }, (_, i) => i),
    )
  })

  test('of many readers sends each of them all, in order', async () => {
    const { append, events } = await start()
    const readers = await Promise.all(Array.from({ length: 80 }, () => events()))
    let appended = Promise.resolve(0)
    for (let i = 0; i < 100; i++) {
      appended = append(message(`${i}`), checkpoint('c'))
      if (i % 7 === 0) await appended
    }
    await appended
    for (const reader of readers) {
      await reader.until((is) => values(is).length === 100)
      expect(values(reader)).toEqual(Array.from({ length: 100 }, (_, i) => `${i}`))
    }
  })

  test('ends with its topic, and with the broker', async () => {
    const { http, peer, append, events } = await start()
    await append(message('a'))
    const reader = await events()
    await reader.until(isUpToDate)
    await peer.ask(UP.delete, NAME, null)
    await reader.end()
    const gone = await events()
    expect(gone.status).toBe(404)
    await peer.attach(NAME, {}, 1)
    const other = await events()
    await other.until(isUpToDate)
    await http.test.broker.close()
    await other.end()
  })
})

describe('live=long-poll', () => {
  const facts = ({ status, headers }: Response): unknown[] => [
    status,
    headers.get('stream-next-offset'),
    headers.get('stream-up-to-date'),
    headers.get('stream-closed'),
  ]

  test('answers at once with what there is, and else as soon as there is data', async () => {
    const { http, append, poll, tail } = await start()
    await append(message('a'))
    const first = await poll('offset=-1')
    expect(facts(first)).toEqual([200, await tail(), 'true', null])
    expect(await first.text()).toBe('["a"]')
    expect(first.headers.get('stream-cursor')).toMatch(/^\d+$/)
    const waiting = poll(`offset=${await tail()}&cursor=${first.headers.get('stream-cursor')}`)
    await eventually(() => http.test.broker.stats().attachments === 2)
    await append(checkpoint('of no data'))
    for (let turns = 0; turns < 50; turns++) await turn()
    await append(message('b'))
    const second = await waiting
    expect(await second.text()).toBe('["b"]')
    expect(facts(second)).toEqual([200, await tail(), 'true', null])
    expect(Number(second.headers.get('stream-cursor'))).toBeGreaterThan(Number(first.headers.get('stream-cursor')))
  })

  test('from now on waits for what is new, which no cache keeps', async () => {
    const { http, append, poll } = await start()
    await append(message('a'))
    const waiting = poll('offset=now')
    await eventually(() => http.test.broker.stats().attachments === 2)
    for (let turns = 0; turns < 50; turns++) await turn()
    await append(message('b'))
    const response = await waiting
    expect(await response.text()).toBe('["b"]')
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  test('answers with 204 when the time is over, and where the end is', async () => {
    const { http, append, poll, tail } = await start()
    await append(message('a'))
    const offset = await tail()
    const waiting = poll(`offset=${offset}`)
    await eventually(() => http.test.broker.stats().attachments === 2)
    for (let turns = 0; turns < 50; turns++) await turn()
    await append(checkpoint('of no data'))
    await http.test.clock.advance(LIMITS.longPollMs)
    const response = await waiting
    expect(facts(response)).toEqual([204, await tail(), 'true', null])
    expect(await tail()).not.toBe(offset)
    expect(response.headers.get('stream-cursor')).toMatch(/^\d+$/)
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  test('does not wait at the end of a closed stream, and waits no more when it is closed', async () => {
    const { http, append, close, poll, tail } = await start()
    await append(message('a'))
    const waiting = poll(`offset=${await tail()}`)
    await eventually(() => http.test.broker.stats().attachments === 2)
    await close()
    const end = await tail()
    const answers = [await waiting, await poll(`offset=${end}`), await poll('offset=now')]
    expect(answers.map(facts)).toEqual(Array(3).fill([204, end, 'true', 'true']))
    expect(facts(await poll('offset=-1'))).toEqual([200, end, 'true', 'true'])
  })

  test('is refused when its topic ends, and when the broker stops', async () => {
    const { http, peer, append, poll } = await start()
    await append(message('a'))
    const waiting = poll('offset=now')
    await eventually(() => http.test.broker.stats().attachments === 2)
    await peer.ask(UP.delete, NAME, null)
    expect((await waiting).status).toBe(410)
    await peer.attach(NAME, {}, 1)
    const stopped = poll('offset=now')
    await eventually(() => http.test.broker.stats().attachments === 3)
    const closed = http.test.broker.close()
    expect((await stopped).status).toBe(503)
    await closed
  })

  test('lets go of its topic when its reader has gone', async () => {
    const { http, append, poll } = await start()
    await append(message('a'))
    const stop = new AbortController()
    const waiting = poll('offset=now', { signal: stop.signal }).catch(() => null)
    await eventually(() => http.test.broker.stats().attachments === 2)
    stop.abort()
    await waiting
    await eventually(() => http.test.broker.stats().attachments === 1)
  })
})
