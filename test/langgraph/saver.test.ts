/**
 * The checkpointer: LangGraph's own validation of it, unmodified, and what that does not ask: a real broker, a connection for each process, and
 * a broker that is killed in the middle of a graph's run. One file, as LangGraph takes longer to load than most of these take to run.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Annotation, DeltaChannel, END, START, StateGraph } from '@langchain/langgraph'
import {
  type Checkpoint,
  type CheckpointMetadata,
  type CheckpointTuple,
  emptyCheckpoint,
  INTERRUPT,
  uuid6,
} from '@langchain/langgraph-checkpoint'
import { deltaChannelHistoryTests, validate } from '@langchain/langgraph-checkpoint-validation'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { LitetopicSaver } from '../../client/langgraph/index.ts'
import { killAll, litetopic, type Running } from '../cli/processes.ts'
import { afterwards, client, Meter, saverAt, serve } from './savers.ts'

const METADATA: CheckpointMetadata = { source: 'loop', step: 1, parents: {} }

const thread = (id: string, checkpointId?: string) => ({
  configurable: {
    thread_id: id,
    checkpoint_ns: '',
    ...(checkpointId !== undefined && { checkpoint_id: checkpointId }),
  },
})

function checkpoint(values: Record<string, unknown>, version = 1): Checkpoint {
  const versions = Object.fromEntries(Object.keys(values).map((channel) => [channel, version]))
  return { ...emptyCheckpoint(), id: uuid6(0), channel_values: values, channel_versions: versions }
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of source) found.push(item)
  return found
}

const idsOf = (tuples: readonly CheckpointTuple[]) => tuples.map((tuple) => tuple.checkpoint.id)

/** A graph of two steps, of which the second says what it is told. */
function talk(saver: LitetopicSaver, says: string) {
  const State = Annotation.Root({
    said: Annotation<string[]>({ reducer: (said, more) => [...said, ...more], default: () => [] }),
  })
  return new StateGraph(State)
    .addNode('ask', () => ({ said: ['what?'] }))
    .addNode('answer', () => ({ said: [says] }))
    .addEdge(START, 'ask')
    .addEdge('ask', 'answer')
    .addEdge('answer', END)
    .compile({ checkpointer: saver })
}

it('a thread goes on in another process, and its history is that of all of them', async () => {
  const server = await serve()
  await talk(saverAt(server), 'one').invoke({ said: ['hi'] }, thread('t'))
  const other = talk(saverAt(server), 'two')
  expect((await other.getState(thread('t'))).values).toEqual({ said: ['hi', 'what?', 'one'] })
  await other.invoke({ said: ['again'] }, thread('t'))
  const third = talk(saverAt(server), 'three')
  const said = (await all(third.getStateHistory(thread('t')))).map((state) => state.values.said?.length ?? 0)
  expect(said).toEqual([6, 5, 4, 3, 3, 2, 1, 0])
})

it('histories that part keep their values, though both count versions from the same one on', async () => {
  const server = await serve()
  const first = talk(saverAt(server), 'one')
  await first.invoke({ said: ['hi'] }, thread('t'))
  const history = await all(first.getStateHistory(thread('t')))
  const asked = history.find((state) => state.next[0] === 'answer')
  const second = talk(saverAt(server), 'two')
  expect(await second.invoke(null, asked?.config)).toEqual({ said: ['hi', 'what?', 'two'] })
  const old = await first.getState(history[0]?.config ?? {})
  expect(old.values).toEqual({ said: ['hi', 'what?', 'one'] })
  expect((await first.getState(thread('t'))).values).toEqual({ said: ['hi', 'what?', 'two'] })
})

it('what a put or a look at the newest checkpoint costs does not grow with the history', async () => {
  const server = await serve()
  const meter = new Meter()
  const saver = new LitetopicSaver(client(server.url, meter.open))
  const other = new LitetopicSaver(client(server.url, meter.open))
  let count = 0
  let last = thread('t')
  const put = async (): Promise<void> => {
    const step = ++count
    // One channel changes with each checkpoint, the other never does.
    const made: Checkpoint = {
      ...checkpoint({ turn: `turn ${step}`, profile: 'p'.repeat(2_000) }),
      channel_versions: { turn: 1_000_000 + step, profile: 1 },
    }
    const { turn } = made.channel_versions
    const changed = step === 1 ? made.channel_versions : { turn: turn as number }
    const config = last
    last = thread('t', made.id)
    await saver.put(config, made, { ...METADATA, step: 1_000_000 + step }, changed)
  }
  const costs: Record<string, number>[] = []
  for (const checkpoints of [10, 1_000]) {
    while (count < checkpoints) {
      const together = Math.min(500, checkpoints - count)
      await Promise.all(Array.from({ length: together }, put))
    }
    await other.getTuple(thread('t'))
    let found: CheckpointTuple | undefined
    const look = await meter.during(async () => {
      found = await other.getTuple(thread('t'))
    })
    expect(found?.checkpoint.channel_values.turn).toBe(`turn ${checkpoints}`)
    const listing = await meter.during(() => all(other.list(thread('t'), { limit: 3 })))
    const write = await meter.during(put)
    costs.push({ put: write.sentBytes, putBack: write.gotBytes, look: look.gotBytes, list: listing.gotBytes })
  }
  const [few, ...more] = costs as [Record<string, number>, ...Record<string, number>[]]
  // Offsets and sequences take some bytes more as they grow.
  for (const many of more) {
    for (const [what, bytes] of Object.entries(many)) expect(Math.abs(bytes - (few[what] ?? 0))).toBeLessThan(100)
  }
  // Nor does a put send what has not changed.
  expect(few.put).toBeLessThan(1_000)
  expect(few.look).toBeLessThan(3_500)
})

