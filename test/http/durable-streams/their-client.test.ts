/** The JavaScript client of the Durable Streams project, as it is published, against a broker on a disk that syncs. */

import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../../broker/index.ts'
import { tempDir } from '../../broker/brokers.ts'

interface Item {
  readonly i: number
}

let broker: Broker
let base: string

beforeEach(async () => {
  broker = await startBroker({ port: 0, dataDir: await tempDir() })
  base = `http://${broker.host}:${broker.port}/v1/stream`
})

afterEach(() => broker.close())

const created = (name: string, contentType = 'application/json'): Promise<DurableStream> =>
  DurableStream.create({ url: `${base}/${name}`, contentType })

const items = (count: number, from = 0): Item[] => Array.from({ length: count }, (_, at) => ({ i: from + at }))

async function appendAll(handle: DurableStream, all: readonly Item[]): Promise<void> {
  for (const item of all) await handle.append(JSON.stringify(item))
}

/** The first items that a live read gets. */
function firstItems(url: string, live: 'long-poll' | 'sse', count: number): Promise<Item[]> {
  return new Promise((resolve, reject) => {
    const found: Item[] = []
    stream<Item>({ url, offset: '-1', live }).then((response) => {
      response.subscribeJson(async (batch) => {
        found.push(...batch.items)
        if (found.length < count) return
        response.cancel()
        resolve(found)
      })
    }, reject)
  })
}

describe('the published client', () => {
  it('creates, appends and catches up', async () => {
    const handle = await created('chat')
    await appendAll(handle, items(20))
    const response = await handle.stream<Item>({ live: false })
    expect(await response.json()).toEqual(items(20))
    const head = await handle.head()
    expect(head).toMatchObject({ exists: true, contentType: 'application/json' })
    const { offset } = head as { offset?: string }
    await handle.append(JSON.stringify({ i: 20 }))
    const rest = await stream<Item>({ url: handle.url, offset, live: false })
    expect(await rest.json()).toEqual([{ i: 20 }])
  })

  it('reads and writes text and bytes', async () => {
    const text = await created('text', 'text/plain')
    for (const word of ['zw\u00f6lf', ' ', 'w\u00f6rter']) await text.append(word)
    expect(await (await text.stream({ live: false })).text()).toBe('zw\u00f6lf w\u00f6rter')
    const bytes = await created('bytes', 'application/octet-stream')
    await bytes.append(Uint8Array.from([0, 1, 255]))
    expect(await (await bytes.stream({ live: false })).body()).toEqual(Uint8Array.from([0, 1, 255]))
  })

  it('writes everything once and in order as an idempotent producer, and goes on after another one', async () => {
    const handle = await created('produced')
    const failures: Error[] = []
    const write = async (from: number, epoch: number): Promise<void> => {
      const onError = (error: Error): void => void failures.push(error)
      const producer = new IdempotentProducer(handle, 'writer', { epoch, lingerMs: 1, onError })
      for (const item of items(1_000, from)) producer.append(JSON.stringify(item))
      await producer.flush()
      await producer.detach()
    }
    await write(0, 0)
    await write(1_000, 1)
    expect(failures).toEqual([])
    const response = await handle.stream<Item>({ live: false })
    expect(await response.json()).toEqual(items(2_000))
  })

  it('writes many messages as fast as it can, in batches that fit an append, and bytes in batches of any size', async () => {
    const failures: Error[] = []
    const onError = (error: Error): void => void failures.push(error)
    const [many, bytes] = [await created('many'), await created('bytes', 'application/octet-stream')]
    const producer = new IdempotentProducer(many, 'writer', { maxBatchBytes: 65_536, onError })
    for (const item of items(20_000)) producer.append(JSON.stringify(item))
    const other = new IdempotentProducer(bytes, 'writer', { onError })
    const piece = new Uint8Array(100_000).map((_, i) => i % 251)
    for (let i = 0; i < 30; i++) other.append(piece)
    await Promise.all([producer.flush(), other.flush()])
    expect(failures).toEqual([])
    expect(await (await many.stream<Item>({ live: false })).json()).toEqual(items(20_000))
    const read = Buffer.from(await (await bytes.stream({ live: false })).body())
    expect(read.equals(Buffer.concat(Array.from({ length: 30 }, () => piece)))).toBe(true)
  })

  it.each(['long-poll', 'sse'] as const)('follows a stream by %s', async (live) => {
    const handle = await created('live')
    await appendAll(handle, items(5))
    const followed = firstItems(handle.url, live, 30)
    await appendAll(handle, items(25, 5))
    expect(await followed).toEqual(items(30))
  })

  it.each(['long-poll', 'sse'] as const)('ends reading by %s when the stream is closed', async (live) => {
    const handle = await created('closed')
    const response = await stream<Item>({ url: handle.url, offset: '-1', live })
    const found: Item[] = []
    const whole = new Promise<void>((resolve) => {
      response.subscribeJson(async (batch) => {
        found.push(...batch.items)
        if (found.length >= 4) resolve()
      })
    })
    await appendAll(handle, items(3))
    await handle.close({ body: JSON.stringify({ i: 3 }) })
    await Promise.all([whole, response.closed])
    expect(found).toEqual(items(4))
    await expect(handle.append(JSON.stringify({ i: 4 }))).rejects.toThrow()
  })

  it('deletes', async () => {
    const handle = await created('gone')
    await handle.delete()
    expect(await handle.head()).toEqual({ exists: false })
    await expect(stream({ url: handle.url, live: false })).rejects.toThrow()
  })
})
