/**
 * What a run streams, stored and read back: whole, from anywhere, and by the client of the LangGraph SDK, unmodified; tools that run once for
 * each call, under LangGraph's own node for tools; and the samples of the guide, taken from the page and run. One file, as LangGraph takes
 * longer to load than most of these take to run.
 */

import { AIMessage, AIMessageChunk, type BaseMessageChunk, ToolMessage } from '@langchain/core/messages'
import { ChatGenerationChunk } from '@langchain/core/outputs'
import { tool } from '@langchain/core/tools'
import { FakeStreamingChatModel } from '@langchain/core/utils/testing'
import {
  Annotation,
  Command,
  END,
  interrupt,
  MemorySaver,
  MessagesAnnotation,
  START,
  StateGraph,
} from '@langchain/langgraph'
import { ToolNode } from '@langchain/langgraph/prebuilt'
import { Client } from '@langchain/langgraph-sdk'
import { expect, it } from 'vitest'
import type { Session } from '../../client/index.ts'
import {
  joinRuns,
  LitetopicSaver,
  onceTool,
  readRun,
  type StoredEvent,
  streamRun,
} from '../../client/langgraph/index.ts'
import { VirtualClock } from '../client/virtual-clock.ts'
import { runSample, sampleOf } from '../guides.ts'
import { client, serve } from './savers.ts'

const WORDS = ['Half ', 'a 😀 ', 'pair: ', '\ud83d', '\ude00 and ', 'done.']

const CHUNKS = [
  ...WORDS.map((content) => new AIMessageChunk({ content, id: 'message-1' })),
  new AIMessageChunk({
    content: '',
    id: 'message-1',
    tool_call_chunks: [{ name: 'find', args: '{"q":"x"}', id: 'call-1', index: 0, type: 'tool_call_chunk' }],
  }),
  new AIMessageChunk({
    content: '',
    id: 'message-1',
    usage_metadata: { input_tokens: 3, output_tokens: 5, total_tokens: 8 },
    response_metadata: { finish_reason: 'stop' },
  }),
]

/** Streams its chunks as they are: LangChain's own makes new ones of their text. */
class Recorded extends FakeStreamingChatModel {
  override async *_streamResponseChunks(
    ...[, , manager]: Parameters<FakeStreamingChatModel['_streamResponseChunks']>
  ): AsyncGenerator<ChatGenerationChunk> {
    for (const { lc_kwargs: fields, text } of this.chunks) {
      const chunk = new ChatGenerationChunk({ message: new AIMessageChunk({ ...fields }), text })
      yield chunk
      await manager?.handleLLMNewToken(text, undefined, undefined, undefined, undefined, { chunk })
    }
  }
}

/** What LangGraph streams of a graph with a model that says these chunks. */
function graph(chunks: AIMessageChunk[] = CHUNKS) {
  const model = new Recorded({ chunks })
  return new StateGraph(MessagesAnnotation)
    .addNode('agent', async ({ messages }) => ({ messages: [await model.invoke(messages)] }))
    .addEdge(START, 'agent')
    .addEdge('agent', END)
    .compile()
}

type Yielded = AsyncIterable<unknown>
const INPUT = { messages: [{ role: 'user', content: 'hi' }] }
const messagesOf = (signal: AbortSignal): Promise<Yielded> => graph().stream(INPUT, { streamMode: 'messages', signal })

/** Keeps what passes. */
async function* tee(source: Yielded, into: unknown[]): Yielded {
  for await (const item of source) {
    into.push(item)
    yield item
  }
}

async function* of(...items: unknown[]): Yielded {
  yield* items
}

async function eventsOf(session: Session, runId: string, cursor?: string): Promise<StoredEvent[]> {
  const events: StoredEvent[] = []
  for await (const event of readRun(session, runId, { cursor })) events.push(event)
  return events
}

/** What a client puts together of chunks. */
function said(events: readonly { readonly data: unknown }[]): unknown {
  const chunks = events.map(({ data }) => (data as [AIMessageChunk])[0])
  const whole = chunks.reduce((all, chunk) => all.concat(chunk))
  return whole.toDict()
}

