/** How event streams of sessions end, what their readers are told then, and that nobody comes back for ever. */

import { describe, expect, test } from 'vitest'
import { formatCursor, LIMITS, parseCursor, UP } from '../../protocol/index.ts'
import { message, TestBroker, tempDir } from '../broker/brokers.ts'
import { FaultyDisk } from '../broker/faulty-store.ts'
import { eventually, turn } from '../broker/virtual-clock.ts'
import { EventReader } from './event-reader.ts'

const NAME = 'support/ticket-42'

async function start(options: Parameters<typeof TestBroker.start>[0] = {}) {
  const broker = await TestBroker.start(options)
  return { broker, ...(await withWriter(broker)) }
}

async function withWriter(broker: TestBroker) {
  const url = `http://127.0.0.1:${broker.broker.port}/v1/events/${NAME}`
  const writer = await broker.peer()
  await writer.attach(NAME, { producer: 'p' })
  const read = (query = '', headers: Record<string, string> = {}) => EventReader.open(`${url}${query}`, headers)
  return { writer, url, read, back: (id: string, query = '') => read(query, { 'last-event-id': id }) }
}

/** The last event, behind which nothing comes, also for one who comes back. */
async function lastEvent(reader: EventReader, name: string, back: (id: string) => Promise<EventReader>) {
  await reader.end()
  expect(reader.status).toBe(200)
  const event = await reader.event(name)
  expect(reader.events.at(-1)?.event).toBe(name)
  const again = await back(event.id)
  await again.end()
  expect([again.status, again.body]).toEqual([204, ''])
  return event.json
}

describe('a reader is told, and then kept from coming back,', () => {
  test('that its records were trimmed, and where it may go on', async () => {
    const { writer, read, back } = await start()
    for (let sequence = 0; sequence < 5; sequence++) await writer.append({ sequence }, message(`${sequence}`))
    const reader = await read()
    const { id } = await reader.event('message')
    reader.close()
    await writer.ask(UP.trim, 0, 0, 5, { before: 3 })
    const problem = await lastEvent(await back(id), 'trimmed', back)
    expect(problem).toMatchObject({ code: 'TRIMMED', details: { outcome: 'trimmed', firstOffset: 3 } })
    const { cursor } = problem.details as { cursor: string }
    const on = await read(`?cursor=${cursor}`)
    await on.event('live')
    expect(on.records.map(({ offset }) => offset)).toEqual([3, 4])
  })

  test('that its records were trimmed while it was reading', async () => {
    const { writer, read, back } = await start()
    const reader = await read()
    await reader.event('live')
    reader.response.pause()
    const line = 'x'.repeat(200_000)
    for (let sequence = 0; sequence < 60; sequence++) await writer.append({ sequence }, message(line))
    await writer.ask(UP.trim, 0, 0, 60, { before: 59 })
    reader.response.resume()
    expect(await lastEvent(reader, 'trimmed', back)).toMatchObject({ details: { firstOffset: 59 } })
    const offsets = reader.records.map(({ offset }) => offset)
    expect(offsets).toEqual(offsets.map((_, i) => i))
    expect(offsets.length).toBeLessThan(59)
  })

  test.each(['delete', 'reclaim'])('that the topic is gone, while it reads: %s', async (how) => {
    const { broker, writer, read, back } = await start({ lingerMs: 1000 })
    await writer.append({ sequence: 0 }, message('hi'))
    const reader = await read('?observe=true')
    await reader.event('live')
    if (how === 'delete') await writer.ask(UP.delete, NAME, null)
    else {
      await broker.drop(writer)
      for (let seconds = 0; seconds < 10; seconds++) await broker.clock.advance(1000)
    }
    const problem = await lastEvent(reader, 'gone', back)
    expect(problem).toMatchObject({ code: 'GONE', detail: expect.stringContaining(`${how}`) })
  })

  test('that the topic is gone, or is another one, when it comes back', async () => {
    const { writer, read, back } = await start()
    await writer.append({ sequence: 0 }, message('hi'))
    const { id } = await (await read()).event('live')
    await writer.ask(UP.delete, NAME, null)
    expect(await lastEvent(await back(id), 'gone', back)).toMatchObject({ code: 'GONE', details: { outcome: 'gone' } })
    expect(await lastEvent(await read(`?cursor=${id}`), 'gone', back)).toMatchObject({ code: 'GONE' })
    await writer.attach(NAME, { producer: 'p' }, 1)
    const problem = await lastEvent(await back(id), 'recreated', back)
    expect(problem).toMatchObject({ code: 'RECREATED', details: { outcome: 'recreated', firstOffset: 0 } })
  })

  test('that the topic is closed, when it has all of it', async () => {
    const { writer, read, back } = await start()
    await writer.append({ sequence: 0 }, message('hi'))
    const reader = await read()
    const { id } = await reader.event('live')
    await writer.ask(UP.closeTopic, 0, 0, 1, {})
    expect(await lastEvent(reader, 'closed', back)).toMatchObject({ code: 'CLOSED' })
    const late = await read()
    await lastEvent(late, 'closed', back)
    expect(late.events.map(({ event }) => event)).toEqual(['message', 'live', 'closed'])
    await lastEvent(await back(id), 'closed', back)
  })

  test('that its cursor is of another history', async () => {
    const { writer, read, back } = await start()
    await writer.append({ sequence: 0 }, message('hi'))
    const { id } = await (await read()).event('live')
    const foreign = formatCursor({ ...parseCursor(id), incarnation: 'abcdefabcdef' })
    expect(await lastEvent(await back(foreign), 'diverged', back)).toMatchObject({ details: { outcome: 'diverged' } })
  })
})

