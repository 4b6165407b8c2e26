/** How Durable Streams subscriptions are kept, and what becomes of those that are damaged. */

import { expect, test } from 'vitest'
import type { LitetopicError } from '../../protocol/index.ts'
import { wakerKey } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { salvageStore } from '../../storage/verify/salvage.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import {
  linkChange,
  readSecrets,
  readWakers,
  removeWaker,
  type StoredWaker,
  wakerChange,
  writeSecrets,
} from '../../storage/wakers.ts'
import { entriesOf, flip, fullDisk, indexOf, LINK, WAKER } from './damaged-disk.ts'

/** What there is, as plain objects, and the codes of what is damaged. */
async function read(disk: MemoryDisk): Promise<{ wakers: unknown[]; damaged: string[] }> {
  const store = await openMemoryStore(disk)
  const damaged: LitetopicError[] = []
  const wakers = await readWakers(store.table, (error) => damaged.push(error))
  await store.close()
  return {
    wakers: wakers.map(({ waker, links }) => ({ ...waker, links: Object.fromEntries(links) })),
    damaged: damaged.map(({ code }) => code),
  }
}

const other: StoredWaker = { ...WAKER, id: 'waker2', state: { ...WAKER.state, wakeId: null, holder: 'w' } }

test('are read as they were written, each with its links, whatever their ids begin with', async () => {
  const disk = new MemoryDisk()
  const store = await openMemoryStore(disk)
  await store.table.write([wakerChange(WAKER), linkChange('waker', 'a/b', LINK), linkChange('waker', 'c', LINK)])
  await store.table.write([wakerChange(other), linkChange('waker2', 'a/b', { ...LINK, epoch: 0, explicit: false })])
  await store.table.write([linkChange('waker', 'c', null), linkChange('none', 'a', LINK)])
  await writeSecrets(store.table, Buffer.from('secret'))
  expect(Buffer.from((await readSecrets(store.table)) ?? []).toString()).toBe('secret')
  await store.close()
  expect(await read(disk)).toEqual({
    wakers: [
      { ...WAKER, links: { 'a/b': LINK } },
      { ...other, links: { 'a/b': { epoch: 0, acked: 3, explicit: false } } },
    ],
    damaged: [],
  })
  const again = await openMemoryStore(disk)
  await removeWaker(again.table, 'waker')
  await again.close()
  expect((await read(disk)).wakers).toMatchObject([{ id: 'waker2' }])
  expect(entriesOf(disk).filter(({ key }) => Buffer.from(key).includes('waker\0'))).toEqual([])
})

test('go with all their links, however many these are', async () => {
  const disk = new MemoryDisk()
  const store = await openMemoryStore(disk)
  const links = Array.from({ length: 2_500 }, (_, i) => linkChange('waker', `t/${i}`, LINK))
  await store.table.write([wakerChange(WAKER), ...links])
  await removeWaker(store.table, 'waker')
  expect(entriesOf(disk).filter(({ key }) => Buffer.from(key).includes('waker\0'))).toHaveLength(0)
})

test('are copied by a salvage, as far as they are sound', async () => {
  const disk = await fullDisk()
  const damaged = Buffer.from(wakerKey('waker', 'u'))
  const value = entriesOf(disk).find(({ key }) => Buffer.compare(key, damaged) === 0)?.value as Uint8Array
  disk.table.set(damaged, flip(value, 5))
  expect((await read(disk.copy())).damaged).toEqual(['STORE_CORRUPT'])
  const source = await openMemoryStore(disk.copy())
  expect((await verifyStore(source)).damages).toMatchObject([{ unit: 'waker', topic: null }])
  const copy = new MemoryDisk()
  const target = await openMemoryStore(copy)
  await salvageStore(source, target)
  await source.close()
  await target.close()
  expect(await read(copy)).toEqual({ wakers: [{ ...WAKER, links: { t: LINK } }], damaged: [] })
  expect(entriesOf(copy).filter(({ key }) => indexOf(key) === 'waker')).toHaveLength(2)
})