async function sessions(): Promise<{ open: () => Promise<Session> }> {
  const server = await serve({ streamGraceMs: 0 })
  return { open: () => client(server.url).session('runs/t') }
}

it('stores every chunk with its id, its metadata and what it has beside text, and gives it back as it was', async () => {
  const { open } = await sessions()
  const writer = await open()
  const yielded: unknown[] = []
  const reader = await open()
  const result = await streamRun(writer, 'run', async ({ signal, resumed }) => {
    expect(resumed).toBe(false)
    return tee(await messagesOf(signal), yielded)
  })
  expect(result).toMatchObject({ end: 'done' })
  const events = await eventsOf(reader, 'run')
  expect(events.every(({ event }) => event === 'messages')).toBe(true)
  const expected = yielded.map((data) => ({ data }))
  expect(yielded.length).toBeGreaterThanOrEqual(CHUNKS.length)
  expect(said(events)).toEqual(said(expected))
  // Text that had come came as one.
  expect(events.length).toBeLessThan(yielded.length)
  for (const { data } of events) {
    const [chunk, metadata] = data as [AIMessageChunk, unknown]
    expect(chunk).toBeInstanceOf(AIMessageChunk)
    expect(chunk.id).toBe('message-1')
    expect(metadata).toEqual((yielded[0] as [unknown, unknown])[1])
  }
  // A repeat runs nothing.
  const again = await streamRun(await open(), 'run', () => {
    throw new Error('this must not run')
  })
  expect(again.end).toBe('done')
})

it('shows the text to any reader of the session', async () => {
  const { open } = await sessions()
  const session = await open()
  const { parts } = await streamRun(session, 'run', ({ signal }) => messagesOf(signal))
  expect(Object.entries(parts).filter(([part]) => part.startsWith('text:'))).toEqual([
    [expect.any(String), WORDS.join('')],
  ])
})

it('goes on behind any event, with nothing lost or doubled', async () => {
  const { open } = await sessions()
  const gone = await open()
  await gone.openStream('run')
  const live: StoredEvent[] = []
  const other = await open()
  const reading = (async () => {
    for await (const event of readRun(other, 'run')) live.push(event)
  })()
  // Whoever had begun it wrote nothing.
  await gone.close()
  await streamRun(await open(), 'run', ({ signal, resumed }) => {
    expect(resumed).toBe(true)
    return messagesOf(signal)
  })
  await reading
  expect(live.length).toBeGreaterThan(2)
  const whole = said(live)
  for (const [i, { cursor }] of live.entries()) {
    const rest = await eventsOf(await open(), 'run', cursor)
    expect(said([...live.slice(0, i + 1), ...rest])).toEqual(whole)
  }
})

it('keeps events of any mode, namespace and size, and of a writer that is cut off all that was whole', async () => {
  const { open } = await sessions()
  const large = { text: '😀'.repeat(200_000), when: new Map([['a', new Set([1])]]) }
  const chunk = [new AIMessageChunk({ content: 'in', id: 'm' }), { langgraph_node: 'n' }]
  const items = [
    ['values', large],
    [['outer:1', 'inner:2'], 'updates', { a: 1 }],
    [['outer:1'], chunk],
    ['custom', null],
  ]
  const first = await open()
  const cut = streamRun(first, 'run', async function* () {
    yield ['values', { step: 1 }]
    yield* items
    await first.close()
    yield ['values', 'never']
  } as never).catch((error: unknown) => error)
  await cut
  await streamRun(await open(), 'run', () => of(...items))
  const events = await eventsOf(await open(), 'run')
  const kept = events.map(({ event, data }) => [event, data])
  expect(kept[0]).toEqual(['values', { step: 1 }])
  const whole = [
    ['values', large],
    ['updates|outer:1|inner:2', { a: 1 }],
    ['messages|outer:1', chunk],
    ['custom', null],
  ]
  expect(kept.slice(-4)).toEqual(whole)
  expect(kept).toHaveLength(9)
  // A piece of an event that was never whole.
  const torn = await open()
  const stream = await torn.openStream('torn')
  stream.write('{"event":"val', { part: `pieces:${stream.fence}` })
  await torn.close()
  await streamRun(await open(), 'torn', () => of(['values', large]))
  expect((await eventsOf(await open(), 'torn')).map(({ data }) => data)).toEqual([large])
  await expect(streamRun(await open(), 'bad', () => of({ a: 1 }))).resolves.toMatchObject({
    end: 'failed',
    error: { code: 'BAD_VALUE' },
  })
  await expect(eventsOf(await open(), 'unknown')).rejects.toMatchObject({ code: 'STREAM_UNKNOWN' })
})

