/** The README's samples, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { transform } from 'esbuild'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { connect, isLitetopicError, type StreamWriter } from '../../client/index.ts'
import { ERRORS, LIMITS } from '../../protocol/index.ts'

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** The first block of TypeScript below a heading. */
function sampleOf(heading: string): string {
  const below = README.slice(README.indexOf(`# ${heading}\n`))
  const found = /```ts\n([\s\S]*?)```/.exec(below)?.[1]
  if (found === undefined) throw new Error(`the README has no sample of "${heading}"`)
  return found.replace(/^import .*$/m, '')
}

/** Runs a sample with what it is given; resolves when it ends. */
async function run(sample: string, given: Readonly<Record<string, unknown>>): Promise<void> {
  const { code } = await transform(`async function sample() {${sample}}`, { loader: 'ts' })
  const sampled = new AsyncFunction(...Object.keys(given), `${code}; await sample()`)
  await (sampled(...Object.values(given)) as Promise<void>)
}

it('the sample of the README stores an answer, checkpoints it and shows it to a reader', async () => {
  const broker = await startBroker({ port: 0, dataDir: null })
  const client = connect(broker.url)
  onTestFinished(async () => {
    await client.close()
    await broker.close()
  })
  const shown: string[] = []
  const printed: unknown[][] = []
  const stopButton: { onclick?: () => unknown } = {}
  const seen = withResolvers()
  const ui = {
    append: (streamId: string, part: string, text: string) => shown.push(`${streamId} ${part} ${text}`),
    status: (streamId: string, state: string) => {
      shown.push(`${streamId} ${state}`)
      if (state === 'done') seen.resolve()
    },
  }
  const given = {
    connect: () => client,
    streamText: () => ({ textStream: words('Hello', ', ', 'world') }),
    model: 'a model',
    promptFor: (text: string) => text,
    console: { log: (...values: unknown[]) => printed.push(values) },
    ui,
    stopButton,
  }
  const running = run(sampleOf('Use it'), given).catch(() => undefined)
  await seen.promise
  expect(printed).toEqual([['done', 'Hello, world']])
  expect(shown).toEqual(['reply-1 open', 'reply-1 text Hello, world', 'reply-1 done'])
  expect(await stopButton.onclick?.()).toMatchObject([{ streamId: 'reply-1', state: 'done' }])
  await client.close()
  await running
})

it('the sample about calls books once, and books again only if the first booking was cut off and is not found', async () => {
  const broker = await startBroker({ port: 0, dataDir: null, streamGraceMs: 0 })
  const [client, vanishing] = [connect(broker.url), connect(broker.url)]
  onTestFinished(async () => {
    await Promise.all([client.close(), vanishing.close()])
    await broker.close()
  })
  const shown: unknown[] = []
  let booked = 0
  const flights = { book: async () => ++booked, find: async () => null }
  const given = { flights, trip: { to: 'Rome' }, isLitetopicError, ui: { show: (value: unknown) => shown.push(value) } }
  const sample = sampleOf('Calls that run once')
  const session = await client.session('agent/1')
  await run(sample, { ...given, session })
  await run(sample, { ...given, session })
  expect(shown).toEqual([1, 1])

  void (await vanishing.session('agent/2')).once('book-1', () => new Promise(() => {})).catch(() => undefined)
  await vanishing.close()
  await run(sample, { ...given, session: await client.session('agent/2') })
  expect(shown).toEqual([1, 1, 2])
})

it('the sample about forks answers again from before the first answer', async () => {
  const broker = await startBroker({ port: 0, dataDir: null })
  const client = connect(broker.url)
  onTestFinished(async () => {
    await client.close()
    await broker.close()
  })
  const session = await client.session('support/ticket-42')
  await session.append('question')
  await session.checkpoint('asked')
  await session.generate('reply-1', (stream) => stream.pipe(words('first')))
  const printed: unknown[][] = []
  const console = { log: (...values: unknown[]) => printed.push(values) }
  const ask = (_model: string, stream: StreamWriter) => stream.pipe(words('another'))
  await run(sampleOf('Forks'), { session, ask, anotherModel: 'another', console })
  expect(printed).toEqual([['support/ticket-42', 'another']])
})

