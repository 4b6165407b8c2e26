/** Topics that end by themselves: so long after they were used last, or at a fixed time, attached or not, also across restarts. */

import { describe, expect, test } from 'vitest'
import { type PolicyInfo, UP } from '../../protocol/index.ts'
import { message, TestBroker, tempDir } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const TTL_MS = 10 * MINUTE_MS

/** Creates the topic `a` and leaves it; it would linger for ever. */
async function create(broker: TestBroker, policy: PolicyInfo): Promise<void> {
  const peer = await broker.peer()
  await peer.attach('a', { producer: 'p', policy: { lingerMs: 'forever', ...policy } })
  await peer.append({ sequence: 0 }, message('one'))
  await broker.drop(peer)
}

async function exists(broker: TestBroker): Promise<boolean> {
  const peer = await broker.peer()
  const code = await codeOf(peer.ask(UP.describe, 'a'))
  await broker.drop(peer)
  return code === 'ok'
}

/** Reads the topic as somebody who comes and goes. */
async function read(broker: TestBroker): Promise<void> {
  const peer = await broker.peer()
  await peer.attach('a', { create: false })
  await peer.read({ start: true })
  await broker.drop(peer)
}

/** Reads it without holding it. */
async function observe(broker: TestBroker): Promise<void> {
  const peer = await broker.peer()
  await peer.attach('a', { create: false, observe: true })
  await peer.read({ start: true })
  await broker.drop(peer)
}

/** Waits for what falls due to be read and deleted, however long that takes. */
function reclaimed(broker: TestBroker): Promise<void> {
  return eventually(async () => {
    await broker.clock.advance(10)
    return broker.broker.stats().reclaimed === 1
  })
}

/** Does it end at this time from now on, to the second? */
async function expectEnd(broker: TestBroker, inMs: number): Promise<void> {
  await broker.clock.advance(inMs - 1000)
  expect(await exists(broker), 'a second before').toBe(true)
  await broker.clock.advance(2000)
  expect(await exists(broker), 'a second after').toBe(false)
}

