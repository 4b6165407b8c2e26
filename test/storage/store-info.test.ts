/** The identity of a data directory's history, and when it is renewed. */

import { expect, it } from 'vitest'
import { MemoryDisk, openMemoryStore } from '../../storage/index.ts'
import { closeInfo, openInfo } from '../../storage/store-info.ts'

const boot = (id: string) => async () => id

async function incarnationOf(
  disk: MemoryDisk,
  durability: 'fsync' | 'os',
  id: string,
  close: boolean,
): Promise<string> {
  const store = await openMemoryStore(disk, { durability })
  const info = await openInfo(store, boot(id))
  if (close) await closeInfo(store, info)
  await store.close()
  return info.incarnation
}

it('a store that fsyncs keeps its incarnation, however it was stopped', async () => {
  const disk = new MemoryDisk()
  const first = await incarnationOf(disk, 'fsync', 'a', false)
  expect(await incarnationOf(disk, 'fsync', 'b', false)).toBe(first)
})

it('a store that does not fsync keeps its incarnation when it was closed', async () => {
  const disk = new MemoryDisk()
  const first = await incarnationOf(disk, 'os', 'a', true)
  expect(await incarnationOf(disk, 'os', 'b', true)).toBe(first)
})

it('a store that does not fsync keeps its incarnation when only its process was killed', async () => {
  const disk = new MemoryDisk()
  const first = await incarnationOf(disk, 'os', 'a', false)
  expect(await incarnationOf(disk, 'os', 'a', true)).toBe(first)
})

it('a store that does not fsync gets a new incarnation when the system went down with it, once', async () => {
  const disk = new MemoryDisk()
  const first = await incarnationOf(disk, 'os', 'a', false)
  const second = await incarnationOf(disk, 'os', 'b', true)
  expect(second).not.toBe(first)
  expect(await incarnationOf(disk, 'os', 'c', true)).toBe(second)
  const store = await openMemoryStore(disk, { durability: 'os' })
  expect((await openInfo(store, boot('d'))).ancestors).toEqual([first])
})

it('where the system does not tell its boots, an unclean stop counts as one', async () => {
  const disk = new MemoryDisk()
  const first = await incarnationOf(disk, 'os', 'unknown', false)
  expect(await incarnationOf(disk, 'os', 'unknown', true)).not.toBe(first)
})

it('a store that fsyncs now is renewed if it did not when the system went down', async () => {
  const disk = new MemoryDisk()
  const first = await incarnationOf(disk, 'os', 'a', false)
  expect(await incarnationOf(disk, 'fsync', 'b', true)).not.toBe(first)
})
