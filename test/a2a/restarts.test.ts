/** A task that outlives the process that works on it, and the broker: each is killed in the middle. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TaskState } from '@a2a-js/sdk'
import { expect, it, onTestFinished } from 'vitest'
import { connect } from '../../client/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { killAll, litetopic, type Running, runScript } from '../cli/processes.ts'
import { CutProxy } from '../http/cut-proxy.ts'
import { CountingClient } from './counting-client.ts'
import { GUIDE } from './guide-server.ts'

const STEPS = 40

async function startBroker(directory: string, port: number): Promise<{ running: Running; url: string }> {
  const running = litetopic(['serve', '--port', String(port), '--data', directory])
  const [, url = ''] = await running.printed(/^litetopic listening on (ws:\S+)\n/)
  return { running, url }
}

async function startServer(url: string, port = 0): Promise<{ running: Running; port: number }> {
  const running = runScript('test/a2a/server-process.ts', [fileURLToPath(GUIDE), url, String(port)])
  const [, taken = ''] = await running.printed(/^port (\d+) ready$/m)
  return { running, port: Number(taken) }
}

async function kill({ process, ended }: Running): Promise<void> {
  process.kill('SIGKILL')
  await ended
}

it('who takes a task up again finds all that was seen of it, and its client has all of it once and in order', {
  timeout: 300_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-a2a-'))
  onTestFinished(async () => {
    killAll()
    await rm(directory, { recursive: true, force: true })
  })
  const broker = await startBroker(directory, 0)
  const client = connect(broker.url, { reconnect: { minMs: 1, maxMs: 20 } })
  onTestFinished(() => client.close())
  const permits = await client.session<number>('permits')
  const server = await startServer(broker.url)
  const proxy = await CutProxy.start(server.port)
  const counting = await CountingClient.at(proxy.url)
  const counted = counting.count(STEPS)
  const reach = async (step: number): Promise<void> => {
    await permits.append(step)
    await eventually(() => counting.shown.length >= step)
  }

  await reach(10)
  await kill(server.running)
  await startServer(broker.url, server.port)
  // A message for the task: the agent goes on with it.
  const message = counting.request(STEPS, counting.taskId)
  const going = (async () => {
    for await (const _ of counting.client.sendMessageStream(message));
  })()
  await reach(20)
  await kill(broker.running)
  await startBroker(directory, Number(new URL(broker.url).port))
  await reach(STEPS)
  await Promise.all([counted, going])
  expect(counting.shown).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  expect(counting.state).toBe(TaskState.TASK_STATE_COMPLETED)
})
