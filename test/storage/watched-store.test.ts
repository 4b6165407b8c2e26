/** Every write that fails is noticed, whoever asked for it; a read that fails is not taken for one. */

import { expect, test } from 'vitest'
import { LitetopicError } from '../../protocol/index.ts'
import { openMemoryStore } from '../../storage/memory/memory-store.ts'
import type { Store } from '../../storage/store.ts'
import { watchWrites } from '../../storage/watched-store.ts'

const range = { gte: Buffer.of(1), lt: Buffer.of(2) }
const full = new LitetopicError('STORE_UNAVAILABLE', 'the disk is full')

async function watched(change: (store: Store) => void): Promise<{ store: Store; noticed: LitetopicError[] }> {
  const store = await openMemoryStore()
  change(store)
  const noticed: LitetopicError[] = []
  return { store: watchWrites(store, (error) => noticed.push(error)), noticed }
}

function breakWrites(store: Store): void {
  const fail = () => Promise.reject(full)
  Object.assign(store.journal, { append: fail, truncate: fail, skipTo: fail })
  Object.assign(store.table, { write: fail, clear: fail })
  store.compact = fail
}

test.each<[string, (store: Store) => Promise<unknown>]>([
  ['append', (store) => store.journal.append(1, [Buffer.of(1)])],
  ['truncate', (store) => store.journal.truncate(1)],
  ['skipTo', (store) => store.journal.skipTo(9)],
  ['write', (store) => store.table.write([{ key: Buffer.of(1), value: null }])],
  ['clear', (store) => store.table.clear([range], 1)],
  ['compact', (store) => store.compact()],
])('%s', async (_, write) => {
  const { store, noticed } = await watched(breakWrites)
  await expect(write(store)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  expect(noticed).toEqual([full])
})

test('a clear that cannot read is not the end of writing', async () => {
  const { store, noticed } = await watched(({ table }) => {
    table.clear = () => Promise.reject(full)
  })
  await expect(store.table.clear([range], 1)).rejects.toBe(full)
  expect(noticed).toEqual([])
})

test('whatever a store says, who asked is told that it is unavailable', async () => {
  const { store, noticed } = await watched(({ table }) => {
    table.write = () => Promise.reject(new Error('EIO'))
  })
  await expect(store.table.write([])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retry: true })
  expect(noticed).toHaveLength(1)
})
