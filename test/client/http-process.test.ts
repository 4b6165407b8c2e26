/** A broker that is killed in the middle of token streams: one client over HTTP, the other by WebSocket, each reads what the other writes. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { killAll, litetopic, type Running } from '../cli/processes.ts'
import { httpAddressOf } from './transport.ts'

const TOKENS = 400
/** The broker is killed while this token is on its way. */
const KILLED_AT = 150
/** So many tokens are written before the writer looks whether they are stored. */
const AT_ONCE = 8

const expected = Array.from({ length: TOKENS }, (_, i) => `t${i} `)

it('no token is lost, doubled or reordered when the broker is killed in the middle of a stream, over HTTP as by WebSocket', {
  timeout: 120_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-http-'))
  const clients: Broker[] = []
  onTestFinished(async () => {
    await Promise.all(clients.map((client) => client.close().catch(() => {})))
    killAll()
    await rm(directory, { recursive: true, force: true })
  })
  let running = await start(directory, 0)
  let killed: Promise<void> | null = null
  const kill = async (): Promise<void> => {
    running.process.process.kill('SIGKILL')
    await running.process.ended
    running = await start(directory, running.port)
  }
  const sessionAt = (address: string): Promise<Session> => {
    const client = connect(address, { reconnect: { minMs: 1, maxMs: 50 } })
    clients.push(client)
    return client.session('a')
  }
  const overHttp = await sessionAt(httpAddressOf(running))
  const byWebSocket = await sessionAt(running.url)

  const all = Promise.all([
    write(overHttp, 'http', (written) => {
      if (written === KILLED_AT) killed = kill()
    }),
    write(byWebSocket, 'websocket'),
    read(byWebSocket, 'http', true),
    read(overHttp, 'websocket', true),
    read(overHttp, 'http', false),
  ])
  const [, , byOther, byHttp, byItself] = await all
  expect(killed).not.toBeNull()
  await killed
  expect(byOther).toEqual(expected)
  expect(byHttp).toEqual(expected)
  expect(byItself.join('')).toBe(expected.join(''))
})

async function write(session: Session, id: string, wrote: (index: number) => unknown = () => {}): Promise<void> {
  const stream = await session.openStream(id)
  for (const [i, token] of expected.entries()) {
    stream.write(token)
    wrote(i)
    if (i % AT_ONCE === 0) await stream.flush()
  }
  await stream.end()
}

/** The tokens of a stream, up to its end; one by one if they are raw. */
async function read(session: Session, id: string, raw: boolean): Promise<string[]> {
  const tokens: string[] = []
  for await (const record of session.records({ raw })) {
    if (record.kind === 'token' && record.streamId === id) tokens.push(record.text ?? '')
    if (record.kind === 'stream' && record.streamId === id && record.state === 'done') return tokens
  }
  throw new Error('the reader ended before the stream')
}

async function start(directory: string, port: number): Promise<{ process: Running; url: string; port: number }> {
  const process = litetopic(['serve', '--port', String(port), '--data', directory])
  const [, url = ''] = await process.printed(/^litetopic listening on (ws:\S+)\n/)
  return { process, url, port: Number(new URL(url).port) }
}
