/** The routes of a chat and its transport, over `Request` and `Response` alone: sent, cut off, come back to, stopped. */

import { DefaultChatTransport, streamText, UI_MESSAGE_STREAM_HEADERS, type UIMessage, type UIMessageChunk } from 'ai'
import { describe, expect, it } from 'vitest'
import type { Broker as Server } from '../../broker/index.ts'
import {
  type ChatRoute,
  type ChatRouteOptions,
  type ChatTransportOptions,
  chatRoute,
  chatTransport,
  type Fetch,
  type FinishedMessage,
  toResponse,
} from '../../client/ai-sdk/index.ts'
import { systemClock } from '../../client/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { client, collect, serve } from './broker.ts'
import { PlainChat } from './chat.ts'
import { Gate, recordedModel, recording } from './model.ts'

const QUESTION: UIMessage = { id: 'q', role: 'user', parts: [{ type: 'text', text: 'How many?' }] }
/** One that does not wait. */
const clock = { ...systemClock, setTimeout: (run: () => void) => systemClock.setTimeout(run, 0) }

interface App {
  readonly server: Server
  readonly route: ChatRoute
  readonly fetch: Fetch
  readonly gate: Gate
  readonly finished: FinishedMessage[]
  readonly errors: unknown[]
  answered: number
}

/** An app with the route, and a browser's fetch that reaches nothing else. */
async function start(more: Partial<ChatRouteOptions> = {}): Promise<App> {
  const server = await serve()
  const gate = new Gate()
  const finished: FinishedMessage[] = []
  const errors: unknown[] = []
  const route = chatRoute({
    broker: client(server),
    answer: ({ signal, messages }) => {
      app.answered++
      const result = streamText({ model: recordedModel(gate), prompt: 'How many?', abortSignal: signal })
      return result.toUIMessageStream({ originalMessages: messages, generateMessageId: () => 'a' })
    },
    onFinish: (how) => finished.push(how),
    onError: (error) => errors.push(error),
    ...more,
  })
  const fetch: Fetch = (address, init) => {
    const request = new Request(new URL(address, 'http://app.test'), init)
    return route[request.method as keyof ChatRoute](request)
  }
  const app: App = { server, route, fetch, gate, finished, errors, answered: 0 }
  return app
}

async function whole(): Promise<string> {
  return (await collect(recording())).map(({ text }) => text).join('')
}

const post = (body: unknown): RequestInit => ({ method: 'POST', body: JSON.stringify(body) })
const asked = { id: '1', messages: [QUESTION], trigger: 'submit-message' }

/** What an EventSource would make of it. */
async function eventsOf(response: Response): Promise<{ id: string | undefined; data: string }[]> {
  const blocks = (await response.text()).split('\n\n').filter((block) => block !== '' && !block.startsWith(':'))
  return blocks.map((block) => ({ id: /^id: (.*)$/m.exec(block)?.[1], data: /^data: (.*)$/m.exec(block)?.[1] ?? '' }))
}

it('answers as the AI SDK does, and from any event on', async () => {
  const { fetch, gate } = await start()
  gate.release()
  const response = await fetch('/api/chat', post({ ...asked, streamKey: 'k' }))
  const { 'cache-control': _, connection: __, ...headers } = UI_MESSAGE_STREAM_HEADERS
  expect(Object.fromEntries(response.headers)).toMatchObject(headers)
  const events = await eventsOf(response)
  expect(events.at(-1)).toEqual({ id: undefined, data: '[DONE]' })
  const text = (all: typeof events): string =>
    all.map(({ data }) => (data === '[DONE]' ? '' : (JSON.parse(data).delta ?? ''))).join('')
  expect(text(events)).toBe(await whole())
  for (const [at, { id }] of events.entries()) {
    const rest = await fetch('/api/chat/1/stream?stream=k', {
      headers: id === undefined ? {} : { 'last-event-id': id },
    })
    expect(text(await eventsOf(rest))).toBe(text(id === undefined ? events : events.slice(at + 1)))
  }
})

