/** Bounds on what is stored below a prefix: met, given back, and the same after restarts and kills. */

import { describe, expect, test } from 'vitest'
import type { PrefixLimits } from '../../broker/index.ts'
import { LIMITS, UP } from '../../protocol/index.ts'
import { message, TestBroker, tempDir } from './brokers.ts'
import { begin, contentOf, granted, large, sendPart, upload } from './large.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'
import type { Refusal } from './refusal.ts'
import { eventually } from './virtual-clock.ts'

const policies = (prefixes: Record<string, PrefixLimits & { maxBytes?: number }>) =>
  Object.fromEntries(
    Object.entries(prefixes).map(([prefix, { maxBytes, ...limits }]) => [prefix, { maxBytes, limits }]),
  )

async function start(prefixes: Record<string, PrefixLimits & { maxBytes?: number }>): Promise<[TestBroker, Peer]> {
  const broker = await TestBroker.start({ policies: policies(prefixes) })
  return [broker, await broker.peer()]
}

const told = ({ code, details }: Refusal): unknown => [code, details]
const usage = (broker: TestBroker, prefix: string) => broker.broker.stats().usage[prefix]

/** Topics and bytes below a prefix, as a list of them says. */
async function recount(peer: Peer, prefix: string): Promise<unknown> {
  const { topics } = await peer.ask(UP.list, prefix, {})
  return { topics: topics.length, bytes: topics.reduce((sum, { bytes }) => sum + bytes, 0), counted: true }
}

describe('topics below a prefix', () => {
  test('are bound, whoever creates them, and one that goes makes room', async () => {
    const [broker, peer] = await start({ a: { topics: 2 } })
    await peer.attach('a', {}, 0)
    await peer.attach('a/1', {}, 1)
    const refusal = await refusalOf(peer.attach('a/2', {}, 2))
    const facts = { limit: 'topics', value: 3, bound: 2, scope: 'prefix', prefix: 'a' }
    expect(told(refusal)).toEqual(['LIMIT_EXCEEDED', facts])
    expect(await codeOf((await broker.peer()).attach('a/2'))).toBe('LIMIT_EXCEEDED')
    expect(await codeOf(peer.attach('ab', {}, 3))).toBe('ok')
    expect(await codeOf(peer.attach('a/1', {}, 4))).toBe('ok')
    await peer.ask(UP.delete, 'a/1', null)
    expect(await codeOf(peer.attach('a/2', {}, 2))).toBe('ok')
    expect(await codeOf(peer.attach('a/3', {}, 5))).toBe('LIMIT_EXCEEDED')
  })

  test('are bound by every prefix above them', async () => {
    const [, peer] = await start({ '': { topics: 3 }, a: { topics: 2 }, 'a/b': { topics: 1 } })
    await peer.attach('a/b/1', {}, 0)
    expect((await refusalOf(peer.attach('a/b/2', {}, 1))).details).toMatchObject({ prefix: 'a/b' })
    await peer.attach('a/c', {}, 1)
    expect((await refusalOf(peer.attach('a/d', {}, 2))).details).toMatchObject({ prefix: 'a' })
    await peer.attach('b', {}, 2)
    expect((await refusalOf(peer.attach('c', {}, 3))).details).toMatchObject({ prefix: '', value: 4 })
  })

  test('that are reclaimed make room', async () => {
    const [broker, peer] = await start({ a: { topics: 1 } })
    await peer.attach('a/1')
    await broker.drop(peer)
    await broker.clock.advance(LIMITS.lingerMs + 1000)
    await eventually(() => usage(broker, 'a')?.topics === 0)
    expect(await codeOf((await broker.peer()).attach('a/2'))).toBe('ok')
  })
})