describe('a time to live', () => {
  test('begins with the creation, and anew with each append and each read', async () => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    await broker.clock.advance(TTL_MS - 1000)
    await read(broker)
    await broker.clock.advance(TTL_MS - 1000)
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 1 }, message('two'))
    await broker.drop(peer)
    await expectEnd(broker, TTL_MS)
  })

  test.each<[string, (peer: Peer) => Promise<unknown>]>([
    ['subscribe', (peer) => peer.read({ live: true })],
    ['resume', async (peer) => peer.ask(UP.resume, 0, { cursor: (await peer.attach('a', {}, 1)).cursor })],
    ['context', (peer) => peer.ask(UP.context, 0, {})],
    ['checkpoints', (peer) => peer.ask(UP.checkpoints, 0, {})],
    ['stream', (peer) => peer.ask(UP.stream, 0, 's')],
    ['policy', (peer) => peer.ask(UP.policy, 0, { ttlMs: TTL_MS })],
  ])('begins anew with %s', async (_, act) => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    await broker.clock.advance(TTL_MS - 1000)
    const peer = await broker.peer()
    await peer.attach('a', { create: false })
    await act(peer)
    await broker.clock.advance(TTL_MS - 1000)
    expect(await exists(broker), 'a second before').toBe(true)
    await broker.clock.advance(TTL_MS / 16 + 2000)
    expect(await exists(broker), 'after what may come on top').toBe(false)
  })

  test('is not touched by describe, list and attach', async () => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    await broker.clock.advance(TTL_MS / 2)
    const peer = await broker.peer()
    await peer.attach('a', { create: false })
    await peer.ask(UP.list, '', {})
    const { reclaimAtMs, policy } = await peer.ask(UP.describe, 'a')
    expect([reclaimAtMs, policy?.ttlMs]).toEqual([broker.clock.wallMs() + TTL_MS / 2, TTL_MS])
    await broker.drop(peer)
    await expectEnd(broker, TTL_MS / 2)
  })

  test('ends a topic also while it is attached, read and dormant; who has it is told', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p', policy: { ttlMs: TTL_MS } })
    await peer.append({ sequence: 0 }, message('one'))
    const reading = await peer.read({ start: true })
    await broker.dormant()
    await broker.pass(() => peer.notices.length > 0, TTL_MS / 1000)
    expect(peer.notices).toMatchObject([{ what: 'reclaimed' }])
    await eventually(() => reading.ended?.code === 'GONE')
    expect(await codeOf(peer.append({ sequence: 1 }, message('late')))).toBe('GONE')
    expect(broker.broker.stats().reclaimed).toBe(1)
  })

  test('is over when it is over: another topic may have the name at once', async () => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    const peer = await broker.peer()
    const { epoch } = await peer.ask(UP.describe, 'a')
    await broker.clock.advance(TTL_MS)
    expect(await codeOf(peer.attach('a', { create: false }))).toBe('NOT_FOUND')
    const anew = await peer.attach('a', {}, 1)
    expect([anew.created, anew.nextOffset, anew.epoch > epoch]).toEqual([true, 0, true])
  })

  test.each([HOUR_MS, -HOUR_MS])('is no shorter when the wall clock is set by %i ms meanwhile', async (byMs) => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    broker.clock.setWall(byMs)
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 1 }, message('two'))
    await broker.drop(peer)
    const before = broker.clock.monotonicMs()
    await broker.dormant()
    await broker.clock.advance(before + TTL_MS - 1000 - broker.clock.monotonicMs())
    expect(await exists(broker)).toBe(true)
  })

  test('goes by the linger too, if that ends before', async () => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS, lingerMs: MINUTE_MS })
    await expectEnd(broker, MINUTE_MS)
  })

  test('does not shorten the linger of a topic that has left memory and is only observed', async () => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS, lingerMs: HOUR_MS })
    await broker.dormant()
    for (let i = 0; i < 3; i++) {
      await broker.clock.advance(TTL_MS / 2)
      await observe(broker)
      await broker.dormant()
    }
    expect(await exists(broker)).toBe(true)
  })

  test('does not shorten the linger of a fork that nobody has ever attached either', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('b', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('one'))
    await peer.ask(UP.fork, 'b', 'a', { policy: { ttlMs: TTL_MS, lingerMs: HOUR_MS } })
    await broker.drop(peer)
    for (let i = 0; i < 3; i++) {
      await broker.dormant()
      await broker.clock.advance(TTL_MS / 2)
      await observe(broker)
    }
    expect(await exists(broker)).toBe(true)
  })

  test('begins anew also with a read by who only observes, however near the end of the linger is', async () => {
    const broker = await TestBroker.start()
    await create(broker, { ttlMs: 2 * HOUR_MS, lingerMs: HOUR_MS })
    await broker.clock.advance(HOUR_MS - 10 * MINUTE_MS)
    await observe(broker)
    await broker.dormant()
    const peer = await broker.peer()
    await peer.attach('a', { create: false })
    await broker.clock.advance(HOUR_MS + 40 * MINUTE_MS)
    expect(await exists(broker)).toBe(true)
  })

  test('is that of the prefix, unless the topic has its own', async () => {
    const broker = await TestBroker.start({ policies: { a: { ttlMs: TTL_MS, lingerMs: 'forever' } } })
    const peer = await broker.peer()
    await peer.attach('a')
    await peer.attach('a/own', { policy: { ttlMs: 2 * TTL_MS } }, 1)
    await peer.attach('a/none', { policy: { ttlMs: null } }, 2)
    await peer.attach('b', {}, 3)
    await broker.clock.advance(TTL_MS + 1000)
    const names = async (): Promise<string[]> => (await peer.ask(UP.list, '', {})).topics.map(({ name }) => name)
    expect(await names()).toEqual(['a/none', 'a/own', 'b'])
    await broker.clock.advance(TTL_MS)
    expect(await names()).toEqual(['a/none', 'b'])
  })

  test('that is set later begins then, also after a crash, and can be taken back', async () => {
    let broker = await TestBroker.start()
    await create(broker, {})
    await broker.clock.advance(2 * HOUR_MS)
    const peer = await broker.peer()
    await peer.attach('a', { create: false })
    expect(await peer.ask(UP.policy, 0, { ttlMs: TTL_MS })).toMatchObject({ policy: { ttlMs: TTL_MS } })
    broker = await broker.kill()
    await broker.clock.advance(TTL_MS - 1000)
    const again = await broker.peer()
    await again.attach('a', { create: false })
    expect(await again.ask(UP.policy, 0, { ttlMs: null })).toMatchObject({ policy: { ttlMs: null } })
    await broker.drop(again)
    await broker.clock.advance(2 * HOUR_MS)
    expect(await exists(broker)).toBe(true)
    await broker.dormant()
    await broker.clock.advance(2 * HOUR_MS)
    expect(await exists(broker)).toBe(true)
  })

  test('must be more than 0, and may be very long', async () => {
    const peer = await (await TestBroker.start()).peer()
    expect(await codeOf(peer.attach('a', { policy: { ttlMs: 0 } }))).toBe('BAD_REQUEST')
    expect(await codeOf(peer.attach('a', { policy: { ttlMs: Number.MAX_SAFE_INTEGER } }))).toBe('ok')
    expect(await codeOf(peer.attach('b', { policy: { expiresAtMs: Number.MAX_SAFE_INTEGER } }, 1))).toBe('ok')
  })
})