/** A client of the SDK whose requests go to the handler; `cutAfter` events the first answer breaks off. */
async function joined(cutAfter = Number.POSITIVE_INFINITY) {
  const server = await serve()
  const broker = client(server.url)
  const handle = joinRuns({
    session: (threadId) => broker.session(`runs/${threadId}`, { create: false }),
  })
  const asked: Request[] = []
  const sdk = new Client({
    apiUrl: 'http://agents.test/api',
    callerOptions: {
      fetch: async (url: string | URL | globalThis.Request, init?: RequestInit) => {
        const request = new Request(url, init)
        asked.push(request)
        const response = await handle(request)
        return asked.length === 1 && response.body !== null && cutAfter < Number.POSITIVE_INFINITY
          ? new Response(response.body.pipeThrough(breaking(cutAfter)), response)
          : response
      },
    },
  })
  return { sdk, asked, handle, session: await broker.session('runs/thread-1') }
}

function breaking(after: number): TransformStream<Uint8Array, Uint8Array> {
  let passed = 0
  return new TransformStream({
    transform: (bytes, controller) => {
      if (passed++ < after) controller.enqueue(bytes)
      else controller.error(new TypeError('network error'))
    },
  })
}

interface SdkEvent {
  readonly id?: string
  readonly event: string
  readonly data: unknown
}

const textOf = (events: readonly SdkEvent[]): string =>
  events
    .filter(({ event }) => event === 'messages')
    .map(({ data }) => (data as [{ content: string }])[0].content)
    .join('')

async function joinedEvents(source: AsyncIterable<unknown>): Promise<SdkEvent[]> {
  const events: SdkEvent[] = []
  for await (const event of source) events.push(event as SdkEvent)
  return events
}

it('the SDK joins a run, comes back by itself when its connection breaks, and has each event once', async () => {
  const { sdk, asked, session } = await joined(2)
  const running = streamRun(session, 'run-1', ({ signal }) => messagesOf(signal))
  for (;;) if ((await session.stream('run-1')) !== null) break
  const events = await joinedEvents(sdk.runs.joinStream('thread-1', 'run-1'))
  await running
  expect(events[0]).toMatchObject({ event: 'metadata', data: { run_id: 'run-1' } })
  expect(textOf(events)).toBe(WORDS.join(''))
  const messages = events.filter(({ event }) => event === 'messages').map(({ data }) => data as [object, object])
  expect(messages[0]?.[0]).toMatchObject({ type: 'ai', id: 'message-1' })
  const called = messages.find(([chunk]) => (chunk as AIMessageChunk).tool_call_chunks?.length)
  expect(called?.[0]).toMatchObject({ tool_call_chunks: [{ id: 'call-1', name: 'find' }] })
  expect(messages[0]?.[1]).toMatchObject({ langgraph_node: 'agent' })
  const ids = events.slice(1).map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
  expect(asked.map(({ url }) => new URL(url).pathname)).toEqual(
    Array(2).fill('/api/threads/thread-1/runs/run-1/stream'),
  )
  expect(asked[1]?.headers.get('last-event-id')).toBe(ids[0])
})

