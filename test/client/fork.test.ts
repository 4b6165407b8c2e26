/** Forking sessions, from end to end: a real broker, and networks that fail. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { addressOf } from './transport.ts'

let server: Server
let brokers: Broker[]

beforeEach(async () => {
  server = await startBroker({ port: 0, dataDir: null, streamGraceMs: 20 })
  brokers = []
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
})

function client(network = new FaultyNetwork()): Broker {
  const broker = connect(addressOf(server), { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  brokers.push(broker)
  return broker
}

/** What there is from the start: values, and text of tokens. */
async function contentOf(session: Session): Promise<unknown[]> {
  const { nextOffset } = await session.describe()
  const content: unknown[] = []
  for await (const record of session.records({ raw: true })) {
    if (record.kind === 'message') content.push(record.value)
    if (record.kind === 'token') content.push(record.text)
    if (record.offset === nextOffset - 1) break
  }
  return content
}

it('a fork at a checkpoint has what was before it, and goes on by itself', async () => {
  const session = await client().session('a')
  await session.append('one')
  await session.context.set('plan', 'first')
  const { cursor } = await session.checkpoint('answered', { step: 1 })
  await session.context.set('plan', 'second')
  await session.append('two')
  const fork = await session.fork({ at: { checkpoint: 'answered' }, as: 'b' })
  expect([fork.name, fork.cursor.slice(-14)]).toEqual(['b', cursor.slice(-14)])
  expect(await fork.context.get('plan')).toBe('first')
  expect(await fork.resume()).toMatchObject({ outcome: 'continued', checkpoint: { state: { step: 1 } } })
  await fork.append('another')
  await session.append('three')
  expect(await contentOf(fork)).toEqual(['one', 'another'])
  expect(await contentOf(session)).toEqual(['one', 'two', 'three'])
  expect(await fork.describe()).toMatchObject({ forkedFrom: { name: 'a', epoch: session.epoch, offset: 3 } })
})

it('a fork without a point has all that the session has written, also what is not acknowledged yet', async () => {
  const session = await client().session('a')
  const appends = Array.from({ length: 50 }, (_, i) => session.append(i))
  const fork = await session.fork({ as: 'b' })
  expect(await contentOf(fork)).toEqual(Array.from({ length: 50 }, (_, i) => i))
  await Promise.all(appends)
})

it('however often the line is cut, there is one fork, and it is opened', async () => {
  for (let cut = 1; cut < 8; cut++) {
    const network = new FaultyNetwork()
    const session = await client(network).session(`a/${cut}`)
    let left = cut
    network.onArrival = () => {
      if (--left === 0) network.cut()
    }
    await session.append('one')
    const fork = await session.fork({ as: `b/${cut}` })
    await fork.append('two')
    expect(await contentOf(fork), `cut ${cut}`).toEqual(['one', 'two'])
  }
})

it('a stream that was open at the point is continued in the fork, or lost there', async () => {
  const session = await client().session('a')
  const writer = await session.openStream('reply')
  writer.write('Hel')
  await session.flush()
  const fork = await session.fork({ as: 'b' })
  const other = await session.fork({ as: 'c' })
  writer.write('lo')
  await writer.end()
  const answer = await fork.generate('reply', async (stream) => {
    expect(stream.text).toBe('Hel')
    await stream.pipe(['p'])
  })
  expect(answer).toMatchObject({ end: 'done', text: 'Help' })
  for await (const record of other.records()) if (record.kind === 'stream' && record.state === 'lost') break
  expect(await session.stream('reply')).toMatchObject({ state: 'done' })
})

it('a call that ran once has its result in the fork, one that was under way has an unknown outcome there', async () => {
  const session = await client().session('a')
  expect(await session.once('done', async () => 'result')).toBe('result')
  let finish: (result: string) => void = () => undefined
  const running = session.once('running', () => new Promise<string>((resolve) => (finish = resolve)))
  while (!(await session.stream('once/running'))) await new Promise((resolve) => setImmediate(resolve))
  const fork = await session.fork({ as: 'b' })
  expect(await fork.once('done', async () => 'never')).toBe('result')
  await expect(fork.once('running', async () => 'never')).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
  finish('late')
  expect(await running).toBe('late')
})

it('cursors of the parent are good up to the point, and what is shared survives the parent', async () => {
  const session = await client().session('a')
  const first = await session.append('one')
  const second = await session.append('two')
  const fork = await session.fork({ at: first.cursor, as: 'b' })
  await fork.append('own')
  await session.delete()
  expect(await contentOf(fork)).toEqual(['one', 'own'])
  const reader = fork.records({ from: first.cursor })
  expect((await reader.next()).value).toMatchObject({ value: 'own' })
  await reader.return?.()
  await expect(fork.records({ from: second.cursor }).next()).rejects.toMatchObject({ code: 'DIVERGED' })
  const again = await fork.fork({ as: 'c' })
  await fork.delete()
  expect(await contentOf(again)).toEqual(['one', 'own'])
})

it('a fork of a session that goes as soon as it is left is there to be opened', async () => {
  await server.close()
  // It is kept for as long as a writer's stream, which a busy machine may take longer for than the others here wait.
  server = await startBroker({ port: 0, dataDir: null })
  const session = await client().session('a', { lingerMs: 0 })
  await session.append('one')
  const fork = await session.fork({ as: 'b' })
  expect(await fork.append('two')).toMatchObject({ offset: 1 })
  expect(await fork.describe()).toMatchObject({ lingerMs: 0 })
})

it('a name that is taken, a point that is not there and a session that is closed are told', async () => {
  const broker = client()
  const session = await broker.session('a')
  await broker.session('b')
  await expect(session.fork({ as: 'b' })).rejects.toMatchObject({ code: 'TOPIC_EXISTS' })
  await expect(session.fork({ as: 'c', at: { checkpoint: 'none' } })).rejects.toMatchObject({
    code: 'CHECKPOINT_UNKNOWN',
  })
  await expect(session.fork({ as: 'c', at: 'no cursor' })).rejects.toMatchObject({ code: 'BAD_CURSOR' })
  await expect(session.fork({ as: 'c//' })).rejects.toMatchObject({ code: 'BAD_NAME' })
  await session.close()
  await expect(session.fork({ as: 'c' })).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
})
