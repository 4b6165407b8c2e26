/** What users do with sessions, from end to end: a real broker, in memory, and networks that fail. */

import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import {
  type Broker,
  type ContextPages,
  connect,
  type Session,
  type SessionRecord,
  type StreamWriter,
} from '../../client/index.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { addressOf } from './transport.ts'

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
  const broker = connect(addressOf(server), { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  brokers.push(broker)
  return broker
}

/** Every record of the topic as it is now, raw. */
async function logOf(name: string): Promise<SessionRecord[]> {
  const session = await client().session(name, { create: false })
  const { nextOffset } = await session.describe()
  const records: SessionRecord[] = []
  if (nextOffset === 0) return records
  for await (const record of session.records({ raw: true })) {
    records.push(record)
    if (record.offset === nextOffset - 1) break
  }
  return records
}

const tokensOf = (records: readonly SessionRecord[]): string[] =>
  records.flatMap((record) => (record.kind === 'token' ? [record.text ?? ''] : []))

/** Reads until the condition holds. */
async function until(session: Session, condition: (record: SessionRecord) => boolean): Promise<void> {
  for await (const record of session.records()) if (condition(record)) return
}

describe('exactly once', () => {
  it('appends and tokens are stored once, in order, however often the line is cut and answers are lost', async () => {
    let topics = 0
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 8 }), fc.boolean(), async (cuts, deaf) => {
        const name = `once/${topics++}`
        const network = new FaultyNetwork()
        let next = cuts.shift()
        network.onArrival = () => {
          if (next === undefined || --next > 0) return
          next = cuts.shift()
          network.deaf = deaf
          network.cut()
          network.deaf = false
        }
        const session = await client(network).session(name)
        const stream = await session.openStream('s')
        const expected: string[] = []
        const stored: Promise<{ offset: number }>[] = []
        for (let i = 0; i < 30; i++) {
          stream.write(`t${i} `)
          expected.push(`t${i} `)
          if (i % 5 === 0) {
            stored.push(session.append(`m${i}`))
            expected.push(`m${i}`)
          }
          if (i % 7 === 0) await stream.flush()
        }
        await stream.end()
        const log = await logOf(name)
        const seen = log.flatMap((record) =>
          record.kind === 'token' ? [record.text] : record.kind === 'message' ? [record.value] : [],
        )
        expect(seen).toEqual(expected)
        const offsets = (await Promise.all(stored)).map(({ offset }) => offset)
        expect(offsets).toEqual(log.filter(({ kind }) => kind === 'message').map(({ offset }) => offset))
      }),
      { numRuns: 30 },
    )
  })

  it('readers get every token once and in order across cuts, and go on by themselves', async () => {
    const writing = await client().session('read')
    const stream = await writing.openStream('s')
    const network = new FaultyNetwork()
    const reading = await client(network).session('read', { observe: true })
    const seen: string[] = []
    const done = (async () => {
      for await (const record of reading.records({ raw: true })) {
        if (record.kind === 'token') seen.push(record.text ?? '')
        if (record.kind === 'token' && seen.length % 10 === 0) network.cut()
        if (record.kind === 'stream' && record.state === 'done') return
      }
    })()
    for (let i = 0; i < 50; i++) {
      stream.write(`${i}`)
      if (i % 3 === 0) await stream.flush()
    }
    await stream.end()
    await done
    expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => `${i}`))
  })

  it('a record id stores a message once, whoever repeats it', async () => {
    const [one, two] = [await client().session('ids'), await client().session('ids')]
    const first = await one.append('x', { id: 'msg-1' })
    expect(await two.append('x again', { id: 'msg-1' })).toEqual(first)
    expect(await logOf('ids')).toHaveLength(1)
  })
})

