/** Parts of large messages lie in a LevelDB of their own, and nobody above can tell. */

import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { directoryBytes } from '../../storage/leveldb/data-dir.ts'
import { openLevel } from '../../storage/leveldb/level-handle.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { splitHandle } from '../../storage/leveldb/split-handle.ts'
import { INDEX, type TableRange } from '../../storage/store.ts'

const OPTIONS = { writeBufferBytes: 1024 * 1024, cacheBytes: 1024 * 1024, compression: false }
const ALL: TableRange = { gte: Uint8Array.of(0x01), lt: Uint8Array.of(0xff) }

const before = Buffer.of(INDEX.chunk, 7)
const part = Buffer.of(INDEX.part, 7)
const behind = Buffer.of(INDEX.timer, 7)

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-split-'))
})

afterEach(() => rm(directory, { recursive: true }))

async function open() {
  const rest = await openLevel(join(directory, 'table'), OPTIONS)
  const parts = await openLevel(join(directory, 'parts'), OPTIONS)
  return { rest, parts, both: splitHandle(rest, parts) }
}

test('a part goes to the one, all else to the other, and each is found again', async () => {
  const { rest, parts, both } = await open()
  const keys = [before, part, behind]
  await both.write(
    keys.map((key) => ({ key, value: key })),
    true,
  )
  expect(await rest.getMany(keys)).toEqual([before, undefined, behind])
  expect(await parts.getMany(keys)).toEqual([undefined, part, undefined])
  expect(await both.getMany(keys)).toEqual(keys)
  expect(await both.get(part)).toEqual(part)
  expect(await both.keys({ gte: Uint8Array.of(INDEX.part), lt: Uint8Array.of(INDEX.part, 0xff) }, 10)).toEqual([part])
  await both.close()
})

test('a range over several indexes is in the order of its keys, also of what is no more', async () => {
  const { both } = await open()
  await both.write(
    [behind, part, before].map((key) => ({ key, value: key })),
    true,
  )
  const snapshot = both.snapshot()
  await both.write([{ key: part, value: null }], true)
  const keysOf = async (range: TableRange, from: Pick<typeof both, 'iterate'>) => {
    const keys: Uint8Array[] = []
    for await (const { key } of from.iterate(range)) keys.push(key)
    return keys
  }
  expect(await keysOf(ALL, snapshot)).toEqual([before, part, behind])
  expect(await keysOf({ gte: part, lt: behind }, snapshot)).toEqual([part])
  expect(await keysOf({ gte: before, lt: part }, snapshot)).toEqual([before])
  expect(await keysOf(ALL, both)).toEqual([before, behind])
  expect(await snapshot.get(part)).toEqual(part)
  await snapshot.close()
  await both.close()
})

test('what parts took is given back when the store is compacted', async () => {
  const store = await openLevelStore(join(directory, 'data'))
  const path = join(directory, 'data', 'parts')
  const value = randomBytes(256 * 1024)
  // Few enough for one sorted file, which holds values and deletions side by side.
  const keys = Array.from({ length: 12 }, (_, i) => Uint8Array.of(INDEX.part, i))
  for (const key of keys) await store.table.write([{ key, value }])
  expect(await directoryBytes(path)).toBeGreaterThan(keys.length * value.length)
  await store.table.write(keys.map((key) => ({ key, value: null })))
  await store.compact()
  expect(await directoryBytes(path)).toBeLessThan(value.length)
  await store.close()
})
