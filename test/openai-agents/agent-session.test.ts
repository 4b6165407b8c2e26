/**
 * The memory of agents against a real broker: the same as the SDK's own, for several processes at once, at a cost that does not grow. And the
 * samples of the guide, taken from the page and run.
 */

import {
  Agent,
  type AgentInputItem,
  assistant,
  isSessionHistoryRewriteAwareSession,
  isSessionHistoryTransactionAwareSession,
  MemorySession,
  type Model,
  Runner,
  RunState,
  tool,
} from '@openai/agents-core'
import { assistantMessage, ScriptedModel, functionCall as scriptedCall } from '@openai/agents-core/testing'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished, vi } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { AgentSession, onceTool, readRun, storedRun } from '../../client/openai-agents/index.ts'
import { runSample, sampleOf } from '../guides.ts'

let server: Server
let brokers: Broker[] = []
let topics = 0

beforeAll(async () => {
  server = await startBroker({ port: 0, dataDir: null })
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close()))
  brokers = []
})

afterAll(() => server.close())

/** So many connections to one new topic, each as another process would have it. */
function openMany(count: number): Promise<Session[]> {
  const name = `agents/${++topics}`
  return Promise.all(
    Array.from({ length: count }, () => {
      const broker = connect(server.url)
      brokers.push(broker)
      return broker.session(name)
    }),
  )
}

async function openOne(): Promise<Session> {
  return (await openMany(1))[0] as Session
}

const user = (text: string): AgentInputItem => ({ role: 'user', content: text })

const texts = (items: readonly (AgentInputItem | undefined)[]): unknown[] =>
  items.map((item) => (item !== undefined && 'content' in item ? item.content : item))

it('is what the SDK takes for a session that changes history atomically', async () => {
  const memory = new AgentSession(await openOne())
  expect(isSessionHistoryTransactionAwareSession(memory)).toBe(true)
  expect(isSessionHistoryRewriteAwareSession(memory)).toBe(true)
  expect(await memory.getSessionId()).toBe(`agents/${topics}:items`)
})

const item = fc.constantFrom(...['a', 'b', 'c'].map((text) => user(text)))
const call = fc.constantFrom('one', 'two').map((callId) => functionCall(callId, '{}'))
const items = fc.array(fc.oneof(item, call), { maxLength: 4 })
const step = fc.oneof(
  fc.record({ do: fc.constant('add' as const), items }),
  fc.record({ do: fc.constant('pop' as const) }),
  fc.record({ do: fc.constant('get' as const), limit: fc.integer({ min: -1, max: 5 }) }),
  fc.record({ do: fc.constant('rewrite' as const), callId: fc.constantFrom('one', 'two') }),
  fc.record({ do: fc.constant('append' as const), items, operationId: fc.constantFrom('1', '2') }),
  fc.record({ do: fc.constant('replace' as const), drop: fc.integer({ min: 0, max: 3 }), items }),
)

function functionCall(callId: string, args: string): Extract<AgentInputItem, { type: 'function_call' }> {
  return { type: 'function_call', callId, name: 'look', arguments: args }
}

/** What one step does to a memory; the word `refused` if it throws. */
async function take(memory: MemorySession | AgentSession, at: typeof step extends fc.Arbitrary<infer S> ? S : never) {
  if (at.do === 'add') return memory.addItems(at.items)
  if (at.do === 'pop') return memory.popItem()
  if (at.do === 'get') return memory.getItems(at.limit)
  if (at.do === 'rewrite') {
    const replacement = functionCall(at.callId, '{"again":true}')
    return memory.applyHistoryMutations({
      mutations: [{ type: 'replace_function_call', callId: at.callId, replacement }],
    })
  }
  if (at.do === 'append') {
    const transaction = { type: 'append_items' as const, items: at.items }
    return memory.applyHistoryTransaction({ operationId: at.operationId, transaction }).catch(() => 'refused')
  }
  const expectedSuffix = at.drop === 0 ? [] : await memory.getItems(at.drop)
  const transaction = { type: 'replace_suffix' as const, expectedSuffix, replacement: at.items }
  return memory.applyHistoryTransaction({ operationId: crypto.randomUUID(), transaction })
}

it('does what the memory of the SDK does, whichever of two processes does it', async () => {
  const property = fc.asyncProperty(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 25 }), async (steps) => {
    const [here, there] = (await openMany(2)).map((session) => new AgentSession(session)) as [
      AgentSession,
      AgentSession,
    ]
    const model = new MemorySession()
    for (const [at, isHere] of steps) expect(await take(isHere ? here : there, at)).toEqual(await take(model, at))
    expect(await here.getItems()).toEqual(await model.getItems())
  })
  await fc.assert(property, { numRuns: 15 })
})