describe('bytes below a prefix', () => {
  const kilobyte = message('x'.repeat(1_000))

  test('are bound, all topics together; a trim and a deletion give them back', async () => {
    const [broker, peer] = await start({ a: { bytes: 3_000 } })
    for (const i of [0, 1]) await peer.attach(`a/${i}`, { producer: 'p' }, i)
    await peer.append({ handle: 0, sequence: 0 }, kilobyte)
    await peer.append({ handle: 1, sequence: 0 }, kilobyte)
    const { bytes } = usage(broker, 'a') as { bytes: number }
    const refusal = await refusalOf(peer.append({ handle: 1, sequence: 1 }, kilobyte))
    const facts = { limit: 'bytes', value: bytes + 1_003, bound: 3_000, scope: 'prefix', prefix: 'a' }
    expect(told(refusal)).toEqual(['LIMIT_EXCEEDED', facts])
    await peer.ask(UP.trim, 0, 0, 1, { before: 1 })
    expect(usage(broker, 'a')?.bytes).toBe(bytes / 2)
    expect(await codeOf(peer.append({ handle: 1, sequence: 1 }, kilobyte))).toBe('ok')
    expect(await codeOf(peer.append({ handle: 1, sequence: 2 }, kilobyte))).toBe('LIMIT_EXCEEDED')
    await peer.ask(UP.delete, 'a/1', null)
    expect(usage(broker, 'a')).toEqual({ topics: 1, bytes: 0, counted: true })
    expect(await codeOf(peer.append({ handle: 0, sequence: 2 }, kilobyte))).toBe('ok')
  })

  test('are given back by retention', async () => {
    const [broker, peer] = await start({ a: { bytes: 100 * LIMITS.chunkBytes, maxBytes: 2 * LIMITS.chunkBytes } })
    await peer.attach('a/1', { producer: 'p' })
    const chunk = message('x'.repeat(LIMITS.chunkBytes))
    for (let sequence = 0; sequence < 8; sequence++) await peer.append({ sequence }, chunk)
    await eventually(() => (usage(broker, 'a')?.bytes ?? 0) <= 2 * LIMITS.chunkBytes)
    expect(usage(broker, 'a')).toEqual(await recount(peer, 'a'))
  })

  test('count only what a trim leaves, wherever it cuts: in memory, in a chunk, and in what is flushed since', async () => {
    const [broker, peer] = await start({ a: { bytes: 1e9 } })
    await peer.attach('a/1', { producer: 'p' })
    let sequence = 0
    const bytes = async (): Promise<number | undefined> => {
      expect(usage(broker, 'a')).toEqual(await recount(peer, 'a'))
      return usage(broker, 'a')?.bytes
    }
    for (let i = 0; i < 10; i++) await peer.append({ sequence: sequence++ }, kilobyte)
    const each = ((await bytes()) as number) / 10
    await peer.ask(UP.trim, 0, 0, sequence++, { before: 3 })
    expect(await bytes()).toBe(7 * each)
    for (let i = 0; i < 130; i++) await peer.append({ sequence: sequence++ }, kilobyte)
    await broker.pass(() => broker.broker.stats().journalFullness === 0)
    const large = ((await bytes()) as number) - 7 * each
    await peer.ask(UP.trim, 0, 0, sequence++, { before: 5 })
    await peer.ask(UP.trim, 0, 0, sequence++, { before: 10 })
    expect(await bytes()).toBe(large)
    await peer.ask(UP.trim, 0, 0, sequence++, { before: 140 })
    expect(await bytes()).toBe(0)
  })
})