it('the SDK goes on behind an event that it names, and takes only the modes that it asks for', async () => {
  const { sdk, session } = await joined()
  await streamRun(session, 'run-1', ({ signal }) =>
    graph().stream(INPUT, { streamMode: ['messages', 'values'], signal }),
  )
  const all = await joinedEvents(sdk.runs.joinStream('thread-1', 'run-1', { lastEventId: '-1' }))
  const middle = all[2] as SdkEvent
  const rest = await joinedEvents(sdk.runs.joinStream('thread-1', 'run-1', { lastEventId: middle.id }))
  expect(rest).toEqual(all.slice(3))
  const values = await joinedEvents(sdk.runs.joinStream('thread-1', 'run-1', { streamMode: ['values'] }))
  expect(values.map(({ event }) => event)).toEqual(['metadata', 'values', 'values'])
  expect(values.at(-1)?.data).toMatchObject({ messages: [{ type: 'human', content: 'hi' }, { type: 'ai' }] })
})

it('the SDK cancels a run: the graph is told, and who has joined sees its end', async () => {
  const { sdk, session } = await joined()
  let aborted = false
  const running = streamRun(session, 'run-1', async function* ({ signal }: { signal: AbortSignal }) {
    yield ['custom', 'begun']
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    aborted = true
    signal.throwIfAborted()
  } as never)
  for (;;) if ((await session.stream('run-1')) !== null) break
  const events: SdkEvent[] = []
  for await (const event of sdk.runs.joinStream('thread-1', 'run-1')) {
    events.push(event as SdkEvent)
    if ((event as SdkEvent).event === 'custom') await sdk.runs.cancel('thread-1', 'run-1')
  }
  expect((await running).end).toBe('stopped')
  expect(aborted).toBe(true)
  expect(events.map(({ event }) => event)).toEqual(['metadata', 'custom'])
})

it('tells of a failure, and refuses what it has not', async () => {
  const { sdk, handle, session } = await joined()
  await streamRun(session, 'run-1', () => {
    throw new Error('no model')
  })
  const events = await joinedEvents(sdk.runs.joinStream('thread-1', 'run-1'))
  expect(events.at(-1)).toMatchObject({ event: 'error', data: { message: 'no model' } })
  const status = async (path: string, init?: RequestInit): Promise<number> =>
    (await handle(new Request(`http://x${path}`, init))).status
  expect(await status('/threads/thread-1/runs/other/stream')).toBe(404)
  expect(await status('/threads/none/runs/run-1/stream')).toBe(404)
  expect(await status('/threads/%ff/runs/run-1/stream')).toBe(404)
  expect(await status('/threads/a%20b/runs/run-1/stream')).toBe(404)
  expect(await status('/threads/thread-1/state')).toBe(404)
  expect(await status('/threads/thread-1/runs/run-1/stream', { method: 'POST' })).toBe(405)
  const headers = { 'last-event-id': 'nonsense' }
  const answer = await handle(new Request('http://x/threads/thread-1/runs/run-1/stream', { headers }))
  expect(await answer.text()).toContain('"BAD_CURSOR"')
})

it('an answer that has nothing to tell says that it is there, and lets go of its session when nobody wants it any more', async () => {
  const broker = client((await serve()).url)
  await (await broker.session('runs/t')).openStream('run-1')
  const clock = new VirtualClock()
  let opened: Session | undefined
  const handle = joinRuns({
    session: async () => {
      opened = await broker.session('runs/t', { create: false })
      return opened
    },
    clock,
  })
  const { body } = await handle(new Request('http://x/threads/t/runs/run-1/stream'))
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  const next = async (): Promise<string> => new TextDecoder().decode((await reader.read()).value)
  expect(await next()).toContain('event: metadata')
  for (let i = 0; i < 3; i++) {
    const beat = next()
    clock.advance(15_000)
    expect(await beat).toBe(': heartbeat\n\n')
  }
  await reader.cancel()
  await expect(opened?.append('x')).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
  clock.advance(15_000)
})

const schema = { type: 'object', properties: { to: { type: 'string' } }, required: ['to'] } as const

