/** A broker that is killed while a producer of the Durable Streams protocol writes: everything is stored once, nothing half. */

import { afterEach, expect, test } from 'vitest'
import { tempDir } from '../../broker/brokers.ts'
import { killAll, type Running, runScript } from '../../cli/processes.ts'
import { Random } from '../../random.ts'

const ROUNDS = 3

afterEach(killAll)

async function start(dir: string): Promise<{ running: Running; url: string }> {
  const running = runScript('test/broker/broker-process.ts', [dir], { input: '\n' })
  const [, host] = await running.printed(/url ws:\/\/([^/]+)/)
  return { running, url: `http://${host}/v1/stream/killed` }
}

const body = (sequence: number): string =>
  JSON.stringify([
    { sequence, half: 1 },
    { sequence, half: 2 },
  ])

function post(url: string, sequence: number, more: Record<string, string> = {}): Promise<Response> {
  const headers = {
    'content-type': 'application/json',
    'producer-id': 'writer',
    'producer-epoch': '0',
    'producer-seq': String(sequence),
    'stream-seq': String(sequence).padStart(6, '0'),
    ...more,
  }
  return fetch(url, { method: 'POST', headers, body: body(sequence) })
}

/** All messages that there are. */
async function stored(url: string): Promise<{ sequence: number; half: number }[]> {
  return (await (await fetch(url)).json()) as { sequence: number; half: number }[]
}

test('what a killed broker did not answer is sent again, and is there once with its sequence', async () => {
  const random = new Random(7)
  const dir = await tempDir()
  let { running, url } = await start(dir)
  await fetch(url, { method: 'PUT', headers: { 'content-type': 'application/json' } })
  let sequence = 0
  for (let round = 0; round < ROUNDS; round++) {
    const last = round === ROUNDS - 1
    for (const until = sequence + random.between(5, 25); sequence < until; sequence++) {
      expect((await post(url, sequence)).status).toBe(200)
    }
    // On its way when the broker dies: stored or not, with all that belongs to it.
    const close: Record<string, string> = last ? { 'stream-closed': 'true' } : {}
    const lost = post(url, sequence, close).catch(() => null)
    const turns = random.between(0, 40)
    for (let turn = 0; turn < turns; turn++) await new Promise<void>((next) => setImmediate(next))
    running.process.kill('SIGKILL')
    await Promise.all([lost, running.ended])
    ;({ running, url } = await start(dir))
    const before = (await stored(url)).length
    expect([2 * sequence, 2 * sequence + 2]).toContain(before)
    const again = await post(url, sequence, close)
    expect(again.status).toBe(before === 2 * sequence ? 200 : 204)
    expect(again.headers.get('stream-closed')).toBe(last ? 'true' : null)
    sequence++
  }
  const expected = Array.from({ length: sequence }, (_, at) => JSON.parse(body(at)) as unknown[]).flat()
  expect(await stored(url)).toEqual(expected)
  expect((await post(url, sequence)).headers.get('stream-closed')).toBe('true')
}, 120_000)