it('keeps values, writes and metadata of any size', async () => {
  const server = await serve()
  const saver = saverAt(server)
  const large = { text: '😀é'.repeat(100_000), bytes: new Uint8Array(500_000).fill(7) }
  const metadata = { ...METADATA, note: 'n'.repeat(500_000) }
  const config = await saver.put(thread('t'), checkpoint(large), metadata, { text: 1, bytes: 1 })
  await saver.putWrites(config, [['text', large.text]], 'task-1')
  const found = await saverAt(server).getTuple(thread('t'))
  const { text, bytes } = (found as CheckpointTuple).checkpoint.channel_values
  expect(text === large.text && Buffer.compare(bytes as Uint8Array, large.bytes) === 0).toBe(true)
  expect(found?.metadata).toEqual(metadata)
  expect(found?.pendingWrites).toEqual([['task-1', 'text', large.text]])
  expect(await all(saver.list(thread('t')))).toHaveLength(1)
})

it('what a process has not written whole before it is gone nobody sees', async () => {
  const server = await serve()
  const before = await saverAt(server).put(thread('t'), checkpoint({ text: 'before' }), METADATA, { text: 1 })
  const meter = new Meter(1_000_000)
  const gone = new LitetopicSaver(client(server.url, meter.open))
  const text = 'x'.repeat(900_000)
  // Nobody will tell it that this is stored.
  const put = gone.put(before, checkpoint({ text }, 2), METADATA, { text: 2 })
  put.catch(() => {})
  const wrote = gone.putWrites(before, [['text', text]], 'task')
  wrote.catch(() => {})
  const looking = saverAt(server)
  while (meter.sentBytes <= meter.mostBytes) await looking.getTuple(before)
  const found = await looking.getTuple(thread('t'))
  expect(found?.checkpoint.channel_values).toEqual({ text: 'before' })
  expect(found?.pendingWrites).toEqual([])
  expect(await all(looking.list(thread('t')))).toHaveLength(1)
})

it('takes more at once than a session holds', async () => {
  const saver = saverAt(await serve())
  const config = await saver.put(thread('t'), checkpoint({}), METADATA, {})
  const tasks = Array.from({ length: 40 }, (_, i) => `task-${i}`)
  const value = 'v'.repeat(180_000)
  await Promise.all(tasks.map((task) => saver.putWrites(config, [['out', value]], task)))
  expect((await saver.getTuple(config))?.pendingWrites?.map(([task]) => task).sort()).toEqual(tasks.sort())
})

it('of two writers to one thread both histories are kept, and everyone finds the same newest', async () => {
  const server = await serve()
  const savers = [saverAt(server), saverAt(server)]
  const root = await saverAt(server).put(thread('t'), checkpoint({ who: 'root' }), METADATA, { who: 1 })
  const ids = await Promise.all(
    savers.map(async (saver, who) => {
      let config = root
      for (let step = 0; step < 20; step++) {
        const made = checkpoint({ who: `${who} ${step}` }, saver.getNextVersion(step + 1))
        config = await saver.put(config, made, METADATA, made.channel_versions)
      }
      return config.configurable?.checkpoint_id as string
    }),
  )
  const [newest, ...views] = await Promise.all([
    saverAt(server).getTuple(thread('t')),
    ...[...savers, saverAt(server)].map((saver) => all(saver.list(thread('t')))),
  ])
  expect(newest?.checkpoint.id).toBe(ids.sort()[1])
  for (const view of views) {
    expect(idsOf(view)).toEqual([...idsOf(view)].sort().reverse())
    expect(idsOf(view)).toEqual(idsOf(views[0] ?? []))
    expect(view).toHaveLength(41)
    // Each goes on from its own.
    for (const {
      checkpoint: { channel_values },
      parentConfig,
    } of view) {
      const parent = view.find((tuple) => tuple.checkpoint.id === parentConfig?.configurable?.checkpoint_id)
      const [who, step] = String(channel_values.who).split(' ')
      if (step !== undefined && step !== '0') {
        expect(parent?.checkpoint.channel_values.who).toBe(`${who} ${Number(step) - 1}`)
      }
    }
  }
})

