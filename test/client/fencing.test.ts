/** Exclusive sessions as users have them: who is shut out hears of it, whatever it is doing, and nothing of it lands. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/index.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { addressOf } from './transport.ts'

let disk: MemoryDisk
let server: Server
let brokers: Broker[]

async function start(port = 0): Promise<void> {
  server = await startBroker({ port, store: await openMemoryStore(disk) })
}

beforeEach(async () => {
  disk = new MemoryDisk()
  await start()
  brokers = []
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
})

function client(network = new FaultyNetwork()): Broker {
  const broker = connect(addressOf(server), { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  brokers.push(broker)
  return broker
}

async function restart(): Promise<void> {
  const { port } = server
  await server.close()
  await start(port)
}

async function messages(name = 'a'): Promise<unknown[]> {
  const session = await client().session(name, { create: false, observe: true })
  const { nextOffset } = await session.describe()
  const values: unknown[] = []
  for await (const record of session.records({ raw: true })) {
    if (record.kind === 'message') values.push(record.value)
    if (record.offset === nextOffset - 1) break
  }
  return values
}

const fenced = { code: 'FENCED' }

/** Resolves when the promise has been refused as one that is shut out. */
const isFenced = (write: Promise<unknown>): Promise<void> => expect(write).rejects.toMatchObject(fenced)

describe('a session whose topic is taken by an exclusive one', () => {
  it('is over for writing and goes on for reading and stopping', async () => {
    const plain = await client().session('a')
    await plain.append('before')
    const holder = await client().session('a', { exclusive: true })
    await isFenced(plain.append('x'))
    await isFenced(plain.context.set('plan', 'x'))
    await isFenced(plain.checkpoint('c'))
    await isFenced(plain.trim({ before: 0 }))
    await isFenced(plain.openStream('s'))
    await isFenced(plain.generate('s', () => expect.fail('ran')))
    const writer = await holder.openStream('s')
    const reader = plain.records()
    expect((await reader.next()).value).toMatchObject({ value: 'before' })
    expect(await plain.stop('s')).toMatchObject([{ state: 'stopped' }])
    await expect(writer.end()).rejects.toMatchObject({ code: 'STREAM_STOPPED' })
    await holder.append('mine')
    expect(await messages()).toEqual(['before', 'mine'])
  })

  it('learns of it at once while it waits for a model: by its signal, and generate rejects', async () => {
    const plain = await client().session('a')
    let reason: unknown
    const generating = plain.generate('s', async (stream, signal) => {
      stream.write('Hello')
      await stream.flush()
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      reason = signal.reason
    })
    const refused = isFenced(generating)
    const other = await client().session('a')
    while ((await other.stream('s')) === null);
    const holder = await client().session('a', { exclusive: true })
    await refused
    expect(reason).toMatchObject(fenced)
    const result = await holder.generate('s', (stream) => {
      expect(stream.text).toBe('Hello')
      stream.write(' world')
    })
    expect(result).toMatchObject({ end: 'done', text: 'Hello world' })
  })

  it('gets true answers to what was on its way: stored or FENCED, in order, nothing in between', async () => {
    const plain = await client().session('a')
    const writes: Promise<unknown>[] = []
    const holder = client().session('a', { exclusive: true })
    let over = false
    while (!over) {
      const write = plain.append(writes.length)
      write.catch(() => {
        over = true
      })
      writes.push(write)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await (await holder).append('mine')
    const outcomes = await Promise.allSettled(writes)
    const stored = outcomes.findIndex(({ status }) => status === 'rejected')
    expect(outcomes.slice(stored).every((outcome) => outcome.status === 'rejected')).toBe(true)
    expect(await messages()).toEqual([...Array.from({ length: stored }, (_, i) => i), 'mine'])
  })
})

describe('a stale writer that comes back', () => {
  it.each([
    ['to the same broker', async () => undefined],
    ['to a broker that was restarted', restart],
  ])('%s is FENCED, and what it wrote meanwhile never lands', async (_, meanwhile) => {
    const network = new FaultyNetwork()
    const stale = await client(network).session('a', { exclusive: true })
    await stale.append('old')
    const writer = await stale.openStream('s')
    writer.write('old')
    await writer.flush()
    network.down = true
    network.cut()
    const holder = await client().session('a', { exclusive: true })
    await holder.append('new')
    await meanwhile()
    const late = [stale.append('late'), stale.append('later')]
    writer.write('late')
    const refused = [...late, writer.end()].map(isFenced)
    network.down = false
    await Promise.all(refused)
    expect(writer.signal.reason).toMatchObject(fenced)
    await holder.append('newer')
    const before = await stale.stream('s')
    expect(before).toMatchObject({ state: 'open', live: false })
    expect(await messages()).toEqual(['old', 'new', 'newer'])
    const mine = await holder.continue('s')
    expect(mine.text).toBe('old')
    await mine.end()
  })
})

describe('the exclusive session', () => {
  it('keeps the topic across lost connections and restarts of the broker', async () => {
    const network = new FaultyNetwork()
    const holder = await client(network).session('a', { exclusive: true })
    const plain = await client().session('a')
    await holder.append(0)
    network.cut()
    await holder.append(1)
    await restart()
    await holder.append(2)
    await isFenced(plain.append('x'))
    expect(await messages()).toEqual([0, 1, 2])
  })

  it.each([
    ['it', (_: Broker, session: Session) => session.close()],
    ['its client', (broker: Broker) => broker.close()],
  ])('lets go of the topic when %s is closed: sessions opened meanwhile may write', async (_, close) => {
    const broker = client()
    const holder = await broker.session('a', { exclusive: true })
    const plain = await client().session('a')
    await isFenced(plain.append('too early'))
    await holder.append('mine')
    await close(broker, holder)
    await plain.append('ours')
    expect(await messages()).toEqual(['mine', 'ours'])
    const next = await client().session('a', { exclusive: true })
    await isFenced(plain.append('too late'))
    await next.close()
  })
})

describe('continuing a stream', () => {
  it('takes it over at once, also across a restart with the former writer coming back', async () => {
    const network = new FaultyNetwork()
    const stale = await (await client(network).session('a')).openStream('s')
    stale.write('a')
    await stale.flush()
    const session = await client().session('a')
    const first = await session.continue('s')
    expect(first.text).toBe('a')
    expect((await session.stream('s'))?.state).toBe('resumed')
    await expect(stale.end()).rejects.toMatchObject({ code: 'FENCED', details: { streamId: 's' } })
    first.write('b')
    await first.flush()
    network.down = true
    network.cut()
    const other = new FaultyNetwork()
    const gone = await (await client(other).session('a')).continue('s')
    gone.write('c')
    await gone.flush()
    other.down = true
    other.cut()
    await restart()
    const last = await session.continue('s')
    expect(last.text).toBe('abc')
    gone.write('stale')
    other.down = false
    await isFenced(gone.flush())
    last.write('d')
    await last.end()
    expect(await session.generate('s', () => expect.fail('ran'))).toMatchObject({ end: 'done', text: 'abcd' })
  })
})
