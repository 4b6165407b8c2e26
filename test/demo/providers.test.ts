/** What each provider's recorded stream becomes, in every layout and any chunking. */

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { isLitetopicError, LIMITS } from '../../protocol/index.ts'
import { ANTHROPIC, ANTHROPIC_TOKENS, byPart, CHAT, CHAT_TOKENS, RESPONSES, RESPONSES_TOKENS, read } from './samples.ts'

const FORMATS = [
  { provider: 'OpenAI chat completions', events: CHAT, tokens: CHAT_TOKENS },
  { provider: 'OpenAI Responses', events: RESPONSES, tokens: RESPONSES_TOKENS },
  { provider: 'Anthropic messages', events: ANTHROPIC, tokens: ANTHROPIC_TOKENS },
] as const

describe.each(FORMATS)('a recording of $provider', ({ provider, events, tokens }) => {
  test('gives its deltas as tokens of parts when it is JSON lines', async () => {
    const found = await read(`${events.join('\n')}\n`)
    expect(found.tokens).toEqual(tokens)
    expect(found.recording.framing).toBe('JSON lines')
    expect(found.recording.provider).toBe(provider)
    expect(found.recording.events).toBe(events.length)
  })

  test('gives the same with CRLF, empty lines, a byte order mark and [DONE]', async () => {
    const found = await read(`\ufeff\r\n${events.join('\r\n\r\n')}\r\n[DONE]\r\n`)
    expect(found.tokens).toEqual(tokens)
  })

  test('gives the same as raw server-sent events with names, comments and [DONE]', async () => {
    const blocks = events.map((event, i) => `: comment\nevent: e${i}\nid: ${i}\ndata: ${event}\n\n`)
    const found = await read(`${blocks.join('')}data: [DONE]\n\n`)
    expect(found.tokens).toEqual(tokens)
    expect(found.recording.framing).toBe('server-sent events')
    expect(found.recording.provider).toBe(provider)
  })

  test('gives the same as server-sent events with CRLF, no space after the colon, and no empty line at the end', async () => {
    expect((await read(events.map((event) => `data:${event}`).join('\r\n\r\n'))).tokens).toEqual(tokens)
  })

  test('gives the same when only the data lines of the events were kept', async () => {
    expect((await read(events.map((event) => `data: ${event}\n`).join(''))).tokens).toEqual(tokens)
  })

  test.each([1, 2, 3, 7, 64])('gives the same when it comes in chunks of %i bytes', async (size) => {
    expect((await read(events.join('\n'), size)).tokens).toEqual(tokens)
    const sse = events.map((event) => `event: x\ndata: ${event}\n\n`).join('')
    expect((await read(sse, size)).tokens).toEqual(tokens)
  })
})

describe('plain text', () => {
  const text =
    'Äpfel und 👩‍👩‍👧 Birnen,\n\n  zusammen:   ein Satz ohneJedesLeerzeichenUndSehrLang 漢字漢字漢字漢字漢字漢字漢字漢字漢字.\n'

  test.each([1, 3, 5, 1000])('is split into words without losing anything, in chunks of %i bytes', async (size) => {
    const { tokens, recording } = await read(text, size)
    expect(byPart(tokens)).toEqual({ text })
    expect(tokens.length).toBeGreaterThan(10)
    expect(tokens.every((token) => token.text.length > 0 && token.text.length <= 40)).toBe(true)
    expect(recording.framing).toBe('plain text')
    expect(recording.events).toBe(0)
  })

  test.each([
    ['prose that begins like a server-sent event', 'data: we have plenty\nevent: a party\n'],
    ['a comment without data after it', ': a smile\nid: 7\n'],
    ['code that begins with a brace', '{\n  "pretty": true\n}\n'],
    ['white space alone', '  \n \n'],
    ['a single character', 'x'],
  ])('is what it is taken for: %s', async (_, input) => {
    const { tokens, recording } = await read(input)
    expect(byPart(tokens)).toEqual({ text: input })
    expect(recording.framing).toBe('plain text')
  })

  test('is no token at all when it is empty', async () => {
    expect((await read('')).tokens).toEqual([])
  })
})

