/**
 * AG-UI's own HttpAgent, unmodified, on an agent as a route: through cut connections, reloads, stops and lost
 * processes; and the samples of the guide, taken from the page and run.
 */

import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { AbstractAgent, type BaseEvent, HttpAgent, type Message, type RunAgentInput } from '@ag-ui/client'
import { EventType } from '@ag-ui/core'
import { EventEncoder } from '@ag-ui/encoder'
import { transform } from 'esbuild'
import { from, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { agentHandler, readRun, resumingFetch, storeRun } from '../../client/ag-ui/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { VirtualClock } from '../client/virtual-clock.ts'
import { answer, eventsOf, finished, started, text, textStart } from './events.ts'
import { RouteServer } from './server.ts'

let server: Server
let broker: Broker
let routes: RouteServer[]

beforeEach(async () => {
  server = await startBroker({ port: 0, dataDir: null, streamGraceMs: 0 })
  broker = connect(server.url)
  routes = []
})

afterEach(async () => {
  await Promise.all(routes.map((route) => route.stop()))
  await broker.close()
  await server.close()
})

let runs = 0
beforeEach(() => {
  runs = 0
})

/** Answers piece by piece. */
async function* slowly(input: RunAgentInput): AsyncGenerator<BaseEvent> {
  runs++
  for (const event of answer(input.runId, input.threadId)) {
    await turn()
    yield event
  }
}

async function serve(options: Partial<Parameters<typeof agentHandler>[0]> = {}): Promise<RouteServer> {
  const route = await RouteServer.start(agentHandler({ broker, agent: slowly, ...options }))
  routes.push(route)
  return route
}

/** Timers are over at once. */
function hurried(): VirtualClock {
  const clock = new VirtualClock()
  clock.setTimeout = (run) => ({ dueMs: 0, run, immediate: setImmediate(run) })
  clock.clearTimeout = (timer) => clearImmediate((timer as { immediate: NodeJS.Immediate } | null)?.immediate)
  return clock
}

const threadId = 'thread-1'
const runId = 'run-1'
const input = { threadId, runId, messages: [], tools: [], context: [], state: {} }
const post = (url: string, body: unknown = input, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, { method: 'POST', body: JSON.stringify(body), headers })

/** What an agent has after the answer. */
const MESSAGES = [
  { id: 'r', role: 'reasoning', content: 'It rains.' },
  {
    id: 'm',
    role: 'assistant',
    content: 'Hello, wörld 😀!',
    toolCalls: [{ id: 'call-1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }],
  },
  { id: 't', role: 'tool', toolCallId: 'call-1', content: 'sunny' },
]

function contents(messages: readonly Message[]): unknown {
  return JSON.parse(JSON.stringify(messages))
}

describe('HttpAgent', () => {
  it('has what the agent gave; asked again after a reload the same, and the agent ran once', async () => {
    const { url } = await serve()
    const agent = new HttpAgent({ url, threadId })
    const { newMessages } = await agent.runAgent({ runId })
    expect(contents(newMessages)).toMatchObject(MESSAGES)
    expect(agent.state).toEqual({ step: 3, nothing: null })
    const reloaded = new HttpAgent({ url, threadId })
    await reloaded.runAgent({ runId })
    expect(contents(reloaded.messages)).toEqual(contents(agent.messages))
    expect(runs).toBe(1)
  })

  it('has it once, through connections that are cut anywhere', async () => {
    const route = await serve()
    let size = 60
    route.cutAfter = () => {
      size += 37
      return size
    }
    const agent = new HttpAgent({ url: route.url, threadId, fetch: resumingFetch({ clock: hurried() }) })
    const seen: BaseEvent[] = []
    await agent.runAgent({ runId }, { onEvent: ({ event }) => void seen.push(event) })
    expect(contents(agent.messages)).toMatchObject(MESSAGES)
    expect(seen.filter(({ type }) => type === EventType.RUN_FINISHED)).toHaveLength(1)
    expect(route.asked.length).toBeGreaterThan(8)
    expect(route.asked.some((id) => id !== null)).toBe(true)
    expect(runs).toBe(1)
  })

  it('has all of it from its start where another one was cut off', async () => {
    const route = await serve()
    const sizes = [900]
    route.cutAfter = () => sizes.shift() ?? Number.POSITIVE_INFINITY
    await expect((await post(route.url)).text()).rejects.toThrow()
    const agent = new HttpAgent({ url: route.url, threadId })
    await agent.runAgent({ runId })
    expect(contents(agent.messages)).toMatchObject(MESSAGES)
    expect(runs).toBe(1)
  })

  it('that goes away stops nothing; a stop ends the run as cancelled, for all who read it', async () => {
    const stopped: unknown[] = []
    const hanging = async function* ({ runId, threadId }: RunAgentInput, signal: AbortSignal) {
      yield started(runId, threadId)
      yield textStart('m')
      yield text('m', 'so far')
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      stopped.push(signal.reason.code)
    }
    const { url } = await serve({ agent: hanging })
    const [leaving, staying] = [new HttpAgent({ url, threadId }), new HttpAgent({ url, threadId })]
    const outcomes: string[] = []
    const left = leaving.runAgent({ runId }, { onTextMessageContentEvent: () => leaving.abortRun() })
    await left.catch(() => {})
    const session = await broker.session(`threads/${threadId}`)
    expect((await session.stream(runId))?.live).toBe(true)
    await staying.runAgent(
      { runId },
      {
        onTextMessageContentEvent: () => void session.stop(runId),
        onRunFinishedEvent: ({ outcome }) => void outcomes.push(outcome),
      },
    )
    expect(outcomes).toEqual(['cancelled'])
    expect(contents(staying.messages)).toMatchObject([{ id: 'm', content: 'so far' }])
    expect(stopped).toEqual(['STREAM_STOPPED'])
  })

  it('of a run whose process is gone ends with the error, once that is known', async () => {
    const dying = connect(server.url)
    const stream = await (await dying.session(`threads/${threadId}`)).openStream(runId)
    stream.writeJson({ ...started(runId, threadId) } as never, { part: 'event' })
    await stream.flush()
    const { url } = await serve()
    const codes: unknown[] = []
    const agent = new HttpAgent({ url, threadId })
    const running = agent.runAgent(
      { runId },
      {
        onRunStartedEvent: () => void dying.close(),
        onRunErrorEvent: ({ event }) => void codes.push(event.code),
      },
    )
    await running.catch(() => {})
    expect(codes).toEqual(['RUN_LOST'])
    expect(runs).toBe(0)
  })
})

describe('the route', () => {
  it('writes what the encoder of AG-UI writes, with cursors as ids, and an end', async () => {
    const { url } = await serve()
    const response = await post(url)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    const sent = (await response.text()).split('\n\n')
    expect(sent.splice(-2)).toEqual(['event: end', ''])
    const ids = sent.map((event) => /^id: (\S+)\n/.exec(event)?.[1])
    const data = sent.map((event) => `${event.replace(/^id: .*\n/, '')}\n\n`)
    const raw = await eventsOf(readRun(await broker.session(`threads/${threadId}`), runId, { raw: true }))
    expect(raw).toEqual(answer())
    const joinedDeltas = data.map((event) => JSON.parse(event.slice('data: '.length)) as BaseEvent)
    const encoder = new EventEncoder()
    expect(data).toEqual(joinedDeltas.map((event) => encoder.encode(event as never)))
    const behind = await post(url, input, { 'last-event-id': ids[10] as string })
    expect((await behind.text()).split('\n\n').length).toBeLessThanOrEqual(answer().length - 10 + 2)
    expect(runs).toBe(1)
  })

  it('refuses what is no input, and whom it is told to refuse', async () => {
    const { url } = await serve({
      topic: ({ threadId }, request) => {
        if (request.headers.get('authorization') === null) return new Response('who are you?', { status: 401 })
        return `users/1/${threadId}`
      },
    })
    const allowed = { authorization: 'me' }
    for (const body of [null, 1, {}, { ...input, runId: 1 }, { ...input, messages: 'none' }]) {
      expect((await post(url, body, allowed)).status).toBe(400)
    }
    expect((await post(url)).status).toBe(401)
    const bad = await post(url, { ...input, threadId: '../x' }, allowed)
    expect([bad.status, await bad.json()]).toMatchObject([400, { code: 'BAD_NAME' }])
    expect((await post(url, { ...input, runId: '' }, allowed)).status).toBe(400)
    expect((await post(url, input, allowed)).status).toBe(200)
    expect((await broker.list()).topics.map(({ name }) => name)).toEqual(['users/1/thread-1'])
    const wrong = await post(url, input, { ...allowed, 'last-event-id': 'nonsense' })
    expect(await wrong.text()).toContain('"code":"BAD_CURSOR"')
  })

  it('says why a run cannot be stored', async () => {
    const errors: unknown[] = []
    const kept: Promise<unknown>[] = []
    const agent = async function* ({ runId, threadId }: RunAgentInput) {
      yield started(runId, threadId)
      await broker.delete(`threads/${threadId}`)
      await turn()
      yield finished(runId, threadId)
    }
    const { url } = await serve({
      agent,
      waitUntil: (stored) => kept.push(stored),
      onError: (error) => errors.push(error),
    })
    const sent = await (await post(url)).text()
    expect(sent).toMatch(/"type":"RUN_ERROR".*"code":"GONE"/)
    await Promise.all(kept)
    expect(errors).toMatchObject([{ code: 'GONE' }])
  })

  it('is not silent while the agent is', async () => {
    const clock = new VirtualClock()
    let go = (): void => {}
    const agent = async function* ({ runId, threadId }: RunAgentInput) {
      yield started(runId, threadId)
      await new Promise<void>((resolve) => {
        go = resolve
      })
      yield finished(runId, threadId)
    }
    const handler = agentHandler({ broker, agent, clock })
    const response = await handler(new Request('http://app.test', { method: 'POST', body: JSON.stringify(input) }))
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    const read = async () => new TextDecoder().decode((await reader.read()).value)
    expect(await read()).toContain('RUN_STARTED')
    clock.advance(15_000)
    expect(await read()).toBe(':\n\n')
    go()
    expect(await read()).toContain('RUN_FINISHED')
    expect(await read()).toBe('event: end\n\n')
    expect((await reader.read()).done).toBe(true)
    expect(clock.waits()).toEqual([])
  })
})

describe('the fetch that goes on', () => {
  const sse = (...events: string[]): Response =>
    new Response(events.map((event) => `${event}\n\n`).join(''), {
      headers: { 'content-type': 'text/event-stream', 'litetopic-run': 'resumable' },
    })

  it('asks behind the last id, drops what came after it, and gives up when nothing new comes', async () => {
    const answers = [sse('id: 1\ndata: a', 'data: lost'), sse('id: 2\ndata: b'), sse('data: c', 'event: end')]
    const asked: (string | null)[] = []
    const ask = async (_: string, init: RequestInit) => {
      asked.push(new Headers(init.headers).get('last-event-id'))
      return answers.shift() ?? sse()
    }
    const fetching = resumingFetch({ fetch: ask, clock: hurried() })
    expect(await (await fetching('http://app.test', {})).text()).toBe(
      'id: 1\ndata: a\n\nid: 2\ndata: b\n\ndata: c\n\nevent: end\n\n',
    )
    expect(asked).toEqual([null, '1', '2'])
    answers.push(sse('id: 1\ndata: a'))
    await expect((await fetching('http://app.test', {})).text()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    expect(asked.length).toBeLessThan(20)
  })

  it('asks again after a failure of the server, and not after a refusal, nor for who has gone', async () => {
    const answers = [sse('id: 1\ndata: a'), new Response('', { status: 503 }), sse('data: b', 'event: end')]
    const fetching = resumingFetch({ fetch: async () => answers.shift() as Response, clock: hurried() })
    expect(await (await fetching('http://app.test', {})).text()).toContain('data: b')
    answers.push(sse('id: 1\ndata: a'), new Response('', { status: 404 }))
    await expect((await fetching('http://app.test', {})).text()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    const gone = new AbortController()
    answers.push(sse('id: 1\ndata: a'))
    const waiting = resumingFetch({ fetch: async () => answers.shift() as Response, clock: new VirtualClock() })
    const reading = (await waiting('http://app.test', { signal: gone.signal })).text()
    await turn()
    gone.abort(new Error('closed the page'))
    await expect(reading).rejects.toThrow('closed the page')
  })

  it('leaves answers of other servers as they are', async () => {
    const other = new Response('data: a\n\ndata: b')
    const fetching = resumingFetch({ fetch: async () => other })
    expect(await fetching('http://app.test', {})).toBe(other)
  })
})

/** As in the guide: an agent that needs no server, where the page may reach the broker. */
class TopicAgent extends AbstractAgent {
  run(input: RunAgentInput): Observable<BaseEvent> {
    return from(this.store(input))
  }

  protected override connect(input: RunAgentInput): Observable<BaseEvent> {
    return from(this.read(input))
  }

  private async *store(input: RunAgentInput): AsyncGenerator<BaseEvent> {
    const session = await broker.session(`threads/${input.threadId}`)
    void storeRun(session, input.runId, () => slowly(input))
    yield* this.read(input)
  }

  private async *read({ threadId, runId }: RunAgentInput): AsyncGenerator<BaseEvent> {
    const session = await broker.session(`threads/${threadId}`)
    for await (const { event } of readRun(session, runId)) yield event
  }
}

it('an agent reads straight from the broker, and another one connects to its run', async () => {
  const agent = new TopicAgent({ threadId })
  const connected = new TopicAgent({ threadId })
  const connecting = connected.connectAgent({ runId })
  await agent.runAgent({ runId })
  await connecting
  expect(contents(agent.messages)).toMatchObject(MESSAGES)
  expect(contents(connected.messages)).toEqual(contents(agent.messages))
  expect(runs).toBe(1)
})

type Route = (request: Request) => Promise<Response>

const GUIDE = readFileSync(new URL('../../client/ag-ui/README.md', import.meta.url), 'utf8')
const SAMPLES = [...GUIDE.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code as string)
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** Runs a sample with what it is given, and returns what is asked for. */
async function run<R>(
  sample: string | undefined,
  given: Readonly<Record<string, unknown>>,
  result: string,
): Promise<R> {
  const plain = (sample as string).replace(/^import .*$/gm, '').replace(/^export /gm, '')
  const { code } = await transform(`async function sample() {${plain}; return ${result}}`, { loader: 'ts' })
  return new AsyncFunction(...Object.keys(given), `${code}; return sample()`)(...Object.values(given)) as Promise<R>
}

it('the samples of the guide serve an agent, show its run through a reload, read it directly, and stop', async () => {
  const agent = {
    run: ({ runId, threadId }: { runId: string; threadId: string }) => {
      runs++
      return from(answer(runId, threadId))
    },
  }
  const given = { connect: () => broker, agentHandler, agent, userOf: () => 'ann' }
  const routes = await run<{ POST: Route; DELETE: Route }>(SAMPLES[0], given, '{ POST, DELETE }')
  const ask = (url: string, init: RequestInit) => routes.POST(new Request(new URL(url, 'http://app.test'), init))
  const page = { HttpAgent, resumingFetch: () => resumingFetch({ fetch: ask }), threadId: 't', runId: 'r' }
  const [first, reloaded] = [
    await run<HttpAgent>(SAMPLES[1], page, 'agent'),
    await run<HttpAgent>(SAMPLES[1], page, 'agent'),
  ]
  expect(first.messages.map(({ role }) => role)).toEqual(['reasoning', 'assistant', 'tool'])
  expect(reloaded.messages).toEqual(first.messages)
  expect(runs).toBe(1)

  const TopicAgent = await run<new (config: object) => AbstractAgent>(
    SAMPLES[2],
    { AbstractAgent, readRun, from, broker },
    'TopicAgent',
  )
  const direct = new TopicAgent({ threadId: 'ann/t' })
  await direct.runAgent({ runId: 'r' })
  expect(direct.messages).toEqual(first.messages)

  const stop = new Request('http://app.test', { method: 'DELETE', body: '{"threadId":"t","runId":"r2"}' })
  expect((await routes.DELETE(stop)).status).toBe(204)
  const session = await broker.session('threads/ann/t', { create: false })
  expect(await session.stream('r2')).toMatchObject({ state: 'stopped' })
})
