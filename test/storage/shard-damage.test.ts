/** One wrong byte anywhere is found out: STORE_CORRUPT, and never other data than what was written. */

import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isLitetopicError } from '../../protocol/index.ts'
import { findCheckpoint, findContext, findRecordId, findStream, listCheckpoints } from '../../storage/lookups.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { Rig, type TestRecord } from './shard-rig.ts'

const corrupt = { code: 'STORE_CORRUPT' }
const message = (text: string): TestRecord => ({ kind: 'message', text })
const records: TestRecord[] = [
  { kind: 'message', text: 'a', id: 'id' },
  { kind: 'context', op: 'set', name: 'n', text: 'one' },
  { kind: 'checkpoint', name: 'c' },
  { kind: 'stream', state: 'open', streamId: 's' },
  { kind: 'stream', state: 'done', streamId: 's' },
  { kind: 'stream', state: 'open', streamId: 'open' },
  message('x'.repeat(1_000)),
]

/** A disk with one topic `t` of those records, flushed or only in the journal. */
async function diskWithTopic(flushed: boolean): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const rig = await Rig.open(await openMemoryStore(disk))
  const state = await rig.create('t')
  state.dueMs = 5_000
  await rig.append(state, records)
  if (flushed) await rig.shard.quiesce()
  await rig.append(state, [message('last')])
  if (flushed) await rig.shard.quiesce()
  return disk.copy()
}

/** Everything that can be asked of the topic, as text. */
async function everything(disk: MemoryDisk): Promise<string> {
  const rig = await Rig.open(await openMemoryStore(disk))
  const { shard } = rig
  await shard.usage.watch(['', 't'])
  if (rig.failures[0] !== undefined) throw rig.failures[0]
  const { table } = shard.store
  const state = await shard.load('t')
  if (state === null) return 'nothing'
  return JSON.stringify([
    (await shard.list('', '', 9)).states.map(({ name }) => name),
    [state.epoch, state.nextOffset, state.bytes, state.policy, [...(state.openStreams?.keys() ?? [])]],
    await rig.read(state),
    await findRecordId(table, state, 'id'),
    await findContext(table, state, 'n', 9),
    [await findCheckpoint(table, state, 'c'), await listCheckpoints(table, state, 9, 9)],
    await findStream(table, state, 's'),
    await shard.timers.due(9_000, 9),
    await shard.openStreamTopics(-1, 9),
    [...shard.usage.watched.values()].map(({ topics, bytes }) => [topics, bytes]),
  ])
}

/** The same, or the code of the error. */
async function outcome(disk: MemoryDisk): Promise<string> {
  try {
    return await everything(disk)
  } catch (error) {
    if (isLitetopicError(error)) return error.code
    throw error
  }
}

function flip(bytes: Uint8Array, at: number, bit: number): Uint8Array {
  return bytes.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte))
}

