/**
 * A power cut takes whatever was not synced. Here it cuts every LevelDB log file to the length that it had at its own last
 * sync, or somewhere between that and its end; what was acknowledged must be there when the store is opened on the rest.
 * The copy is taken at one go, between two writes, so that a log file is still there that LevelDB is about to replace; it is
 * taken again when LevelDB changed its files meanwhile.
 */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LevelHandle, type OpenLevel, openLevel } from '../../storage/leveldb/level-handle.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { type Durability, INDEX, type Store } from '../../storage/store.ts'
import { journalOf } from './store-contract.ts'

/** So small that a few writes fill it, and begin a new log file. */
const BUFFER_BYTES = 64 * 1024
const PARTS = ['journal', 'table', 'parts'] as const
/** That of the steps: the table has two directories, and which one a key goes to is a matter of its index. */
let index: number = INDEX.chunk

type Step =
  | { readonly do: 'append'; readonly sizes: readonly number[] }
  | { readonly do: 'truncate'; readonly share: number }
  | { readonly do: 'write'; readonly keys: readonly number[]; readonly size: number }
  | { readonly do: 'clear'; readonly from: number; readonly limit: number }
  | { readonly do: 'compact' }

const size = fc.oneof(fc.nat(300), fc.integer({ min: 20_000, max: 70_000 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('append'), sizes: fc.array(size, { minLength: 1, maxLength: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('truncate'), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write'), keys: fc.array(fc.nat(40), { maxLength: 6 }), size }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('clear'), from: fc.nat(40), limit: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('compact') }) },
)
const steps = fc.array(step, { minLength: 1, maxLength: 40 })

/** What must be there: the model of everything acknowledged. */
interface Acknowledged {
  last: number
  /** Truncations called for reach so far. */
  truncated: number
  /** The same, at the latest append: so far they are durable. */
  durableFloor: number
  readonly entries: Map<number, Uint8Array>
  readonly table: Map<number, Uint8Array>
}

let root: string
let count = 0

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'litetopic-power-'))
})

afterAll(() => rm(root, { recursive: true }))

