/** The README's samples, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { transform } from 'esbuild'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { connect } from '../../client/index.ts'
import { ERRORS, LIMITS } from '../../protocol/index.ts'

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

function block(language: string): string {
  const found = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(README)?.[1]
  if (found === undefined) throw new Error(`the README has no ${language} block`)
  return found
}

it('the sample of the README stores an answer, checkpoints it and shows it to a reader', async () => {
  const broker = await startBroker({ port: 0, dataDir: null })
  const client = connect(broker.url)
  onTestFinished(async () => {
    await client.close()
    await broker.close()
  })
  const sample = block('ts').replace(/^import .*$/m, '')
  const { code } = await transform(`async function sample() {${sample}}`, { loader: 'ts' })
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
  const run = new AsyncFunction(...Object.keys(given), `${code}; await sample()`)
  const running = (run(...Object.values(given)) as Promise<void>).catch(() => undefined)
  await seen.promise
  expect(printed).toEqual([['done', 'Hello, world']])
  expect(shown).toEqual(['reply-1 open', 'reply-1 text Hello, world', 'reply-1 done'])
  expect(await stopButton.onclick?.()).toMatchObject([{ streamId: 'reply-1', state: 'done' }])
  await client.close()
  await running
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
