/** Closing a topic with the client: readers end by themselves, writers are refused, and it happens once. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { LIMITS } from '../../protocol/index.ts'
import { FaultyNetwork } from './faulty-network.ts'

let server: Server
let brokers: Broker[]

beforeEach(async () => {
  server = await startBroker({ port: 0, dataDir: null })
  brokers = []
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
})

function client(network = new FaultyNetwork()): Broker {
  const broker = connect(server.url, { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  brokers.push(broker)
  return broker
}

/** Everything that a reader is given, to the end of the topic. */
async function all(session: Session): Promise<unknown[]> {
  const seen: unknown[] = []
  for await (const record of session.records({ raw: true })) {
    if (record.kind === 'message') seen.push(record.value)
    if (record.kind === 'token') seen.push(record.text)
    if (record.kind === 'stream') seen.push(record.state)
  }
  return seen
}

it('readers get everything, and then are done: those that wait, that come later, and web streams', async () => {
  const [writer, reader] = [await client().session('a'), await client().session('a')]
  const waiting = all(reader)
  const live = reader.records({ from: 'live' })
  const next = live.next()
  await writer.append('one')
  expect(await next).toMatchObject({ value: { value: 'one' } })
  const { offset, cursor } = await writer.closeTopic({ records: ['two', 'three'] })
  expect(offset).toBe(1)
  expect(await waiting).toEqual(['one', 'two', 'three'])
  expect(await live.next()).toMatchObject({ value: { value: 'two' } })
  expect(await live.next()).toMatchObject({ value: { value: 'three' } })
  expect(await live.next()).toEqual({ done: true, value: undefined })
  expect(await live.next()).toEqual({ done: true, value: undefined })
  expect(await reader.records({ from: { cursor } }).next()).toEqual({ done: true, value: undefined })
  expect(await all(reader)).toEqual(['one', 'two', 'three'])
  const web = reader.records().toReadableStream()
  const values: unknown[] = []
  for await (const record of web) values.push(record.offset)
  expect(values).toEqual([0, 1, 2])
  expect(await reader.describe()).toMatchObject({ closed: true, nextOffset: 3 })
})

it('writers are refused with CLOSED, their streams are stopped, and closing again is fine', async () => {
  const [one, two] = [await client().session('a'), await client().session('a')]
  const stream = await two.openStream('s')
  stream.write('token')
  await stream.flush()
  expect(await one.closeTopic()).toMatchObject({ offset: 2 })
  if (!stream.signal.aborted) await new Promise((resolve) => stream.signal.addEventListener('abort', resolve))
  expect(stream.signal.reason).toMatchObject({ code: 'STREAM_STOPPED' })
  await expect(two.append('late')).rejects.toMatchObject({ code: 'CLOSED', details: { nextOffset: 3 } })
  await expect(two.openStream('late')).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(two.closeTopic({ records: ['late'] })).rejects.toMatchObject({ code: 'CLOSED' })
  expect(await two.closeTopic()).toMatchObject({ offset: 3 })
  expect(await all(one)).toEqual(['open', 'token', 'stopped'])
})

it('happens once and in its place, however often the line is cut and answers are lost', async () => {
  for (let cutAfter = 1; cutAfter <= 8; cutAfter++) {
    const network = new FaultyNetwork()
    const session = await client(network).session(`once/${cutAfter}`)
    let left = cutAfter
    network.onArrival = () => {
      if (--left !== 0) return
      network.deaf = cutAfter % 2 === 0
      network.cut()
      network.deaf = false
    }
    const writing = [session.append('one'), session.append('two')]
    const stream = await session.openStream('s')
    stream.write('token')
    const closing = session.closeTopic({ records: ['last'] })
    const late = session.append('late').catch((error) => error.code)
    const places = await Promise.all([...writing, closing])
    expect(places.map(({ offset }) => offset)).toEqual([0, 1, 4])
    expect(await late).toBe('CLOSED')
    const reading = await client().session(`once/${cutAfter}`)
    expect(await all(reading)).toEqual(['one', 'two', 'open', 'token', 'last', 'stopped'])
  }
})

it('what does not fit into one append is refused at the call', async () => {
  const session = await client().session('a')
  await expect(session.closeTopic({ records: ['x'.repeat(300_000)] })).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  await session.append('still open')
})

it('sessions that are closed take no place of a writer: each request may open one', async () => {
  const broker = client()
  for (let request = 0; request <= LIMITS.producersPerTopic; request++) {
    const session = await broker.session('a')
    expect((await session.append(request)).offset).toBe(request)
    await session.close()
  }
})
