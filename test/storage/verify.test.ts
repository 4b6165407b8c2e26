/** A check of a store names whatever is damaged in it, and nothing that is not. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LitetopicError } from '../../protocol/index.ts'
import { decodeHead, encodeHead } from '../../storage/head.ts'
import { unpackInlineTail } from '../../storage/inline-tail.ts'
import { contextKey, epochRange, headKey, numberInKey, recordIdKey } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { seal } from '../../storage/seal.ts'
import { INDEX, type Store, type Table } from '../../storage/store.ts'
import type { Report } from '../../storage/verify/damage.ts'
import { EpochSet } from '../../storage/verify/epoch-set.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { entriesOf, flip, fullDisk, indexOf } from './damaged-disk.ts'
import { Rig, TIME_MS } from './shard-rig.ts'

const whole = await fullDisk()

async function verify(disk: MemoryDisk): Promise<Report> {
  const store = await openMemoryStore(disk)
  const report = await verifyStore(store)
  await store.close()
  return report
}

/** A key of an epoch that is being cleared is not looked at: nobody reads it any more. */
const isGarbage = (key: Uint8Array): boolean => key[0] === INDEX.chunk && key[6] === 0 && key[7] === 99
/** Of the deleted topic that a fork shares records of. */
const hiddenEpoch = numberInKey(entriesOf(whole).find(({ key }) => indexOf(key) === 'hidden')?.key as Uint8Array, 0)
const isHidden = (key: Uint8Array): boolean => numberInKey(key, 0) === hiddenEpoch
const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

const unitsOf = (report: Report): string[] => report.damages.map(({ unit }) => unit)

test('what is sound has no damage, and is counted', async () => {
  const report = await verify(whole.copy())
  expect(report).toMatchObject({ damages: [], damageCount: 0, topics: 5, records: 10 + 4 + 2 + 2 + 1 })
  expect(new Set(entriesOf(whole).map(({ key }) => indexOf(key)))).toEqual(new Set(Object.keys(INDEX)))
})

test('an upload under way is sound, also for a topic that has nothing else beside its head', async () => {
  const disk = new MemoryDisk()
  const rig = await Rig.open(await openMemoryStore(disk))
  const { epoch, name } = await rig.create('small')
  await rig.shard.quiesce()
  const place = { epoch, uploadId: 'u', name, producerId: 'p', tag: 'text' as const, startedMs: TIME_MS }
  await rig.shard.parts.begin(place, () => true)
  expect((await verify(disk.copy())).damages).toEqual([])
  await rig.shard.parts.write(epoch, 'u', 0, new Uint8Array(10), () => true)
  expect((await verify(disk.copy())).damages).toEqual([])
})

test('a topic whose keys LevelDB cannot go through is named, and the others are checked', async () => {
  const store = await openMemoryStore(whole.copy())
  const bad = epochRange(INDEX.checkpoint, 4096)
  const scan: Table['scan'] = async (asked) => {
    if (Buffer.compare(asked.gte, bad.gte) === 0 && asked.limit !== 1)
      throw new LitetopicError('STORE_CORRUPT', 'a bad block')
    return sound.scan(asked)
  }
  const { table: sound } = store
  const getMany: Table['getMany'] = (keys) => sound.getMany(keys)
  const table = { get: (key: Uint8Array) => sound.get(key), getMany, scan } as Table
  const report = await verifyStore({ journal: store.journal, table } as Store)
  expect(report).toMatchObject({
    topics: 5,
    damageCount: 1,
    damages: [{ unit: 'table', topic: 't', what: 'a bad block' }],
  })
})