it('the unmodified DefaultChatTransport sends, comes back in the middle, and finds nothing behind the end', async () => {
  const { fetch, gate, finished } = await start()
  const open = (messages: UIMessage[] = []): PlainChat =>
    new PlainChat({
      id: '1',
      messages,
      transport: new DefaultChatTransport({ fetch: fetch as typeof globalThis.fetch }),
    })
  const tab = open()
  gate.release(20)
  const sent = tab.sendMessage({ text: 'How many?' })
  await eventually(() => tab.answer !== '')
  const reloaded = open([QUESTION])
  const resumed = reloaded.resumeStream()
  await eventually(() => reloaded.answer !== '')
  gate.release()
  await Promise.all([sent, resumed])
  expect([tab.answer, reloaded.answer]).toEqual([await whole(), await whole()])
  await eventually(() => finished.length === 1)
  const transport = new DefaultChatTransport({ fetch: fetch as typeof globalThis.fetch })
  expect(await transport.reconnectToStream({ chatId: '1' })).toBeNull()
})

describe.each(['over the route', 'from the broker'])('chatTransport, reading %s,', (how) => {
  const optionsOf = ({ server, fetch }: App): ChatTransportOptions => ({
    fetch,
    clock,
    ...(how === 'from the broker' ? { broker: client(server) } : {}),
  })

  it('shows both tabs the answer, and a page loaded in the middle of it; it finishes once', async () => {
    const app = await start()
    const tabs = [1, 2].map(() => new PlainChat({ id: '1', transport: chatTransport(optionsOf(app)) }))
    const [one, two] = tabs as [PlainChat, PlainChat]
    app.gate.release(20)
    const sent = one.sendMessage({ text: 'How many?' })
    await eventually(() => one.answer !== '')
    const resumed = two.resumeStream()
    await eventually(() => two.answer !== '')
    app.gate.release()
    await Promise.all([sent, resumed])
    expect([one.answer, two.answer]).toEqual([await whole(), await whole()])
    expect([one.status, two.status]).toEqual(['ready', 'ready'])
    await eventually(() => app.finished.length > 0)
    expect(app.finished).toMatchObject([{ end: 'done', chatId: '1', messages: [{ role: 'user' }, { id: 'a' }] }])
    expect(app.answered).toBe(1)
  })

  it('stop stops both tabs and the model; leaving stops nothing', async () => {
    const app = await start()
    const transport = chatTransport(optionsOf(app))
    const [one, two] = [new PlainChat({ id: '1', transport }), new PlainChat({ id: '1', transport })]
    app.gate.release(20)
    const sent = one.sendMessage({ text: 'How many?' })
    await eventually(() => one.answer !== '')
    const resumed = two.resumeStream()
    await eventually(() => two.answer !== '')
    const leaving = new PlainChat({ id: '1', transport })
    const left = leaving.resumeStream()
    await eventually(() => leaving.answer !== '')
    await leaving.stop()
    await left
    expect([one.status, two.status]).toEqual(['streaming', 'streaming'])
    await transport.stop('1')
    await Promise.all([sent, resumed])
    expect([one.status, two.status]).toEqual(['ready', 'ready'])
    await eventually(() => app.finished.length > 0)
    expect(app.finished).toMatchObject([{ end: 'stopped' }])
    expect(await transport.reconnectToStream({ chatId: '1' })).toBeNull()
    await transport.stop('1')
  })

  it('there is nothing to come back to in a chat that has not begun, and nothing to stop', async () => {
    const app = await start()
    const transport = chatTransport(optionsOf(app))
    expect(await transport.reconnectToStream({ chatId: '1' })).toBeNull()
    await transport.stop('1')
    await expect(client(app.server).describe('chat/1')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

it('the answer goes on through responses that break anywhere, and requests that do, without a doubled chunk', async () => {
  const app = await start()
  app.gate.release()
  let requests = 0
  const breaking: Fetch = async (address, init) => {
    const response = await app.fetch(address, init)
    requests++
    // Sent, and nobody hears of it.
    if (requests % 3 === 1) throw new TypeError('fetch failed')
    if (requests % 3 === 2) return new Response('', { status: 503 })
    return new Response(cut(response.body, 60 * requests), response)
  }
  const chat = new PlainChat({ id: '1', transport: chatTransport({ fetch: breaking, clock }) })
  await chat.sendMessage({ text: 'How many?' })
  expect(chat.answer).toBe(await whole())
  expect(requests).toBeGreaterThan(4)
  expect([app.answered, app.finished.length]).toEqual([1, 1])
})

/** As much of it as arrives before the connection breaks. */
function cut(body: ReadableStream<Uint8Array> | null, bytes: number): ReadableStream<Uint8Array> {
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  let left = bytes
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read()
      if (done) return controller.close()
      controller.enqueue(value.subarray(0, left))
      left -= value.length
      if (left > 0) return
      await reader.cancel()
      controller.error(new TypeError('terminated'))
    },
  })
}

it('who is cut off for good is told, and does not ask for ever', async () => {
  const unreachable = chatTransport({ clock, fetch: () => Promise.reject(new TypeError('fetch failed')) })
  await expect(unreachable.reconnectToStream({ chatId: '1' })).rejects.toThrow('fetch failed')
  const refused = chatTransport({ clock, fetch: async () => new Response('no', { status: 403 }) })
  await expect(refused.reconnectToStream({ chatId: '1' })).rejects.toThrow('no')
  const empty = chatTransport({ clock, fetch: async () => new Response('') })
  const chunks = await collect((await empty.reconnectToStream({ chatId: '1' })) as ReadableStream<UIMessageChunk>)
  expect(chunks).toEqual([{ type: 'error', errorText: 'This answer cannot be read any more.' }])
})

it('refuses what makes no sense, and chats that a request may not use', async () => {
  const { fetch, answered } = await start({ topic: (id, { headers }) => (headers.has('user') ? `chat/${id}` : null) })
  const status = async (address: string, init: RequestInit = {}, headers: Record<string, string> = { user: 'me' }) =>
    (await fetch(address, { ...init, headers })).status
  const bad = [
    ...[1, null, [], 'x', {}, { ...asked, id: 7 }, { ...asked, messages: [1] }, { ...asked, trigger: 'x' }],
    ...[
      { ...asked, messageId: 1 },
      { ...asked, streamKey: '../once/x' },
      { ...asked, id: '..' },
    ],
  ]
  for (const body of bad) expect(await status('/api/chat', post(body))).toBe(400)
  expect(await status('/api/chat', { method: 'POST', body: '{' })).toBe(400)
  expect(await status('/api/chat', post({ ...asked, more: 'x'.repeat(33 * 1024 * 1024) }))).toBe(400)
  for (const method of ['GET', 'DELETE']) {
    expect(await status('/api/chat/%ff/stream', { method })).toBe(400)
    expect(await status('/api/chat', { method })).toBe(400)
    expect(await status('/api/chat/1/stream', { method })).toBe(204)
    expect(await status('/api/chat/1/stream', { method }, {})).toBe(404)
  }
  expect(await status('/api/chat', post(asked), {})).toBe(404)
  expect(answered).toBe(0)
})

it('what the app throws is told to the app, and to the page that something was', async () => {
  const thrown = new Error('password of the database: 1234')
  const { fetch, errors } = await start({
    answer: () => {
      throw thrown
    },
  })
  expect(await eventsOf(await fetch('/api/chat', post(asked)))).toMatchObject([
    { data: '{"type":"error","errorText":"An error occurred."}' },
    { data: '[DONE]' },
  ])
  await eventually(() => errors.length > 0)
  expect(errors).toEqual([thrown])
})

it('an answer that is stopped before it begins is not made', async () => {
  const app = await start()
  const session = await client(app.server).session('chat/1')
  await session.stop('answer/k')
  expect(await eventsOf(await app.fetch('/api/chat', post({ ...asked, streamKey: 'k' })))).toMatchObject([
    { data: '{"type":"abort"}' },
    { data: '[DONE]' },
  ])
  expect(app.answered).toBe(0)
})

it('says that it is there while the model is silent, and how it ends when the topic is deleted', async () => {
  const app = await start()
  const session = await client(app.server).session('chat/1')
  await session.openStream('answer/k')
  const beats: (() => void)[] = []
  const manual = { ...systemClock, setTimeout: (run: () => void) => beats.push(run), clearTimeout: () => {} }
  let ended = 0
  const response = toResponse(session, 'answer/k', { clock: manual }, () => ended++)
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const first = reader.read()
  await eventually(() => beats.length === 1)
  beats[0]?.()
  expect(new TextDecoder().decode((await first).value)).toBe(':\n\n')
  await client(app.server).delete('chat/1')
  let rest = ''
  for (let next = await reader.read(); !next.done; next = await reader.read())
    rest += new TextDecoder().decode(next.value)
  const error = 'data: {"type":"error","errorText":"This answer cannot be read any more."}'
  expect(rest).toBe(`${error}\n\ndata: [DONE]\n\n`)
  expect(ended).toBe(1)
})