it('of what a task writes the first counts, whoever writes it, and of an interrupt the last', async () => {
  const server = await serve()
  const [one, two] = [saverAt(server), saverAt(server)]
  const config = await one.put(thread('t'), checkpoint({}), METADATA, {})
  await one.putWrites(
    config,
    [
      ['a', 1],
      ['b', 'x'.repeat(2_000)],
    ],
    'task',
  )
  await two.putWrites(
    config,
    [
      ['a', 2],
      ['b', 'y'],
      ['c', 3],
    ],
    'task',
  )
  await one.putWrites(config, [[INTERRUPT, 'first']], 'task')
  await two.putWrites(config, [[INTERRUPT, 'last']], 'task')
  const expected = [
    ['task', 'a', 1],
    ['task', 'b', 'x'.repeat(2_000)],
    ['task', 'c', 3],
    ['task', INTERRUPT, 'last'],
  ]
  for (const saver of [one, two]) expect((await saver.getTuple(config))?.pendingWrites).toEqual(expected)
})

it('a thread that somebody else deletes is gone for all, and begins anew', async () => {
  const server = await serve()
  const [one, two] = [saverAt(server), saverAt(server)]
  await one.put(thread('t'), checkpoint({ a: 1 }), METADATA, { a: 1 })
  expect(await two.getTuple(thread('t'))).toBeDefined()
  await two.deleteThread('t')
  await two.deleteThread('t')
  expect(await one.getTuple(thread('t'))).toBeUndefined()
  expect(await all(one.list({}))).toEqual([])
  await one.put(thread('t'), checkpoint({ a: 2 }), METADATA, { a: 1 })
  expect((await two.getTuple(thread('t')))?.checkpoint.channel_values).toEqual({ a: 2 })
})

it('ids of threads may be any text', async () => {
  const server = await serve()
  const saver = saverAt(server, { prefix: 'app/threads' })
  const ids = ['a b', 'a/b', '.', '..', 'ä😀', '~7E', '%41', "it's (1)!*", 'user:1@x', '__proto__']
  for (const id of ids) await saver.put(thread(id), checkpoint({ id }), METADATA, { id: 1 })
  // What is not a thread is passed over.
  const broker = client(server.url)
  await broker.session('app/threads/a/b')
  await broker.session('app/threads/~zz')
  const found = await all(saver.list({}))
  expect(found.map((tuple) => tuple.config.configurable?.thread_id).sort()).toEqual([...ids].sort())
  for (const id of ids) expect((await saver.getTuple(thread(id)))?.checkpoint.channel_values).toEqual({ id })
  for (const id of ['', 'x'.repeat(256), '\ud800']) {
    await expect(saver.getTuple(thread(id))).rejects.toMatchObject({ code: 'BAD_NAME' })
  }
  await expect(saver.put({}, checkpoint({}), METADATA, {})).rejects.toMatchObject({ code: 'BAD_REQUEST' })
})

it('namespaces and channels may have any name, and are kept apart', async () => {
  const saver = saverAt(await serve())
  const names = [
    '',
    'a',
    'a/b',
    '~',
    'node:1|tools:2',
    'long'.repeat(100),
    `${'long'.repeat(100)}er`,
    '\u0001',
    '__proto__',
  ]
  for (const name of names) {
    const config = { configurable: { thread_id: 't', checkpoint_ns: name } }
    const values = Object.fromEntries([[`channel ${name}`, name]])
    await saver.put(config, checkpoint(values), METADATA, { [`channel ${name}`]: 1 })
  }
  for (const name of names) {
    const found = await saver.getTuple({ configurable: { thread_id: 't', checkpoint_ns: name } })
    expect(found?.checkpoint.channel_values).toEqual({ [`channel ${name}`]: name })
    expect(found?.config.configurable?.checkpoint_ns).toBe(name)
  }
  expect(await all(saver.list({ configurable: { thread_id: 't' } }))).toHaveLength(names.length)
})

