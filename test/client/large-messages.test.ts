/** Large messages from end to end: a real broker, networks that fail, and brokers that are killed. */

import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { type BrokerOptions, type Broker as Server, startBroker } from '../../broker/index.ts'
import {
  type Broker,
  connect,
  type LargeMessageRecord,
  type Session,
  type SessionRecord,
  type StandardSchemaV1,
} from '../../client/index.ts'
import { LIMITS } from '../../protocol/index.ts'
import { killAll, litetopic, type Running } from '../cli/processes.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { addressOf } from './transport.ts'

const PART = LIMITS.partBytes

let server: Server
let brokers: Broker[]

async function serve(options: Partial<BrokerOptions> = {}): Promise<void> {
  server = await startBroker({ port: 0, dataDir: null, ...options })
}

beforeEach(async () => {
  brokers = []
  await serve()
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
})

function client(network = new FaultyNetwork(), at: { readonly url: string } = server): Broker {
  const broker = connect(addressOf(at), { webSocket: network.open, reconnect: { minMs: 1, maxMs: 50 } })
  brokers.push(broker)
  return broker
}

function content(size: number, seed = 0): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let i = 0; i < size; i++) bytes[i] = i ^ (i >>> 8) ^ (i >>> 16) ^ seed
  return bytes
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Pieces of a size that is none of the parts', with something done before each. */
async function* pieces(bytes: Uint8Array, before: (at: number) => unknown = () => {}): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_003) {
    await before(at)
    yield bytes.subarray(at, at + 100_003)
  }
}

async function recordsOf(session: Session<unknown>): Promise<SessionRecord<unknown>[]> {
  const { nextOffset } = await session.describe()
  const records: SessionRecord<unknown>[] = []
  if (nextOffset === 0) return records
  for await (const record of session.records({ raw: true })) {
    records.push(record)
    if (record.offset === nextOffset - 1) break
  }
  return records
}

async function largeAt(session: Session<unknown>, offset: number): Promise<LargeMessageRecord<unknown>> {
  for await (const record of session.records({ from: { offset } })) {
    if (record.kind === 'message' && record.large) return record
    break
  }
  throw new Error(`no large message at ${offset}`)
}

