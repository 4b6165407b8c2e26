/** The LevelDB store keeps the contract; and what only a store on disk has: locks, formats, damage, failed writes. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type LevelHandle, type OpenLevel, openLevel } from '../../storage/leveldb/level-handle.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { type Durability, INDEX } from '../../storage/store.ts'
import { programArgs } from '../programs.ts'
import { bytes, journalOf, storeContract, text } from './store-contract.ts'

const newDirectory = () => mkdtemp(join(tmpdir(), 'litetopic-store-'))

for (const durability of ['fsync', 'os'] satisfies Durability[]) {
  storeContract(`the LevelDB store (${durability})`, async () => {
    const directory = await newDirectory()
    return {
      open: () => openLevelStore(directory, { durability }),
      remove: () => rm(directory, { recursive: true }),
    }
  })
}

let directory: string
const children: ChildProcess[] = []

beforeEach(async () => {
  directory = await newDirectory()
})

afterEach(async () => {
  for (const child of children.splice(0)) await killed(child)
  await rm(directory, { recursive: true })
})

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

/** Opens the store in another process, and returns it with what it says first. */
async function otherProcess(): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, [...programArgs('test/storage/hold-store.ts'), directory], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.push(child)
  const [said] = await once(child.stdout!, 'data')
  return { child, said: String(said).trim() }
}

/** Changes the journal behind the store's back. */
async function tamper(change: (journal: LevelHandle) => Promise<void>): Promise<void> {
  const options = { writeBufferBytes: 1024 * 1024, cacheBytes: 1024, compression: false }
  const journal = await openLevel(join(directory, 'journal'), options)
  await change(journal)
  await journal.close()
}

function journalKey(number: number): Buffer {
  const key = Buffer.alloc(8)
  key.writeBigUInt64BE(BigInt(number))
  return key
}

describe('the lock', () => {
  test('a second open in the same process is refused, under any name, and does not break the first', async () => {
    const store = await openLevelStore(directory)
    const inUse = { code: 'DATA_DIR_IN_USE', details: { path: store.location } }
    await expect(openLevelStore(directory)).rejects.toMatchObject(inUse)
    await expect(openLevelStore(`${directory}/../${directory.split('/').at(-1)}/.`)).rejects.toMatchObject(inUse)
    expect((await otherProcess()).said).toBe('DATA_DIR_IN_USE')
    await store.journal.append(1, [bytes('a')])
    await store.close()
    expect(await readdir(directory)).not.toContain('lock')
  })

  test('two opens at once: one has it', async () => {
    const results = await Promise.allSettled([openLevelStore(directory), openLevelStore(directory)])
    const opened = results.filter((result) => result.status === 'fulfilled')
    expect(opened.length).toBe(1)
    await opened[0]?.value.close()
  })

  test('a directory that another process has is refused; when that is killed, it is free, and its data is there', async () => {
    const { child, said } = await otherProcess()
    expect(said).toBe('open')
    const inUse = { code: 'DATA_DIR_IN_USE', details: { pid: child.pid } }
    await expect(openLevelStore(directory)).rejects.toMatchObject(inUse)
    await killed(child)
    expect(await readdir(directory)).toContain('lock')
    const store = await openLevelStore(directory)
    expect((await journalOf(store)).map((entry) => text(entry.bytes))).toEqual(['held'])
    await store.close()
  })

  test('when the lock file was removed by hand, no other open gets through, of this process or another', async () => {
    const store = await openLevelStore(directory)
    await rm(join(directory, 'lock'))
    const inUse = { code: 'DATA_DIR_IN_USE', details: { pid: process.pid } }
    await expect(openLevelStore(directory)).rejects.toMatchObject(inUse)
    expect((await otherProcess()).said).toBe('DATA_DIR_IN_USE')
    await store.close()
  })

  test('a lock of a process id that another process has since, of another boot, or cut short, is stale', async () => {
    const store = await openLevelStore(directory)
    const owner = JSON.parse(await readFile(join(directory, 'lock'), 'utf8'))
    await store.close()
    const stale = [{ pid: 2 ** 22 + 1 }, { ...owner, started: '1' }, { ...owner, boot: 'another' }]
    if (owner.started === null) stale.splice(1) // no /proc: only the process id counts
    for (const content of [...stale.map((lock) => JSON.stringify(lock)), '', '{"pid":']) {
      await writeFile(join(directory, 'lock'), content)
      await (await openLevelStore(directory)).close()
    }
    await writeFile(join(directory, 'lock'), JSON.stringify(owner))
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' })
  })
})