/** Opens LevelDB, notes in `synced` how long its current log file is after each sync, and tells of other writes. */
function recording(synced: Map<string, number>, bufferBytes: number, unsynced: () => void): OpenLevel {
  return async (path, options) => {
    const handle = await openLevel(path, { ...options, writeBufferBytes: bufferBytes })
    const write: LevelHandle['write'] = async (changes, sync) => {
      await handle.write(changes, sync)
      if (!sync) return unsynced()
      const log = join(path, logsIn(path).at(-1) as string)
      synced.set(log, statSync(log).size)
    }
    return {
      write,
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
}

const nothing = (): Acknowledged => ({ last: 0, truncated: 0, durableFloor: 0, entries: new Map(), table: new Map() })

/** Takes the steps one after the other, and calls `done` after each. */
async function take(store: Store, steps: readonly Step[], seen: Acknowledged, done: () => void): Promise<void> {
  let fill = 0
  const filled = (length: number) => new Uint8Array(length).fill(++fill)
  for (const step of steps) {
    if (step.do === 'append') {
      const entries = step.sizes.map(filled)
      await store.journal.append(seen.last + 1, entries)
      for (const entry of entries) seen.entries.set(++seen.last, entry)
      seen.durableFloor = seen.truncated
    } else if (step.do === 'truncate') {
      seen.truncated += Math.floor((seen.last - seen.truncated) * step.share)
      await store.journal.truncate(seen.truncated)
    } else if (step.do === 'write') {
      const changes = step.keys.map((n, i) => ({ n, key: tableKey(n), value: i % 3 === 2 ? null : filled(step.size) }))
      await store.table.write(changes)
      for (const { n, value } of changes) {
        if (value === null) seen.table.delete(n)
        else seen.table.set(n, value)
      }
    } else if (step.do === 'clear') {
      await store.table.clear([{ gte: tableKey(step.from), lt: tableKey(255) }], step.limit)
      const cleared = [...seen.table.keys()].filter((n) => n >= step.from).sort((a, b) => a - b)
      for (const n of cleared.slice(0, step.limit)) seen.table.delete(n)
    } else await store.compact()
    done()
  }
}

const tableKey = (n: number) => Uint8Array.of(index, n)

const logsIn = (path: string) =>
  readdirSync(path)
    .filter((name) => name.endsWith('.log'))
    .sort()

/** Copies the directory as it is after a power cut. Of what is not synced, the n-th log file keeps the n-th share. */
function cutPower(directory: string, synced: ReadonlyMap<string, number>, kept: readonly number[]): string {
  const copy = join(root, `cut-${++count}`)
  mkdirSync(copy)
  copyFileSync(join(directory, 'FORMAT'), join(copy, 'FORMAT'))
  for (const part of PARTS) {
    while (!copiedPart(join(directory, part), join(copy, part))) rmSync(join(copy, part), { recursive: true })
    for (const [n, name] of logsIn(join(copy, part)).entries()) {
      const log = join(copy, part, name)
      const durable = synced.get(join(directory, part, name)) ?? 0
      const rest = statSync(log).size - durable
      truncateSync(log, durable + Math.floor(rest * (kept[n] ?? 0)))
    }
  }
  return copy
}

/** False if LevelDB changed its files during the copy. */
function copiedPart(source: string, target: string): boolean {
  mkdirSync(target)
  const state = () => {
    const manifest = readFileSync(join(source, 'CURRENT'), 'utf8').trim()
    return `${manifest} ${statSync(join(source, manifest)).size} ${logsIn(source)}`
  }
  try {
    const before = state()
    for (const name of readdirSync(source)) {
      if (name !== 'LOCK' && name !== 'LOG') copyFileSync(join(source, name), join(target, name))
    }
    return before === state()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** What is missing or wrong in the store at `directory`; undefined if all that was acknowledged is there. */
async function lossIn(directory: string, seen: Acknowledged): Promise<string | undefined> {
  const store = await openLevelStore(directory)
  try {
    if (store.journal.last !== seen.last) return `last is ${store.journal.last} and not ${seen.last}`
    const entries = await journalOf(store) // rejects at a gap
    const first = entries[0]?.number ?? seen.last + 1
    if (first < seen.durableFloor + 1 || first > seen.truncated + 1) return `the first entry is ${first}`
    if (entries.length !== seen.last - first + 1) return `${entries.length} entries from ${first} on`
    const wrong = entries.find(({ number, bytes }) => Buffer.compare(bytes, seen.entries.get(number)!) !== 0)
    if (wrong !== undefined) return `entry ${wrong.number} has other bytes`
    const rows = await store.table.scan({ gte: tableKey(0), lt: tableKey(255) })
    const expected = [...seen.table].sort(([a], [b]) => a - b)
    if (rows.length !== expected.length) return `${rows.length} keys in the table, and not ${expected.length}`
    for (const [i, [n, value]] of expected.entries()) {
      if (rows[i]?.key[1] !== n || Buffer.compare(rows[i].value, value) !== 0) return `key ${n} of the table`
    }
    await store.journal.append(seen.last + 1, [Uint8Array.of(1)])
    await store.table.write([{ key: tableKey(0), value: Uint8Array.of(1) }])
    await store.compact()
    return undefined
  } finally {
    await store.close()
  }
}

interface Cut {
  /** After so many steps, or writes that are not synced; by default after all. */
  readonly after?: number
  readonly kept?: readonly number[]
  readonly bufferBytes?: number
}

/** Takes the steps, cuts the power during or after them, and says what was lost. */
async function lossAfter(steps: readonly Step[], durability: Durability, cut: Cut = {}): Promise<string | undefined> {
  const directory = join(root, `store-${++count}`)
  const synced = new Map<string, number>()
  const seen = nothing()
  let events = 0
  let rest: { directory: string; seen: Acknowledged } | undefined
  const cutNow = () => {
    rest = { directory: cutPower(directory, synced, cut.kept ?? []), seen: { ...seen, table: new Map(seen.table) } }
  }
  const event = () => {
    if (++events === cut.after) cutNow()
  }
  const store = await openLevelStore(directory, {
    durability,
    open: recording(synced, cut.bufferBytes ?? BUFFER_BYTES, event),
  })
  await take(store, steps, seen, event)
  if (rest === undefined) cutNow()
  await store.close()
  const loss = await lossIn(rest!.directory, rest!.seen)
  for (const path of [directory, rest!.directory]) await rm(path, { recursive: true })
  return loss
}

const append = (...sizes: number[]): Step => ({ do: 'append', sizes })
const truncation = (share: number): Step => ({ do: 'truncate', share })

test('after a power cut, everything acknowledged is there', async () => {
  const kept = fc.array(fc.constantFrom(0, 0, 0.5, 1), { minLength: 3, maxLength: 3 })
  const cut = fc.record({ after: fc.integer({ min: 1, max: 60 }), kept })
  const property = fc.asyncProperty(fc.constantFrom(INDEX.chunk, INDEX.part), steps, cut, async (of, steps, cut) => {
    index = of
    expect(await lossAfter(steps, 'fsync', cut)).toBeUndefined()
  })
  await fc.assert(property, { numRuns: 60, interruptAfterTimeLimit: 15_000 })
})

describe('a truncation that ends a log file is lost with the end of that file', () => {
  /** Nearly fill the buffer; the truncation overflows it, so that what comes next begins a new log file. */
  const large = [524_288, 524_288, 524_288, 514_000]
  const steps = [append(...Array<number>(1_000).fill(1)), { do: 'compact' }, append(...large), truncation(0.7)] as const
  /** The writes at the ends of the three directories, twice, and each step. */
  const events = 6 + steps.length
  const bufferBytes = 2 * 1024 * 1024
  /** LevelDB may be done with the old log file before the power is cut; not each time. */
  const rounds = [1, 2, 3, 4]

  test.each(rounds)('a newer one that is kept leaves no gap (%i)', async (round) => {
    const cut = { after: events + 1 + round, kept: [0, 1], bufferBytes }
    expect(await lossAfter([...steps, truncation(0.5), truncation(0.5)], 'fsync', cut)).toBeUndefined()
  })

  test.each(rounds)('it is durable with the next append nevertheless (%i)', async () => {
    expect(await lossAfter([...steps, append(1)], 'fsync', { bufferBytes })).toBeUndefined()
  })
})

test('without fsync, the same check finds what a power cut takes', async () => {
  const write: Step = { do: 'write', keys: [1], size: 10 }
  expect(await lossAfter([append(10)], 'os')).toBe('last is 0 and not 1')
  expect(await lossAfter([write], 'os')).toBe('0 keys in the table, and not 1')
})
