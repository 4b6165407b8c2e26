/** Without fsync a power cut may take the journal back behind the table: the numbers that it lost are not used again. */

import { expect, test } from 'vitest'
import { MemoryDisk, openMemoryStore } from '../../storage/index.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { Rig, type TestRecord } from './shard-rig.ts'

const message = (text: string): TestRecord => ({ kind: 'message', text })
const boot = (id: string) => async () => id
const open = async (disk: MemoryDisk, id: string) =>
  Rig.open(await openMemoryStore(disk, { durability: 'os' }), boot(id))

test('what is acknowledged after it is there at the next start', async () => {
  const disk = new MemoryDisk()
  const before = await open(disk, 'a')
  const state = await before.create('t')
  await before.append(state, [message('1')])
  const early = disk.copy()
  for (const text of ['2', '3', '4']) await before.append(state, [message(text)])
  await before.shard.quiesce()

  // The table is as it was last, the journal as it was before.
  early.table = disk.copy().table
  const after = await open(early, 'b')
  const found = (await after.shard.load('t')) as TopicState
  expect(found.nextOffset).toBe(4)
  await after.append(found, [message('5')])
  const other = await after.create('u')
  expect(other.epoch).toBeGreaterThan(found.epoch + 2 ** 26)

  const last = await open(early.copy(), 'b')
  expect(await last.read((await last.shard.load('t')) as TopicState)).toEqual([
    '0:  1',
    '1:  2',
    '2:  3',
    '3:  4',
    '4:  5',
  ])
  expect(last.shard.incarnation).toBe(after.shard.incarnation)
  expect(after.shard.incarnation).not.toBe(before.shard.incarnation)
})

test('a topic that only the journal had is kept, and has a timer', async () => {
  const disk = new MemoryDisk()
  const before = await open(disk, 'a')
  await before.append(await before.create('t'), [message('1')])
  const after = await open(disk.copy(), 'b')
  expect(after.shard.unloadedNames()).toEqual([])
  expect(await after.read((await after.shard.load('t')) as TopicState)).toEqual(['0:  1'])
  expect(await after.shard.timers.next()).toBe(1)
})