describe('a large message', () => {
  const content = contentOf(LIMITS.partBytes + 1_000)

  test('counts with its content: its size, what it stores, and what a second lets in', async () => {
    const bounds = { messageBytes: 300_000, bytes: 500_000, bytesPerSecond: 100_000 }
    const [broker, peer] = await start({ a: bounds })
    await peer.attach('a/1', { producer: 'p' })
    const tooLarge = await refusalOf(begin(peer, { uploadId: 'u0', size: 300_001 }))
    const facts = { limit: 'messageBytes', value: 300_001, bound: 300_000, scope: 'prefix', prefix: 'a' }
    expect(told(tooLarge)).toEqual(['LIMIT_EXCEEDED', facts])
    await upload(peer, { uploadId: 'u1' }, content)
    await peer.append({ sequence: 0 }, large('u1', content))
    expect(usage(broker, 'a')?.bytes).toBeGreaterThan(content.length)
    expect(usage(broker, 'a')).toEqual(await recount(peer, 'a'))
    const { code, details } = await refusalOf(peer.append({ sequence: 1 }, message('m')))
    expect([code, details.limit]).toEqual(['RATE_LIMITED', 'bytesPerSecond'])
    await broker.clock.advance(details.retryAfterMs as number)
    expect(await codeOf(peer.append({ sequence: 1 }, message('m')))).toBe('ok')
    await broker.clock.advance(3_000)
    // What was said of its size, and then what comes.
    expect((await refusalOf(begin(peer, { uploadId: 'u2', size: 250_000 }))).details).toMatchObject({ limit: 'bytes' })
    await begin(peer, { uploadId: 'u2' })
    await granted(peer, 'u2')
    const part = sendPart(peer, { uploadId: 'u2' }, 0, content.subarray(0, LIMITS.partBytes))
    expect((await refusalOf(part)).details).toMatchObject({ limit: 'bytes' })
    await peer.ask(UP.abandon, 0, 'u2')
    await peer.ask(UP.trim, 0, 0, 2, { before: 1 })
    expect(usage(broker, 'a')).toEqual(await recount(peer, 'a'))
    await upload(peer, { uploadId: 'u3' }, content)
    // What is being uploaded counts, so that many uploads do not store what none of them may.
    expect((await refusalOf(begin(peer, { uploadId: 'u4', size: 250_000 }))).details).toMatchObject({ limit: 'bytes' })
    expect(await peer.append({ sequence: 3 }, large('u3', content))).toBe(2)
    await peer.ask(UP.trim, 0, 0, 4, { before: 3 })
    await upload(peer, { uploadId: 'u4' }, content)
    for (let sequence = 5; sequence < 13; sequence++) {
      await broker.clock.advance(10_000)
      await peer.append({ sequence }, message('m'.repeat(30_000)))
    }
    const full = await refusalOf(peer.append({ sequence: 13 }, large('u4', content)))
    expect(full.details).toMatchObject({ limit: 'bytes' })
    await broker.clock.advance(10_000)
    await peer.ask(UP.trim, 0, 0, 13, { before: 11 })
    // Its upload is as it was: what is refused for now is not lost.
    expect(await peer.append({ sequence: 14 }, large('u4', content))).toBe(11)
  })
})

describe('after a restart', () => {
  const prefixes = { '': { bytes: 1e9 }, a: { topics: 3, bytes: 5_000 }, 'a/b': { topics: 2 } }

  test.each(['restart', 'kill'] as const)('bounds hold as before (%s)', async (how) => {
    const before = await TestBroker.start({ policies: policies(prefixes), dataDir: await tempDir() })
    let peer = await before.peer()
    for (const [handle, name] of ['a/1', 'a/b/2', 'a/b/3'].entries()) {
      await peer.attach(name, { producer: 'p' }, handle)
      await peer.append({ handle, sequence: 0 }, message('x'.repeat(1_000)))
    }
    await peer.ask(UP.delete, 'a/b/3', null)
    const { usage: counted } = before.broker.stats()
    const after = await before[how]()
    await eventually(() => Object.values(after.broker.stats().usage).every((each) => each.counted))
    expect(after.broker.stats().usage).toEqual(counted)
    peer = await after.peer()
    expect(usage(after, 'a')).toEqual(await recount(peer, 'a'))
    await peer.attach('a/b/4', {}, 0)
    expect((await refusalOf(peer.attach('a/b/5', {}, 1))).details).toMatchObject({ limit: 'topics', prefix: 'a/b' })
    expect((await refusalOf(peer.attach('a/6', {}, 1))).details).toMatchObject({
      limit: 'topics',
      prefix: 'a',
      value: 4,
    })
    await peer.attach('a/1', { producer: 'q' }, 2)
    const large = message('x'.repeat(3_000))
    expect((await refusalOf(peer.append({ handle: 2, sequence: 0 }, large))).details).toMatchObject({ limit: 'bytes' })
  })

  test('a prefix that is new to the configuration counts what is there', async () => {
    const before = await TestBroker.start()
    const peer = await before.peer()
    for (const [handle, name] of ['a/b/1', 'a/b/2', 'a/c'].entries()) {
      await peer.attach(name, { producer: 'p' }, handle)
      await peer.append({ handle, sequence: 0 }, message('m'))
    }
    const after = await before.restart({ policies: policies({ a: { topics: 3 }, 'a/b': { topics: 2 } }) })
    await eventually(() => usage(after, 'a/b')?.counted === true)
    const again = await after.peer()
    expect(usage(after, 'a/b')).toEqual(await recount(again, 'a/b'))
    expect((await refusalOf(again.attach('a/d', {}, 0))).details).toMatchObject({ prefix: 'a', value: 4, bound: 3 })
    expect((await refusalOf(again.attach('a/b/3', {}, 0))).details).toMatchObject({ prefix: 'a/b', value: 3, bound: 2 })
  })
})