describe('damage', () => {
  test('any wrong byte of a journal entry is found at the start', async () => {
    const whole = await diskWithTopic(false)
    expect(await outcome(whole.copy())).toContain('0: id a')
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.nat(7), async (entry, at, bit) => {
        const disk = whole.copy()
        const i = entry % disk.entries.length
        const bytes = disk.entries[i] as Uint8Array
        disk.entries[i] = flip(bytes, at % bytes.length, bit)
        expect(await outcome(disk)).toBe('STORE_CORRUPT')
      }),
      { numRuns: 500 },
    )
    for (let at = 0; at < 24; at++) {
      const disk = whole.copy()
      disk.entries[0] = flip(disk.entries[0] as Uint8Array, at, 0)
      expect(await outcome(disk), `byte ${at}`).toBe('STORE_CORRUPT')
    }
  })

  test('a journal entry in the place of another, cut off, or missing is found at the start', async () => {
    const whole = await diskWithTopic(false)
    const [a, b, c] = whole.entries as [Uint8Array, Uint8Array, Uint8Array]
    for (const entries of [
      [b, a, c],
      [a, a, c],
      [b, c],
      [a, c],
      [a, b.subarray(0, 20), c],
      [a, b.subarray(1), c],
    ]) {
      const disk = whole.copy()
      disk.entries = entries
      expect(await outcome(disk)).toBe('STORE_CORRUPT')
    }
  })

  test('an operation or a flag of a later version is refused at the start', async () => {
    const whole = await diskWithTopic(false)
    for (const [at, byte] of [
      [24, 255],
      [24, 0],
      [29, 2],
    ] as const) {
      const disk = whole.copy()
      const bytes = Buffer.from(disk.entries[1] as Uint8Array)
      bytes[at] = byte
      bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4)
      disk.entries[1] = bytes
      expect(await outcome(disk), `${byte} at ${at}`).toBe('DATA_DIR_VERSION')
    }
  })

  test('any wrong byte of a value in the table is found when it is read', async () => {
    const whole = await diskWithTopic(true)
    const expected = await outcome(whole.copy())
    expect(expected).toContain('0: id a')
    const entries = whole.table.range({ gte: Buffer.of(0), lt: Buffer.of(0xff) }, false, 100)
    expect(new Set(entries.map(({ key }) => key[0])).size).toBe(
      // None of garbage, large messages, forks and wakers, which have tests of their own.
      Object.keys(INDEX).length - 7,
    )
    for (const { key, value } of entries) {
      for (let at = 0; at < value.length; at += value.length > 100 ? 37 : 1) {
        const disk = whole.copy()
        disk.table.set(key, flip(value, at, at % 8))
        expect(await outcome(disk), `byte ${at} of ${Buffer.from(key).toString('hex')}`).toBe('STORE_CORRUPT')
      }
      const disk = whole.copy()
      disk.table.set(key, value.subarray(0, 3))
      expect(await outcome(disk)).toBe('STORE_CORRUPT')
    }
  })

  test('a value under the key of another of its kind is found', async () => {
    const disk = new MemoryDisk()
    const rig = await Rig.open(await openMemoryStore(disk))
    for (const name of ['t', 'u']) await rig.append(await rig.create(name), records)
    await rig.shard.quiesce()
    for (const index of [INDEX.head, INDEX.chunk, INDEX.recordId, INDEX.stream, INDEX.context, INDEX.checkpointName]) {
      const [one, two] = disk.table.range({ gte: Buffer.of(index), lt: Buffer.of(index + 1) }, false, 2)
      const swapped = disk.copy()
      swapped.table.set(one?.key as Uint8Array, two?.value as Uint8Array)
      expect(await outcome(swapped), `index ${index}`).toBe('STORE_CORRUPT')
    }
  })

  test('a missing chunk is a hole that no reader crosses, wherever it is', async () => {
    const whole = new MemoryDisk()
    const rig = await Rig.open(await openMemoryStore(whole))
    const state = await rig.create('t')
    for (let i = 0; i < 5; i++) await rig.append(state, [message('x'.repeat(70_000))])
    await rig.shard.quiesce()
    const chunks = whole.table.range({ gte: Buffer.of(INDEX.chunk), lt: Buffer.of(INDEX.chunk + 1) }, false, 9)
    expect(chunks).toHaveLength(5)
    for (const [i, { key }] of chunks.entries()) {
      const disk = whole.copy()
      disk.table.delete(key)
      const after = await Rig.open(await openMemoryStore(disk))
      const found = (await after.shard.load('t')) as TopicState
      await expect(after.shard.readChunk(found, i)).rejects.toMatchObject(corrupt)
      if (i > 0) expect((await after.shard.readChunk(found, i - 1)).length).toBeGreaterThan(70_000)
    }
  })

  test('a head or a store info that is missing while the journal counts on it is found', async () => {
    const disk = new MemoryDisk()
    const rig = await Rig.open(await openMemoryStore(disk))
    const state = await rig.create('t')
    await rig.shard.quiesce()
    await rig.append(state, [message('a')])
    const headless = disk.copy()
    for (const { key } of headless.table.range(
      { gte: Buffer.of(INDEX.head), lt: Buffer.of(INDEX.head + 1) },
      false,
      9,
    )) {
      headless.table.delete(key)
    }
    expect(await outcome(headless)).toBe('STORE_CORRUPT')
    const infoless = disk.copy()
    infoless.table.delete(Buffer.of(INDEX.info))
    expect(await outcome(infoless)).toBe('STORE_CORRUPT')
    expect(await outcome(new MemoryDisk())).toBe('nothing')
  })
})