describe('a time of expiry', () => {
  test('ends a topic however it is used, and one that is past ends it at once', async () => {
    const broker = await TestBroker.start()
    await create(broker, { expiresAtMs: broker.clock.wallMs() + TTL_MS })
    await broker.clock.advance(TTL_MS - 2000)
    await read(broker)
    await expectEnd(broker, 2000)
    await create(broker, { expiresAtMs: broker.clock.wallMs() + 5000, ttlMs: 1000 })
    await expectEnd(broker, 1000)
    const peer = await broker.peer()
    await peer.attach('a', { policy: { expiresAtMs: 1 } })
    await broker.clock.advance(100)
    await peer.notice('reclaimed')
  })

  test('is by the wall clock, also after a restart', async () => {
    let broker = await TestBroker.start()
    await create(broker, { expiresAtMs: broker.clock.wallMs() + 3 * HOUR_MS })
    broker = await broker.restart()
    await broker.clock.advance(HOUR_MS)
    broker = await broker.kill()
    await expectEnd(broker, 2 * HOUR_MS)
  })
})

describe('across restarts', () => {
  test.each(['restart', 'kill'] as const)('a topic goes that is over meanwhile, and no other: %s', async (how) => {
    let broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    await broker.dormant()
    broker = await broker[how]()
    await broker.clock.advance(TTL_MS / 2)
    expect(await exists(broker)).toBe(true)
    await broker.broker.close()
    await broker.clock.advance(TTL_MS / 2)
    broker = await broker[how === 'kill' ? 'kill' : 'restart']()
    await reclaimed(broker)
    expect(await exists(broker)).toBe(false)
  })

  test('a read counts: at most a 16th of the time to live is given on top, and none is taken away', async () => {
    for (const readAfterMs of [1000, TTL_MS / 32, TTL_MS / 2]) {
      let broker = await TestBroker.start()
      await create(broker, { ttlMs: TTL_MS })
      await broker.clock.advance(TTL_MS / 2)
      await read(broker)
      await broker.clock.advance(readAfterMs)
      await read(broker)
      // While it was in memory all the time.
      broker = await broker.kill()
      await broker.clock.advance(TTL_MS - 1000)
      expect(await exists(broker), 'none is taken away').toBe(true)
      await broker.clock.advance(TTL_MS / 16 + 2000)
      expect(await exists(broker), 'no more is given').toBe(false)
    }
  })

  test('the same once the topic has left memory', async () => {
    let broker = await TestBroker.start()
    await create(broker, { ttlMs: TTL_MS })
    await broker.clock.advance(TTL_MS / 2)
    await read(broker)
    const readAt = broker.clock.monotonicMs()
    await broker.dormant()
    broker = await broker.kill()
    await broker.clock.advance(readAt + TTL_MS - 1000 - broker.clock.monotonicMs())
    expect(await exists(broker), 'none is taken away').toBe(true)
    await broker.clock.advance(TTL_MS / 16 + 2000)
    expect(await exists(broker), 'no more is given').toBe(false)
  })

  test('on a disk', async () => {
    let broker = await TestBroker.start({ dataDir: await tempDir() })
    await create(broker, { ttlMs: TTL_MS })
    broker = await broker.kill()
    expect(await exists(broker)).toBe(true)
    broker = await broker.restart()
    await broker.clock.advance(TTL_MS + 1000)
    await reclaimed(broker)
    expect(await exists(broker)).toBe(false)
  })
})

test('reads are not written down one by one', async () => {
  const store = await HeldStore.open()
  const broker = await TestBroker.start({ store })
  await create(broker, { ttlMs: TTL_MS })
  const peer = await broker.peer()
  await peer.attach('a', { create: false })
  await peer.read({ live: true })
  const before = store.writes
  for (let i = 0; i < 200; i++) {
    await peer.ask(UP.stream, 0, 's')
    await broker.clock.advance(TTL_MS / 200)
  }
  // Each is a head with its timer; a stored timer that falls due is pushed forward.
  expect(store.writes - before).toBeLessThan(40)
  expect(store.writes - before).toBeGreaterThan(10)
})