describe('generate', () => {
  const words = async (stream: StreamWriter): Promise<void> => {
    await stream.pipe(['one ', 'two '])
    stream.write('because', { part: 'reasoning' })
  }

  it('runs once: a repeat, also by another client, gets the stored result', async () => {
    const session = await client().session('g')
    const result = await session.generate('reply', words)
    expect(result).toEqual({ end: 'done', text: 'one two ', parts: { text: 'one two ', reasoning: 'because' } })
    const never = (): never => {
      throw new Error('ran again')
    }
    expect(await session.generate('reply', never)).toEqual(result)
    expect(await (await client().session('g')).generate('reply', never)).toEqual(result)
  })

  it('keeps what was given to end, and called twice at once runs once', async () => {
    const session = await client().session('g')
    let runs = 0
    const fn = async (stream: StreamWriter): Promise<void> => {
      runs++
      await stream.end({ finish: 'length' })
    }
    const both = await Promise.all([session.generate('reply', fn), session.generate('reply', fn)])
    expect(both[0]).toMatchObject({ end: 'done', detail: { finish: 'length' } })
    expect([both[1], runs]).toEqual([both[0], 1])
  })

  it('ends as failed with the error when fn throws, and resolves', async () => {
    const session = await client().session('g')
    const error = new Error('the model is gone')
    const result = await session.generate('reply', (stream) => {
      stream.write('so far')
      throw error
    })
    expect(result).toMatchObject({ end: 'failed', text: 'so far', detail: { message: 'the model is gone' }, error })
    expect((await logOf('g')).at(-1)).toMatchObject({ kind: 'stream', state: 'failed' })
  })

  it('ends as stopped when someone else stops it, with what was durable', async () => {
    const session = await client().session('g')
    const stopping = await client().session('g')
    const result = await session.generate('reply', async (stream, signal) => {
      stream.write('before')
      await stream.flush()
      await stopping.stop('reply', { reason: 'enough' })
      await new Promise<void>((resolve) => {
        if (signal.aborted) return resolve()
        signal.addEventListener('abort', () => resolve())
      })
      expect(signal.reason).toMatchObject({ code: 'STREAM_STOPPED', details: { reason: 'enough' } })
      stream.write('after')
    })
    expect(result).toEqual({ end: 'stopped', text: 'before', parts: { text: 'before' }, detail: { reason: 'enough' } })
  })

  it('gives back a stream that was stopped before it began, without calling fn', async () => {
    const session = await client().session('g')
    await session.stop('reply')
    const result = await session.generate('reply', () => expect.fail('ran'))
    expect(result).toEqual({ end: 'stopped', text: '', parts: {}, detail: undefined })
  })

  it('follows a live writer elsewhere to its end', async () => {
    const session = await client().session('g')
    const other = await client().session('g')
    let finish = (): void => {}
    const mayFinish = new Promise<void>((resolve) => {
      finish = resolve
    })
    let started = (): void => {}
    const isRunning = new Promise<void>((resolve) => {
      started = resolve
    })
    const writing = session.generate('reply', async (stream) => {
      stream.write('a')
      started()
      await mayFinish
      stream.write('b')
    })
    await isRunning
    const following = other.generate('reply', () => expect.fail('ran'))
    await until(other, (record) => record.kind === 'token' && record.text === 'a')
    finish()
    expect(await following).toEqual(await writing)
    expect(await following).toMatchObject({ end: 'done', text: 'ab' })
  })

  it('takes over from a writer that is gone, with the text so far; the old one, back again, follows', async () => {
    const network = new FaultyNetwork()
    const before = await client(network).session('g')
    const after = await client().session('g')
    let wrote = (): void => {}
    const hasWritten = new Promise<void>((resolve) => {
      wrote = resolve
    })
    let resume = (): void => {}
    const isBack = new Promise<void>((resolve) => {
      resume = resolve
    })
    let shutOut = (): void => {}
    const isShutOut = new Promise<void>((resolve) => {
      shutOut = resolve
    })
    const first = before.generate('reply', async (stream, signal) => {
      stream.write('Hello ')
      await stream.flush()
      wrote()
      await isBack
      stream.write('lost')
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      shutOut()
    })
    await hasWritten
    network.down = true
    network.cut()
    while ((await after.stream('reply'))?.live);
    const second = after.generate('reply', async (stream) => {
      expect([stream.resumed, stream.text]).toEqual([true, 'Hello '])
      network.down = false
      resume()
      await isShutOut
      stream.write('world')
    })
    expect(await second).toMatchObject({ end: 'done', text: 'Hello world' })
    expect(await first).toMatchObject({ end: 'done', text: 'Hello world' })
    const log = await logOf('g')
    expect(tokensOf(log)).toEqual(['Hello ', 'world'])
    const states = log.flatMap((record) => (record.kind === 'stream' ? [record.state] : []))
    expect(states).toEqual(['open', 'resumed', 'done'])
  })

  it('passes a signal of the user on to fn, whose throw then counts as any other', async () => {
    const session = await client().session('g')
    const controller = new AbortController()
    const result = await session.generate(
      'reply',
      (_, signal) => {
        controller.abort(new Error('changed my mind'))
        signal.throwIfAborted()
      },
      { signal: controller.signal },
    )
    expect(result).toMatchObject({ end: 'failed', detail: { message: 'changed my mind' } })
  })
})