it('the sample about large messages uploads a file once, with progress, and plays it to a reader', async () => {
  const broker = await startBroker({ port: 0, dataDir: null })
  const client = connect(broker.url)
  onTestFinished(async () => {
    await client.close()
    await broker.close()
  })
  const session = await client.session('calls/1')
  await session.append('hello')
  const bytes = new Uint8Array(3 * LIMITS.partBytes).map((_, i) => i % 251)
  const progress: unknown[] = []
  const shown: unknown[] = []
  const cancelButton: { onclick?: () => unknown } = {}
  const played = withResolvers()
  let blob: Blob | undefined
  const ui = {
    progress: (...sent: unknown[]) => progress.push(sent),
    show: (value: unknown) => shown.push(value),
    play: (content: Blob) => {
      blob = content
      played.resolve()
    },
  }
  const running = run(sampleOf('Large messages'), { session, file: new Blob([bytes]), cancelButton, ui })
  const ended = running.catch(() => undefined)
  await Promise.race([played.promise, running])
  expect(blob?.type).toBe('audio/webm')
  expect(Buffer.compare(new Uint8Array((await blob?.arrayBuffer()) ?? []), bytes)).toBe(0)
  expect(progress.at(-1)).toEqual([bytes.length, bytes.length])
  expect(shown).toEqual(['hello'])
  cancelButton.onclick?.()
  await client.close()
  await ended
})

it('the limits that the README names are those of the code', () => {
  const row = (what: string): string => {
    const found = README.split('\n').find((line) => line.startsWith('|') && line.includes(what))
    if (found === undefined) throw new Error(`the README has no row about ${what}`)
    return found
  }
  const KiB = 1024
  expect(row('a topic name, record id')).toContain(`${LIMITS.nameBytes} bytes`)
  expect(row('the records of one append')).toContain(`${LIMITS.appendBytes / KiB} KiB`)
  expect(row('a large message ')).toContain(`${LIMITS.largeMessageBytes / KiB / KiB} MiB`)
  expect(row('one WebSocket message')).toContain(`${LIMITS.messageBytes / KiB / KiB} MiB`)
  expect(row('open streams of one topic')).toContain(`${LIMITS.openStreamsPerTopic}`)
  expect(row('producers remembered')).toContain(`${LIMITS.producersPerTopic}`)
  expect(row('unacknowledged writes')).toContain(`${LIMITS.sessionBufferBytes / KiB} KiB`)
})

it('the codes that the README names exist', () => {
  for (const code of README.match(/`[A-Z]+(?:_[A-Z]+)+`/g) ?? [])
    expect(Object.keys(ERRORS)).toContain(code.slice(1, -1))
})

async function* words(...pieces: string[]): AsyncGenerator<string> {
  yield* pieces
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

it('the sample of a function without a connection writes an answer through a run that is cut off', async () => {
  const broker = await startBroker({ port: 0, dataDir: null })
  onTestFinished(() => broker.close())
  const base = `http://${broker.host}:${broker.port}`
  const toBroker = (url: string, init: RequestInit): Promise<Response> =>
    fetch(url.replace('http://127.0.0.1:7171', base), init)
  const sample = sampleOf('Plain HTTP')
  const asked: string[] = []
  const runOnce = (runNumber: number, ...tokens: (string | Error)[]): Promise<void> => {
    async function* llm(soFar: string): AsyncGenerator<string> {
      asked.push(soFar)
      for (const token of tokens) {
        if (token instanceof Error) throw token
        yield token
      }
    }
    return run(sample, { fetch: toBroker, run: runNumber, llm })
  }
  await expect(runOnce(1, 'Hel', new Error('cut off'))).rejects.toThrow('cut off')
  await runOnce(2, 'lo', ', world')
  await runOnce(3, 'never')
  expect(asked).toEqual(['', 'Hel'])
  const text = await fetch(`${base}/v1/records/support/ticket-42?stream=reply-1`, { headers: { accept: 'text/plain' } })
  expect(await text.text()).toBe('Hello, world')
  const stream = await fetch(`${base}/v1/streams/support/ticket-42?stream=reply-1`)
  expect(await stream.json()).toMatchObject({ state: 'done', live: false })
})
