/** Keys, counters and channels of Redis on topics: each command, who sees it, and what is left behind. */

import type { Publisher, Subscriber } from 'resumable-stream/generic'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { createPublisher, createSubscriber } from '../../client/resumable-stream/index.ts'
import { VirtualClock } from '../broker/virtual-clock.ts'
import { FaultyNetwork } from '../client/faulty-network.ts'
import { VirtualClock as ClientClock } from '../client/virtual-clock.ts'

let clock: VirtualClock
let server: Server
let brokers: Broker[]

beforeEach(async () => {
  clock = new VirtualClock()
  server = await startBroker({ port: 0, dataDir: null, clock })
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

const publisher = (): Publisher => createPublisher(client())
const topics = async (): Promise<string[]> => (await client().list()).topics.map(({ name }) => name)

/** A subscriber that remembers what it hears. */
async function listen(channel: string, subscriber: Subscriber = createSubscriber(client())): Promise<string[]> {
  const heard: string[] = []
  await subscriber.subscribe(channel, (message) => heard.push(message))
  return heard
}

describe('keys', () => {
  it('have the value that was set last, whoever asks; none where nothing was set', async () => {
    const [one, two] = [publisher(), publisher()]
    await Promise.all([one.connect(), two.connect()])
    expect(await one.get('a key: é/😀')).toBeNull()
    expect(await topics()).toEqual([])
    expect(await one.set('a key: é/😀', 'first')).toBe('OK')
    expect(await two.get('a key: é/😀')).toBe('first')
    await two.set('a key: é/😀', '')
    expect(await one.get('a key: é/😀')).toBe('')
    expect(await one.get('a key: é/')).toBeNull()
  })

  it('count for all at once, from nothing or from an integer that was set', async () => {
    const all = Array.from({ length: 5 }, publisher)
    const counts = await Promise.all(all.flatMap((one) => [one.incr('n'), one.incr('n')]))
    expect(counts.sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(await all[0]?.get('n')).toBe('10')
    await all[0]?.set('n', '-2')
    expect(await all[1]?.incr('n')).toBe(-1)
    expect(await all[1]?.incr('n')).toBe(0)
    expect(await all[2]?.get('n')).toBe('0')
  })

  it('that hold no integer are not counted, and say so as Redis does', async () => {
    const one = publisher()
    await one.set('s', 'DONE')
    await expect(one.incr('s')).rejects.toThrow('ERR value is not an integer or out of range')
    await expect(one.incr('s')).rejects.toMatchObject({ code: 'BAD_VALUE' })
    expect(await one.get('s')).toBe('DONE')
    const before = await client().describe('resumable-stream/keys/s')
    await one.incr('s').catch(() => {})
    expect(await client().describe('resumable-stream/keys/s')).toMatchObject({ nextOffset: before.nextOffset })
  })

  it('expire so many seconds after they were set, however often they are read; set again they begin anew', async () => {
    const one = publisher()
    await one.set('s', '1', { EX: 60 })
    await one.set('kept', '1', { EX: 60 })
    await one.set('kept', '2')
    await clock.advance(40_000)
    expect(await one.get('s')).toBe('1')
    expect(await one.incr('s')).toBe(2)
    await clock.advance(19_000)
    expect(await one.get('s')).toBe('2')
    await clock.advance(2_000)
    await vi.waitFor(async () => expect(await one.get('s')).toBeNull())
    expect(await one.incr('s')).toBe(1)
    await one.set('s', 'DONE', { EX: 10 })
    await clock.advance(9_000)
    expect(await one.get('s')).toBe('DONE')
    await clock.advance(2_000)
    await vi.waitFor(async () => expect(await topics()).toEqual(['resumable-stream/keys/kept']))
    await clock.advance(7 * 86_400_000)
    expect(await one.get('kept')).toBe('2')
  })

  it('refuse what Redis refuses, and names that are too long', async () => {
    const one = publisher()
    for (const EX of [0, -1, 1.5]) expect(() => one.set('s', '1', { EX })).toThrow('EX')
    await expect(one.get('k'.repeat(300))).rejects.toMatchObject({ code: 'BAD_NAME' })
    expect(await one.get('s')).toBeNull()
  })
})

describe('channels', () => {
  it('bring each message to everybody who listens by then, in order', async () => {
    const one = publisher()
    expect(await one.publish('c', 'nobody hears it')).toBe(0)
    expect(await topics()).toEqual([])
    const [first, second] = [await listen('c'), await listen('c')]
    const other = await listen('d')
    const sent = Array.from({ length: 100 }, (_, i) => `${i}`)
    expect(await Promise.all(sent.map((message) => one.publish('c', message)))).toEqual(Array(100).fill(1))
    const late = await listen('c')
    await one.publish('c', 'last')
    await vi.waitFor(() => expect(late).toEqual(['last']))
    await vi.waitFor(() =>
      expect([first, second]).toEqual([
        [...sent, 'last'],
        [...sent, 'last'],
      ]),
    )
    expect(other).toEqual([])
  })

  it('bring messages of any size, none overtaken', async () => {
    const heard = await listen('c')
    const one = publisher()
    const sent = ['', 'x'.repeat(400_000), 'y', '😀'.repeat(200_000), 'z']
    await Promise.all(sent.map((message) => one.publish('c', message)))
    await vi.waitFor(() => expect(heard.map((message) => message.length)).toEqual([0, 400_000, 1, 400_000, 1]))
    expect(heard[3] === sent[3]).toBe(true)
  })

  it('are silent after unsubscribe, and gone a minute later', async () => {
    const subscriber = createSubscriber(client())
    const one = publisher()
    const heard = await listen('c', subscriber)
    await one.publish('c', '1')
    await vi.waitFor(() => expect(heard).toEqual(['1']))
    await subscriber.unsubscribe('c')
    await subscriber.unsubscribe('never subscribed')
    await one.publish('c', '2')
    const again = await listen('c', subscriber)
    await one.publish('c', '3')
    await vi.waitFor(() => expect(again).toEqual(['3']))
    expect(heard).toEqual(['1'])
    await subscriber.unsubscribe('c')
    await Promise.all(brokers.splice(0).map((broker) => broker.close()))
    await clock.advance(61_000)
    await vi.waitFor(async () => expect(await topics()).toEqual([]))
  })

  it('lose nothing through connections that break, which with Redis they do', async () => {
    const [near, far] = [new FaultyNetwork(), new FaultyNetwork()]
    const subscriber = createSubscriber(client(near))
    const one = createPublisher(client(far))
    const heard = await listen('c', subscriber)
    const sent: string[] = []
    for (let i = 0; i < 40; i++) {
      if (i % 7 === 3) near.cut()
      if (i % 5 === 1) far.cut()
      sent.push(`${i}`)
      await one.publish('c', `${i}`)
    }
    await vi.waitFor(() => expect(heard).toEqual(sent))
  })

  it('go on when somebody deletes their topic', async () => {
    const heard = await listen('c')
    const one = publisher()
    await one.publish('c', '1')
    await vi.waitFor(() => expect(heard).toEqual(['1']))
    await client().delete('resumable-stream/channels/c')
    await vi.waitFor(async () => expect(await topics()).toHaveLength(1))
    await vi.waitFor(async () => {
      await one.publish('c', '2')
      expect(heard.slice(-1)).toEqual(['2'])
    })
  })

  it('tell what a listener throws, and go on', async () => {
    const errors: unknown[] = []
    const subscriber = createSubscriber(client(), { onError: (error) => errors.push(error) })
    await subscriber.subscribe('c', (message) => {
      if (message === 'bad') throw new Error(message)
    })
    const heard = await listen('c', subscriber)
    const one = publisher()
    await one.publish('c', 'bad')
    await one.publish('c', 'good')
    await vi.waitFor(() => expect(heard).toEqual(['bad', 'good']))
    expect(errors).toEqual([new Error('bad')])
  })
})

it('commands of one publisher take effect in the order of the calls', async () => {
  const one = publisher()
  const heard = await listen('c')
  // Its topic is open from here on, that of the key is not: its commands take several round trips more.
  await one.publish('c', 'first')
  const done: string[] = []
  const tell = (what: string) => (result: unknown) => void done.push(`${what}: ${result}`)
  await Promise.all([
    one.set('s', '1', { EX: 10 }).then(tell('set')),
    one.publish('c', 'second').then(tell('publish')),
    one.incr('s').then(tell('incr')),
    one.set('s', 'DONE').then(tell('set')),
    one.get('s').then(tell('get')),
    one.publish('c', 'third').then(tell('publish')),
  ])
  expect(done).toEqual(['set: OK', 'publish: 1', 'incr: 2', 'set: OK', 'get: DONE', 'publish: 1'])
  await vi.waitFor(() => expect(heard).toEqual(['first', 'second', 'third']))
})

it('a publisher lets go of topics that it has not used for ten minutes', async () => {
  const idle = new ClientClock()
  const one = createPublisher(client(), { clock: idle })
  await one.set('s', '1')
  expect(idle.waits()).toEqual([600_000])
  expect(await client().describe('resumable-stream/keys/s')).toMatchObject({ hold: 'attached' })
  idle.advance(600_000)
  await vi.waitFor(async () =>
    expect(await client().describe('resumable-stream/keys/s')).toMatchObject({ hold: 'kept' }),
  )
  expect(idle.waits()).toEqual([])
  expect(await one.incr('s')).toBe(2)
})
