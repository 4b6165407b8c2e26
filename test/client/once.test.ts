/** Calls that run once, whoever asks, whatever breaks: a real broker, and clients that vanish. */

import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { addressOf } from './transport.ts'

let server: Server
let brokers: Broker[]

beforeEach(async () => {
  // A writer that is gone is lost at once.
  server = await startBroker({ port: 0, dataDir: null, streamGraceMs: 0 })
  brokers = []
})

afterEach(async () => {
  await Promise.all(brokers.map((broker) => broker.close().catch(() => {})))
  await server.close()
})

function open(network = new FaultyNetwork()): Promise<Session> {
  const broker = connect(addressOf(server), { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  brokers.push(broker)
  return broker.session('agent')
}

const never = () => {
  throw new Error('this must not run')
}

it('runs once, and gives whoever asks again what it returned', async () => {
  const session = await open()
  const booking = { seat: '12a', price: 99.5, notes: ['window'] }
  expect(await session.once('book', () => booking, { tool: 'book', input: { to: 'Rome' } })).toEqual(booking)
  expect(await session.once('book', never)).toEqual(booking)
  expect(await (await open()).once('book', never)).toEqual(booking)
})

it('keeps results of any size, and none', async () => {
  const session = await open()
  const large = '😀é'.repeat(300_000)
  await session.once('large', () => ({ large }))
  await session.once('none', () => {})
  const other = await open()
  expect(await other.once('large', never)).toEqual({ large })
  expect(await other.once('none', never)).toBeUndefined()
})

it('called at the same time, here and elsewhere, it runs in one place and all get its result', async () => {
  const [one, two] = [await open(), await open()]
  let runs = 0
  const fn = async () => {
    for (let i = 0; i < 50; i++) await turn()
    return ++runs
  }
  expect(await Promise.all([one.once('pay', fn), one.once('pay', fn), two.once('pay', fn)])).toEqual([1, 1, 1])
})

it('leaves tool, input, output and both ends in the log', async () => {
  const session = await open()
  await session.once('1', () => 'sunny', { tool: 'weather', input: { city: 'Rome' } })
  const { streams } = await session.resume({ cursor: (await open()).cursor.replace(/.{14}$/, '0'.repeat(14)) })
  expect(streams.map(({ id, state, parts }) => [id, state, Object.fromEntries(parts)])).toEqual([
    ['once/1', 'done', { tool: '"weather"', input: '{"city":"Rome"}', output: '"sunny"' }],
  ])
})

it('what it throws is thrown where it ran; elsewhere and later the call has failed, and does not run again', async () => {
  const session = await open()
  const refusal = new TypeError('no such flight')
  await expect(session.once('book', () => Promise.reject(refusal))).rejects.toBe(refusal)
  for (const asked of [session, await open()]) {
    await expect(asked.once('book', never)).rejects.toMatchObject({
      code: 'CALL_FAILED',
      details: { call: 'book', detail: { message: 'no such flight' } },
    })
  }
})

it('a result that is not JSON fails the call, which has run', async () => {
  const session = await open()
  await expect(session.once('when', () => new Date(0))).rejects.toMatchObject({ code: 'BAD_VALUE' })
  await expect(session.once('when', never)).rejects.toMatchObject({ code: 'CALL_FAILED' })
})

it('the outcome of a call whose runner vanished is unknown, until the caller has it run again', async () => {
  const network = new FaultyNetwork()
  const lost = await open(network)
  const began = new Promise<void>((resolve) => {
    void lost
      .once('pay', () => {
        resolve()
        return new Promise(() => {})
      })
      .catch(() => {})
  })
  await began
  network.down = true
  network.cut()
  const session = await open()
  const asked = { code: 'OUTCOME_UNKNOWN', details: { call: 'pay', streamId: 'once/pay' } }
  await expect(session.once('pay', never)).rejects.toMatchObject(asked)
  await expect(session.once('pay', never)).rejects.toMatchObject(asked)
  expect(await session.once('pay', () => 'paid', { ifUnknown: 'run' })).toBe('paid')
  expect(await session.once('pay', never)).toBe('paid')
})

it('what was stored of a result before its runner vanished is void where the call runs again', async () => {
  const network = new FaultyNetwork()
  const lost = await open(network)
  // As a call that is cut off while it stores a long result.
  const half = await lost.openStream('once/pay')
  half.write('{"paid":', { part: 'output' })
  await half.flush()
  network.down = true
  network.cut()
  const session = await open()
  const again = (asked: Session) => asked.once('pay', () => ({ paid: 2 }), { ifUnknown: 'run' })
  expect(await Promise.all([again(session), again(await open())])).toEqual([{ paid: 2 }, { paid: 2 }])
  expect(await (await open()).once('pay', never)).toEqual({ paid: 2 })
})

it('who waits for a call elsewhere learns that its runner vanished', async () => {
  const network = new FaultyNetwork()
  const lost = await open(network)
  let begun = () => {}
  const began = new Promise<void>((resolve) => {
    begun = resolve
  })
  const forever = () => {
    begun()
    return new Promise(() => {})
  }
  lost.once('pay', forever).catch(() => {})
  await began
  const waiting = (await open()).once('pay', never)
  network.down = true
  network.cut()
  await expect(waiting).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
})

it('a call that is stopped hears of it, and stays stopped', async () => {
  const [session, other] = [await open(), await open()]
  const running = session.once('search', async (signal) => {
    await other.stop('once/search', { reason: 'not needed' })
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
    return 'too late'
  })
  await expect(running).rejects.toMatchObject({ code: 'STREAM_STOPPED', details: { call: 'search' } })
  await expect(other.once('search', never)).rejects.toMatchObject({ code: 'STREAM_STOPPED' })
})

it('an id that is none is refused before anything runs', async () => {
  const session = await open()
  expect(() => session.once('x'.repeat(300), never)).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
  await expect(session.once('x', never, { input: Number.NaN })).rejects.toMatchObject({ code: 'BAD_VALUE' })
  expect(await session.stream('once/x')).toBeNull()
})

it('a checkpoint with an id is stored once, alone or with its records, whoever repeats it', async () => {
  const [session, other] = [await open(), await open()]
  const alone = await session.checkpoint('a', 1, { id: 'one' })
  expect((await other.checkpoint('a', 2, { id: 'one' })).offset).toBe(alone.offset)
  const more = await session.checkpoint('b', 1, { id: 'two', records: ['x', 'y'] })
  expect((await other.checkpoint('b', 2, { id: 'two', records: ['x', 'y'] })).offset).toBe(more.offset)
  const stored = (await other.checkpoints()).map(({ name, offset, state }) => [name, offset, state])
  expect(stored).toEqual([
    ['b', 3, 1],
    ['a', 0, 1],
  ])
  expect(() => session.checkpoint('c', 1, { id: '' })).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
})
