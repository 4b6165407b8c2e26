/**
 * resumable-stream itself, unmodified, on litetopic: what it promises with Redis, between contexts that share nothing but the broker. And the
 * sample of the guide, taken from the page and run.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { transform } from 'esbuild'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { createResumableStreamContext, type ResumableStreamContext } from '../../client/resumable-stream/index.ts'
import { programArgs } from '../programs.ts'
import { Feed, readSome, textOf } from './text-stream.ts'

let server: Server
let brokers: Broker[]
/** Of streams that are being written. */
let writing: Promise<unknown>[]

const waitUntil = (written: Promise<unknown>): void => void writing.push(written)

beforeEach(async () => {
  server = await startBroker({ port: 0, dataDir: null })
  brokers = []
  writing = []
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await Promise.all(writing)
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
})

/** As in a process of its own. */
function context(): ResumableStreamContext {
  const broker = connect(server.url)
  brokers.push(broker)
  return createResumableStreamContext({ waitUntil, broker })
}

const never = (): never => {
  throw new Error('this stream is there already')
}

describe.each([
  ['of one process', () => Array(3).fill(context()) as ResumableStreamContext[]],
  ['of three processes', () => [context(), context(), context()]],
])('contexts %s', (_, contexts) => {
  it('hand a stream through', async () => {
    const [one] = contexts()
    const feed = new Feed()
    const stream = await one?.resumableStream('s', () => feed.readable)
    feed.write('a', 'bc', '😀')
    feed.end()
    expect(await textOf(stream)).toBe('abc😀')
  })

  it('give whoever comes later all of it, as it comes', async () => {
    const [one, two, three] = contexts() as [ResumableStreamContext, ResumableStreamContext, ResumableStreamContext]
    const feed = new Feed()
    const made = (await one.resumableStream('s', () => feed.readable)) as ReadableStream<string>
    feed.write('1\n')
    expect(await readSome(made, 2)).toBe('1\n')
    const second = (await two.resumableStream('s', never)) as ReadableStream<string>
    expect(await readSome(second, 2)).toBe('1\n')
    feed.write('2\n')
    expect(await readSome(second, 2)).toBe('2\n')
    const third = await three.resumeExistingStream('s')
    feed.write('3\n')
    feed.end()
    expect(await Promise.all([textOf(made), textOf(second), textOf(third)])).toEqual(['2\n3\n', '3\n', '1\n2\n3\n'])
  })

  it('leave out as many characters as are known', async () => {
    const [one, two] = contexts() as [ResumableStreamContext, ResumableStreamContext]
    const feed = new Feed()
    const made = await one.resumableStream('s', () => feed.readable)
    feed.write('1\n', '2\n')
    const skips = [0, 2, 4].map((skip) => two.resumeExistingStream('s', skip))
    const resumed = await Promise.all(skips)
    feed.write('3\n')
    feed.end()
    expect(await Promise.all(resumed.map(textOf))).toEqual(['1\n2\n3\n', '2\n3\n', '3\n'])
    expect(await textOf(made)).toBe('1\n2\n3\n')
  })

  it('keep streams apart, and know which there are', async () => {
    const [one, two] = contexts() as [ResumableStreamContext, ResumableStreamContext]
    const feeds = [new Feed(), new Feed()] as const
    expect(await two.hasExistingStream('a/b')).toBeNull()
    expect(await two.resumeExistingStream('a/b')).toBeUndefined()
    const made = [
      await one.createNewResumableStream('a/b', () => feeds[0].readable),
      await two.createNewResumableStream('a b', () => feeds[1].readable),
    ]
    expect(await two.hasExistingStream('a/b')).toBe(true)
    const resumed = [await two.resumeExistingStream('a/b'), await one.resumeExistingStream('a b')]
    feeds[0].write('first')
    feeds[1].write('second')
    feeds[0].end()
    feeds[1].end()
    expect(await Promise.all([...made, ...resumed].map(textOf))).toEqual(['first', 'second', 'first', 'second'])
    await vi.waitFor(async () => expect(await two.hasExistingStream('a/b')).toBe('DONE'))
  })

  it('give null for a stream that is done, at once where it was done', async () => {
    const [one, two] = contexts() as [ResumableStreamContext, ResumableStreamContext]
    const feed = new Feed()
    const made = await one.resumableStream('s', () => feed.readable)
    const follower = await two.resumableStream('s', never)
    feed.write('all')
    feed.end()
    expect(await textOf(made)).toBe('all')
    expect(await one.resumableStream('s', never)).toBeNull()
    expect(await textOf(follower)).toBe('all')
    // Who has seen the end finds it done.
    expect(await two.resumableStream('s', never)).toBeNull()
    expect(await two.resumeExistingStream('s')).toBeNull()
    expect(await two.hasExistingStream('s')).toBe('DONE')
  })

  it('go on writing when the first reader goes away', async () => {
    const [one, two] = contexts() as [ResumableStreamContext, ResumableStreamContext]
    const feed = new Feed()
    const made = (await one.resumableStream('s', () => feed.readable)) as ReadableStream<string>
    feed.write('1')
    expect(await readSome(made, 1)).toBe('1')
    await made.cancel()
    const resumed = await two.resumableStream('s', never)
    feed.write('2')
    feed.end()
    expect(await textOf(resumed)).toBe('12')
  })
})