it.each(['sync', 'exit'] as const)(
  'delta channels are made again from what was written, with durability %s',
  async (durability) => {
    const server = await serve()
    const State = Annotation.Root({
      said: () =>
        new DeltaChannel<string[], string[]>((said, writes) => [...said, ...writes.flat()], {
          initialValueFactory: () => [],
          snapshotFrequency: 3,
        }),
    })
    const graph = (saver: LitetopicSaver) =>
      new StateGraph(State)
        .addNode('a', () => ({ said: ['a'] }))
        .addNode('b', () => ({ said: ['b'] }))
        .addEdge(START, 'a')
        .addEdge('a', 'b')
        .compile({ checkpointer: saver })
    const expected: string[] = []
    for (let turn = 0; turn < 5; turn++) {
      await graph(saverAt(server)).invoke({ said: [`${turn}`] }, { ...thread('t'), durability })
      expected.push(`${turn}`, 'a', 'b')
      expect((await graph(saverAt(server)).getState(thread('t'))).values).toEqual({ said: expected })
    }
  },
)

// It takes these from the global scope.
Object.assign(globalThis, { describe, it, expect, beforeAll, afterAll, beforeEach, afterEach })

let server: Server
let broker: Broker
let made = 0

const initializer = {
  checkpointerName: 'LitetopicSaver',
  // Each has its threads for itself.
  createCheckpointer: () => new LitetopicSaver(broker, { prefix: `saver-${++made}` }),
  destroyCheckpointer: (saver: LitetopicSaver) => saver.close(),
}

describe('the checkpointer', () => {
  beforeAll(async () => {
    server = await startBroker({ port: 0, dataDir: null })
    broker = connect(server.url)
  })

  afterAll(async () => {
    await broker.close()
    await server.close()
  })

  validate(initializer)
  // Not part of `validate`; LangGraph runs it for its own checkpointers.
  deltaChannelHistoryTests(initializer)
})

const THREAD = { configurable: { thread_id: 't' } }

/** A broker that comes back at its address when it is killed. */
class Process {
  private running: Running
  readonly url: string
  private readonly directory: string

  private constructor(running: Running, url: string, directory: string) {
    this.running = running
    this.url = url
    this.directory = directory
  }

  static async start(): Promise<Process> {
    const directory = await mkdtemp(join(tmpdir(), 'litetopic-langgraph-'))
    afterwards(async () => {
      killAll()
      await rm(directory, { recursive: true, force: true })
    })
    const running = serveOn(directory, 0)
    return new Process(running, await address(running), directory)
  }

  async kill(): Promise<void> {
    this.running.process.kill('SIGKILL')
    await this.running.ended
    this.running = serveOn(this.directory, Number(new URL(this.url).port))
    await address(this.running)
  }
}

/** A process of its own, LevelDB, fsync. */
function serveOn(directory: string, port: number): Running {
  return litetopic(['serve', '--port', String(port), '--data', directory])
}

async function address(running: Running): Promise<string> {
  return (await running.printed(/^litetopic listening on (ws:\S+)\n/))[1] as string
}

it('a run goes on when the broker is killed, and what is checkpointed is not run again', {
  timeout: 120_000,
}, async () => {
  const broker = await Process.start()
  const runs: string[] = []
  const State = Annotation.Root({
    done: Annotation<string[]>({ reducer: (done, more) => [...done, ...more], default: () => [] }),
  })
  const graph = (inSlow: () => Promise<void>) => {
    const saver = new LitetopicSaver(client(broker.url))
    const step = (name: string, fn?: () => Promise<void>) => async () => {
      runs.push(name)
      await fn?.()
      return { done: [name] }
    }
    return new StateGraph(State)
      .addNode('first', step('first'))
      .addNode('fast', step('fast'))
      .addNode('slow', step('slow', inSlow))
      .addNode(
        'last',
        step('last', () => broker.kill()),
      )
      .addEdge(START, 'first')
      .addEdge('first', 'fast')
      .addEdge('first', 'slow')
      .addEdge(['fast', 'slow'], 'last')
      .addEdge('last', END)
      .compile({ checkpointer: saver })
  }
  const looking = new LitetopicSaver(client(broker.url))
  const crash = async (): Promise<void> => {
    // What the task beside it has written is stored, and the next checkpoint is not there.
    for (;;) {
      const found = await looking.getTuple(THREAD)
      if (found?.pendingWrites?.some(([, channel]) => channel === 'done')) break
    }
    await broker.kill()
    throw new Error('and this process is gone, too')
  }
  await expect(graph(crash).invoke({ done: ['asked'] }, THREAD)).rejects.toThrow('gone, too')
  expect([...runs].sort()).toEqual(['fast', 'first', 'slow'])

  runs.length = 0
  const { done } = await graph(async () => {}).invoke(null, THREAD)
  expect(runs).toEqual(['slow', 'last'])
  expect(done).toEqual(['asked', 'first', 'fast', 'slow', 'last'])
  const state = await graph(async () => {}).getState(THREAD)
  expect(state).toMatchObject({ values: { done }, next: [] })
})
