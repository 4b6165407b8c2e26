/** Runs that are stored as they go, against a real broker: read, followed, cut off anywhere and taken over. */

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Agent, RunState, tool } from '@openai/agents-core'
import { assistantMessage, functionCall, modelResponder, ScriptedModel } from '@openai/agents-core/testing'
import { build } from 'esbuild'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, CALL_PREFIX, connect, type Session } from '../../client/index.ts'
import {
  AgentSession,
  type OnceToolOptions,
  type RunEntry,
  readRun,
  type StoredEvent,
  storedRun,
} from '../../client/openai-agents/index.ts'
import { FaultyNetwork } from '../client/faulty-network.ts'
import { programArgs } from '../programs.ts'
import { type Point, ReplayingModel, researcher, type World } from './research.ts'

let server: Server
let brokers: Broker[] = []
let topics = 0

beforeAll(async () => {
  // A writer that is gone is lost at once.
  server = await startBroker({ port: 0, dataDir: null, streamGraceMs: 0 })
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  brokers = []
})

afterAll(() => server.close())

function open(name: string, network = new FaultyNetwork()): Promise<Session> {
  const broker = connect(server.url, { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  brokers.push(broker)
  return broker.session(name)
}

const topic = (): string => `run/${++topics}`

/** Runs the researcher as one process would; gives how often it asked its model. */
async function research(session: Session, world: World, options?: OnceToolOptions) {
  const model = new ReplayingModel(world)
  const config = { model, tracingDisabled: true }
  const memory = new AgentSession(session)
  const run = await storedRun(session, 'research', researcher(world, options), 'Who won?', { session: memory, config })
  return { run, asked: model.asked }
}

async function all<V>(values: AsyncIterable<V>): Promise<V[]> {
  const found: V[] = []
  for await (const value of values) found.push(value)
  return found
}

/** The events that count, as a reader finds out: those of a turn that begins again are void. */
function eventsOf(entries: readonly RunEntry[]): StoredEvent[] {
  const turns: StoredEvent[][] = []
  for (const entry of entries) {
    if (entry.kind === 'turn') turns[entry.turn - 1] = (turns[entry.turn - 1] ?? []).slice(0, entry.kept)
    if (entry.kind === 'event') turns.at(-1)?.push(entry.event)
  }
  return turns.flat()
}

/** The text that the event adds to the answer. */
function textOf(event: StoredEvent): unknown {
  const isText = event.type === 'raw_model_stream_event' && event.data.type === 'output_text_delta'
  return isText ? event.data.delta : ''
}

const parameters = { type: 'object' as const, properties: {}, required: [], additionalProperties: true as const }

const quiet: World = { at: () => {}, did: () => {}, deltas: 4 }

it('gives whoever starts the run what it came to, and runs it once', async () => {
  const name = topic()
  const did: string[] = []
  const [here, there] = [await open(name), await open(name)]
  const world: World = { at: () => {}, did: (what) => did.push(what) }
  const [first, second] = await Promise.all([research(here, world), research(there, world)])
  const again = await research(there, world)
  expect(first.run).toMatchObject({ end: 'done', interruptions: [] })
  expect(first.run.output).toMatch(/^Yes — I searched the web\./)
  expect([second.run, again.run]).toEqual([first.run, first.run])
  expect([first.asked + second.asked, again.asked]).toEqual([3, 0])
  expect(did).toEqual([expect.stringMatching(/^search .*New York/), 'note {"text":"found"}'])
})

it('stores each event of the SDK, so that readers have all of them, in order', async () => {
  const session = await open(topic())
  const told: unknown[] = []
  const config = { model: new ReplayingModel(quiet), tracingDisabled: true }
  const onEvent = (event: unknown) => told.push(JSON.parse(JSON.stringify(event)))
  await storedRun(session, 'research', researcher(quiet), 'Who won?', { config, onEvent })
  const entries = await all(readRun(session, 'research'))
  expect(eventsOf(entries)).toEqual(told)
  expect(entries.filter(({ kind }) => kind !== 'event')).toMatchObject([
    { kind: 'state', state: 'open' },
    { kind: 'turn', turn: 1, attempt: 1 },
    { kind: 'turn', turn: 2, attempt: 1 },
    { kind: 'turn', turn: 3, attempt: 1 },
    { kind: 'final' },
    { kind: 'state', state: 'done', position: 'end' },
  ])
})

/** A process that dies at a point: it is never heard of again. Resolves when it is dead. */
async function dies(name: string, point: Point, did: (what: string) => void): Promise<void> {
  const network = new FaultyNetwork()
  const session = await open(name, network)
  await new Promise<void>((resolve, reject) => {
    const at = (here: Point): Promise<void> | undefined => {
      if (here !== point) return
      resolve()
      return new Promise(() => {})
    }
    research(session, { ...quiet, at, did }).then(() => reject(new Error(`never came to ${point}`)), reject)
  })
  await session.flush()
  network.down = true
  network.cut()
}

const events = (turn: number, count: number): Point[] =>
  Array.from({ length: count }, (_, i): Point => `turn ${turn}, event ${i}`)

describe('a run whose process is lost', () => {
  const answering = [0, 1, 2, 5, 9].map((i): Point => `turn 3, event ${i}`)
  const points: Point[] = [...events(1, 3), 'before search', ...events(2, 3), 'before note', ...answering]

  it.each(points)('%s, is taken over: its events are those of one that was never lost', async (point) => {
    const [straight, broken] = [await open(topic()), await open(topic())]
    await research(straight, quiet)
    const did: string[] = []
    await dies(broken.name, point, (what) => did.push(what))
    const { run, asked } = await research(broken, { ...quiet, did: (what) => did.push(what) }, { ifUnknown: 'run' })
    expect(run).toMatchObject({ end: 'done', output: 'Yes — I searched' })
    // Nothing is asked for again but the answer that was cut off.
    expect(asked).toBe(point.startsWith('turn 1') ? 3 : /turn 2|search/.test(point) ? 2 : 1)
    expect(did.map((what) => what.split(' ')[0])).toEqual(['search', 'note'])
    const [expected, entries] = [await all(readRun(straight, 'research')), await all(readRun(broken, 'research'))]
    expect(eventsOf(entries)).toEqual(eventsOf(expected))
    expect(await new AgentSession(broken).getItems()).toEqual(await new AgentSession(straight).getItems())
  })

  it('by SIGKILL, in the middle of the answer, is taken over by another process, and its readers see it through', async () => {
    const session = await open(topic())
    const entries: RunEntry[] = []
    let tellAnswering = () => {}
    const answering = new Promise<void>((resolve) => {
      tellAnswering = resolve
    })
    const reading = (async () => {
      for await (const entry of readRun(session, 'research')) {
        entries.push(entry)
        if (entry.kind === 'event' && textOf(entry.event) !== '') tellAnswering()
      }
    })()
    const did: string[] = []
    const child = spawn(
      process.execPath,
      [...programArgs('test/openai-agents/researcher-main.ts'), server.url, session.name, 'turn 3, event 40'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    onTestFinished(() => void child.kill('SIGKILL'))
    for await (const line of createInterface({ input: child.stdout })) {
      if (line !== 'here') did.push(line)
      else void answering.then(() => child.kill('SIGKILL'))
    }
    const { run, asked } = await research(session, { at: () => {}, did: (what) => did.push(what) })
    expect([run.end, asked]).toEqual(['done', 1])
    expect(did).toEqual([expect.stringMatching(/^search/), expect.stringMatching(/^note/)])
    await reading
    expect(eventsOf(entries).map(textOf).join('')).toBe(run.output)
    const marks = entries.flatMap((entry) => {
      if (entry.kind === 'turn') return [`turn ${entry.turn}, attempt ${entry.attempt}`]
      return entry.kind === 'state' ? [entry.state] : []
    })
    expect(marks).toEqual([
      ...['open', 'turn 1, attempt 1', 'turn 2, attempt 1', 'turn 3, attempt 1'],
      ...['lost', 'resumed', 'turn 3, attempt 2', 'done'],
    ])
    expect(await new AgentSession(session).getItems()).toHaveLength(6)
  })

  it('wherever the line breaks, is taken over: what tools do happens once, or it says that nobody knows', async () => {
    const straight = await open(topic())
    await research(straight, quiet)
    const expected = eventsOf(await all(readRun(straight, 'research')))
    const items = await new AgentSession(straight).getItems()
    let unknown = 0
    for (let message = 3; ; message += 7) {
      const name = topic()
      const network = new FaultyNetwork()
      const did: string[] = []
      const world: World = { ...quiet, did: (what) => did.push(what) }
      const broken = await open(name, network)
      const cut = new Promise<boolean>((resolve) => {
        network.onArrival = () => {
          if (network.arrived < message) return
          network.down = true
          network.cut()
          resolve(true)
        }
        research(broken, world).then(
          () => resolve(false),
          () => {},
        )
      })
      if (!(await cut)) break
      const session = await open(name)
      const { run } = await research(session, world)
      expect(did.map((what) => what.split(' ')[0])).toEqual(run.end === 'done' ? ['search', 'note'] : expect.anything())
      expect(new Set(did).size).toBe(did.length)
      if (run.end === 'done') {
        expect(eventsOf(await all(readRun(session, 'research')))).toEqual(expected)
        expect(await new AgentSession(session).getItems()).toEqual(items)
      } else {
        unknown++
        expect(run.error).toMatchObject({ code: 'OUTCOME_UNKNOWN' })
      }
    }
    expect(unknown).toBeLessThan(8)
  })

  it('and comes back while another one is at it, is shut out, and gets what that one came to', async () => {
    const [name, network] = [topic(), new FaultyNetwork()]
    const did: string[] = []
    let goOn = () => {}
    const away = await open(name, network)
    const left = await new Promise<{ readonly back: ReturnType<typeof research> }>((resolve) => {
      const at = (point: Point) => {
        if (point !== 'turn 3, event 6') return
        resolve({ back })
        return new Promise<void>((again) => {
          goOn = again
        })
      }
      const back = research(away, { ...quiet, at, did: (what) => did.push(what) })
    })
    network.down = true
    network.cut()
    const session = await open(name)
    const { run } = await research(session, { ...quiet, did: (what) => did.push(what) })
    const entries = await all(readRun(session, 'research'))
    network.down = false
    goOn()
    expect((await left.back).run).toEqual(run)
    expect(did).toHaveLength(2)
    expect(await all(readRun(session, 'research'))).toEqual(entries)
    expect(await new AgentSession(session).getItems()).toHaveLength(6)
  })

  it('and gives up while another one is at it, adds nothing to the memory in its place', async () => {
    const [name, network] = [topic(), new FaultyNetwork()]
    const away = await open(name, network)
    const left = new Promise<{ readonly back: ReturnType<typeof research> }>((resolve) => {
      const at = (point: Point) => {
        if (point !== 'turn 3, event 6') return
        network.down = true
        network.cut()
        resolve({ back })
        throw new Error('the model cannot be reached')
      }
      const back = research(away, { ...quiet, at })
    })
    const { back } = await left
    const session = await open(name)
    const at = async (point: Point) => {
      if (point !== 'turn 3, event 8') return
      network.down = false
      // Behind all that it had to say.
      await away.append('back')
    }
    const { run } = await research(session, { ...quiet, at })
    expect(run).toMatchObject({ end: 'done', output: 'Yes — I searched' })
    expect((await back).run).toEqual(run)
    expect(await new AgentSession(session).getItems()).toHaveLength(6)
  })

  it('while an agent works to which the first one has handed over, is taken over by that agent', async () => {
    const name = topic()
    const did: string[] = []
    const agent = () =>
      new Agent({ name: 'Triage', handoffs: [researcher({ ...quiet, did: (what) => did.push(what) })] })
    const start = (session: Session, model: ScriptedModel) =>
      storedRun(session, 'run', agent(), 'Take a note', { config: { model, tracingDisabled: true } })
    const network = new FaultyNetwork()
    const away = await open(name, network)
    await new Promise<void>((resolve) => {
      const calls = ['transfer_to_Researcher', 'note'].map((tool, i) => [
        functionCall(tool, {}, { callId: `call_${i}` }),
      ])
      const never = modelResponder(() => {
        resolve()
        return new Promise(() => {})
      })
      void start(away, new ScriptedModel([...calls, never])).catch(() => {})
    })
    await away.flush()
    network.down = true
    network.cut()
    const session = await open(name)
    const run = await start(session, new ScriptedModel([[assistantMessage('Noted.')]]))
    expect(run).toMatchObject({ end: 'done', output: 'Noted.' })
    expect(did).toEqual(['note {}'])
    const names = eventsOf(await all(readRun(session, 'run'))).flatMap((event) => {
      if (event.type === 'raw_model_stream_event') return []
      return [event.type === 'run_item_stream_event' ? event.name : event.agent.name]
    })
    expect(names).toEqual([
      ...['handoff_requested', 'handoff_occurred', 'Researcher'],
      ...['tool_called', 'tool_output', 'message_output_created'],
    ])
  })

  it('behind a tool that then has another output, keeps of the turn what came before that', async () => {
    const name = topic()
    const did: string[] = []
    const start = async (session: Session, at: World['at']) => {
      const world: World = { ...quiet, at, did: (what) => did.push(what) }
      // Not made by onceTool.
      const note = tool({
        name: 'note',
        description: 'Notes',
        parameters,
        strict: false,
        execute: () => `${did.push('note')}`,
      })
      const agent = researcher(world)
      const config = { model: new ReplayingModel(world), tracingDisabled: true }
      const tools = agent.tools.map((one) => (one.name === 'note' ? note : one))
      return storedRun(session, 'research', agent.clone({ tools }), 'Who won?', { config })
    }
    const network = new FaultyNetwork()
    const away = await open(name, network)
    await new Promise<void>((resolve) => {
      const at = (point: Point) => {
        if (point !== 'turn 3, event 0') return
        resolve()
        return new Promise<void>(() => {})
      }
      start(away, at).catch(() => {})
    })
    await away.flush()
    network.down = true
    network.cut()
    const session = await open(name)
    expect(await start(session, quiet.at)).toMatchObject({ end: 'done', output: 'Yes — I searched' })
    const entries = await all(readRun(session, 'research'))
    expect(entries.filter(({ kind }) => kind === 'turn')).toMatchObject([
      { turn: 1, attempt: 1, kept: 0 },
      { turn: 2, attempt: 1, kept: 0 },
      { turn: 2, attempt: 2, kept: 4 },
      { turn: 3, attempt: 1, kept: 0 },
    ])
    const outputs = eventsOf(entries).flatMap((event) =>
      event.type === 'run_item_stream_event' && event.name === 'tool_output' ? [event.item.output] : [],
    )
    expect(outputs).toEqual(['search is done', '3'])
  })

  it('within a call of a tool, fails with OUTCOME_UNKNOWN, and the call does not run again', async () => {
    const session = await open(topic())
    const did: string[] = []
    await dies(session.name, 'in note', (what) => did.push(what))
    const { run } = await research(session, { ...quiet, did: (what) => did.push(what) })
    expect(run).toMatchObject({
      end: 'failed',
      error: { code: 'OUTCOME_UNKNOWN', details: { call: 'research/call_2' } },
    })
    expect(did).toHaveLength(2)
  })

  it('within a call of a tool, goes on with what it is told that the call did', async () => {
    const session = await open(topic())
    const did: string[] = []
    await dies(session.name, 'in note', (what) => did.push(what))
    const asked: unknown[] = []
    const ifUnknown = (call: unknown) => asked.push(call) && 'noted before'
    const { run } = await research(session, { ...quiet, did: (what) => did.push(what) }, { ifUnknown })
    expect(run.end).toBe('done')
    expect(did).toHaveLength(2)
    expect(asked).toEqual([{ tool: 'note', callId: 'call_2', input: '{"text":"found"}' }])
    expect(await new AgentSession(session).getItems(2)).toMatchObject([{ output: { text: 'noted before' } }, {}])
  })
})

it('readers go on from any of its entries, beside other streams, without losing or repeating one', async () => {
  const session = await open(topic())
  const other = await session.openStream('other')
  const at = () => void other.write('.')
  await research(session, { ...quiet, deltas: 12, at })
  await other.end()
  const entries = await all(readRun(session, 'research'))
  expect(new Set(entries.map(({ position }) => position)).size).toBe(entries.length)
  for (const [i, { position }] of entries.entries()) {
    expect(await all(readRun(session, 'research', { from: position }))).toEqual(entries.slice(i + 1))
  }
  await expect(all(readRun(session, 'research', { from: 'anywhere' }))).rejects.toMatchObject({ code: 'BAD_CURSOR' })
})

it('a stop reaches the run, wherever it is, and it has stopped for everybody', async () => {
  const session = await open(topic())
  const at = async (point: Point) => {
    if (point === 'turn 3, event 5') await session.stop('research', { reason: 'enough' })
  }
  const { run } = await research(session, { ...quiet, at })
  expect(run).toMatchObject({ end: 'stopped', detail: { reason: 'enough' }, output: undefined })
  expect(await new AgentSession(session).getItems()).toMatchObject([{ role: 'user', content: 'Who won?' }])
  expect((await all(readRun(session, 'research'))).at(-1)).toMatchObject({ kind: 'state', state: 'stopped' })
})

it('fails a run whose model it does not stand before, which it could not take over', async () => {
  const session = await open(topic())
  const agent = new Agent({ name: 'Loner', model: new ReplayingModel(quiet) })
  const run = await storedRun(session, 'loner', agent, 'Hello', { config: { tracingDisabled: true } })
  expect(run).toMatchObject({ end: 'failed', error: { code: 'BAD_REQUEST' } })
})

it('stores what a provider says by itself as its JSON, whatever is in it', async () => {
  const session = await open(topic())
  const model = new ReplayingModel(quiet)
  const said = model.getStreamedResponse.bind(model)
  model.getStreamedResponse = async function* (request) {
    // As the AI SDK's adapter says it.
    yield { type: 'model', event: { type: 'response-metadata', timestamp: new Date(0), usage: new Map() } }
    yield* said(request)
  }
  const run = await storedRun(session, 'dated', researcher(quiet), 'Who won?', {
    config: { model, tracingDisabled: true },
  })
  expect(run).toMatchObject({ end: 'done' })
  const [event] = eventsOf(await all(readRun(session, 'dated')))
  expect(event).toMatchObject({ data: { event: { timestamp: '1970-01-01T00:00:00.000Z', usage: {} } } })
})

it('stores the calls of tools for who looks: their tool, input and output', async () => {
  const session = await open(topic())
  await research(session, quiet)
  const { streams } = await session.resume({
    cursor: (await open(session.name)).cursor.replace(/.{14}$/, '0'.repeat(14)),
  })
  const calls = streams.filter(({ id }) => id.startsWith(CALL_PREFIX))
  expect(calls.map(({ id, state, parts }) => [id, state, parts.get('tool'), parts.get('output')])).toEqual([
    ['once/research/call_1', 'done', '"search"', '"search is done"'],
    ['once/research/call_2', 'done', '"note"', '"note is done"'],
  ])
})

it('waits for approval as a run that is done, and goes on from its state as another one, in another process', async () => {
  const name = topic()
  const approved = (did: string[]) => {
    const needs = researcher({ ...quiet, did: (what) => did.push(what) })
    const tools = needs.tools.map((tool) =>
      tool.name === 'note' ? { ...tool, needsApproval: async () => true } : tool,
    )
    return needs.clone({ tools })
  }
  const did: string[] = []
  const start = async (id: string, input: 'Who won?' | string, approve: boolean) => {
    const session = await open(name)
    const agent = approved(did)
    const options = {
      session: new AgentSession(session),
      config: { model: new ReplayingModel(quiet), tracingDisabled: true },
    }
    if (!approve) return storedRun(session, id, agent, input, options)
    const state = await RunState.fromString(agent, input)
    for (const call of state.getInterruptions()) state.approve(call)
    return storedRun(session, id, agent, state, options)
  }
  const first = await start('one', 'Who won?', false)
  expect(first).toMatchObject({ end: 'done', output: null, interruptions: [{ rawItem: { name: 'note' } }] })
  expect(did).toHaveLength(1)
  const second = await start('two', first.state ?? '', true)
  expect(second).toMatchObject({ end: 'done', output: 'Yes — I searched' })
  expect(did).toHaveLength(2)
  expect(await new AgentSession(await open(name)).getItems()).toHaveLength(6)
})

it('reading takes nothing of the SDK into a browser', async () => {
  const { metafile } = await build({
    ...{ entryPoints: ['client/openai-agents/read-run.ts'], bundle: true, write: false, metafile: true },
    ...{ platform: 'browser', format: 'esm', logLevel: 'silent' },
  })
  expect(
    Object.keys(metafile.inputs).filter((path) => path.includes('@openai') || path.includes('node_modules/ws')),
  ).toEqual([])
})
