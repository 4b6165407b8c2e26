/** The memory store keeps the contract; its sorted map agrees with a plain one. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { SortedMap } from '../../storage/memory/sorted-map.ts'
import { bytes, journalOf, storeContract, text } from './store-contract.ts'

storeContract('the memory store', async () => {
  const disk = new MemoryDisk()
  return { open: () => openMemoryStore(disk), remove: async () => {} }
})

test('a copy of a memory disk is what a killed process leaves, and lives on its own', async () => {
  const disk = new MemoryDisk()
  const store = await openMemoryStore(disk, { durability: 'fsync' })
  expect([store.durability, store.location, await store.diskBytes()]).toEqual(['fsync', 'memory', 0])
  await store.journal.append(1, [bytes('a'), bytes('b')])
  await store.journal.truncate(1)
  await store.table.write([{ key: bytes('k'), value: bytes('v') }])
  const after = await openMemoryStore(disk.copy())
  await store.journal.append(3, [bytes('c')])
  await store.table.write([{ key: bytes('k'), value: null }])
  expect((await journalOf(after)).map(({ number }) => number)).toEqual([2])
  expect(text(await after.table.get(bytes('k')))).toBe('v')
})

test('a sorted map holds and ranges over the same entries as a sorted list, however many blocks it has', () => {
  const key = fc.uint8Array({ minLength: 1, maxLength: 3 })
  const action = fc.record({ key, put: fc.boolean() })
  const range = fc.record({ gte: key, lt: key, reverse: fc.boolean(), limit: fc.nat(2_000) })
  fc.assert(
    fc.property(fc.array(action, { minLength: 1_000, maxLength: 4_000 }), fc.array(range), (actions, ranges) => {
      const map = new SortedMap()
      const model = new Map<string, Uint8Array>()
      for (const { key, put } of actions) {
        const name = Buffer.from(key).toString('hex')
        if (put) map.set(key, key)
        else map.delete(key)
        if (put) model.set(name, key)
        else model.delete(name)
      }
      const names = [...model.keys()].sort()
      for (const { gte, lt, reverse, limit } of ranges) {
        const [from, to] = [Buffer.from(gte).toString('hex'), Buffer.from(lt).toString('hex')]
        const within = names.filter((name) => name >= from && name < to)
        const expected = (reverse ? within.reverse() : within).slice(0, limit)
        const found = map.range({ gte, lt }, reverse, limit).map((entry) => Buffer.from(entry.key).toString('hex'))
        expect(found).toEqual(expected)
      }
      for (const { key } of actions) expect(map.get(key)).toEqual(model.get(Buffer.from(key).toString('hex')))
    }),
    { numRuns: 20 },
  )
})
