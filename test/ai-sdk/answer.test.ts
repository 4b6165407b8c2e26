/** One answer of a model: made once, ended once, whoever asks, and whatever becomes of the process that makes it. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { streamText, type UIMessage, type UIMessageChunk } from 'ai'
import { expect, it, onTestFinished } from 'vitest'
import { type FinishedMessage, generateMessage, readChunkEvents, readChunks } from '../../client/ai-sdk/index.ts'
import { FaultyNetwork } from '../client/faulty-network.ts'
import { client, collect, serve } from './broker.ts'
import { Gate, realModel, recordedModel, recording } from './model.ts'

const QUESTION: UIMessage = { id: 'q', role: 'user', parts: [{ type: 'text', text: 'How many r are in strawberry?' }] }
const never = (): never => {
  throw new Error('this must not run')
}

function answer(gate = Gate.open(), signal?: AbortSignal, model = recordedModel(gate)): ReadableStream<UIMessageChunk> {
  const result = streamText({ model, prompt: 'How many r are in strawberry?', abortSignal: signal })
  return result.toUIMessageStream({ originalMessages: [QUESTION], generateMessageId: () => 'a' })
}

/** What the recording says, as the parts of a message. */
async function spoken(): Promise<{ text: string; reasoning: string }> {
  const said = { text: '', reasoning: '' }
  for await (const { part, text } of recording()) said[part as keyof typeof said] += text
  return said
}

function saidBy(message: UIMessage | undefined): { text: string; reasoning: string } {
  const said = { text: '', reasoning: '' }
  for (const part of message?.parts ?? []) {
    if (part.type === 'text' || part.type === 'reasoning') said[part.type] += part.text
  }
  return said
}

it('stores what streamText says, chunk by chunk', async () => {
  const session = await client(await serve()).session('chat/1')
  const finished = await generateMessage(session, 'a', () => answer(), { originalMessages: [QUESTION] })
  expect(finished).toMatchObject({ end: 'done', messages: [QUESTION, finished.message] })
  expect(saidBy(finished.message)).toEqual(await spoken())
  const stored = await collect(readChunks(session, 'a', { coalesce: false }))
  expect(stored).toEqual(await collect(answer()))
})

it('a reader in the middle of it sees what is there, and then the rest', async () => {
  const server = await serve()
  const session = await client(server).session('chat/1')
  const gate = new Gate()
  gate.release(10)
  const making = generateMessage(session, 'a', () => answer(gate))
  const other = await client(server).session('chat/1')
  while ((await other.stream('a')) === null) await other.flush()
  const seen: UIMessageChunk[] = []
  for await (const chunk of readChunks(other, 'a') as AsyncIterable<UIMessageChunk> & ReadableStream) {
    if (seen.push(chunk) === 4) gate.release()
  }
  const { message } = await making
  const deltas = seen.map((chunk) => (chunk.type === 'text-delta' ? chunk.delta : ''))
  expect(deltas.join('')).toBe(saidBy(message).text)
})

it('finishes once, whoever asks for it, at the same time and later', async () => {
  const server = await serve()
  const sessions = await Promise.all([1, 2, 3].map(() => client(server).session('chat/1')))
  const finished: FinishedMessage[] = []
  const onFinish = (how: FinishedMessage) => finished.push(how)
  const all = await Promise.all(sessions.map((session) => generateMessage(session, 'a', () => answer(), { onFinish })))
  await generateMessage(await client(server).session('chat/1'), 'a', never, { onFinish })
  expect(finished).toHaveLength(1)
  for (const { end, message } of all) expect([end, saidBy(message)]).toEqual(['done', await spoken()])
})

it('a stop ends it for the model, for every reader, and as what finished', async () => {
  const server = await serve()
  const session = await client(server).session('chat/1')
  const gate = new Gate()
  gate.release(5)
  let aborted: unknown
  const finished: string[] = []
  const making = generateMessage(
    session,
    'a',
    (signal) => {
      signal.addEventListener('abort', () => {
        aborted = signal.reason
      })
      return answer(gate, signal)
    },
    { onFinish: ({ end }) => finished.push(end) },
  )
  const others = await Promise.all([1, 2].map(() => client(server).session('chat/1')))
  const [one, two] = others as [(typeof others)[0], (typeof others)[0]]
  while ((await one.stream('a')) === null) await one.flush()
  const tabs = [readChunks(one, 'a'), readChunks(two, 'a')].map(collect)
  await one.stop('a', { reason: 'enough' })
  for (const tab of tabs) expect((await tab).at(-1)).toEqual({ type: 'abort', reason: 'enough' })
  const told = (await collect(readChunkEvents(two, 'a'))).at(-1)
  expect(told?.chunk.type).toBe('abort')
  expect(await collect(readChunkEvents(two, 'a', { from: told?.cursor }))).toEqual([])
  expect(await making).toMatchObject({ end: 'stopped', detail: { reason: 'enough' } })
  expect(aborted).toMatchObject({ code: 'STREAM_STOPPED' })
  expect(finished).toEqual(['stopped'])
})

