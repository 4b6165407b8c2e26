/** The samples of the guide, taken from the page and run. */

import { AIMessage, AIMessageChunk, type BaseMessageChunk } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { Annotation, END, START, StateGraph } from '@langchain/langgraph'
import { ToolNode } from '@langchain/langgraph/prebuilt'
import { Client } from '@langchain/langgraph-sdk'
import { expect, it } from 'vitest'
import { joinRuns, LitetopicSaver, onceTool, readRun, streamRun } from '../../client/langgraph/index.ts'
import { runSample, sampleOf } from '../guides.ts'
import { client, serve } from './savers.ts'

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
