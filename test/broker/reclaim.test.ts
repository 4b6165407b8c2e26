/** When topics go: linger, residency, policy, and what a restart makes of them. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { INDEX } from '../../storage/store.ts'
import { checkpoint, context, json, message, TestBroker, tempDir, tokens } from './brokers.ts'
import { disk } from './disk.ts'
import { codeOf, type Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

async function names(peer: Peer, prefix = ''): Promise<string[]> {
  return (await peer.ask(UP.list, prefix, {})).topics.map(({ name }) => name)
}

async function gone(broker: TestBroker, count: number): Promise<void> {
  await eventually(() => broker.broker.stats().reclaimed === count)
}

describe('linger', () => {
  test('of 0 ends a topic with its last attachment', async () => {
    const broker = await TestBroker.start({ lingerMs: 0 })
    const [peer, other] = [await broker.peer(), await broker.peer()]
    await peer.attach('a')
    await other.attach('a')
    await peer.ask(UP.detach, 0)
    expect(await names(other)).toEqual(['a'])
    await other.ask(UP.detach, 0)
    await gone(broker, 1)
    expect(await names(other)).toEqual([])
    expect(await codeOf(other.attach('a', { create: false }))).toBe('NOT_FOUND')
  })

  test('runs from the last detach on, and an attach in between ends it', async () => {
    const broker = await TestBroker.start({ lingerMs: 5000 })
    const peer = await broker.peer()
    await peer.attach('a')
    await broker.clock.advance(60_000)
    await peer.ask(UP.detach, 0)
    const { reclaimAtMs, hold } = await peer.ask(UP.describe, 'a')
    expect([hold, reclaimAtMs]).toEqual(['lingering', broker.clock.wallMs() + 5000])
    await broker.clock.advance(4900)
    await peer.attach('a', { create: false })
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ hold: 'attached', attachments: 1, reclaimAtMs: null })
    await broker.clock.advance(10_000)
    await peer.ask(UP.detach, 0)
    await broker.clock.advance(4900)
    expect(await names(peer)).toEqual(['a'])
    await broker.clock.advance(200)
    await gone(broker, 1)
    expect(await names(peer)).toEqual([])
  })

  test.each([HOUR_MS, -HOUR_MS])('is as long when the wall clock is set by %i ms meanwhile', async (byMs) => {
    const broker = await TestBroker.start({ policies: { soon: { lingerMs: 20_000 }, late: { lingerMs: 60_000 } } })
    const peer = await broker.peer()
    await peer.attach('soon')
    await peer.attach('late', {}, 1)
    await broker.drop(peer)
    await broker.dormant()
    broker.clock.setWall(byMs)
    await broker.pass(() => broker.broker.stats().reclaimed === 1, 30)
    expect(await names(await broker.peer())).toEqual(['late'])
    await broker.pass(() => broker.broker.stats().reclaimed === 2, 60)
  })

  test('is whole after a restart, however the wall clock was set since the topic was created', async () => {
    let broker = await TestBroker.start({ lingerMs: 60_000 })
    for (const byMs of [-HOUR_MS, HOUR_MS / 2]) {
      const peer = await broker.peer()
      await peer.attach('a', { producer: `p${byMs}`, create: byMs < 0 })
      // So that the next start looks at it at once.
      await peer.ask(UP.openStream, 0, 0, 0, `s${byMs}`, 'create')
      await broker.drop(peer)
      await broker.dormant()
      broker.clock.setWall(byMs)
      broker = await broker.kill()
      await broker.clock.advance(50_000)
    }
    expect(await names(await broker.peer())).toEqual(['a'])
  })

  test('for ever keeps a topic; a dropped connection is a detach', async () => {
    const broker = await TestBroker.start({ lingerMs: 'forever' })
    const peer = await broker.peer()
    expect((await peer.attach('a')).lingerMs).toBe('forever')
    await broker.drop(peer)
    await broker.clock.advance(2 * HOUR_MS)
    const other = await broker.peer()
    expect(await other.ask(UP.describe, 'a')).toMatchObject({ hold: 'kept', reclaimAtMs: null })
  })

  test('ends a topic that has long left memory', async () => {
    const broker = await TestBroker.start({ lingerMs: HOUR_MS, residencyIdleMs: 1000 })
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('hi'))
    await broker.drop(peer)
    const detachedMs = broker.clock.wallMs()
    await broker.dormant()
    const other = await broker.peer()
    await broker.clock.advance(detachedMs + HOUR_MS - 100 - broker.clock.wallMs())
    expect(await names(other)).toEqual(['a'])
    await broker.clock.advance(300)
    await gone(broker, 1)
    expect(await names(other)).toEqual([])
  })

  test('is not lengthened by looking at a dormant topic', async () => {
    const broker = await TestBroker.start({ lingerMs: HOUR_MS, residencyIdleMs: 1000 })
    const peer = await broker.peer()
    await peer.attach('a')
    await peer.ask(UP.detach, 0)
    const { reclaimAtMs } = await peer.ask(UP.describe, 'a')
    await broker.dormant()
    await broker.clock.advance(HOUR_MS / 2)
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ reclaimAtMs, residency: 'dormant' })
    await broker.dormant()
    await broker.clock.advance(HOUR_MS / 2)
    await gone(broker, 1)
  })

  test('is full again after a restart and after a kill, also for topics that were attached', async () => {
    for (const how of ['restart', 'kill'] as const) {
      let broker = await TestBroker.start({ lingerMs: HOUR_MS, residencyIdleMs: 1000 })
      const peer = await broker.peer()
      await peer.attach('dormant', { producer: 'p' })
      await peer.ask(UP.detach, 0)
      await broker.dormant()
      await peer.attach('attached', { producer: 'p' })
      await peer.append({ sequence: 0 }, message('hi'))
      await broker.clock.advance(HOUR_MS - 60_000)
      const stopped = broker
      broker = await broker[how]()
      if (how === 'kill') await stopped.broker.close()
      const other = await broker.peer()
      await broker.clock.advance(HOUR_MS - 2000)
      expect((await names(other)).sort()).toEqual(['attached', 'dormant'])
      await broker.clock.advance(4000)
      await broker.pass(() => broker.broker.stats().reclaimed === 2)
      expect(await names(other)).toEqual([])
    }
  })

  test('of readers alone ends a day after the last append, and they are told', async () => {
    const broker = await TestBroker.start({ lingerMs: HOUR_MS })
    const [peer, reader] = [await broker.peer(), await broker.peer()]
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('hi'))
    await reader.attach('a')
    const reading = await reader.read({ start: true })
    await broker.clock.advance(2 * DAY_MS)
    expect(await names(reader)).toEqual(['a'])
    await peer.append({ sequence: 1 }, message('still here'))
    await broker.drop(peer)
    await broker.clock.advance(DAY_MS + HOUR_MS - 1000)
    expect(await names(reader)).toEqual(['a'])
    await broker.clock.advance(2000)
    await reader.notice('reclaimed')
    expect(reading.ended?.code).toBe('GONE')
  })

  test('is full for who attaches to a topic that was silent for days', async () => {
    const broker = await TestBroker.start({ lingerMs: HOUR_MS })
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('hi'))
    await broker.clock.advance(3 * DAY_MS)
    await broker.drop(peer)
    const reader = await broker.peer()
    await reader.attach('a', { create: false })
    await broker.clock.advance(HOUR_MS - 1000)
    expect(await names(reader)).toEqual(['a'])
    const writer = await broker.peer()
    expect(await writer.attach('a', { create: false, producer: 'p' })).toMatchObject({ created: false })
    await broker.clock.advance(3 * DAY_MS)
    expect(await names(writer)).toEqual(['a'])
  })
})

test('a kill does not make a topic outlive its linger by more than that, however long it was in use', async () => {
  const broker = await TestBroker.start({ lingerMs: 5000, quietMs: 1000 })
  const peer = await broker.peer()
  await peer.attach('a', { producer: 'p' })
  await peer.append({ sequence: 0 }, message('hi'))
  for (let second = 0; second < 20; second++) await broker.clock.advance(1000)
  const next = await broker.kill()
  await next.pass(() => next.broker.stats().reclaimed === 1, 8)
})

describe('damage to what says that a topic must be looked at', () => {
  /** The value of the first key of an index, with one wrong byte. */
  function damageFirst(data: MemoryDisk, index: number): void {
    const range = { gte: Buffer.of(index), lt: Buffer.of(index + 1) }
    const [{ key, value }] = data.table.range(range, false, 1) as [{ key: Uint8Array; value: Uint8Array }]
    data.table.set(
      key,
      value.map((byte, i) => (i === 5 ? byte ^ 1 : byte)),
    )
  }

  test('keeps no other topic from being reclaimed', async () => {
    const data = new MemoryDisk()
    const broker = await TestBroker.start({ lingerMs: 60_000 }, data)
    const peer = await broker.peer()
    for (const [handle, name] of ['a', 'b', 'c'].entries()) await peer.attach(name, {}, handle)
    await broker.drop(peer)
    await broker.dormant()
    damageFirst(data, INDEX.timer)
    await broker.pass(() => broker.broker.stats().reclaimed === 2, 120)
    expect(broker.log.some((line) => line.startsWith('STORE_CORRUPT'))).toBe(true)
  })

  test('keeps no other stream from being lost after a crash', async () => {
    const data = new MemoryDisk()
    const broker = await TestBroker.start({ lingerMs: 'forever' }, data)
    const peer = await broker.peer()
    for (const [handle, name] of ['a', 'b'].entries()) {
      await peer.attach(name, { producer: 'p' }, handle)
      await peer.ask(UP.openStream, handle, 0, 0, 's', 'create')
    }
    // When all is quiet nothing of them is left in the journal.
    await broker.clock.advance(20_000)
    await eventually(() => broker.broker.stats().journalFullness === 0)
    damageFirst(data, INDEX.openStreams)
    const killed = await broker.kill()
    await killed.clock.advance(LIMITS.streamGraceMs + 1000)
    const reader = await killed.peer()
    await eventually(async () => (await reader.ask(UP.describe, 'b')).nextOffset === 2)
    expect(killed.log.some((line) => line.startsWith('STORE_CORRUPT'))).toBe(true)
  })
})

