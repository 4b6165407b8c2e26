/** The guide's A2A server behind a network that fails, seen by the SDK's own client, and by a second process. */

import { type Task, TaskState } from '@a2a-js/sdk'
import { InMemoryTaskStore, ServerCallContext } from '@a2a-js/sdk/server'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { LitetopicTasks, type TaskBus } from '../../client/a2a/index.ts'
import { connect } from '../../client/index.ts'
import { eventually, turn } from '../broker/virtual-clock.ts'
import { sampleOf } from '../guides.ts'
import { CutProxy } from '../http/cut-proxy.ts'
import type { Permit } from '../permits.ts'
import { CountingClient } from './counting-client.ts'
import { countedIn, GUIDE, partOf, serveGuide } from './guide-server.ts'

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
