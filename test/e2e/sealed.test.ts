/**
 * Sealed sessions: what comes back, who can read it, and what the broker gets to see, on LevelDB and real sockets; and the
 * sample of the guide, taken from the page and run.
 */

import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { transform } from 'esbuild'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { generateKey, type SealedOptions, type SealedSession, sealedSession } from '../../client/e2e/index.ts'
import {
  type Broker,
  connect,
  type SessionRecord,
  type SocketFactory,
  type StandardSchemaV1,
} from '../../client/index.ts'
import { open as openSocket } from '../client/transport.ts'

let server: Server
let dataDir: string
let brokers: Broker[]
let key: Uint8Array
/** All that clients have sent. */
let sent: Buffer[]

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'litetopic-e2e-'))
  server = await startBroker({ port: 0, dataDir, streamGraceMs: 0 })
  brokers = []
  key = generateKey()
  sent = []
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
  await rm(dataDir, { recursive: true, force: true })
})

const watched: SocketFactory = (url, events, token) => {
  const socket = openSocket(url, events, token)
  return {
    send: (bytes) => {
      sent.push(Buffer.from(bytes))
      socket.send(bytes)
    },
    get bufferedBytes() {
      return socket.bufferedBytes
    },
    close: () => socket.close(),
    terminate: () => socket.terminate(),
  }
}

function client(): Broker {
  const broker = connect(server.url, { webSocket: watched })
  brokers.push(broker)
  return broker
}

/** In a process of its own. */
function open<T>(options: Partial<SealedOptions<T>> = {}, name = 'secret'): Promise<SealedSession<T>> {
  return sealedSession<T>(client(), name, { key, ...options })
}

/** Up to a message that says so. */
async function read<T>(session: SealedSession<T>, options = {}): Promise<SessionRecord<T>[]> {
  const all: SessionRecord<T>[] = []
  for await (const record of session.records(options)) {
    if (record.kind === 'message' && record.id === 'end') return all
    all.push(record)
  }
  return all
}

/** What of it is of interest. */
function told(record: SessionRecord<unknown>): unknown {
  switch (record.kind) {
    case 'message':
      return record.value
    case 'token':
      return [record.part, record.text ?? record.value ?? record.bytes]
    case 'context':
      return [record.op, record.name, record.value]
    case 'checkpoint':
      return [record.name, record.state]
    case 'stream':
      return [record.streamId, record.state, record.detail]
  }
}