it('loses and doubles nothing when several processes add and pop at the same time', async () => {
  const memories = (await openMany(3)).map((session) => new AgentSession(session))
  const added: string[] = []
  const work = memories.flatMap((memory, who) =>
    Array.from({ length: 20 }, async (_, i) => {
      const pair = [`${who}.${i}.a`, `${who}.${i}.b`]
      added.push(...pair)
      await memory.addItems(pair.map((text) => user(text)))
      return i % 2 === 0 ? texts([await memory.popItem()]) : []
    }),
  )
  const popped = (await Promise.all(work)).flat()
  const kept = await Promise.all(memories.map(async (memory) => texts(await memory.getItems())))
  expect(popped).toHaveLength(30)
  expect(kept[1]).toEqual(kept[0])
  expect([...popped, ...(kept[0] as unknown[])].sort()).toEqual(added.sort())
})

it('gives two who pop at once two different items, and what is not there to nobody', async () => {
  const memories = (await openMany(4)).map((session) => new AgentSession(session))
  await memories[0]?.addItems([user('1'), user('2'), user('3')])
  const popped = texts(await Promise.all(memories.map((memory) => memory.popItem())))
  expect(popped.filter((text) => text !== undefined).sort()).toEqual(['1', '2', '3'])
  expect(await memories[0]?.getItems()).toEqual([])
})

it('keeps items that are larger than an append, whole, and takes them out again', async () => {
  const [here, there] = (await openMany(2)).map((session) => new AgentSession(session)) as [AgentSession, AgentSession]
  const large = '😀é"'.repeat(100_000)
  await here.addItems([user('before'), user(large), user('after')])
  expect(texts(await there.getItems(2))).toEqual([large, 'after'])
  await there.popItem()
  expect(texts([await there.popItem()])).toEqual([large])
  expect(texts(await here.getItems())).toEqual(['before'])
})

it('refuses what JSON would lose, and adds nothing of it', async () => {
  const memory = new AgentSession(await openOne())
  const bytes = { ...user('x'), providerData: { bytes: new Uint8Array(3) } }
  await expect(memory.addItems([user('fine'), bytes])).rejects.toMatchObject({ code: 'BAD_VALUE' })
  expect(await memory.getItems()).toEqual([])
})

it('reads a few changes for a few items, however much there is, and whatever else the session holds', async () => {
  const session = await openOne()
  const memory = new AgentSession(session)
  for (let i = 0; i < 200; i++) await memory.addItems([user(`${i}`)])
  const stream = await session.openStream('reply')
  for (let i = 0; i < 5_000; i++) stream.write('token ')
  await stream.end()
  const reads = vi.spyOn(session, 'checkpoints')
  const records = vi.spyOn(session, 'records')
  expect(texts(await memory.getItems(5))).toEqual(['195', '196', '197', '198', '199'])
  expect(texts([await memory.popItem()])).toEqual(['199'])
  const read = (await Promise.all(reads.mock.results.map(({ value }) => value as Promise<unknown[]>))).flat()
  expect(read.length).toBeLessThanOrEqual(3 * 8)
  expect(records).not.toHaveBeenCalled()
  expect(await memory.getItems()).toHaveLength(199)
})

it('does not look through all that was added and taken away again', async () => {
  const [session, other] = (await openMany(2)) as [Session, Session]
  const memory = new AgentSession(session)
  await memory.addItems([user('a'), user('b'), user('c')])
  for (let i = 0; i < 80; i++) {
    await memory.addItems([user(`${i}`)])
    expect(texts([await memory.popItem()])).toEqual([`${i}`])
  }
  const reads = vi.spyOn(other, 'checkpoints')
  const there = new AgentSession(other)
  expect(texts(await there.getItems())).toEqual(['a', 'b', 'c'])
  const read = (await Promise.all(reads.mock.results.map(({ value }) => value as Promise<unknown[]>))).flat()
  expect(read.length).toBeLessThan(135)
  expect(texts([await there.popItem(), await there.popItem(), await there.popItem(), await there.popItem()])).toEqual([
    ...['c', 'b', 'a'],
    undefined,
  ])
  for (let i = 0; i < 40; i++) {
    await there.addItems([user(`${i}`)])
    await there.popItem()
  }
  expect(await memory.getItems()).toEqual([])
})

it('applies a transaction once, refuses another one of its id, and replaces only what is there', async () => {
  const [here, there] = (await openMany(2)).map((session) => new AgentSession(session)) as [AgentSession, AgentSession]
  const first = { operationId: 'one', transaction: { type: 'append_items' as const, items: [user('a'), user('b')] } }
  await Promise.all([here.applyHistoryTransaction(first), there.applyHistoryTransaction(first)])
  expect(texts(await here.getItems())).toEqual(['a', 'b'])
  const other = { operationId: 'one', transaction: { type: 'append_items' as const, items: [user('c')] } }
  await expect(there.applyHistoryTransaction(other)).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  const replace = (operationId: string, expected: string) => ({
    operationId,
    transaction: {
      type: 'replace_suffix' as const,
      expectedSuffix: [user(expected)],
      replacement: [assistant('z')],
    },
  })
  await expect(here.applyHistoryTransaction(replace('two', 'a'))).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  expect(texts(await there.getItems())).toEqual(['a', 'b'])
  await here.applyHistoryTransaction(replace('three', 'b'))
  await there.applyHistoryTransaction(replace('three', 'b'))
  expect(await there.getItems()).toEqual([user('a'), assistant('z')])
})

