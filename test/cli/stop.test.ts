/** Stopping a real broker with signals, and what the clients of one that comes back notice of it: nothing. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Broker, connect } from '../../client/index.ts'
import { AGENTS, StreamRace } from '../client/stream-race.ts'
import { killAll, litetopic, type Running } from './processes.ts'

let directory: string
let brokers: Broker[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-stop-'))
  brokers = []
})

afterEach(async () => {
  const closed = brokers.map((broker) => broker.close().catch(() => undefined))
  killAll()
  await Promise.all(closed)
  await rm(directory, { recursive: true, force: true })
})

async function serve(port = 0): Promise<{ broker: Running; url: string; port: number }> {
  const broker = litetopic(['serve', '--port', `${port}`, '--data', join(directory, 'data')])
  const [, url = ''] = await broker.printed(/^litetopic listening on (ws:\S+)\n/)
  return { broker, url, port: Number(new URL(url).port) }
}

function client(url: string): Broker {
  const broker = connect(url)
  brokers.push(broker)
  return broker
}

const TOKENS = 400

/** A promise, and what resolves it. */
function latch(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

describe('SIGTERM', () => {
  test('and a new start while an agent streams and a browser reads: neither notices, nothing is lost or doubled', async () => {
    const first = await serve()
    const agent = await client(first.url).session('a')
    const browser = await client(first.url).session('a')
    let written = 0
    const halfway = latch()
    const goOn = latch()
    const aborted: unknown[] = []
    const answer = agent.generate('s', async (stream, signal) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason))
      for (; written < TOKENS; written++) {
        if (written === TOKENS / 4) halfway.resolve()
        if (written === (TOKENS * 3) / 4) await goOn.promise
        if (!stream.write(`${written};`)) await stream.ready
        await new Promise((resolve) => setImmediate(resolve))
      }
    })
    const read = (async () => {
      const seen: string[] = []
      for await (const record of browser.records({ raw: true })) {
        if (record.kind === 'token') seen.push(record.text ?? '')
        if (record.kind === 'stream') seen.push(record.state)
        if (seen.at(-1) === 'done') break
      }
      return seen
    })()
    await halfway.promise
    first.broker.process.kill('SIGTERM')
    const messages = Array.from({ length: 20 }, (_, i) => browser.append(i))
    expect(await first.broker.ended).toMatchObject({ code: 0, signal: null })
    const listing = agent.describe()
    await serve(first.port)
    goOn.resolve()
    const tokens = Array.from({ length: TOKENS }, (_, i) => `${i};`)
    expect(await answer).toMatchObject({ end: 'done', text: tokens.join('') })
    expect(await read).toEqual(['open', ...tokens, 'done'])
    const offsets = (await Promise.all(messages)).map(({ offset }) => offset)
    expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b))
    expect((await listing).name).toBe('a')
    expect(aborted).toEqual([])
  })

  test('once more ends the process at once, and says so', async () => {
    const { broker, url } = await serve()
    const socket = new WebSocket(`${url}`, 'litetopic.v1')
    await new Promise((resolve) => socket.once('open', resolve))
    // Never answers the close, so that the broker waits for it.
    socket.pause()
    broker.process.kill('SIGTERM')
    broker.process.kill('SIGINT')
    const { code, stderr } = await broker.ended
    socket.terminate()
    expect(code).toBe(1)
    expect(stderr).toMatch(/closing.*again, ended before it was closed/s)
  })
})

test('a broker that is killed while streams are opened, continued, written, ended and stopped at once leaves each with one end', {
  timeout: 120_000,
}, async () => {
  const first = await serve()
  const race = new StreamRace()
  await race.open(first.url, 'race')
  let seed = 42
  const next = (bound: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * bound)
  }
  const moves = ['open', 'continue', 'write', 'write', 'write', 'end', 'stop'] as const
  let { broker } = first
  for (let life = 0; life < 3; life++) {
    for (let i = 0; i < 60; i++) {
      const what = moves[next(moves.length)] ?? 'write'
      const agent = next(AGENTS)
      // The streams of a life are for the most part ended in it, by whoever is first.
      const stream = life * 20 + next(20)
      if (what === 'write' || what === 'end') race.move({ do: what, agent, writer: next(20) })
      else race.move({ do: what, agent, stream })
      if (i % 4 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    broker.process.kill('SIGKILL')
    await broker.ended
    broker = (await serve(first.port)).broker
  }
  await race.check(60)
  await race.close()
})