it('what making it throws ends it as failed, and readers are not told why', async () => {
  const session = await client(await serve()).session('chat/1')
  const thrown = new Error('password of the database: 1234')
  const finished = await generateMessage(session, 'a', () => Promise.reject(thrown))
  expect(finished).toMatchObject({ end: 'failed', error: thrown, message: undefined, messages: [] })
  expect(await collect(readChunks(session, 'a'))).toEqual([{ type: 'error', errorText: 'An error occurred.' }])
})

it('a reader is told when the process that makes it is gone, and reads the new attempt only', async () => {
  const server = await serve()
  const network = new FaultyNetwork()
  const lost = await client(server, network).session('chat/1')
  const gate = new Gate()
  gate.release(12)
  void generateMessage(lost, 'a', () => answer(gate)).catch(() => {})
  const session = await client(server).session('chat/1')
  while ((await session.stream('a')) === null) await session.flush()
  const reading = readChunks(session, 'a').getReader()
  await reading.read()
  network.down = true
  network.cut()
  let last: UIMessageChunk | undefined
  for (let next = await reading.read(); !next.done; next = await reading.read()) last = next.value
  expect(last).toEqual({ type: 'error', errorText: 'The process that wrote this answer is gone.' })
  const again = await generateMessage(session, 'a', () => answer(), { originalMessages: [QUESTION] })
  expect(saidBy(again.message)).toEqual(await spoken())
})

it('a reader is told at once when another process begins it again', async () => {
  const server = await serve(60_000)
  const lost = client(server)
  const gate = new Gate()
  gate.release(12)
  void generateMessage(await lost.session('chat/1'), 'a', () => answer(gate)).catch(() => {})
  const session = await client(server).session('chat/1')
  while ((await session.stream('a')) === null) await session.flush()
  const reading = collect(readChunks(session, 'a'))
  await lost.close()
  const again = await generateMessage(await client(server).session('chat/1'), 'a', () => answer())
  expect((await reading).at(-1)).toEqual({ type: 'error', errorText: 'This answer was interrupted, and begun again.' })
  expect(saidBy(again.message)).toEqual(await spoken())
})

it('an answer whose writer was only away is whole', async () => {
  const server = await serve()
  const network = new FaultyNetwork()
  const gate = new Gate()
  gate.release(12)
  const away = await client(server, network).session('chat/1')
  const making = generateMessage(away, 'a', () => answer(gate), { originalMessages: [QUESTION] })
  const session = await client(server).session('chat/1')
  while ((await session.stream('a')) === null) await session.flush()
  network.cut()
  while ((await session.stream('a'))?.state !== 'resumed') await session.flush()
  gate.release()
  expect(saidBy((await making).message)).toEqual(await spoken())
  expect(await collect(readChunks(session, 'a', { coalesce: false }))).toEqual(await collect(answer()))
})

it('a crash within onFinish is told, not hidden by a second call, unless that is asked for', async () => {
  const server = await serve()
  const network = new FaultyNetwork()
  const lost = await client(server, network).session('chat/1')
  await new Promise<void>((resolve) => {
    const onFinish = (): Promise<never> => {
      resolve()
      return new Promise(() => {})
    }
    void generateMessage(lost, 'a', () => answer(), { onFinish }).catch(() => {})
  })
  network.down = true
  network.cut()
  const session = await client(server).session('chat/1')
  const asked = { code: 'OUTCOME_UNKNOWN', details: { call: 'finish/a' } }
  await expect(generateMessage(session, 'a', never, { onFinish: never })).rejects.toMatchObject(asked)
  let calls = 0
  await generateMessage(session, 'a', never, { onFinish: () => ++calls, ifUnknown: 'run' })
  expect(calls).toBe(1)
})

it('goes on with the last message of the assistant, and leaves the one that it was given as it is', async () => {
  const session = await client(await serve()).session('chat/1')
  const begun: UIMessage = { id: 'a', role: 'assistant', parts: [{ type: 'text', text: 'Well: ', state: 'done' }] }
  const { message, messages } = await generateMessage(session, 'a', () => answer(), {
    originalMessages: [QUESTION, begun],
  })
  expect(saidBy(message).text).toBe(`Well: ${(await spoken()).text}`)
  expect(messages.map(({ id }) => id)).toEqual(['q', 'a'])
  expect(begun.parts).toHaveLength(1)
})

it('a model that speaks OpenAI’s chat completions answers: the recording, or one that OPENAI_BASE_URL names', async () => {
  const session = await client(await serve()).session('chat/1')
  const { OPENAI_BASE_URL: url = await completions(), OPENAI_MODEL = 'recorded', OPENAI_API_KEY = '' } = process.env
  const model = realModel(url, OPENAI_MODEL, OPENAI_API_KEY)
  const { end, message } = await generateMessage(session, 'a', () => answer(undefined, undefined, model))
  expect(end).toBe('done')
  if (OPENAI_MODEL === 'recorded') expect(saidBy(message)).toEqual(await spoken())
  else expect(saidBy(message).text).not.toBe('')
})

/** A server that answers with the recording, as such a model would. */
async function completions(): Promise<string> {
  const { readFileSync } = await import('node:fs')
  const lines = readFileSync(new URL('deepseek-reasoning.jsonl', import.meta.url), 'utf8')
    .trim()
    .split('\n')
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`${lines.map((line) => `data: ${line}\n\n`).join('')}data: [DONE]\n\n`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}