const asks = (id: string, name = 'book') => ({
  messages: [new AIMessage({ content: '', tool_calls: [{ name, args: { to: 'Rome' }, id, type: 'tool_call' }] })],
})

/** A node with a tool that counts its calls. */
function booking(session: Session, fn: (calls: number) => unknown, options = {}) {
  let calls = 0
  const book = tool(async () => fn(++calls), { name: 'book', description: 'Books a flight.', schema })
  const node = new ToolNode([onceTool(book, () => session, options)])
  return { node, calls: () => calls }
}

it('runs once for each call of a model, and gives whoever asks again the same result', async () => {
  const { open } = await sessions()
  const { node, calls } = booking(await open(), (count) => `seat ${count}`)
  const [first] = (await node.invoke(asks('call-1'))).messages
  expect(first).toMatchObject({ content: 'seat 1', tool_call_id: 'call-1', name: 'book' })
  const elsewhere = booking(await open(), () => 'another seat')
  const [second] = (await elsewhere.node.invoke(asks('call-1'))).messages
  expect(second).toMatchObject({ content: 'seat 1', tool_call_id: 'call-1' })
  expect(elsewhere.calls()).toBe(0)
  await node.invoke(asks('call-2'))
  expect(calls()).toBe(2)
  const [unnamed] = (await node.invoke(asks(''))).messages
  expect(unnamed.content).toContain('has no id')
  expect(calls()).toBe(2)
})

it('leaves tool, input and output in the log', async () => {
  const { open } = await sessions()
  const session = await open()
  await booking(session, () => 'seat 1').node.invoke(asks('call-1'))
  const parts: unknown[] = []
  for await (const record of session.records()) {
    if (record.kind === 'token') parts.push([record.streamId, record.part, record.text])
    if (record.kind === 'stream' && record.state === 'done') break
  }
  expect(parts).toEqual([
    ['once/call-1', 'tool', '"book"'],
    ['once/call-1', 'input', '{"to":"Rome"}'],
    ['once/call-1', 'output', '{"value":"seat 1"}'],
  ])
})

it('messages and commands come back as what they are', async () => {
  const { open } = await sessions()
  const session = await open()
  const command = new Command({
    update: { a: [new ToolMessage({ content: 'x', tool_call_id: 'call-1' })] },
    goto: 'next',
  })
  for (const node of [booking(session, () => command).node, booking(await open(), () => 'never').node]) {
    const [found] = (await node.invoke(asks('call-1'))) as unknown as [Command]
    expect(found).toBeInstanceOf(Command)
    expect(found.goto).toEqual(['next'])
    expect((found.update as { a: unknown[] }).a[0]).toBeInstanceOf(ToolMessage)
  }
})

it('a call that was cut off is not run again unless it is said so', async () => {
  const { open } = await sessions()
  const vanishing = await open()
  const begun = new Promise<void>((resolve) => {
    const node = booking(vanishing, () => {
      resolve()
      return new Promise(() => {})
    }).node
    void node.invoke(asks('call-1')).catch(() => {})
  })
  await begun
  await vanishing.close().catch(() => {})
  const careful = booking(await open(), () => 'seat 2')
  const [told] = (await careful.node.invoke(asks('call-1'))).messages
  expect(told).toMatchObject({ status: 'error', content: expect.stringContaining('cut off') })
  expect(careful.calls()).toBe(0)
  const bold = booking(await open(), () => 'seat 2', { ifUnknown: 'run' })
  expect((await bold.node.invoke(asks('call-1'))).messages[0]).toMatchObject({ content: 'seat 2' })
})

it('what a tool has interrupted runs again when the graph is resumed, and then no more', async () => {
  const { open } = await sessions()
  const { node, calls } = booking(await open(), () => `booked: ${interrupt('sure?')}`)
  const graph = new StateGraph(MessagesAnnotation)
    .addNode('tools', node)
    .addEdge(START, 'tools')
    .compile({ checkpointer: new MemorySaver() })
  const thread = { configurable: { thread_id: 't' } }
  await graph.invoke(asks('call-1'), thread)
  const { messages } = await graph.invoke(new Command({ resume: 'yes' }), thread)
  expect(messages.at(-1)?.content).toBe('booked: yes')
  expect(calls()).toBe(2)
  const [again] = (await node.invoke(asks('call-1'))).messages
  expect(again.content).toBe('booked: yes')
  expect(calls()).toBe(2)
})