describe('one damage', () => {
  test('of any byte of any value is found, and its index is named', async () => {
    for (const { key, value } of entriesOf(whole)) {
      for (const at of new Set([0, 4, Math.floor(value.length / 2), value.length - 1])) {
        if (at >= value.length) continue
        const disk = whole.copy()
        disk.table.set(key, flip(value, at))
        const what = `${indexOf(key)} ${Buffer.from(key).toString('hex').slice(0, 80)} at ${at}`
        const report = await verify(disk)
        if (isGarbage(key)) expect(report.damages, what).toEqual([])
        else expect(unitsOf(report), what).toContain(indexOf(key))
      }
    }
  })

  test('of a random byte of a random value is found', async () => {
    const entries = entriesOf(whole).filter(({ key }) => !isGarbage(key))
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.nat(7), async (which, at, bit) => {
        const { key, value } = entries[which % entries.length] as (typeof entries)[number]
        const disk = whole.copy()
        disk.table.set(key, flip(value, at % value.length, bit))
        expect(unitsOf(await verify(disk))).toContain(indexOf(key))
      }),
      { numRuns: 200 },
    )
  })

  test('of any byte of any key is found', async () => {
    for (const { key, value } of entriesOf(whole)) {
      for (const at of new Set([0, 5, key.length - 1])) {
        if (at >= key.length || isGarbage(key)) continue
        const disk = whole.copy()
        disk.table.delete(key)
        disk.table.set(flip(key, at), value)
        const report = await verify(disk)
        expect(report.damageCount, `${indexOf(key)} at ${at}`).toBeGreaterThan(0)
      }
    }
  })

  test('by which a key is gone is found', async () => {
    for (const { key } of entriesOf(whole)) {
      const disk = whole.copy()
      disk.table.delete(key)
      const report = await verify(disk)
      // An entry of a trimmed record may be cleared already, and an upload under way may have no part yet.
      if (indexOf(key) === 'part' && Buffer.from(key).includes('under-way')) continue
      if ([recordIdKey(4096, 'id-1'), contextKey(4096, 'n', 2)].some((trimmed) => isSame(key, trimmed))) continue
      if (indexOf(key) === 'usage') continue // what has no counter is counted anew
      if (indexOf(key) === 'waker') continue // without a link the topic is told of again, and links of no waker are of no use
      // What a topic had that is in its head alone is missed by its timer only, and that may be left over.
      if (isGarbage(key) || isSame(key, headKey('small'))) expect(report.damages).toEqual([])
      else expect(report.damageCount, indexOf(key)).toBeGreaterThan(0)
    }
  })

  test('of the journal is found, and says from which commit on it is lost', async () => {
    for (const entry of whole.entries.keys()) {
      for (const at of [0, 8, 20, 30]) {
        const disk = whole.copy()
        disk.entries[entry] = flip(disk.entries[entry] as Uint8Array, at)
        const { damages } = await verify(disk)
        expect(damages).toHaveLength(1)
        expect(damages[0]).toMatchObject({ unit: 'journal' })
        expect(damages[0]?.lost).toContain(`from number ${whole.floor + entry + 1} to`)
      }
    }
  })

  test('names the topic, the offsets and what is lost', async () => {
    const disk = whole.copy()
    const chunk = entriesOf(disk).find(({ key }) => key[0] === INDEX.chunk && !isGarbage(key)) as {
      key: Uint8Array
      value: Uint8Array
    }
    disk.table.set(chunk.key, flip(chunk.value, 50))
    expect((await verify(disk)).damages).toContainEqual({
      unit: 'chunk',
      topic: 't',
      offsets: { from: 3, to: 11 },
      what: 'it fails its checksum',
      lost: 'these records',
    })
  })
})

describe('what has its checksum and contradicts the rest is found too:', () => {
  /** Writes another head of a topic, with fields changed. */
  async function withHead(name: string, changes: object): Promise<Report> {
    const disk = whole.copy()
    const key = headKey(name)
    const { state, asOf } = decodeHead(name, disk.table.get(key) as Uint8Array)
    const { chunkedTo, inline, tableUsed } = Object.assign(state, changes)
    disk.table.set(
      key,
      encodeHead(key, state, { asOf, chunkedTo, inline: inline === null ? null : unpackInlineTail(inline), tableUsed }),
    )
    return verify(disk)
  }

  test.each([
    ['an end beyond the log', 't', { nextOffset: 20 }, 'head'],
    ['chunks that are not there', 't', { chunkedTo: 13 }, 'chunk'],
    ['another epoch', 't', { epoch: 123 }, 'chunk'],
    ['a time without a timer', 't', { dueMs: 77 }, undefined],
    ['no open streams', 't', { openStreams: null }, 'head'],
    ['no entries in its indexes', 't', { counts: null }, 'head'],
    ['no tail', 'small', { inline: null }, 'head'],
    ['more shared than there is', 'small', { branches: [{ incarnation: '0123456789ab', next: 3 }] }, 'head'],
  ])('a head with %s', async (_what, name, changes, unit) => {
    const report = await withHead(name, changes)
    if (unit === undefined) expect(report.damages).toEqual([])
    else expect(unitsOf(report)).toContain(unit)
  })

  test('an entry of a record that is not there', async () => {
    const disk = whole.copy()
    for (const { key, value } of entriesOf(disk)) {
      if (!['recordId', 'context', 'checkpoint', 'checkpointName', 'stream'].includes(indexOf(key))) continue
      if (isSame(key, recordIdKey(4096, 'id-1'))) continue // of a trimmed record
      if (isHidden(key)) continue // nobody can tell what a topic had that is deleted
      const other = Buffer.concat([key.subarray(0, -1), Buffer.of((key.at(-1) as number) + 3)])
      const copy = disk.copy()
      copy.table.set(other, seal(other, value.subarray(4)))
      const report = await verify(copy)
      expect(unitsOf(report), indexOf(key)).toContain(indexOf(key))
    }
  })
})

test('epochs by the thousand are found again', () => {
  const set = new EpochSet()
  expect(set.has(0)).toBe(false)
  for (let i = 0; i < 5_000; i++) set.add(((i * 7919) % 5_000) * 4096)
  for (let i = 0; i < 5_000; i++) {
    expect(set.has(i * 4096)).toBe(true)
    expect(set.has(i * 4096 + 1)).toBe(false)
  }
})