describe('a large message', () => {
  it('is what was appended, whatever it was appended from and however it is read', async () => {
    const session: Session<unknown> = await client().session('a')
    const bytes = content(3 * PART + 17)
    const text = 'wörld 👋 '.repeat(60_000)
    const value = { list: Array.from({ length: 60_000 }, (_, i) => `item ${i}`) }
    const stored = await Promise.all([
      session.append(bytes),
      session.append(new Blob([bytes])),
      session.append(new Blob([bytes]).stream()),
      session.append(Readable.from(pieces(bytes))),
      session.append(text),
      session.append(value),
    ])
    const reading: Session<unknown> = await client().session('a', { observe: true })
    const larges = await Promise.all(stored.map(({ offset }) => largeAt(reading, offset)))
    for (const { large } of larges.slice(0, 4)) expect(hashOf(await large.bytes())).toBe(hashOf(bytes))
    expect(larges.map(({ large }) => large.tag)).toEqual(['bytes', 'bytes', 'bytes', 'bytes', 'text', 'json'])
    expect((await larges[4]?.large.text()) === text).toBe(true)
    expect(await larges[5]?.large.json()).toEqual(value)
    const [first] = larges
    const blob = await first?.large.blob()
    expect(hashOf(new Uint8Array((await blob?.arrayBuffer()) ?? new ArrayBuffer(0)))).toBe(hashOf(bytes))
    const rest: Uint8Array[] = []
    for await (const piece of first?.large.stream({ from: PART - 1 }) ?? []) rest.push(piece)
    expect(hashOf(Buffer.concat(rest))).toBe(hashOf(bytes.subarray(PART - 1)))
  })

  it('has its place among tokens and other messages, for raw and coalesced readers and those that resume', async () => {
    const session: Session<unknown> = await client().session('a')
    const stream = await session.openStream('s')
    await session.checkpoint('before')
    stream.write('one ')
    await stream.flush()
    await session.append(content(PART))
    stream.write('two')
    await stream.end()
    const kinds = (records: readonly SessionRecord<unknown>[]): string[] =>
      records.map((record) => (record.kind === 'message' && record.large ? `large ${record.large.size}` : record.kind))
    const log = await recordsOf(session)
    expect(kinds(log)).toEqual(['stream', 'checkpoint', 'token', `large ${PART}`, 'token', 'stream'])
    const resumed = await session.resume({ checkpoint: 'before' })
    const after: SessionRecord<unknown>[] = []
    for await (const record of resumed.records()) {
      after.push(record)
      if (record.kind === 'stream') break
    }
    expect(kinds(after)).toEqual(['token', `large ${PART}`, 'token', 'stream'])
    const again = await session.generate('s', () => expect.fail('ran'))
    expect(again.text).toBe('one two')
  })

  it('is stored once under its id, whoever repeats it and from whatever', async () => {
    const [one, two] = [await client().session('a'), await client().session('a')]
    const first = await one.append(content(2 * PART), { id: 'm' })
    expect(await two.append(pieces(content(9 * PART, 1)), { id: 'm' })).toEqual(first)
    expect(await one.append('small', { id: 'm' })).toEqual(first)
    const both = await Promise.all([
      one.append(content(2 * PART), { id: 'n' }),
      two.append(content(2 * PART, 1), { id: 'n' }),
    ])
    expect(both[1]).toEqual(both[0])
    expect(await recordsOf(one as Session<unknown>)).toHaveLength(2)
  })

  it('is checked by the schema when it is read as JSON, and a source is never taken for a value', async () => {
    interface Doc {
      readonly text: string
    }
    const schema: StandardSchemaV1<unknown, Doc> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value) =>
          typeof (value as Doc)?.text === 'string' ? { value: value as Doc } : { issues: [{ message: 'no text' }] },
      },
    }
    const session = await client().session('a', { schema })
    const doc = { text: 'x'.repeat(PART) }
    const { offset } = await session.append(doc)
    const wrong = await session.append(new Blob(['{"text":1}']))
    const right = await session.append(new Blob(['{"text":"small"}']))
    const read = async (at: number): Promise<Doc> =>
      (await largeAt(session as Session<unknown>, at)).large.json() as Promise<Doc>
    expect((await read(offset)).text).toHaveLength(PART)
    await expect(read(wrong.offset)).rejects.toMatchObject({ code: 'SCHEMA_INVALID' })
    expect(await read(right.offset)).toEqual({ text: 'small' })
  })

  it('is refused beyond what the broker takes, also when its size was not known', async () => {
    await server.close()
    await serve({ maxMessageBytes: 3 * PART })
    const session = await client().session('a')
    const refused = { code: 'LIMIT_EXCEEDED', details: { bound: 3 * PART } }
    await expect(session.append(content(3 * PART + 1))).rejects.toMatchObject(refused)
    await expect(session.append(pieces(content(4 * PART)))).rejects.toMatchObject(refused)
    await session.append(content(3 * PART))
  })

  it('that is aborted leaves nothing behind: any number can be, one after the other', async () => {
    const session: Session<unknown> = await client().session('a')
    for (let i = 0; i <= LIMITS.uploadsPerTopic; i++) {
      const controller = new AbortController()
      const { signal } = controller
      const onProgress = ({ sentBytes }: { sentBytes: number }): void => {
        if (sentBytes > 0) controller.abort('enough')
      }
      await expect(session.append(content(8 * PART), { signal, onProgress })).rejects.toBe('enough')
    }
    await session.append(content(PART))
    expect(await recordsOf(session)).toHaveLength(1)
  })

  it('is given up, and its source stopped, when an exclusive session takes the topic meanwhile', async () => {
    const session = await client().session('a')
    let stoppedBy: unknown = null
    const source = new ReadableStream<Uint8Array>(
      {
        start: (controller) => controller.enqueue(content(PART)),
        pull: async () => {
          await client().session('a', { exclusive: true })
          await new Promise(() => {})
        },
        cancel: (reason) => {
          stoppedBy = reason
        },
      },
      { highWaterMark: 0 },
    )
    await expect(session.append(source)).rejects.toMatchObject({ code: 'FENCED' })
    expect(stoppedBy).toMatchObject({ code: 'FENCED' })
    await expect(session.append(content(PART))).rejects.toMatchObject({ code: 'FENCED' })
  })

  it('can no longer be read when it was trimmed', async () => {
    const session: Session<unknown> = await client().session('a')
    const { offset, cursor } = await session.append(content(2 * PART))
    const { large } = await largeAt(session, offset)
    await session.trim({ before: cursor })
    await expect(large.bytes()).rejects.toMatchObject({ code: 'TRIMMED' })
  })
})