describe('a sealed session', () => {
  it('gives back all that was written, to whoever has the key', async () => {
    const session = await open()
    await session.append({ question: 'wörld 😀?' })
    await session.append(new Uint8Array([0, 255]))
    await session.append('text', { id: 'once' })
    await session.append('text again', { id: 'once' })
    await session.context.set('plan', ['a', 1])
    await session.context.set('plan', 'b')
    await session.context.set('gone', 1)
    await session.context.delete('gone')
    await session.checkpoint('asked', { step: 1 })
    await session.checkpoint('empty')
    const stream = await session.openStream('reply')
    for (const piece of ['Hel', 'lo ', '\ud83d', '\ude00', '']) stream.write(piece)
    stream.writeJson({ call: [1] }, { part: 'tool' })
    stream.write(new Uint8Array([1, 2]), { part: 'tool' })
    stream.write('because', { part: 'reasoning' })
    await stream.end({ tokens: 3 })
    await session.append('end', { id: 'end' })

    const other = await open()
    const written = [
      { question: 'wörld 😀?' },
      new Uint8Array([0, 255]),
      'text',
      ['set', 'plan', ['a', 1]],
      ['set', 'plan', 'b'],
      ['set', 'gone', 1],
      ['delete', 'gone', undefined],
      ['asked', { step: 1 }],
      ['empty', null],
      ['reply', 'open', undefined],
    ]
    const after = [
      ['tool', { call: [1] }],
      ['tool', new Uint8Array([1, 2])],
      ['reasoning', 'because'],
      ['reply', 'done', { tokens: 3 }],
    ]
    expect((await read(other)).map(told)).toEqual([...written, ['text', 'Hello 😀'], ...after])
    const raw = await read(other, { raw: true })
    expect(raw.map(told)).toEqual([...written, ['text', 'Hel'], ['text', 'lo '], ['text', '😀'], ...after])
    // From anywhere.
    for (const [i, { cursor }] of raw.entries()) {
      expect((await read(other, { from: cursor, raw: true })).map(told)).toEqual(raw.slice(i + 1).map(told))
    }
    expect(await other.context.get('plan')).toBe('b')
    expect(await other.context.get('gone')).toBeUndefined()
    expect(await other.context.entries()).toEqual(new Map([['plan', 'b']]))
    expect((await other.checkpoints()).map(({ name, state }) => [name, state])).toEqual([
      ['empty', null],
      ['asked', { step: 1 }],
    ])
  })

  it('gives a run of tokens in its parts: sizes and count are those of what was written', async () => {
    const session = await open()
    const stream = await session.openStream('reply')
    for (let i = 0; i < 50; i++) stream.write(`${i};`)
    await stream.end()
    await session.append('end', { id: 'end' })
    const [, run] = await read(await open())
    expect(run).toMatchObject({ kind: 'token', count: 50, offset: 1, lastOffset: 50, live: false })
    const sizes = run?.kind === 'token' ? run.sizes : undefined
    expect(sizes).toEqual(Array.from({ length: 50 }, (_, i) => `${i};`.length))
  })

  it('holds what is large, in order with what is small', async () => {
    const session = await open()
    const large = '😀'.repeat(200_000)
    await Promise.all([session.append('1'), session.append(large), session.append('2'), session.append('3')])
    await session.append('end', { id: 'end' })
    const values = (await read(await open())).map(told)
    expect(values.map((value) => String(value).length)).toEqual([1, 400_000, 1, 1])
    expect(values[1] === large).toBe(true)
  })

  it('generates once; what was cut off goes on behind what is stored', async () => {
    const first = await open()
    const cut = await first.openStream('reply')
    cut.write('Hel')
    cut.write('hm', { part: 'reasoning' })
    await cut.flush()
    await brokers.pop()?.close()
    const session = await open()
    const result = await session.generate('reply', (stream) => {
      expect([stream.text, stream.parts.get('reasoning'), stream.resumed]).toEqual(['Hel', 'hm', true])
      stream.write('lo')
    })
    const expected = { end: 'done', text: 'Hello', parts: { text: 'Hello', reasoning: 'hm' }, detail: undefined }
    expect(result).toEqual(expected)
    const never = () => {
      throw new Error('this must not run')
    }
    expect(await (await open()).generate('reply', never)).toEqual(expected)
  })

  it('seals why a stream failed, and tells who stopped one', async () => {
    const session = await open()
    const error = new Error('the very secret reason')
    const failed = await session.generate('failing', (stream) => {
      stream.write('so far')
      throw error
    })
    expect(failed).toMatchObject({ end: 'failed', text: 'so far', detail: { message: error.message }, error })
    expect(await (await open()).generate('failing', () => {})).toMatchObject({ detail: { message: error.message } })
    const stopped = session.generate('endless', async (stream, signal) => {
      stream.write('so far')
      await stream.flush()
      await session.plain.stop('endless', { reason: 'enough' })
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
      signal.throwIfAborted()
    })
    expect(await stopped).toMatchObject({ end: 'stopped', text: 'so far', detail: { reason: 'enough' } })
    expect(sent.some((bytes) => bytes.includes('very secret'))).toBe(false)
  })

  it('takes more than fits any buffer, at the pace of the broker', async () => {
    const session = await open()
    const pieces = Array.from({ length: 200 }, (_, i) => `${i}:${'x'.repeat(10_000)};`)
    const { text } = await session.generate('long', (stream) => stream.pipe(pieces))
    expect(text === pieces.join('')).toBe(true)
  })

  it('validates what is written and read', async () => {
    const schema: StandardSchemaV1<unknown, string> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value) => (value === 'good' ? { value } : { issues: [{ message: 'bad' }] }),
      },
    }
    const session = await open<string>({ schema })
    await session.append('good')
    await expect(session.append('bad')).rejects.toMatchObject({ code: 'SCHEMA_INVALID' })
    await (await open()).append('bad')
    const reading = (await open<string>({ schema })).records()
    expect((await reading.next()).value).toMatchObject({ value: 'good' })
    await expect(reading.next()).rejects.toMatchObject({ code: 'SCHEMA_INVALID' })
  })

  it('takes only JSON, only real keys, and tokens only until the end', async () => {
    await expect(open({ key: new Uint8Array(16) })).rejects.toMatchObject({ code: 'BAD_REQUEST' })
    const master = await crypto.subtle.importKey('raw', new Uint8Array(key), 'HKDF', false, ['deriveKey'])
    const session = await open({ key: master })
    await expect(session.append(() => {})).rejects.toMatchObject({ code: 'BAD_VALUE' })
    await session.append('readable')
    expect((await (await open()).records().next()).value).toMatchObject({ value: 'readable' })
    const stream = await session.openStream('reply')
    const ending = stream.end()
    expect(() => stream.write('late')).toThrow('ended by this writer')
    await expect(stream.fail('late')).rejects.toMatchObject({ code: 'STREAM_ENDED' })
    await ending
  })
})