describe('coming back', () => {
  it('resumes from a checkpoint: its state, the context as of it, the streams since, the records after it', async () => {
    const session = await client().session('r')
    await session.context.set('plan', 'first')
    await session.checkpoint('half', { step: 3 }, { records: ['with it'] })
    await session.context.append('plan', ' second')
    const stream = await session.openStream('s')
    stream.write('so ')
    stream.write('far')
    await stream.flush()
    await session.append('after')
    const resumed = await (await client().session('r', { create: false })).resume()
    expect(resumed).toMatchObject({
      outcome: 'continued',
      partial: false,
      checkpoint: { name: 'half', state: { step: 3 } },
    })
    expect([...resumed.context]).toEqual([['plan', 'first']])
    expect(resumed.streams).toMatchObject([{ id: 's', state: 'open', live: true, text: 'so far' }])
    const kinds: string[] = []
    for await (const { kind } of resumed.records({ raw: true })) {
      kinds.push(kind)
      if (kind === 'message') break
    }
    expect(kinds).toEqual(['context', 'stream', 'token', 'token', 'message'])
    expect(await session.checkpoints()).toMatchObject([{ name: 'half', state: { step: 3 } }])
    expect(await session.context.entries()).toEqual(new Map([['plan', 'first second']]))
    expect(await session.context.get('plan', { asOf: resumed.cursor ?? '' })).toBe('first')
  })

  it('reads text and context piece by piece where they are too large for one answer', async () => {
    const session = await client().session('r')
    const text = 'x'.repeat(60_000)
    const stream = await session.openStream('s')
    for (let i = 0; i < 20; i++) if (!stream.write(text)) await stream.ready
    await stream.flush()
    await session.context.set('plan', 'kept')
    await session.checkpoint('now')
    const resumed = await session.resume({ checkpoint: 'now' })
    expect(resumed.partial).toBe(true)
    expect(resumed.checkpoint?.state).toBeNull()
    let length = 0
    for await (const piece of resumed.streams[0]?.pieces() ?? []) length += piece.text.length
    expect(length).toBe(20 * text.length)
    const entries = []
    for await (const entry of resumed.entries()) entries.push(entry)
    expect(entries).toEqual([['plan', 'kept']])
  })

  it('says when there is no checkpoint, and what became of a cursor', async () => {
    const session = await client().session('r')
    await expect(session.resume()).rejects.toMatchObject({ code: 'CHECKPOINT_UNKNOWN' })
    const { cursor } = await session.append('x')
    await session.delete()
    await expect(session.append('y')).rejects.toMatchObject({ code: 'GONE' })
    const again = await client().session('r')
    expect(again.created).toBe(true)
    const resumed = await again.resume({ cursor })
    expect(resumed.outcome).toBe('recreated')
    await expect(again.records({ from: cursor }).next()).rejects.toMatchObject({
      code: 'RECREATED',
      details: { outcome: 'recreated' },
    })
  })
})

describe('the rest', () => {
  it('makes several changes to the context in one append, and pages of it begin and end where they are told to', async () => {
    const { context } = await client().session('c')
    const pages = async (options?: ContextPages): Promise<unknown[]> => {
      const found: unknown[] = []
      for await (const entry of context.pages(options)) found.push(entry)
      return found
    }
    await context.set('c', 'old')
    const { offset } = await context.apply([
      { op: 'set', name: 'a', value: 1 },
      { op: 'append', name: 'b', value: 'x' },
      { op: 'delete', name: 'c' },
      { op: 'set', name: 'd', value: null },
    ])
    expect(offset).toBe(1)
    expect(await pages()).toEqual([
      ['a', 1],
      ['b', 'x'],
      ['d', null],
    ])
    expect(await pages({ after: 'a', limit: 1 })).toEqual([['b', 'x']])
    expect(await pages({ limit: 0 })).toEqual([])
    const large = { op: 'set', name: 'a', value: 'x'.repeat(200_000) } as const
    expect(() => context.apply([large, large])).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }))
    expect(() => context.apply([])).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
    expect(await context.get('a')).toBe(1)
  })

  it('folds context: text and bytes are joined, anything else becomes a list', async () => {
    const { context } = await client().session('c')
    await context.set('text', 'a')
    await context.append('text', 'b')
    await context.set('bytes', new Uint8Array([1]))
    await context.append('bytes', new Uint8Array([2]))
    await context.set('list', [1])
    await context.append('list', { two: 2 })
    await context.append('fresh', 1)
    await context.append('fresh', 'two')
    await context.set('gone', 1)
    await context.delete('gone')
    expect(Object.fromEntries(await context.entries())).toEqual({
      text: 'ab',
      bytes: new Uint8Array([1, 2]),
      list: [1, { two: 2 }],
      fresh: [1, 'two'],
    })
    expect(await context.get('gone')).toBeUndefined()
  })

  it('trims to a cursor, changes the policy, lists, describes and deletes topics', async () => {
    const broker = client()
    const session = await broker.session('some/topic', { lingerMs: 1_234 })
    await session.append(1)
    const { cursor } = await session.append(2)
    await session.append(3)
    expect(await session.trim({ before: cursor })).toEqual({ firstOffset: 2 })
    expect((await logOf('some/topic')).map(({ offset }) => offset)).toEqual([2])
    expect(await session.policy({ lingerMs: 'forever' })).toMatchObject({ lingerMs: 'forever' })
    expect(await session.describe()).toMatchObject({ name: 'some/topic', firstOffset: 2, nextOffset: 3 })
    expect((await broker.list({ prefix: 'some' })).topics.map(({ name }) => name)).toEqual(['some/topic'])
    expect(await broker.delete('some/topic')).toBe(true)
    expect(await broker.delete('some/topic')).toBe(false)
    await expect(broker.describe('some/topic')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(broker.session('some/topic', { create: false })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
