/** Event streams of sessions: what their readers get, where they go on, and how they end. */

import { describe, expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { checkpoint, message, streamEnd, TestBroker, token, tokens } from '../broker/brokers.ts'
import type { Peer } from '../broker/peer.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { EventReader, recordsOf, textOf } from './event-reader.ts'

const NAME = 'support/ticket-42'

async function brokerWith(options: Parameters<typeof TestBroker.start>[0] = {}) {
  const broker = await TestBroker.start(options)
  const url = `http://127.0.0.1:${broker.broker.port}/v1/events/${NAME}`
  const writer = await broker.peer()
  await writer.attach(NAME, { producer: 'p' })
  const read = (query = '', headers: Record<string, string> = {}) => EventReader.open(`${url}${query}`, headers)
  return { broker, writer, url, read, back: (id: string, query = '') => read(query, { 'last-event-id': id }) }
}

/** Two streams at once, and all kinds of records between their tokens. 14 records. */
async function tellStory(writer: Peer): Promise<void> {
  let sequence = 0
  const open = async (streamId: string) => writer.ask(UP.openStream, 0, 0, sequence++, streamId, 'create')
  const append = (...fills: Parameters<Peer['append']> extends [unknown, ...infer Rest] ? Rest : never) =>
    writer.append({ sequence: sequence++ }, ...fills)
  await append(message('question', 'msg-1'))
  const a = (await open('a')).fence as number
  const b = (await open('b')).fence as number
  const write = (fence: number, ...fills: ReturnType<typeof tokens>) =>
    writer.append({ sequence: sequence++, fence }, ...fills)
  await write(a, ...tokens('a', 'one ', 'two '))
  await write(b, token('b', 'eins '))
  await write(a, token('a', 'three'), token('a', 'hm', 'reasoning'))
  await write(b, token('b', 'zwei'))
  await append(checkpoint('middle'))
  await write(a, token('a', '.'))
  await write(a, streamEnd('done', 'a'))
  await append(message('thanks'), message('bye'))
}

const STORY = ['message', 'stream', 'stream', 'token', 'checkpoint', 'token', 'stream', 'message', 'message', 'live']

describe('a reader of events', () => {
  test('gets what there is in runs, one event for what no cursor lies between, is told that it has it, and then what comes', async () => {
    const { writer, read } = await brokerWith()
    await tellStory(writer)
    const reader = await read()
    expect(reader.headers['content-type']).toBe('text/event-stream')
    expect((await reader.event('live')).json).toEqual({ nextOffset: 14 })
    expect(reader.events.map(({ event }) => event)).toEqual(STORY)
    const runs = recordsOf(reader.events.slice(3, 4))
    expect(runs.map(({ streamId, part, text, tokens }) => [streamId, part, text, tokens])).toEqual([
      ['a', 'text', 'one two three', 3],
      ['b', 'text', 'eins zwei', 2],
      ['a', 'reasoning', 'hm', undefined],
    ])
    expect(reader.records[0]).toEqual({
      offset: 0,
      timeMs: 1_750_000_000_000,
      kind: 'message',
      id: 'msg-1',
      text: 'question',
    })
    await writer.append({ sequence: 11 }, message('one more'))
    await eventually(() => reader.events.length === STORY.length + 1)
    expect(reader.records.at(-1)).toMatchObject({ offset: 14, text: 'one more' })
  })

  test('goes on behind any event without loss and without repetition, while catching up and live', async () => {
    const { writer, read, back } = await brokerWith()
    const live = await read()
    await live.event('live')
    await tellStory(writer)
    await live.event('message', 3)
    const caughtUp = await read()
    await caughtUp.event('live')
    for (const whole of [live, caughtUp]) {
      const events = whole.events.filter(({ event }) => event !== 'live')
      for (let at = 0; at < events.length; at++) {
        const rest = await back((events[at] as (typeof events)[number]).id)
        await rest.event('live')
        const both = [...recordsOf(events.slice(0, at + 1)), ...rest.records]
        for (const part of ['text', 'reasoning']) {
          for (const id of ['a', 'b']) expect(textOf(both, id, part)).toBe(textOf(caughtUp.records, id, part))
        }
        const others = (list: typeof both) => list.filter(({ kind }) => kind !== 'token').map(({ offset }) => offset)
        expect(others(both)).toEqual(others(caughtUp.records))
        rest.close()
      }
    }
  })

  test('begins where it asks to', async () => {
    const { writer, read } = await brokerWith()
    await tellStory(writer)
    const offsets = async (query: string): Promise<unknown[]> => {
      const reader = await read(query)
      await reader.event('live')
      reader.close()
      return reader.records.map(({ offset }) => offset)
    }
    expect(await offsets('?from=live')).toEqual([])
    expect(await offsets('?last=2')).toEqual([12, 13])
    expect(await offsets('?offset=11')).toEqual([11, 12, 13])
    expect(await offsets('?checkpoint=middle')).toEqual([10, 11, 12, 13])
    expect(await offsets('?from=start&raw=true')).toEqual(Array.from({ length: 14 }, (_, offset) => offset))
    const { id } = await (await read('?offset=11')).event('stream')
    expect(await offsets(`?cursor=${id}`)).toEqual([12, 13])
    expect(await offsets(`?lastEventId=${id}`)).toEqual([12, 13])
    // Where it has got to counts more than where it was to begin.
    expect(await offsets(`?from=start&lastEventId=${id}`)).toEqual([12, 13])
  })

  test('of a stream gets its records only, from its opening on', async () => {
    const { writer, read } = await brokerWith()
    await tellStory(writer)
    const reader = await read('?stream=a')
    await reader.event('live')
    expect(reader.records.map(({ kind, streamId }) => [kind, streamId])).toEqual([
      ['stream', 'a'],
      ['token', 'a'],
      ['token', 'a'],
      ['token', 'a'],
      ['stream', 'a'],
    ])
    expect(textOf(reader.records, 'a')).toBe('one two three.')
    const part = await read('?stream=a&part=reasoning')
    await part.event('live')
    expect(part.records.map(({ text: value }) => value)).toEqual(['hm'])
  })

  test('from the end on misses nothing that comes between its first two connections', async () => {
    const { writer, read, back } = await brokerWith()
    await writer.append({ sequence: 0 }, message('before'))
    const reader = await read('?from=live')
    const { id } = await reader.event('live')
    reader.close()
    await writer.append({ sequence: 1 }, message('between'))
    const again = await back(id, '?from=live')
    await again.event('live')
    expect(again.records.map(({ text: value }) => value)).toEqual(['between'])
  })

  test('is answered with what a page of another origin may read, and never compressed', async () => {
    const origin = 'http://elsewhere.example'
    const { read } = await brokerWith({ allowOrigins: [origin] })
    const { headers } = await read('', { origin, 'accept-encoding': 'gzip, br' })
    expect(headers['access-control-allow-origin']).toBe(origin)
    expect(headers['content-encoding']).toBeUndefined()
    expect(headers['x-accel-buffering']).toBe('no')
  })
})

test('a few readers get each of several appends that are stored together', async () => {
  const { writer, read } = await brokerWith()
  const readers = await Promise.all([read(), read(), read('?raw=true')])
  for (const reader of readers) await reader.event('live')
  const append = (sequence: number) => writer.append({ sequence }, message(`${sequence}`))
  await Promise.all(writer.together(() => Array.from({ length: 20 }, (_, sequence) => append(sequence))))
  for (const reader of readers) {
    await reader.until(({ records }) => records.length >= 20)
    expect(reader.records.map(({ text }) => text)).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`))
  }
})

describe('a crowd of readers', () => {
  test('gets every record once and in order, each in its own way', async () => {
    const { writer, read } = await brokerWith()
    const { fence } = await writer.ask(UP.openStream, 0, 0, 0, 'a', 'create')
    const plain = await Promise.all(Array.from({ length: 70 }, () => read()))
    const raw = await Promise.all(Array.from({ length: 10 }, () => read('?raw=true')))
    const other = await Promise.all(Array.from({ length: 10 }, () => read('?stream=b')))
    let sequence = 1
    let expected = ''
    for (; sequence < 80; sequence++) {
      const values = [`${sequence},`, `${'x'.repeat(sequence % 3 === 0 ? 9000 : 1)};`]
      expected += values.join('')
      const acked = writer.append({ sequence, fence: fence as number }, ...tokens('a', ...values))
      if (sequence % 8 === 0) await acked
      // It comes back while the others are served.
      if (sequence === 40) for (const reader of plain.splice(0, 10)) reader.close()
    }
    for (const reader of [...plain, ...raw]) {
      await reader.until(({ records }) => textOf(records, 'a').length === expected.length)
      expect(textOf(reader.records, 'a')).toBe(expected)
    }
    expect(raw[0]?.records.filter(({ kind }) => kind === 'token')).toHaveLength(2 * 79)
    expect(other.flatMap(({ records }) => records)).toEqual([])
  })
})

describe('a reader that does not read', () => {
  test('costs the broker no memory, and gets everything when it does', async () => {
    const { broker, writer, read } = await brokerWith()
    const reader = await read()
    await reader.event('live')
    reader.response.pause()
    const line = 'x'.repeat(100_000)
    for (let sequence = 0; sequence < 300; sequence++) await writer.append({ sequence }, message(`${sequence} ${line}`))
    const { unsentBytes } = broker.broker.stats()
    expect(unsentBytes).toBeLessThan(1_000_000)
    reader.response.resume()
    // One more than the records: that it had caught up.
    await reader.until(({ events }) => events.length === 301)
    expect(reader.records.map(({ text: value }) => Number.parseInt(value as string, 10))).toEqual(
      Array.from({ length: 300 }, (_, i) => i),
    )
  })
})
