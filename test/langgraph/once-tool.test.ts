/** Tools that run once for each call: under LangGraph's own node for tools, and when the process is gone in between. */

import { AIMessage, ToolMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { Command, interrupt, MemorySaver, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph'
import { ToolNode } from '@langchain/langgraph/prebuilt'
import { expect, it } from 'vitest'
import type { Session } from '../../client/index.ts'
import { onceTool } from '../../client/langgraph/index.ts'
import { client, serve } from './savers.ts'

const schema = { type: 'object', properties: { to: { type: 'string' } }, required: ['to'] } as const

const asks = (id: string, name = 'book') => ({
  messages: [new AIMessage({ content: '', tool_calls: [{ name, args: { to: 'Rome' }, id, type: 'tool_call' }] })],
})

async function sessions(): Promise<{ open: () => Promise<Session> }> {
  const server = await serve({ streamGraceMs: 0 })
  return { open: () => client(server.url).session('runs/t') }
}

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