describe('input that is broken', () => {
  test('is refused with the number of the line that is not JSON', async () => {
    const error = await failure(read(`${CHAT[0]}\n\n{"choices": [oops\n${CHAT[2]}\n`))
    expect(isLitetopicError(error, 'BAD_VALUE') && error.details.line).toBe(3)
    expect(String(error)).toContain('line 3')
  })

  test('is refused with the number of the line when a server-sent event is not JSON', async () => {
    const error = await failure(read(`data: ${CHAT[0]}\n\nevent: x\ndata: {"broken"\n\ndata: ${CHAT[1]}\n\n`))
    expect(isLitetopicError(error, 'BAD_VALUE') && error.details.line).toBe(4)
  })

  test('is refused when a line is JSON but no object', async () => {
    const error = await failure(read(`${CHAT[0]}\n17\n`))
    expect(isLitetopicError(error, 'BAD_VALUE') && error.details.line).toBe(2)
  })

  test('is refused when it is not UTF-8', async () => {
    const error = await failure(read(new Uint8Array([0x68, 0x69, 0x20, 0xff, 0xfe, 0x00])))
    expect(isLitetopicError(error, 'BAD_VALUE')).toBe(true)
  })

  test('is refused when it ends inside a character', async () => {
    expect(isLitetopicError(await failure(read(new Uint8Array([0x68, 0xc3]), 1)), 'BAD_VALUE')).toBe(true)
  })
})

test('events of no known provider give no tokens but are counted', async () => {
  const { tokens, recording } = await read('{"level":"info"}\n{"type":"other"}\n')
  expect(tokens).toEqual([])
  expect(recording.events).toBe(2)
  expect(recording.provider).toBeUndefined()
})

test('a character split between two deltas comes whole, and half a character becomes U+FFFD', async () => {
  const delta = (content: string): string => `{"choices":[{"index":0,"delta":{"content":"${content}"}}]}`
  const { tokens } = await read([delta('a\\ud83d'), delta('\\udc4bb'), delta('\\udc4b'), delta('c\\ud83d')].join('\n'))
  expect(byPart(tokens)).toEqual({ text: 'a👋b\ufffdc\ufffd' })
})

test('a delta of any size becomes tokens that can be published', async () => {
  const content = '👋'.repeat(30_000)
  const { tokens } = await read(`{"choices":[{"index":0,"delta":{"content":"x${content}"}}]}`)
  expect(byPart(tokens)).toEqual({ text: `x${content}` })
  expect(Math.max(...tokens.map(({ text }) => text.length))).toBeLessThanOrEqual(8192)
})

test('an id of a tool call that makes no valid part gets another name, always the same', async () => {
  const id = 'x'.repeat(300)
  const event = (args: string): string =>
    `{"type":"response.function_call_arguments.delta","item_id":"${id}","delta":"${args}"}`
  const { tokens } = await read([event('1'), event('2')].join('\n'))
  expect(byPart(tokens)).toEqual({ 'tool:~1': '12' })
  expect(new TextEncoder().encode(tokens[0]?.part).length).toBeLessThanOrEqual(LIMITS.nameBytes)
})

const STREAMS = new URL('../../../shared/streams/', import.meta.url)
const present = existsSync(STREAMS)

describe.runIf(present)('the recordings of real models', () => {
  const readme = present ? readFileSync(new URL('README.md', STREAMS), 'utf8') : ''
  const files = [...readme.matchAll(/^\| (\S+\.jsonl) \|.*\| (\d+) \|$/gm)].map(([, file, count]) => ({
    file: file as string,
    count: Number(count),
  }))

  test('are listed with their counts', () => {
    expect(files.length).toBeGreaterThanOrEqual(5)
  })

  test.each(files)('$file gives $count tokens', async ({ file, count }) => {
    const bytes = readFileSync(new URL(file, STREAMS))
    const { tokens } = await read(bytes, 4099)
    expect(tokens.length).toBe(count)
  })
})

if (!present) console.log('skipped: the recordings of real models, because ../shared/streams is not there')

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  )
}