const GUIDE = new URL('../../client/langgraph/README.md', import.meta.url)

it('the sample about checkpoints runs a graph, and a second process finds what the first one left', async () => {
  const server = await serve()
  const State = Annotation.Root({ asked: Annotation<string>, answer: Annotation<string> })
  const builder = new StateGraph(State)
    .addNode('reply', ({ asked }) => ({ answer: `${asked}? Fine.` }))
    .addEdge(START, 'reply')
    .addEdge('reply', END)
  const printed: unknown[][] = []
  const given = {
    connect: () => client(server.url),
    LitetopicSaver,
    builder,
    console: { log: (...values: unknown[]) => printed.push(values) },
  }
  await runSample(sampleOf(GUIDE, 'Checkpoints'), given)
  expect(printed).toEqual([['How are you? Fine.'], [[]]])
})

it('the sample about token streams shows what a run streams to a client of the SDK and to a reader', async () => {
  const broker = client((await serve()).url)
  const shown: string[] = []
  const printed: unknown[] = []
  let handle: (request: Request) => Promise<Response> = () => Promise.reject(new Error('nobody serves'))
  class LocalClient extends Client {
    constructor(options: object) {
      // The route is joined when the run has begun.
      const fetch = async (...asked: ConstructorParameters<typeof Request>) => {
        while ((await handle(new Request(...asked))).status === 404);
        return handle(new Request(...asked))
      }
      super({ ...options, callerOptions: { fetch } })
    }
  }
  async function* words() {
    for (const content of ['It ', 'is ', 'fine.']) {
      yield [new AIMessageChunk({ content, id: 'answer' }), { langgraph_node: 'agent' }]
    }
  }
  const given = {
    broker,
    graph: { stream: words },
    input: {},
    thread: { configurable: { thread_id: 'ticket-42' } },
    serve: (handler: typeof handle) => {
      handle = handler
    },
    apiUrl: 'http://agents.test',
    Client: LocalClient,
    ui: {
      append: (id: string, content: string) => shown.push(`${id} ${content}`),
      show: ({ text }: BaseMessageChunk, { langgraph_node: node }: Record<string, unknown>) =>
        shown.push(`${node}: ${text}`),
    },
    console: { log: (value: unknown) => printed.push(value) },
    joinRuns,
    readRun,
    streamRun,
  }
  await runSample(sampleOf(GUIDE, 'Token streams'), given)
  const text = (from: string) =>
    shown.flatMap((line) => (line.startsWith(from) ? [line.slice(from.length)] : [])).join('')
  expect([text('answer '), text('agent: ')]).toEqual(['It is fine.', 'It is fine.'])
  expect(printed).toEqual(['done'])
})

it('the sample about tools makes a tool that runs once for each call', async () => {
  const broker = client((await serve()).url)
  let booked = 0
  const book = tool(() => `seat ${++booked}`, {
    name: 'book',
    description: 'Books.',
    schema: { type: 'object' } as const,
  })
  const messages = [new AIMessage({ content: '', tool_calls: [{ name: 'book', args: {}, id: 'call-1' }] })]
  const results: unknown[] = []
  const sample = `${sampleOf(GUIDE, 'Tools')}; keep(tools)`
  for (let i = 0; i < 2; i++) {
    const kept: ToolNode[] = []
    await runSample(sample, { broker, book, ToolNode, onceTool, keep: (tools: ToolNode) => kept.push(tools) })
    const answer = await kept[0]?.invoke({ messages }, { configurable: { thread_id: 't' } })
    results.push(answer?.messages[0].content)
  }
  expect(results).toEqual(['seat 1', 'seat 1'])
})
