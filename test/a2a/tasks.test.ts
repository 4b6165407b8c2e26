/**
 * The guide's A2A server behind a network that fails, seen by the SDK's own client, and by a second process. A task that outlives the process
 * that works on it, and the broker: each is killed in the middle. And one that the SDK stores some events behind what is published: nobody sees
 * that, however far behind it is.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type StreamResponse, type Task, TaskState } from '@a2a-js/sdk'
import {
  AgentEvent,
  type AgentExecutor,
  type ExecutionEventBus,
  ExecutionEventQueue,
  InMemoryTaskStore,
  type RequestContext,
  ResultManager,
  ServerCallContext,
} from '@a2a-js/sdk/server'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { LitetopicRequestHandler, LitetopicTasks, type TaskBus } from '../../client/a2a/index.ts'
import { connect } from '../../client/index.ts'
import { eventually, turn } from '../broker/virtual-clock.ts'
import { brokerProcess, kill, killAll, type Running, runScript } from '../cli/processes.ts'
import { sampleOf } from '../guides.ts'
import { CutProxy } from '../http/cut-proxy.ts'
import type { Permit } from '../permits.ts'
import { CountingClient } from './counting-client.ts'
import { artifactOf, CountingAgent, cardOf, countedIn, GUIDE, partOf, serveGuide } from './guide-server.ts'

const SAMPLE = sampleOf(GUIDE, 'Use it')
const ANYBODY = new ServerCallContext()
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1)

async function setUp(permit: Permit = turn) {
  const broker = await startBroker({ port: 0, dataDir: null })
  const [client, second] = [connect(broker.url), connect(broker.url)]
  const guide = await serveGuide(SAMPLE, client, permit)
  const other = await serveGuide(SAMPLE, second, permit)
  const proxy = await CutProxy.start(guide.port)
  onTestFinished(async () => {
    proxy.cut()
    for (const { server } of [guide, other]) {
      server.closeAllConnections()
      server.close()
    }
    await Promise.all([client.close(), second.close()])
    await broker.close()
  })
  return { client, second, guide, other, proxy, counting: await CountingClient.at(proxy.url) }
}

/** Lets steps pass up to a number that the test raises. */
function gate(): { permit: Permit; open(to: number): void } {
  let permitted = 0
  return {
    permit: (step) => eventually(() => step <= permitted),
    open: (to) => {
      permitted = to
    },
  }
}

it('a client that is cut off again and again has all of the task, once and in order', {
  timeout: 120_000,
}, async () => {
  const { proxy, counting, guide } = await setUp()
  let cuts = -1
  const looking = setInterval(() => {
    if (cuts === proxy.cuts) return
    cuts = proxy.cuts
    // More than the whole task, which comes first.
    proxy.cutAfter(10_000 + 97 * cuts)
  }, 1)
  onTestFinished(() => clearInterval(looking))
  await counting.count(80)
  expect(counting.shown).toEqual(upTo(80))
  expect(counting.state).toBe(TaskState.TASK_STATE_COMPLETED)
  expect(proxy.cuts).toBeGreaterThan(1)
  expect(guide.errors).toEqual([])
})

it('events come one by one, and the task is stored, at another process than the one that works', {
  timeout: 120_000,
}, async () => {
  const { permit, open } = gate()
  const { proxy, counting, other, guide } = await setUp(permit)
  const counted = counting.count(30)
  open(10)
  await eventually(() => counting.shown.length === 10)
  proxy.target = other.port
  proxy.cut()
  open(15)
  await eventually(() => counting.shown.length === 15)
  expect(await other.tasks.isRunning(counting.taskId, ANYBODY)).toBe(true)
  open(30)
  await counted
  expect(counting.shown).toEqual(upTo(30))
  expect(counting.tasks).toBe(2)
  expect(counting.events).toBeGreaterThanOrEqual(25)
  for (const { tasks, errors } of [guide, other]) {
    await eventually(async () => !(await tasks.isRunning(counting.taskId, ANYBODY)))
    const task = await tasks.load(counting.taskId, ANYBODY)
    expect(countedIn(task)).toEqual(upTo(30))
    expect(task?.status?.state).toBe(TaskState.TASK_STATE_COMPLETED)
    expect(errors).toEqual([])
  }
})