describe('beside a large message', () => {
  it('appends are acknowledged and tokens delivered while it is uploaded and read on the same connection', async () => {
    const session: Session<unknown> = await client().session('a')
    const bytes = content(48 * PART)
    let meanwhile = 0
    let over = false
    const beside = (async () => {
      for (; !over; meanwhile++) await session.append(meanwhile)
    })()
    const { offset } = await session.append(bytes)
    const whileUploading = meanwhile
    const { large } = await largeAt(session, offset)
    const read = await large.bytes()
    const whileReading = meanwhile - whileUploading
    over = true
    await beside
    expect(hashOf(read)).toBe(hashOf(bytes))
    expect(whileUploading).toBeGreaterThan(5)
    expect(whileReading).toBeGreaterThan(2)
  })

  it('the client keeps no more of it than may be on its way', async () => {
    const session = await client().session('a')
    const total = 64 * PART
    let given = 0
    let durable = 0
    let most = 0
    const source = pieces(content(total), (at) => {
      given = at
      most = Math.max(most, given - durable)
    })
    const onProgress = ({ sentBytes }: { sentBytes: number }): void => {
      durable = sentBytes
    }
    await session.append(source, { onProgress })
    expect(durable).toBe(total)
    expect(most).toBeLessThanOrEqual((LIMITS.partsPerConnection + 2) * PART)
  })
})

describe('across lost connections', () => {
  it('it is stored once and whole, and read as it was, however often the line is cut', async () => {
    let topics = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 9 * PART }),
        async (uploadCuts, readCuts, size) => {
          const network = new FaultyNetwork()
          let cuts = [...uploadCuts]
          network.onArrival = () => {
            if (cuts.length === 0 || --(cuts as [number])[0] > 0) return
            cuts.shift()
            network.cut()
          }
          const session: Session<unknown> = await client(network).session(`cut/${topics++}`)
          const bytes = content(size, topics)
          const { offset } = await session.append(pieces(bytes))
          const log = await recordsOf(session)
          expect(log.map((record) => record.offset)).toEqual([offset])
          const [record] = log
          if (record?.kind !== 'message') throw new Error('no message')
          cuts = [...readCuts]
          expect(hashOf(record.large ? await record.large.bytes() : (record.value as Uint8Array))).toBe(hashOf(bytes))
        },
      ),
      { numRuns: 15 },
    )
  })
})

describe('across a broker that is killed', () => {
  it('an upload goes on where it was, and so does reading', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'litetopic-large-'))
    onTestFinished(async () => {
      killAll()
      await rm(directory, { recursive: true, force: true })
    })
    let running = await start(directory, 0)
    const network = new FaultyNetwork()
    const session: Session<unknown> = await client(network, running).session('a')
    const restart = async (): Promise<void> => {
      running.process.process.kill('SIGKILL')
      await running.process.ended
      running = await start(directory, running.port)
    }
    const bytes = content(12 * PART)
    const sent: number[] = []
    let killed: Promise<void> | null = null
    const { offset } = await session.append(pieces(bytes), {
      onProgress: ({ sentBytes }) => {
        sent.push(sentBytes)
        if (sentBytes >= 3 * PART) killed ??= restart()
      },
    })
    expect(killed).not.toBeNull()
    await killed
    // What was durable before the broker was killed was not sent again.
    expect(sent).toEqual([...sent].sort((a, b) => a - b))
    const { large } = await largeAt(session, offset)
    const hash = createHash('sha256')
    let received = 0
    for await (const piece of large.stream()) {
      hash.update(piece)
      received += piece.length
      if (received === 4 * PART) await restart()
    }
    expect(hash.digest('hex')).toBe(hashOf(bytes))
    expect(await recordsOf(session)).toHaveLength(1)
  })
})

async function start(directory: string, port: number): Promise<{ process: Running; url: string; port: number }> {
  const process = litetopic(['serve', '--port', String(port), '--data', directory])
  const [, url = ''] = await process.printed(/^litetopic listening on (ws:\S+)\n/)
  return { process, url, port: Number(new URL(url).port) }
}