it('what is resumed may be long, and stays in order', async () => {
  const feed = new Feed()
  await context().resumableStream('s', () => feed.readable)
  const pieces = Array.from({ length: 600 }, (_, i) => `${i}:${'é😀'.repeat(200)};`)
  feed.write(...pieces.slice(0, 500))
  const resumed = await context().resumableStream('s', never)
  feed.write(...pieces.slice(500))
  feed.end()
  expect((await textOf(resumed)) === pieces.join('')).toBe(true)
})

it('LITETOPIC_URL is where REDIS_URL was', async () => {
  expect(() => createResumableStreamContext({ waitUntil: null })).toThrow('LITETOPIC_URL')
  vi.stubEnv('LITETOPIC_URL', server.url)
  const [one, two] = [1, 2].map(() => createResumableStreamContext({ waitUntil, publisher: undefined }))
  const feed = new Feed()
  await one?.resumableStream('s', () => feed.readable)
  const resumed = await two?.resumableStream('s', never)
  feed.write('text')
  feed.end()
  expect(await textOf(resumed)).toBe('text')
})

it('a stream of another process is resumed here, and given up when that process is gone', async () => {
  const producer = spawn(process.execPath, programArgs('test/resumable-stream/producer.ts'), {
    env: { ...process.env, LITETOPIC_URL: server.url },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(producer.stdout, 'data')
  const here = context()
  const resumed = (await here.resumeExistingStream('s')) as ReadableStream<string>
  expect(await readSome(resumed, 6)).toBe('begun;')
  producer.stdin.write('more;')
  expect(await readSome(resumed, 5)).toBe('more;')
  producer.kill('SIGKILL')
  await once(producer, 'exit')
  await expect(here.resumeExistingStream('s')).rejects.toThrow('Timeout waiting for ack')
})

describe("the package's own sample", () => {
  const readme = readFileSync(new URL('../../node_modules/resumable-stream/README.md', import.meta.url), 'utf8')

  it.each(['Idempotent API', 'Usage with explicit resumption'])('runs with one import changed: %s', async (heading) => {
    vi.stubEnv('LITETOPIC_URL', server.url)
    const below = readme.slice(readme.indexOf(`### ${heading}`))
    const sample = /```typescript\n([\s\S]*?)```/.exec(below)?.[1] as string
    expect(sample).toContain('import { createResumableStreamContext } from "resumable-stream";')
    const { code } = await transform(sample.replace(/^import .*$/gm, '').replace(/^export /gm, ''), { loader: 'ts' })
    const feeds: Feed[] = []
    const makeTestStream = () => {
      const feed = new Feed()
      feeds.push(feed)
      return feed.readable
    }
    const make = new Function(
      'createResumableStreamContext',
      'after',
      'makeTestStream',
      `${code}; return { GET, POST: typeof POST === 'undefined' ? GET : POST }`,
    )
    const { GET, POST } = make(createResumableStreamContext, waitUntil, makeTestStream)
    const call = (handler: typeof GET, query = ''): Promise<Response> => {
      const url = new URL(`http://app.test/${query}`)
      return handler({ nextUrl: url }, { params: Promise.resolve({ streamId: 'sample' }) })
    }
    const made = await call(POST)
    feeds[0]?.write('data: 1\n\n')
    const resumed = await call(GET)
    const skipped = await call(GET, '?resumeAt=9')
    feeds[0]?.write('data: 2\n\n')
    feeds[0]?.end()
    expect(await Promise.all([made, resumed, skipped].map(textOfResponse))).toEqual([
      'data: 1\n\ndata: 2\n\n',
      'data: 1\n\ndata: 2\n\n',
      'data: 2\n\n',
    ])
    expect(feeds).toHaveLength(1)
    expect((await call(GET)).status).toBe(422)
  })
})

/** As Next.js takes it: a body of strings. */
async function textOfResponse(response: Response): Promise<string> {
  return textOf(response.body as unknown as ReadableStream<string>)
}

type Route = (request: Request) => Promise<Response>

it('the sample of the guide streams an answer, and gives it to who comes later', async () => {
  vi.stubEnv('LITETOPIC_URL', server.url)
  const guide = readFileSync(new URL('../../client/resumable-stream/README.md', import.meta.url), 'utf8')
  const sample = /```ts\n([\s\S]*?)```/.exec(guide)?.[1] as string
  const { code } = await transform(sample.replace(/^import .*$/gm, '').replace(/^export /gm, ''), { loader: 'ts' })
  const stored: Promise<unknown>[] = []
  const feed = new Feed()
  const make = new Function('createResumableStreamContext', 'after', 'answer', `${code}; return { GET, POST }`)
  const { GET, POST } = make(
    createResumableStreamContext,
    (promise: Promise<unknown>) => stored.push(promise),
    () => feed.readable,
  ) as { GET: Route; POST: Route }
  const get = () => GET(new Request('http://app.test/?chat=42'))
  expect((await get()).status).toBe(204)
  const made = await POST(
    new Request('http://app.test/', { method: 'POST', body: JSON.stringify({ chatId: '42', prompt: 'hi' }) }),
  )
  feed.write('data: Hello\n\n')
  const resumed = await get()
  feed.write('data: wörld\n\n')
  feed.end()
  expect(await made.text()).toBe('data: Hello\n\ndata: wörld\n\n')
  expect(await resumed.text()).toBe('data: Hello\n\ndata: wörld\n\n')
  await Promise.all(stored)
  expect((await get()).status).toBe(204)
})