it('a task that another process cancels stays canceled, and who worked on it is told', {
  timeout: 120_000,
}, async () => {
  const { permit, open } = gate()
  const { counting, other, guide } = await setUp(permit)
  const following = await CountingClient.at(`http://127.0.0.1:${other.port}`)
  const counted = counting.count(10, async () => false)
  open(3)
  await eventually(() => counting.shown.length === 3)
  const followed = (async () => {
    for await (const { payload } of following.client.resubscribeTask({ id: counting.taskId, tenant: '' })) {
      following.show(payload)
    }
  })()
  await eventually(() => following.shown.length === 3)
  await following.client.cancelTask({ id: counting.taskId, tenant: '', metadata: undefined })
  await followed
  expect(following.state).toBe(TaskState.TASK_STATE_CANCELED)
  open(10)
  await eventually(() => guide.errors.length > 0)
  expect(guide.errors[0]).toMatchObject({ code: 'FENCED' })
  expect((guide.executor.bus as TaskBus).signal.aborted).toBe(true)
  await counted
  expect(counting.shown).toEqual(upTo(3))
  expect(counting.state).toBe(TaskState.TASK_STATE_CANCELED)
  expect((await guide.tasks.load(counting.taskId, ANYBODY))?.status?.state).toBe(TaskState.TASK_STATE_CANCELED)
})

it('what a long task takes grows with its events, not with their square', { timeout: 120_000 }, async () => {
  // It is done long before all of it is stored.
  const { client, counting, guide } = await setUp(async () => undefined)
  const bytesOf = async (steps: number): Promise<number> => {
    const one = new CountingClient(counting.client)
    await one.count(steps)
    expect(one.shown).toEqual(upTo(steps))
    expect(countedIn(await guide.tasks.load(one.taskId, ANYBODY))).toEqual(upTo(steps))
    return (await client.describe(`a2a/~/unknown/${one.taskId}`)).bytes
  }
  const [few, many] = [await bytesOf(80), await bytesOf(320)]
  expect(many / few).toBeLessThan(4.5)
})

it('stores and lists what the store of the SDK does, for its owner alone', { timeout: 120_000 }, async () => {
  const { client, second } = await setUp()
  const [store, memory] = [new LitetopicTasks(client), new InMemoryTaskStore()]
  const contexts = [
    ANYBODY,
    new ServerCallContext({ tenant: 'a/b' }),
    new ServerCallContext({ user: { isAuthenticated: true, userName: 'Zoë@x' } }),
  ]
  const states = [TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_COMPLETED]
  for (const [i, context] of contexts.entries()) {
    for (let n = 0; n < 5; n++) {
      const task = taskOf(`../t ${n}`, states[n % 2] as TaskState, `2026-11-21T00:00:0${n}.000Z`, `${i}`)
      if (n === 0) task.artifacts[0]?.parts.push(partOf('x'.repeat(400_000)))
      for (const each of [store, memory]) {
        await each.save(task, context)
        await each.save({ ...task, contextId: `changed ${n % 3}` }, context)
      }
    }
  }
  const other = new LitetopicTasks(second)
  for (const context of contexts) {
    for (let n = 0; n < 6; n++) {
      const id = `../t ${n}`
      // The one in memory copies; bytes become a Buffer when they are read.
      expect(structuredClone(await other.load(id, context))).toEqual(await memory.load(id, context))
    }
    const params = { tenant: '', contextId: '', status: 0, pageToken: '', includeArtifacts: true, pageSize: 3 } as const
    const page = { ...params, historyLength: undefined, statusTimestampAfter: undefined }
    const first = structuredClone(await other.list(page, context))
    expect(first).toEqual(await memory.list(page, context))
    const next = { ...page, pageToken: first.nextPageToken, status: TaskState.TASK_STATE_COMPLETED }
    expect(structuredClone(await other.list(next, context))).toEqual(await memory.list(next, context))
  }
  expect(await other.load('x'.repeat(300), ANYBODY)).toBeUndefined()
})

