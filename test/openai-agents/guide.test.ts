/** The samples of the guide, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { Agent, type Model, Runner, RunState, tool } from '@openai/agents-core'
import { assistantMessage, functionCall, ScriptedModel } from '@openai/agents-core/testing'
import { transform } from 'esbuild'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { AgentSession, onceTool, readRun, storedRun } from '../../client/openai-agents/index.ts'

const GUIDE = readFileSync(new URL('../../client/openai-agents/README.md', import.meta.url), 'utf8')
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** Runs the first sample below a heading, with what it is given in the place of its imports. */
async function run(heading: string, given: Readonly<Record<string, unknown>>): Promise<void> {
  const below = GUIDE.slice(GUIDE.indexOf(`# ${heading}\n`))
  const sample = /```ts\n([\s\S]*?)```/.exec(below)?.[1]
  if (sample === undefined) throw new Error(`the guide has no sample of "${heading}"`)
  const { code } = await transform(`async function sample() {${sample.replace(/^import .*$/gm, '')}}`, { loader: 'ts' })
  const sampled = new AsyncFunction(...Object.keys(given), `${code}; await sample()`)
  await (sampled(...Object.values(given)) as Promise<void>)
}

const printed: unknown[][] = []
let server: Server
let broker: Broker

const runner = new Runner({ tracingDisabled: true })

beforeEach(async () => {
  server = await startBroker({ port: 0, dataDir: null })
  broker = connect(server.url)
  printed.length = 0
})

afterEach(async () => {
  await broker.close()
  await server.close()
})

/** What all samples have. */
async function given(model: Model): Promise<Readonly<Record<string, unknown>>> {
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
const call = [functionCall('book', {}, { callId: 'call_1' })]

it('the sample of the memory stores what was said', async () => {
  const model = new ScriptedModel([[assistantMessage('In Rome.')]])
  await run('Memory', { ...(await given(model)), agent: new Agent({ name: 'Support', model }) })
  expect(printed).toEqual([['In Rome.', 2]])
})

it('the samples of a run and of reading store a run, once, and show it', async () => {
  const model = new ScriptedModel([call, [assistantMessage('Booked.')]])
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
  const model = new ScriptedModel([call, [assistantMessage('Booked.')]])
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