describe('the directory', () => {
  test('is created with its parents, says its format, and counts its bytes', async () => {
    const path = join(directory, 'some', 'where')
    const store = await openLevelStore(path)
    expect([store.location.endsWith('/some/where'), store.durability]).toEqual([true, 'fsync'])
    expect((await readdir(path)).sort()).toEqual(['FORMAT', 'journal', 'lock', 'parts', 'table'])
    expect(JSON.parse(await readFile(join(path, 'FORMAT'), 'utf8'))).toEqual({ format: 2 })
    const empty = await store.diskBytes()
    await store.journal.append(1, [new Uint8Array(100_000)])
    expect(await store.diskBytes()).toBeGreaterThan(empty + 100_000)
    await store.close()
  })

  test('that is a file, or lies below one, is unusable', async () => {
    const file = join(directory, 'file')
    await writeFile(file, '')
    for (const path of [file, join(file, 'data')]) {
      const opening = openLevelStore(path)
      await expect(opening).rejects.toMatchObject({ code: 'DATA_DIR_UNUSABLE', details: { path } })
      await expect(opening).rejects.toThrow('a file lies in the way')
    }
  })

  test.skipIf(process.getuid?.() === 0)('that may not be written is unusable', async () => {
    await chmod(directory, 0o555)
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'DATA_DIR_UNUSABLE' })
    await chmod(directory, 0o755)
  })

  test('whose journal cannot be a directory is unusable, and is let go', async () => {
    await writeFile(join(directory, 'FORMAT'), '{"format":2}')
    await writeFile(join(directory, 'journal'), '')
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'DATA_DIR_UNUSABLE' })
    await rm(join(directory, 'journal'))
    await (await openLevelStore(directory)).close()
  })

  test('of another format, or of none, is refused and left alone', async () => {
    await (await openLevelStore(directory)).close()
    for (const content of ['{"format":1}', '{"format":3}', '{}', 'null', 'nonsense']) {
      await writeFile(join(directory, 'FORMAT'), content)
      await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'DATA_DIR_VERSION', details: { known: 2 } })
      expect(await readFile(join(directory, 'FORMAT'), 'utf8')).toBe(content)
    }
    await rm(join(directory, 'FORMAT'))
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'DATA_DIR_VERSION' })
  })

  test('gives the space of deleted data back', async () => {
    const store = await openLevelStore(directory)
    const big = Uint8Array.from({ length: 400_000 }, () => Math.floor(Math.random() * 256))
    for (let n = 1; n <= 20; n++) {
      await store.journal.append(n, [big])
      await store.table.write([{ key: Uint8Array.of(0x20, n), value: big }])
    }
    await store.journal.truncate(20)
    await store.table.clear([{ gte: Uint8Array.of(0x20), lt: Uint8Array.of(0x21) }], 100)
    expect(await store.diskBytes()).toBeGreaterThan(16_000_000)
    await store.compact()
    await store.close() // LevelDB removes a replaced file a moment after
    expect(await (await reopened()).diskBytes()).toBeLessThan(100_000)
  })

  async function reopened() {
    const store = await openLevelStore(directory)
    await store.close()
    return store
  }
})

describe('damage', () => {
  beforeEach(async () => {
    const store = await openLevelStore(directory)
    await store.journal.append(1, ['a', 'b', 'c', 'd'].map(bytes))
    await store.close()
  })

  test.each([
    ['in the middle', 3, 3, 4],
    ['at the beginning', 1, 1, 2],
  ])(
    'a missing entry %s is reported with the number expected and the number found',
    async (_, gone, expected, found) => {
      await tamper((journal) => journal.write([{ key: journalKey(gone), value: null }], true))
      const store = await openLevelStore(directory)
      await expect(journalOf(store)).rejects.toMatchObject({ code: 'STORE_CORRUPT', details: { expected, found } })
      await store.close()
    },
  )

  test('a floor that is not a number is reported on opening', async () => {
    for (const value of [bytes('odd'), new Uint8Array(8).fill(0xff)]) {
      await tamper((journal) => journal.write([{ key: bytes('floor'), value }], true))
      await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
    }
  })

  test('entries that a power cut brought back below the floor are not read, and swept by the next compaction', async () => {
    let store = await openLevelStore(directory)
    await store.journal.truncate(3)
    await store.close()
    await tamper((journal) => journal.write([{ key: journalKey(2), value: bytes('back') }], true))
    store = await openLevelStore(directory)
    expect((await journalOf(store)).map(({ number }) => number)).toEqual([4])
    await store.compact()
    await store.close()
    await tamper(async (journal) => expect(await journal.get(journalKey(2))).toBeUndefined())
  })
})

