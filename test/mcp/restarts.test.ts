/** A call that outlives the connection, the process at the other end of it, and the broker: each is killed in the middle. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { connect } from '../../client/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { killAll, litetopic, type Running, runScript } from '../cli/processes.ts'
import { CutProxy } from '../http/cut-proxy.ts'
import { countingClient } from './counting-client.ts'
import { GUIDE } from './guide-server.ts'

const STEPS = 40

async function startBroker(directory: string, port: number): Promise<{ running: Running; url: string }> {
  const running = litetopic(['serve', '--port', String(port), '--data', directory])
  const [, url = ''] = await running.printed(/^litetopic listening on (ws:\S+)\n/)
  return { running, url }
}

async function startServer(url: string, port = 0): Promise<{ running: Running; port: number }> {
  const running = runScript('test/mcp/server-process.ts', [fileURLToPath(GUIDE), url, String(port)])
  const [, taken = ''] = await running.printed(/^port (\d+) ready$/m)
  return { running, port: Number(taken) }
}

async function kill({ process, ended }: Running): Promise<void> {
  process.kill('SIGKILL')
  await ended
}

it('every notification and the answer come once and in order, though what is between is killed', {
  timeout: 300_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-mcp-'))
  onTestFinished(async () => {
    killAll()
    await rm(directory, { recursive: true, force: true })
  })
  const broker = await startBroker(directory, 0)
  const client = connect(broker.url, { reconnect: { minMs: 1, maxMs: 20 } })
  onTestFinished(() => client.close())
  const permits = await client.session<number>('permits')
  const [working, fronting] = await Promise.all([startServer(broker.url), startServer(broker.url)])
  const proxy = await CutProxy.start(working.port)
  const counting = await countingClient(proxy.url)
  const counted = counting.count(STEPS)
  const reach = async (step: number): Promise<void> => {
    await permits.append(step)
    await eventually(() => counting.steps.length >= step)
  }

  await reach(10)
  // From here on the client sees another process than the one that counts.
  proxy.target = fronting.port
  proxy.cut()
  await reach(20)
  await kill(fronting.running)
  await startServer(broker.url, fronting.port)
  await reach(30)
  await kill(broker.running)
  await startBroker(directory, Number(new URL(broker.url).port))
  await reach(STEPS)
  expect(await counted).toBe(`counted ${STEPS}`)
  expect(counting.steps).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  expect(working.running.stdout().match(/POST asked/g)?.length).toBeGreaterThanOrEqual(3)
})
