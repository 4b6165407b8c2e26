/** The SDK stores a task some events behind what is published: nobody sees that, however far behind it is. */

import { type StreamResponse, TaskState } from '@a2a-js/sdk'
import {
  AgentEvent,
  type AgentExecutor,
  type ExecutionEventBus,
  ExecutionEventQueue,
  type RequestContext,
  ResultManager,
  ServerCallContext,
} from '@a2a-js/sdk/server'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { LitetopicRequestHandler, LitetopicTasks } from '../../client/a2a/index.ts'
import { connect } from '../../client/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { CountingClient } from './counting-client.ts'
import { artifactOf, CountingAgent, cardOf, countedIn } from './guide-server.ts'

const ANYBODY = new ServerCallContext()
const FIVE = [1, 2, 3, 4, 5]

async function setUp() {
  const broker = await startBroker({ port: 0, dataDir: null })
  const [client, second] = [connect(broker.url), connect(broker.url)]
  onTestFinished(async () => {
    await Promise.all([client.close(), second.close()])
    await broker.close()
  })
  return { tasks: new LitetopicTasks(client), elsewhere: new LitetopicTasks(second), client }
}

it('a task that is stored long after its events were published has each of them once', async () => {
  const { tasks, elsewhere } = await setUp()
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
  const { tasks, elsewhere } = await setUp()
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
  const { tasks, client } = await setUp()
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