describe('a failed write', () => {
  for (const [part, write] of [
    ['journal', (store) => store.journal.append(2, [bytes('lost')])],
    ['table', (store) => store.table.write([{ key: bytes('k'), value: bytes('lost') }])],
    ['parts', (store) => store.table.write([{ key: Uint8Array.of(INDEX.part, 1), value: bytes('lost') }])],
  ] satisfies [string, (store: Awaited<ReturnType<typeof openLevelStore>>) => Promise<void>][]) {
    test(`of the ${part} ends all writing until the store is opened anew; reads go on`, async () => {
      let broken = false
      const open: OpenLevel = async (path, options) => {
        const handle = await openLevel(path, options)
        if (!path.endsWith(part)) return handle
        const write: LevelHandle['write'] = async (changes, sync) => {
          if (broken) throw new Error('IO error: no space left on device')
          return handle.write(changes, sync)
        }
        return { ...bound(handle), write }
      }
      let store = await openLevelStore(directory, { open })
      await store.journal.append(1, [bytes('a')])
      await store.table.write([{ key: bytes('k'), value: bytes('v') }])
      broken = true
      await expect(write(store)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retry: true })
      broken = false
      const unavailable = { code: 'STORE_UNAVAILABLE' }
      await expect(store.journal.append(2, [bytes('b')])).rejects.toMatchObject(unavailable)
      await expect(store.journal.truncate(1)).rejects.toMatchObject(unavailable)
      await expect(store.table.write([{ key: bytes('k'), value: null }])).rejects.toMatchObject(unavailable)
      await expect(store.table.clear([{ gte: bytes('a'), lt: bytes('z') }], 1)).rejects.toMatchObject(unavailable)
      await expect(store.compact()).rejects.toMatchObject(unavailable)
      expect(store.journal.last).toBe(1)
      expect((await journalOf(store)).length).toBe(1)
      expect(text(await store.table.get(bytes('k')))).toBe('v')
      await store.close()
      store = await openLevelStore(directory)
      await store.journal.append(2, [bytes('b')])
      expect((await journalOf(store)).map((entry) => text(entry.bytes))).toEqual(['a', 'b'])
      await store.close()
    })
  }

  test('fails the writes that wait behind it, and only them', async () => {
    let writes = 0
    const open: OpenLevel = async (path, options) => {
      const handle = await openLevel(path, options)
      const write: LevelHandle['write'] = (changes, sync) =>
        path.endsWith('journal') && ++writes === 2 ? Promise.reject(new Error('EIO')) : handle.write(changes, sync)
      return { ...bound(handle), write }
    }
    const store = await openLevelStore(directory, { open })
    const appends = [1, 2, 3].map((n) => store.journal.append(n, [bytes(`${n}`)]))
    const results = await Promise.allSettled(appends)
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
    expect(store.journal.last).toBe(1)
    await store.close()
  })

  /** The handle's functions, to be mixed with others. */
  function bound(handle: LevelHandle): Omit<LevelHandle, 'write'> {
    return {
      get: (key) => handle.get(key),
      getMany: (keys) => handle.getMany(keys),
      scan: (range, reverse, limit) => handle.scan(range, reverse, limit),
      keys: (range, limit) => handle.keys(range, limit),
      iterate: (range) => handle.iterate(range),
      snapshot: () => handle.snapshot(),
      compact: (range) => handle.compact(range),
      close: () => handle.close(),
    }
  }
})

test('what a killed process had acknowledged is there, also without fsync', async () => {
  const store = await openLevelStore(directory, { durability: 'os' })
  await store.journal.append(1, [bytes('a')])
  await store.table.write([{ key: bytes('k'), value: bytes('v') }])
  const copy = `${directory}-copy`
  await cp(directory, copy, { recursive: true })
  await rm(join(copy, 'lock'))
  const after = await openLevelStore(copy)
  expect((await journalOf(after)).length).toBe(1)
  expect(text(await after.table.get(bytes('k')))).toBe('v')
  await Promise.all([after.close(), store.close()])
  await rm(copy, { recursive: true })
})