describe('residency', () => {
  test('ends when nobody uses a topic, and it comes back with everything', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 1000, lingerMs: 'forever', streamGraceMs: 500 })
    const peer = await broker.peer()
    const { epoch } = await peer.attach('a', { producer: 'p', policy: { maxRecords: 1000 } })
    await peer.append({ sequence: 0 }, message('hi', 'm1'), context('set', 'plan', json(1)), checkpoint('c', json(2)))
    await peer.ask(UP.openStream, 0, 0, 1, 's', 'create')
    await peer.append({ sequence: 2, fence: 3 }, ...tokens('s', 'a', 'b'))
    await peer.ask(UP.stop, 0, 'stopped', { reason: 'x' })
    await broker.clock.advance(60_000)
    expect(broker.broker.stats().residentTopics).toBe(1)
    await broker.drop(peer)
    await broker.dormant()
    const reader = await broker.peer()
    expect((await reader.ask(UP.list, '', {})).topics).toMatchObject([
      { name: 'a', residency: 'dormant', nextOffset: 8 },
    ])
    const again = await broker.peer()
    const known = { producerEpoch: 0, sequence: 2 }
    expect(await again.attach('a', { producer: 'p' })).toMatchObject({ epoch, created: false, producer: known })
    expect(broker.broker.stats().residentTopics).toBe(1)
    expect(await again.append({ sequence: 2, fence: 3 }, ...tokens('s', 'a', 'b'))).toBe(4)
    expect(await again.append({ sequence: 3 }, message('hi', 'm1'))).toBe(0)
    expect(await again.append({ sequence: 4, fence: 3 }, ...tokens('s', 'c'))).toBe(9)
    expect((await again.ask(UP.context, 0, {})).entries).toMatchObject([{ name: 'plan' }])
    expect((await again.ask(UP.resume, 0, { checkpoint: 'c' })).checkpoint?.state?.value).toBe('2')
    expect((await again.ask(UP.stream, 0, 'stopped')).stream).toMatchObject({
      state: 'stopped',
      detail: '{"reason":"x"}',
    })
    expect((await again.ask(UP.describe, 'a')).policy).toMatchObject({ maxRecords: 1000, lingerMs: 'forever' })
    const reading = await again.read({ start: true })
    await again.until(() => reading.position === 10)
    expect(reading.text('s')).toBe('abc')
    expect(reading.states('s')).toEqual(['open', 'lost', 'resumed'])
  })

  test('of many topics ends together, and their timers do not keep them', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 1000 })
    const peer = await broker.peer()
    await Promise.all(Array.from({ length: 500 }, (_, i) => peer.attach(`t/${i}`, {}, i)))
    expect(broker.broker.stats()).toMatchObject({ residentTopics: 500, attachments: 500 })
    await broker.drop(peer)
    expect(broker.broker.stats()).toMatchObject({ residentTopics: 500, attachments: 0 })
    await broker.dormant()
    const other = await broker.peer()
    expect((await other.ask(UP.list, 't', { limit: 1000 })).topics).toHaveLength(500)
  })
})