function taskOf(id: string, state: TaskState, timestamp: string, text: string): Task {
  const raw = { content: { $case: 'raw', value: Buffer.from([0, 255, 128]) }, metadata: undefined } as const
  const parts = [partOf(text), { ...raw, filename: 'f', mediaType: 'a/b' }]
  const artifacts = [{ artifactId: 'a', name: '', description: '', parts, metadata: { deep: [1] }, extensions: [] }]
  return { id, contextId: 'c', status: { state, message: undefined, timestamp }, artifacts, history: [], metadata: {} }
}

const STEPS = 40

async function serverProcess(url: string, port = 0): Promise<{ running: Running; port: number }> {
  const running = runScript('test/a2a/server-process.ts', [fileURLToPath(GUIDE), url, String(port)])
  const [, taken = ''] = await running.printed(/^port (\d+) ready$/m)
  return { running, port: Number(taken) }
}

it('who takes a task up again finds all that was seen of it, and its client has all of it once and in order', {
  timeout: 300_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-a2a-'))
  onTestFinished(async () => {
    killAll()
    await rm(directory, { recursive: true, force: true })
  })
  const broker = await brokerProcess(directory, 0)
  const client = connect(broker.url, { reconnect: { minMs: 1, maxMs: 20 } })
  onTestFinished(() => client.close())
  const permits = await client.session<number>('permits')
  const server = await serverProcess(broker.url)
  const proxy = await CutProxy.start(server.port)
  const counting = await CountingClient.at(proxy.url)
  const counted = counting.count(STEPS)
  const reach = async (step: number): Promise<void> => {
    await permits.append(step)
    await eventually(() => counting.shown.length >= step)
  }

  await reach(10)
  await kill(server.running)
  await serverProcess(broker.url, server.port)
  // A message for the task: the agent goes on with it.
  const message = counting.request(STEPS, counting.taskId)
  const going = (async () => {
    for await (const _ of counting.client.sendMessageStream(message));
  })()
  await reach(20)
  await kill(broker.running)
  await brokerProcess(directory, Number(new URL(broker.url).port))
  await reach(STEPS)
  await Promise.all([counted, going])
  expect(counting.shown).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  expect(counting.state).toBe(TaskState.TASK_STATE_COMPLETED)
})

const FIVE = [1, 2, 3, 4, 5]

async function onOneBroker() {
  const broker = await startBroker({ port: 0, dataDir: null })
  const [client, second] = [connect(broker.url), connect(broker.url)]
  onTestFinished(async () => {
    await Promise.all([client.close(), second.close()])
    await broker.close()
  })
  return { tasks: new LitetopicTasks(client), elsewhere: new LitetopicTasks(second), client }
}

it('a task that is stored long after its events were published has each of them once', async () => {
  const { tasks, elsewhere } = await onOneBroker()
  const bus = tasks.createOrGetByTaskId('t', ANYBODY)
  const queue = new ExecutionEventQueue(bus)
  let delivered = 0
  bus.on('event', () => delivered++)
  const status = { state: TaskState.TASK_STATE_WORKING, message: undefined, timestamp: undefined }
  const task = { id: 't', contextId: 'c', status, artifacts: [], history: [], metadata: {} }
  bus.publish(AgentEvent.task(task))
  for (const step of FIVE) {
    const artifact = artifactOf(`${step}`)
    const update = { taskId: 't', contextId: 'c', artifact, append: step > 1, lastChunk: false, metadata: {} }
    bus.publish(AgentEvent.artifactUpdate(update))
  }
  tasks.settleByTaskId('t', bus)
  await eventually(() => delivered === 6)
  expect(countedIn(await elsewhere.load('t', ANYBODY))).toEqual(FIVE)

  const storing = new ResultManager(tasks, ANYBODY)
  for await (const event of queue.events()) await storing.processEvent(event)
  expect(tasks.getByTaskId('t', ANYBODY)).toBeUndefined()
  expect(countedIn(await tasks.load('t', ANYBODY))).toEqual(FIVE)
  expect(countedIn(await elsewhere.load('t', ANYBODY))).toEqual(FIVE)
})