describe('the broker', () => {
  const SECRETS = [
    'SECRET-question',
    'SECRET-token-text',
    'SECRET-tool-value',
    'SECRET-plan',
    'SECRET-state',
    'SECRET-detail',
    'SECRET-large',
    'SECRET-failure',
  ]

  async function filesOf(directory: string): Promise<Buffer> {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    return Buffer.concat(await Promise.all(files.map((file) => readFile(file))))
  }

  const foundIn = (bytes: Buffer): string[] => SECRETS.filter((secret) => bytes.includes(secret))

  interface Writing {
    append(value: unknown): Promise<unknown>
    checkpoint(name: string, state: unknown): Promise<unknown>
    readonly context: { set(name: string, value: unknown): Promise<unknown> }
    openStream(id: string): ReturnType<SealedSession['openStream']>
  }

  async function write(session: Writing): Promise<void> {
    const [question, text, tool, plan, state, detail, large, failure] = SECRETS as [string, ...string[]]
    await session.append({ question })
    await session.append(`${large}${Array.from({ length: 60_000 }, (_, i) => i).join()}`)
    await session.context.set('plan', plan)
    await session.checkpoint('asked', { state })
    const stream = await session.openStream('done')
    stream.write(text as string)
    stream.writeJson({ tool: tool as string }, { part: 'tool' })
    await stream.end({ detail: detail as string })
    await (await session.openStream('failed')).fail(new Error(failure))
  }

  it('never gets to see what is sealed, nor does its directory hold it', async () => {
    await write((await open()) as unknown as Writing)
    expect(foundIn(Buffer.concat(sent))).toEqual([])
    await server.close()
    expect(foundIn(await filesOf(dataDir))).toEqual([])
    // Which this would have found, were it there.
    server = await startBroker({ port: 0, dataDir, streamGraceMs: 0 })
    await write((await client().session('plain')) as unknown as Writing)
    expect(foundIn(Buffer.concat(sent))).toEqual(SECRETS)
    await server.close()
    expect(foundIn(await filesOf(dataDir))).toEqual(SECRETS)
  })
})

it('the sample of the guide writes and reads what the broker cannot', async () => {
  const broker = connect(server.url)
  brokers.push(broker)
  const guide = readFileSync(new URL('../../client/e2e/README.md', import.meta.url), 'utf8')
  const sample = /```ts\n([\s\S]*?)```/.exec(guide)?.[1]?.replace(/^import .*$/gm, '')
  const { code } = await transform(`async function sample() {${sample}}`, { loader: 'ts' })
  const shown: unknown[] = []
  const printed: unknown[][] = []
  const given = {
    connect: () => broker,
    generateKey,
    sealedSession,
    llm: (before: string) => [`${before}Hello`, ', ', 'wörld'],
    ui: { show: (value: unknown) => shown.push(value), append: (...token: unknown[]) => shown.push(token) },
    console: { log: (...values: unknown[]) => printed.push(values) },
  }
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor
  await (new AsyncFunction(...Object.keys(given), `${code}; await sample()`)(...Object.values(given)) as Promise<void>)
  expect(printed).toEqual([['done', 'Hello, wörld']])
  expect(shown).toEqual([{ role: 'user', content: 'hi' }, ['reply-1', 'text', 'Hello, wörld']])
})