describe('policy', () => {
  test('is that of the longest prefix, then the default, unless the session has its own', async () => {
    const policies = {
      support: { lingerMs: 1 },
      'support/vip/': { maxRecords: 7 },
      'support/vip/gold': { lingerMs: 3 },
    }
    const broker = await TestBroker.start({ lingerMs: 2000, policies: policies as never })
    const peer = await broker.peer()
    let handle = 0
    const lingerOf = async (name: string, options = {}) => (await peer.attach(name, options, handle++)).lingerMs
    expect(await lingerOf('other')).toBe(2000)
    expect(await lingerOf('support2')).toBe(2000)
    expect(await lingerOf('support')).toBe(1)
    expect(await lingerOf('support/a')).toBe(1)
    expect(await lingerOf('support/vip/a')).toBe(2000)
    expect(await lingerOf('support/vip/gold/a')).toBe(3)
    expect(await lingerOf('support/b', { policy: { lingerMs: 'forever' } })).toBe('forever')
    expect((await peer.ask(UP.describe, 'support/vip/a')).policy).toMatchObject({ maxRecords: 7, maxBytes: null })
  })

  test('can be changed: linger counts anew, null lifts a bound, fields not given stay', async () => {
    const broker = await TestBroker.start({ lingerMs: HOUR_MS, policies: { '': { maxRecords: 7 } } })
    const [peer, observer] = [await broker.peer(), await broker.peer()]
    await peer.attach('a')
    await observer.attach('a', { observe: true })
    expect((await peer.ask(UP.policy, 0, {})).policy).toMatchObject({ lingerMs: HOUR_MS, maxRecords: 7 })
    const changed = await peer.ask(UP.policy, 0, { maxRecords: null, lingerMs: 5000 })
    expect(changed.policy).toMatchObject({ lingerMs: 5000, maxRecords: null })
    expect((await peer.ask(UP.policy, 0, { maxBytes: 10 })).policy).toMatchObject({ lingerMs: 5000, maxBytes: 10 })
    expect(await codeOf(peer.ask(UP.policy, 0, { maxBytes: 0 }))).toBe('BAD_REQUEST')
    await peer.ask(UP.detach, 0)
    await broker.clock.advance(4000)
    await observer.ask(UP.policy, 0, { lingerMs: 20_000 })
    await broker.clock.advance(19_000)
    expect(await names(observer)).toEqual(['a'])
    await broker.clock.advance(2000)
    await observer.notice('reclaimed')
  })

  test('survives a kill', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a', { policy: { lingerMs: 7000, maxAgeMs: 5 } })
    await peer.ask(UP.policy, 0, { maxRecords: 9 })
    const next = await (await broker.kill()).peer()
    expect((await next.ask(UP.describe, 'a')).policy).toMatchObject({ lingerMs: 7000, maxAgeMs: 5, maxRecords: 9 })
  })
})