describe('a reader is told when to come back', () => {
  test('by a broker that stops, with the cursor that it has', async () => {
    const { broker, writer, read } = await start()
    await writer.append({ sequence: 0 }, message('hi'))
    const reader = await read('', { accept: 'text/event-stream' })
    const { id } = await reader.event('live')
    const closed = broker.broker.close()
    await reader.end()
    const { json, id: last } = await reader.event('goaway')
    expect(json).toEqual({ minDelayMs: LIMITS.goawayMinMs, maxDelayMs: expect.any(Number) })
    expect(last).toBe(id)
    expect(reader.parser.retryMs).toBeGreaterThanOrEqual(LIMITS.goawayMinMs)
    expect(reader.parser.retryMs).toBeLessThanOrEqual(json.maxDelayMs as number)
    await closed
    const next = await withWriter(await broker.restart())
    await next.writer.append({ sequence: 1 }, message('again'))
    const again = await next.back(id)
    await again.event('message')
    expect(again.records.map(({ text }) => text)).toEqual(['again'])
  })
})

test('a reader is told when to come back by a broker that opens its store anew, and others get the problem', async () => {
  const disk = new FaultyDisk(await tempDir())
  let mayOpen = (): void => undefined
  let opening = Promise.resolve()
  const store = async () => {
    await opening
    return disk.open()
  }
  const { broker, writer, url, read } = await start({ store })
  await writer.append({ sequence: 0 }, message('before'))
  const accept = { accept: 'text/event-stream' }
  const reader = await read('', accept)
  const { id } = await reader.event('live')
  opening = new Promise((resolve) => {
    mayOpen = resolve
  })
  disk.fail('journal')
  writer.append({ sequence: 1 }, message('refused')).catch(() => undefined)
  await eventually(() => !broker.broker.stats().available)
  // What is stored can be read until the store is closed.
  expect(reader.isOver).toBe(false)
  disk.mend()
  // The disk takes its own time.
  const pass = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      await broker.clock.advance(100)
      for (let turns = 0; turns < 100; turns++) await turn()
    }
  }
  await pass(() => reader.isOver)
  for (const told of [reader, await read('', { ...accept, 'last-event-id': id }), await read('', accept)]) {
    await told.end()
    const { json, id: last } = await told.event('problem')
    expect([told.status, json.code, last]).toEqual([200, 'STORE_UNAVAILABLE', told === reader ? id : ''])
    expect(told.parser.retryMs).toBeGreaterThanOrEqual(LIMITS.goawayMinMs)
  }
  const refused = await EventReader.open(url)
  await refused.end()
  expect([refused.status, JSON.parse(refused.body).code]).toEqual([503, 'STORE_UNAVAILABLE'])
  mayOpen()
  await pass(() => broker.broker.stats().available)
  const next = await withWriter(broker)
  await next.writer.append({ sequence: 1 }, message('behind'))
  const again = await next.back(id)
  await again.event('message')
  expect(again.records.map(({ text }) => text)).toEqual(['behind'])
})

describe('a request is refused with its status', () => {
  test('for what it asks, or for a topic that was never there', async () => {
    const { url, read } = await start()
    for (const [query, status, code] of [
      ['?from=start&last=3', 400, 'BAD_REQUEST'],
      ['?offset=-1', 400, 'BAD_REQUEST'],
      ['?part=text', 400, 'BAD_REQUEST'],
      ['?cursor=nonsense', 400, 'BAD_CURSOR'],
      ['?lastEventId=nonsense', 400, 'BAD_CURSOR'],
      ['?offset=7', 416, 'OFFSET_BEYOND_END'],
      ['?checkpoint=none', 404, 'CHECKPOINT_UNKNOWN'],
    ] as const) {
      const reader = await read(query)
      await reader.end()
      expect([query, reader.status, JSON.parse(reader.body).code]).toEqual([query, status, code])
    }
    const nowhere = await EventReader.open(url.replace('ticket-42', 'ticket-43'))
    await nowhere.end()
    expect([nowhere.status, JSON.parse(nowhere.body).code]).toEqual([404, 'NOT_FOUND'])
  })
})

describe('a reader holds the topic', () => {
  test.each([
    ['', true],
    ['?observe=true', false],
  ])('%s: %s', async (query, holds) => {
    const { broker, writer, read } = await start({ lingerMs: 1000 })
    await writer.append({ sequence: 0 }, message('hi'))
    const reader = await read(query)
    await reader.event('live')
    await broker.drop(writer)
    for (let seconds = 0; seconds < 20; seconds++) await broker.clock.advance(1000)
    await reader.until(({ isOver }) => isOver || holds)
    expect(reader.isOver).toBe(!holds)
    reader.close()
    await eventually(() => broker.broker.stats().attachments === 0)
  })
})
