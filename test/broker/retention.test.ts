/** Retention by count, size and age: whole chunks from the beginning, never into an open stream. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { message, streamEnd, TestBroker, token } from './brokers.ts'
import type { Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

/** A bit more than a chunk. */
const LARGE = 'x'.repeat(LIMITS.chunkBytes)

const firstOffset = async (peer: Peer): Promise<number> => (await peer.ask(UP.describe, 'a')).firstOffset

async function start(policy: object, options = {}): Promise<{ broker: TestBroker; peer: Peer }> {
  const broker = await TestBroker.start(options)
  const peer = await broker.peer()
  await peer.attach('a', { producer: 'p', policy })
  return { broker, peer }
}

describe('retention', () => {
  test('by count drops whole chunks from the beginning, tells who is attached, and ends readers with TRIMMED', async () => {
    const { broker, peer } = await start({ maxRecords: 3 })
    const reader = await broker.peer()
    await reader.attach('a')
    const slow = await reader.read({ start: true }, { creditBytes: 1, regrant: false })
    for (let i = 0; i < 8; i++) await peer.append({ sequence: i }, message(LARGE))
    await eventually(async () => (await firstOffset(peer)) === 5)
    await reader.notice('trimmed')
    reader.send([UP.credit, 0, 2 * LIMITS.chunkBytes])
    await reader.until(() => slow.ended !== null)
    expect(slow.ended?.code).toBe('TRIMMED')
    const reading = await reader.read({ start: true }, { id: 1 })
    await reader.until(() => reading.position === 8)
    expect(reading.start).toBe(5)
  })

  test('by size keeps about the bytes allowed', async () => {
    const { peer } = await start({ maxBytes: 4 * LIMITS.chunkBytes })
    for (let i = 0; i < 12; i++) await peer.append({ sequence: i }, message(LARGE))
    await eventually(async () => (await firstOffset(peer)) === 9)
    expect((await peer.ask(UP.describe, 'a')).bytes).toBeLessThanOrEqual(4 * LIMITS.chunkBytes)
  })

  test('by age drops what is too old, as time goes by and without another append', async () => {
    const { broker, peer } = await start({ maxAgeMs: 10_000 })
    for (let i = 0; i < 3; i++) {
      await peer.append({ sequence: i }, message(LARGE))
      await eventually(async () => (await peer.ask(UP.describe, 'a')).nextOffset === i + 1)
      await broker.clock.advance(4000)
    }
    await eventually(async () => (await firstOffset(peer)) === 1)
    await broker.clock.advance(3000)
    await eventually(async () => (await firstOffset(peer)) === 2)
    await broker.clock.advance(60_000)
    await eventually(async () => (await firstOffset(peer)) === 3)
  })

  test('stops before a stream that is open, and goes on when it has ended', async () => {
    const { peer } = await start({ maxRecords: 2 })
    await peer.append({ sequence: 0 }, message(LARGE))
    await peer.append({ sequence: 1 }, message(LARGE))
    await peer.ask(UP.openStream, 0, 0, 2, 's', 'create')
    for (let i = 3; i < 8; i++) await peer.append({ sequence: i, fence: 2 }, token('s', LARGE))
    await eventually(async () => (await firstOffset(peer)) === 2)
    await peer.append({ sequence: 8, fence: 2 }, token('s', LARGE))
    await peer.roundTrip()
    expect(await firstOffset(peer)).toBe(2)
    await peer.append({ sequence: 9, fence: 2 }, streamEnd('done', 's'))
    await peer.append({ sequence: 10 }, message(LARGE))
    await eventually(async () => (await firstOffset(peer)) > 7)
  })

  test('follows a policy that is changed', async () => {
    const { peer } = await start({})
    for (let i = 0; i < 6; i++) await peer.append({ sequence: i }, message(LARGE))
    await peer.roundTrip()
    expect(await firstOffset(peer)).toBe(0)
    await peer.ask(UP.policy, 0, { maxRecords: 2 })
    await eventually(async () => (await firstOffset(peer)) === 4)
  })

  test('never begins while what it needs is not in chunks', async () => {
    const { broker, peer } = await start({ maxRecords: 1 })
    for (let i = 0; i < 10; i++) await peer.append({ sequence: i }, message('small'))
    await broker.clock.advance(9000)
    expect(await firstOffset(peer)).toBe(0)
  })

  test('survives a kill', async () => {
    const { broker, peer } = await start({ maxRecords: 3 })
    for (let i = 0; i < 8; i++) await peer.append({ sequence: i }, message(LARGE))
    await eventually(async () => (await firstOffset(peer)) === 5)
    const next = await (await broker.kill()).peer()
    expect(await next.ask(UP.describe, 'a')).toMatchObject({ firstOffset: 5, nextOffset: 8 })
  })
})
