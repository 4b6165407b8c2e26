/** What a restart or a kill leaves of Durable Streams subscriptions: all that was acknowledged, and no wake is lost. */

import { describe, expect, test, vi } from 'vitest'
import { MemoryDisk } from '../../storage/index.ts'
import { tempDir } from '../broker/brokers.ts'
import { FaultyDisk } from '../broker/faulty-store.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { done, isSigned, Receiver, Rig, type StreamBody } from './webhooks.ts'

describe('a subscription', () => {
  test('is the same behind a restart, on disk, and its keys are', async () => {
    const receiver = await Receiver.open({ done: true })
    const rig = await Rig.start({ dataDir: await tempDir(), lingerMs: 'forever' })
    await rig.webhook('s', receiver, { pattern: 'events/*', streams: ['named', 'none'] })
    await rig.append('events/a')
    await rig.append('named')
    const call = await receiver.call(1)
    await eventually(
      async () =>
        (await rig.get('s')).streams.every(({ acked_offset }) => !acked_offset.startsWith('0'.repeat(16))) ||
        receiver.calls.length > 1,
    )
    await rig.settle()
    const before = await rig.get('s')
    await rig.kill()
    expect(await rig.get('s')).toEqual({ ...before, webhook: expect.anything() })
    expect(await isSigned(rig.http, call)).toBe(true)
    expect(receiver.calls.length).toBeLessThanOrEqual(2)
    const calls = receiver.calls.length
    await rig.append('events/a')
    const next = await receiver.call(calls + 1)
    expect(next.body.generation).toBeGreaterThan(call.body.generation)
  })

  test('wakes after a kill between the append and the call', async () => {
    const disk = new MemoryDisk()
    const rig = await Rig.start({ lingerMs: 'forever' }, disk)
    const receiver = await Receiver.open(() => undefined)
    await rig.append('old')
    await rig.webhook('s', receiver, { pattern: '**' })
    const left = disk.copy()
    await rig.append('events/new')
    // The append is durable; of the wake, which is stored behind it, there is nothing yet.
    const { entries, floor } = disk.copy()
    Object.assign(left, { entries, floor })
    await rig.http.test.broker.close()
    const calls = receiver.calls.length
    const after = await Rig.start({ clock: rig.clock, lingerMs: 'forever' }, left)
    const call = await receiver.call(calls + 1)
    expect(call.body.streams.map(({ path, acked_offset }) => [path, Number(acked_offset.slice(0, 16))])).toEqual([
      ['events/new', 0],
    ])
    expect((await after.get('s')).streams.map(({ path }) => path)).toEqual(['events/new', 'old'])
  })

  test('goes on with the wake that was under way, whose worker may call back', async () => {
    const receiver = await Receiver.open()
    const rig = await Rig.start({ lingerMs: 'forever' })
    await rig.webhook('s', receiver)
    await rig.append('events/a')
    const first = await receiver.call(1)
    await rig.settle()
    await rig.kill({ lingerMs: 'forever' })
    const second = await receiver.call(2)
    expect([second.body.wake_id, second.body.generation]).toEqual([first.body.wake_id, first.body.generation])
    expect(await rig.callback(first, done(first))).toBe('200 {"ok":true,"next_wake":false}')
    await rig.kill({ lingerMs: 'forever' })
    await rig.get('s')
    await rig.clock.advance(60_000)
    expect(receiver.calls).toHaveLength(2)
  })

  test('keeps to the time of the next attempt', async () => {
    const receiver = await Receiver.open(500)
    const rig = await Rig.start({ lingerMs: 'forever' })
    await rig.webhook('s', receiver)
    await rig.append('events/a')
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.5)
    for (let i = 1; i <= 6; i++) {
      await receiver.call(i)
      await eventually(async () => (await rig.get('s')).status === 'failed')
      await rig.settle()
      if (i < 6) await rig.clock.advance(1_000 * 2 ** (i - 1))
    }
    random.mockRestore()
    await rig.kill({ lingerMs: 'forever' })
    expect((await rig.get('s')).status).toBe('failed')
    await rig.clock.advance(20_000)
    await rig.settle()
    expect(receiver.calls).toHaveLength(6)
    receiver.answer = { done: true }
    await rig.clock.advance(12_000)
    await receiver.call(7)
    await eventually(async () => (await rig.get('s')).status === 'active')
  })

  test('tells of a fork from where it goes on by itself, also behind a kill', async () => {
    const rig = await Rig.start({ lingerMs: 'forever' })
    await rig.append('source')
    await rig.append('source')
    await rig.pull('p')
    await rig.fork('source', 'events/fork')
    await rig.kill({ lingerMs: 'forever' })
    expect(await rig.refused('POST', 'p/claim', { worker: 'w' })).toBe('409 NO_PENDING_WORK')
    await rig.append('events/fork')
    const claimed = (await (await rig.send('POST', 'p/claim', { worker: 'w' })).json()) as { streams: StreamBody[] }
    const offsets = claimed.streams.map(({ acked_offset, tail_offset }) => [acked_offset, tail_offset])
    expect(offsets.flat().map((offset) => Number(offset.slice(0, 16)))).toEqual([2, 3])
  })

  test('keeps the claim of a worker, with all of its lease', async () => {
    const rig = await Rig.start({ lingerMs: 'forever' })
    await rig.pull('p', { pattern: 'events/*', lease_ttl_ms: 10_000 })
    await rig.append('events/a')
    const claimed = (await (await rig.send('POST', 'p/claim', { worker: 'w' })).json()) as Record<string, unknown>
    await rig.clock.advance(9_000)
    await rig.kill({ lingerMs: 'forever' })
    expect(await rig.refused('POST', 'p/claim', { worker: 'v' })).toBe('409 ALREADY_CLAIMED')
    await rig.clock.advance(9_000)
    const { wake_id, generation, token } = claimed
    expect((await rig.send('POST', 'p/ack', { wake_id, generation }, String(token))).status).toBe(200)
    await rig.kill({ lingerMs: 'forever' })
    await rig.get('p')
    await rig.clock.advance(10_000)
    await eventually(async () => (await rig.send('POST', 'p/claim', { worker: 'v' })).status === 200)
  })

  test('is gone behind a kill once it was deleted, and its streams do not come back with a new one', async () => {
    const rig = await Rig.start({ lingerMs: 'forever' })
    await rig.pull('p', { streams: ['a', 'b'] })
    await rig.send('DELETE', 'p')
    await rig.kill({ lingerMs: 'forever' })
    expect(await rig.refused('GET', 'p')).toBe('404 SUBSCRIPTION_NOT_FOUND')
    await rig.pull('p', { streams: ['c'] })
    await rig.kill({ lingerMs: 'forever' })
    expect((await rig.get('p')).streams.map(({ path }) => path)).toEqual(['c'])
  })

  test.each(['journal', 'table'] as const)('goes on when a write of the %s has failed', async (part) => {
    const disk = new FaultyDisk(await tempDir())
    const receiver = await Receiver.open(() => undefined)
    const rig = await Rig.start({ store: disk.open, lingerMs: 'forever' })
    await rig.webhook('s', receiver)
    disk.fail(part)
    // Of the table it is the wake that cannot be stored; of the journal, the append.
    await rig.append('events/a').catch(() => undefined)
    await eventually(() => !rig.http.test.broker.stats().available)
    expect(await rig.refused('POST', 's/streams', { streams: ['a'] })).toBe('503 STORE_UNAVAILABLE')
    disk.mend()
    await eventually(async () => {
      await rig.clock.advance(100)
      return rig.http.test.broker.stats().available
    })
    rig.reconnect()
    await rig.append('events/b')
    await eventually(() => receiver.calls.length > 0)
    expect((await rig.get('s')).streams.map(({ path }) => path)).toContain('events/b')
  })
})
