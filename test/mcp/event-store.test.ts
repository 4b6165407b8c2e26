/**
 * The guide's MCP server behind a network that fails, seen by the SDK's own client; and a call
 * that outlives the connection, the process at the other end of it, and the broker: each is killed in the middle.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { connect, LitetopicError } from '../../client/index.ts'
import { LitetopicEventStore } from '../../client/mcp/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { brokerProcess, kill, killAll, type Running, runScript } from '../cli/processes.ts'
import { sampleOf } from '../guides.ts'
import { CutProxy } from '../http/cut-proxy.ts'
import type { Permit } from '../permits.ts'
import { countingClient } from './counting-client.ts'
import { GUIDE, quick, serveGuide } from './guide-server.ts'

const SAMPLE = quick(sampleOf(GUIDE, 'Use it'))
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1)

async function setUp(permit: Permit = async () => undefined) {
  const broker = await startBroker({ port: 0, dataDir: null })
  const client = connect(broker.url)
  const guide = await serveGuide(SAMPLE, client, permit)
  const proxy = await CutProxy.start(guide.port)
  onTestFinished(async () => {
    proxy.cut()
    guide.server.closeAllConnections()
    guide.server.close()
    await client.close()
    await broker.close()
  })
  return { broker, client, guide, proxy }
}

it('a client that is cut off again and again gets every notification and the answer once and in order', {
  timeout: 120_000,
}, async () => {
  const { proxy } = await setUp()
  const counting = await countingClient(proxy.url)
  let cuts = -1
  const cutOn = (): void => {
    if (cuts === proxy.cuts) return
    cuts = proxy.cuts
    proxy.cutAfter(2500 + 97 * cuts)
  }
  const looking = setInterval(cutOn, 1)
  onTestFinished(() => clearInterval(looking))
  expect(await counting.count(120)).toBe('counted 120')
  expect(counting.steps).toEqual(upTo(120))
  expect(proxy.cuts).toBeGreaterThan(5)
})

it('a large notification that nobody waited for comes before the answer, whole', { timeout: 120_000 }, async () => {
  const { proxy } = await setUp()
  const counting = await countingClient(proxy.url)
  expect(await counting.count(3, 700_000)).toBe('counted 3')
  expect(counting.bytes).toEqual([0, 0, 700_000])
})

it('a session that another process began is gone on with, as long as it lasts', { timeout: 120_000 }, async () => {
  let go = (): void => undefined
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  const { proxy, client, guide } = await setUp((step) => (step === 4 ? gate : Promise.resolve()))
  const other = await serveGuide(SAMPLE, client, async () => undefined)
  onTestFinished(async () => {
    other.server.closeAllConnections()
    other.server.close()
  })
  const counting = await countingClient(proxy.url)
  const counted = counting.count(6)
  await eventually(() => counting.steps.length === 3)
  proxy.target = other.port
  proxy.cut()
  await eventually(() => other.open.size >= 2)
  go()
  expect(await counted).toBe('counted 6')
  expect(counting.steps).toEqual(upTo(6))
  // And begins new calls there.
  expect(await counting.count(2)).toBe('counted 2')
  await counting.transport.terminateSession()
  const { sessionId } = counting.transport
  expect(sessionId).toBeUndefined()
  expect((await client.list({ prefix: 'mcp' })).topics).toEqual([])
  expect(guide.errors).toEqual([])
})

it('an id of another session, of no event, or made up replays nothing', { timeout: 120_000 }, async () => {
  const { client, guide } = await setUp()
  const [one, another] = [new LitetopicEventStore(client, 'one'), new LitetopicEventStore(client, 'another')]
  const secret = { jsonrpc: '2.0', method: 'secret' } as const
  const first = await one.storeEvent('a', {} as never)
  await one.storeEvent('a', secret)
  const foreign = await another.storeEvent('a', {} as never)
  const told: unknown[] = []
  const send = async (_id: string, message: unknown): Promise<void> => void told.push(message)
  const refusal = async (store: LitetopicEventStore, id: string): Promise<unknown> =>
    store.replayEventsAfter(id, { send }).catch((error: unknown) => (error as LitetopicError).code)

  expect(await refusal(another, first)).toBe('RECREATED')
  expect(await refusal(one, foreign)).toBe('RECREATED')
  for (const id of [
    '',
    'x',
    `${first}x`,
    first.toUpperCase(),
    `${first.split('-')[0]}-zzzzzzzzzzz`,
    'a'.repeat(10_000),
  ]) {
    expect(await refusal(one, id)).toBe('BAD_CURSOR')
  }
  expect(await refusal(new LitetopicEventStore(client, 'none'), first)).toBe('NOT_FOUND')
  expect(told).toEqual([])
  expect(await one.replayEventsAfter(first, { send })).toBe('a')
  expect(told).toEqual([secret])
  expect(first.length).toBeLessThanOrEqual(52)
  expect(() => new LitetopicEventStore(client, 'a/b')).toThrow(LitetopicError)

  const headers = { accept: 'text/event-stream', 'mcp-session-id': 'another', 'last-event-id': first }
  const answer = await fetch(`http://127.0.0.1:${guide.port}`, { headers })
  expect(answer.status).toBe(500)
  expect(await answer.text()).not.toContain('secret')
  const nobody = await fetch(`http://127.0.0.1:${guide.port}`, { headers: { ...headers, 'mcp-session-id': 'nobody' } })
  expect(nobody.status).toBe(404)
})

it('events of parallel streams are replayed to their own stream, from behind the id', {
  timeout: 120_000,
}, async () => {
  const { client } = await setUp()
  const writing = new LitetopicEventStore(client, 'one')
  const event = (stream: string, n: number) => writing.storeEvent(stream, { jsonrpc: '2.0', method: `${stream}${n}` })
  const ids = await Promise.all(upTo(50).flatMap((n) => [event('a', n), event('b', n)]))
  const told: string[] = []
  const reading = new LitetopicEventStore(client, 'one', { create: false })
  const send = async (_id: string, message: object): Promise<void> =>
    void told.push((message as { method: string }).method)
  expect(await reading.replayEventsAfter(ids[20] as string, { send })).toBe('a')
  expect(told).toEqual(
    upTo(50)
      .slice(11)
      .map((n) => `a${n}`),
  )
  // What the other one goes on to write comes by itself, up to the answer.
  await event('b', 51)
  await event('a', 51)
  await writing.storeEvent('a', { jsonrpc: '2.0', id: 1, result: {} })
  await eventually(() => told.length === 41)
  expect(told.slice(39)).toEqual(['a51', undefined])
})

const STEPS = 40

async function serverProcess(url: string, port = 0): Promise<{ running: Running; port: number }> {
  const running = runScript('test/mcp/server-process.ts', [fileURLToPath(GUIDE), url, String(port)])
  const [, taken = ''] = await running.printed(/^port (\d+) ready$/m)
  return { running, port: Number(taken) }
}

it('every notification and the answer come once and in order, though what is between is killed', {
  timeout: 300_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-mcp-'))
  onTestFinished(async () => {
    killAll()
    await rm(directory, { recursive: true, force: true })
  })
  const broker = await brokerProcess(directory, 0)
  const client = connect(broker.url, { reconnect: { minMs: 1, maxMs: 20 } })
  onTestFinished(() => client.close())
  const permits = await client.session<number>('permits')
  const [working, fronting] = await Promise.all([serverProcess(broker.url), serverProcess(broker.url)])
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
  await serverProcess(broker.url, fronting.port)
  await reach(30)
  await kill(broker.running)
  await brokerProcess(directory, Number(new URL(broker.url).port))
  await reach(STEPS)
  expect(await counted).toBe(`counted ${STEPS}`)
  expect(counting.steps).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  expect(working.running.stdout().match(/POST asked/g)?.length).toBeGreaterThanOrEqual(3)
})