describe('after reclaim', () => {
  test('disk space comes back once all is quiet, and the broker starts without what was deleted', async () => {
    const broker = await TestBroker.start({ dataDir: await tempDir(), lingerMs: 1000, durability: 'os' })
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    const noise = (): string => Array.from({ length: 2500 }, () => Math.random().toString(36)).join('')
    for (let i = 0; i < 60; i++) await peer.append({ sequence: i }, message(noise().slice(0, LIMITS.chunkBytes / 2)))
    const dataDir = broker.broker.dataDir as string
    await eventually(async () => (await disk(dataDir)) > 1_500_000)
    await broker.drop(peer)
    await broker.clock.advance(1100)
    await gone(broker, 1)
    await broker.clock.advance(11_000)
    await eventually(async () => (await disk(dataDir)) < 500_000)
    const next = await broker.restart()
    expect(await names(await next.peer())).toEqual([])
  })
})

test.each([
  ['ahead', 2 * DAY_MS],
  ['back', -2 * DAY_MS],
])(
  'a reader holds its topic for as long when the wall clock is set %s, before an append and behind it',
  async (_, byMs) => {
    const broker = await TestBroker.start({ lingerMs: HOUR_MS })
    const writer = await broker.peer()
    await writer.attach('t', { producer: 'w' })
    await writer.append({ sequence: 0 }, message('before'))
    const reader = await broker.peer()
    await reader.attach('t', { create: false })
    await broker.clock.advance(2 * HOUR_MS)
    broker.clock.setWall(byMs)
    await writer.append({ sequence: 1 }, message('behind'))
    await broker.drop(writer)
    broker.clock.setWall(byMs)
    const heldMs = LIMITS.maxReaderHoldMs + HOUR_MS
    await broker.clock.advance(heldMs - 60_000)
    expect(reader.notices).toEqual([])
    await broker.clock.advance(120_000)
    await reader.notice('reclaimed')
  },
)