it('says that items are trimmed, and begins anew when it is cleared', async () => {
  const session = await openOne()
  const memory = new AgentSession(session)
  await memory.addItems([user('a')])
  await memory.addItems([user('b')])
  await session.trim({ before: 1 })
  expect(texts(await memory.getItems(1))).toEqual(['b'])
  await expect(memory.getItems()).rejects.toMatchObject({ code: 'TRIMMED' })
  expect(texts([await memory.popItem()])).toEqual(['b'])
  await expect(memory.popItem()).rejects.toMatchObject({ code: 'TRIMMED' })
  await memory.clearSession()
  await memory.addItems([user('c')])
  expect(texts(await memory.getItems())).toEqual(['c'])
})

it('has several memories in one session, beside checkpoints of others', async () => {
  const session = await openOne()
  const [one, two] = [new AgentSession(session), new AgentSession(session, { name: 'planner' })]
  await one.addItems([user('1')])
  await session.checkpoint('mine', { step: 1 })
  await two.addItems([user('2')])
  expect([texts(await one.getItems()), texts(await two.getItems())]).toEqual([['1'], ['2']])
})

it('remembers between two runs of the SDK, in different processes', async () => {
  const [here, there] = await openMany(2)
  const model = new ScriptedModel([[assistantMessage('Paris')], [assistantMessage('Two million')]])
  const agent = new Agent({ name: 'Guide', model })
  const runner = new Runner({ tracingDisabled: true })
  await runner.run(agent, 'What is the capital of France?', { session: new AgentSession(here as Session) })
  await runner.run(agent, 'How many live there?', { session: new AgentSession(there as Session) })
  expect(model.lastCall?.request.input).toMatchObject([
    { role: 'user', content: 'What is the capital of France?' },
    { role: 'assistant', content: [{ text: 'Paris' }] },
    { role: 'user', content: 'How many live there?' },
  ])
})

const GUIDE = new URL('../../client/openai-agents/README.md', import.meta.url)
const printed: unknown[][] = []
const runner = new Runner({ tracingDisabled: true })

/** Runs the first sample below a heading, with what it is given in the place of its imports. */
const run = (heading: string, given: Readonly<Record<string, unknown>>): Promise<void> =>
  runSample(sampleOf(GUIDE, heading), given)

/** What all samples have, on a broker of their own. */
async function given(model: Model): Promise<Readonly<Record<string, unknown>>> {
  const own = await startBroker({ port: 0, dataDir: null })
  const broker = connect(own.url)
  onTestFinished(async () => {
    await broker.close()
    await own.close()
  })
  printed.length = 0
  const session = await broker.session('support/ticket-42')
  return {
    ...{ Agent, AgentSession, RunState, onceTool, readRun, session, storedRun, tool, model },
    connect: () => broker,
    run: runner.run.bind(runner),
    memory: new AgentSession(session),
    config: { model, tracingDisabled: true },
    console: { log: (...values: unknown[]) => printed.push(values) },
  }
}

const parameters = { type: 'object' as const, properties: {}, required: [], additionalProperties: false as const }
const booking = [scriptedCall('book', {}, { callId: 'call_1' })]

it('the sample of the memory stores what was said', async () => {
  const model = new ScriptedModel([[assistantMessage('In Rome.')]])
  await run('Memory', { ...(await given(model)), agent: new Agent({ name: 'Support', model }) })
  expect(printed).toEqual([['In Rome.', 2]])
})

it('the samples of a run and of reading store a run, once, and show it', async () => {
  const model = new ScriptedModel([booking, [assistantMessage('Booked.')]])
  const has = await given(model)
  let booked = 0
  const flights = { book: () => `booking ${++booked}`, find: () => null }
  await run('Runs that outlive their process', { ...has, flights, parameters })
  await run('Runs that outlive their process', { ...has, flights, parameters })
  expect([printed, booked]).toEqual([
    [
      ['done', 'Booked.'],
      ['done', 'Booked.'],
    ],
    1,
  ])
  const shown: unknown[] = []
  const ui = {
    turn: (...turn: number[]) => shown.push(turn),
    event: ({ name }: { name?: string }) => name !== undefined && shown.push(name),
    status: (state: string) => shown.push(state),
  }
  const page: { position?: string } = {}
  await run('Reading', { ...has, ui, page })
  const seen = ['open', [1, 0], 'tool_called', 'tool_output', [2, 0], 'message_output_created', 'done']
  expect([shown, page.position]).toEqual([seen, 'end'])
})

it('the sample of an approval goes on when it is there', async () => {
  const model = new ScriptedModel([booking, [assistantMessage('Booked.')]])
  const book = tool({
    name: 'book',
    description: 'Books.',
    parameters,
    strict: true,
    needsApproval: true,
    execute: () => 'ok',
  })
  await run('Approval', { ...(await given(model)), agent: new Agent({ name: 'Travel', tools: [book] }) })
  expect(printed).toEqual([['Booked.']])
})