it('a task that asks for input goes on at any process, and who follows it waits for that', async () => {
  const { tasks, elsewhere } = await onOneBroker()
  const request = (taskId: string) => new CountingClient(undefined as never).request(1, taskId)
  for (const answering of [tasks, elsewhere]) {
    const [first, second] = [tasks, answering].map(
      (each) => new LitetopicRequestHandler(cardOf(''), each, new AskingAgent()),
    )
    const asked = await statesIn(first?.sendMessageStream(request(''), ANYBODY))
    expect(asked.states).toEqual([TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_INPUT_REQUIRED])
    const follower = new LitetopicRequestHandler(cardOf(''), elsewhere, new AskingAgent())
    const following = follower.resubscribe({ id: asked.taskId, tenant: '' }, ANYBODY)
    expect((await following.next()).value?.payload?.$case).toBe('task')
    const followed = statesIn(following)
    const answered = await statesIn(second?.sendMessageStream(request(asked.taskId), ANYBODY))
    expect(answered.states).toEqual([TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_COMPLETED])
    expect((await followed).states).toEqual(answered.states)
    const task = await tasks.load(asked.taskId, ANYBODY)
    expect(task?.status?.state).toBe(TaskState.TASK_STATE_COMPLETED)
    expect(task?.history.length).toBe(2)
  }
})

it('who resubscribes while the task is stored late gets every event once', async () => {
  const { tasks, client } = await onOneBroker()
  const agent = new CountingAgent(async () => undefined)
  const handler = new LitetopicRequestHandler(cardOf(''), tasks, agent)
  const counting = new CountingClient(undefined as never)
  const stream = handler.sendMessageStream(counting.request(5), ANYBODY)
  // From here on the SDK stores nothing, as nobody takes what it has.
  const { value } = (await stream.next()) as { value: StreamResponse }
  const id = value.payload?.$case === 'task' ? value.payload.value.id : ''
  await eventually(async () => (await client.describe(`a2a/~/unknown/${id}`)).nextOffset >= 9)

  for (let times = 0; times < 2; times++) {
    counting.shown = []
    for await (const { payload } of handler.resubscribe({ id, tenant: '' }, ANYBODY)) counting.show(payload)
    expect(counting.shown).toEqual(FIVE)
    expect(counting.state).toBe(TaskState.TASK_STATE_COMPLETED)
  }
  expect([counting.tasks, counting.events]).toEqual([2, 10])
  for await (const _ of stream);
  expect(countedIn(await tasks.load(id, ANYBODY))).toEqual(FIVE)
})

/** Asks for input when it is first called, and is done when it gets it. */
class AskingAgent implements AgentExecutor {
  async execute({ taskId, contextId, task, userMessage }: RequestContext, bus: ExecutionEventBus): Promise<void> {
    const status = { state: TaskState.TASK_STATE_WORKING, message: undefined, timestamp: undefined }
    const begun = task ?? { id: taskId, contextId, history: [userMessage], artifacts: [], metadata: {} }
    bus.publish(AgentEvent.task({ ...begun, status }))
    const state = task === undefined ? TaskState.TASK_STATE_INPUT_REQUIRED : TaskState.TASK_STATE_COMPLETED
    bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: { ...status, state }, metadata: {} }))
  }

  async cancelTask(): Promise<void> {
    throw new Error('nobody cancels')
  }
}

async function statesIn(stream: AsyncIterable<StreamResponse> = (async function* () {})()) {
  const states: (TaskState | undefined)[] = []
  let taskId = ''
  for await (const { payload } of stream) {
    if (payload?.$case === 'task') taskId = payload.value.id
    if (payload?.$case === 'task' || payload?.$case === 'statusUpdate') states.push(payload.value.status?.state)
  }
  return { states, taskId }
}
