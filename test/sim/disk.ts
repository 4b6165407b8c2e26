/**
 * The disk of the simulated broker. Operations take time; writes of a directory come one after the other, and are durable when
 * they are done. A crash takes what is not: of a write under way any first part may stay, and a truncation may come undone up
 * to the last append. While a fault lasts, writes fail, and so do all later ones of the store until it is opened anew.
 */

import { LitetopicError } from '../../protocol/index.ts'
import type { Journal, Store, Table, TableChange } from '../../storage/index.ts'
import { SortedMap } from '../../storage/memory/sorted-map.ts'
import type { TableRange } from '../../storage/store.ts'
import type { Random } from './random.ts'
import type { Process, World } from './world.ts'

export type Fault = 'journal' | 'table' | 'read'

interface Write {
  /** How many parts it can be torn into. */
  readonly parts: number
  apply(parts: number): void
  done(): void
  failed(error: LitetopicError): void
}

export class SimDisk {
  readonly world: World
  readonly random: Random
  readonly table = new SortedMap()
  /** Number up to which the journal is truncated, as a store sees it. */
  floor = 0
  /** What lasts: how far the truncation is durable, and the entries behind that. */
  private durableFloor = 0
  private entries: Uint8Array[] = []
  private readonly faultyUntilMs: Record<Fault, number> = { journal: 0, table: 0, read: 0 }
  /** Longest that an operation usually takes, in ms. */
  slownessMs = 2
  private store: SimStore | null = null

  constructor(world: World) {
    this.world = world
    this.random = world.random('disk')
  }

  open(process: Process): Store {
    const store = new SimStore(this, process)
    this.store = store
    // So that a store that was closed, and not killed, does not touch it any more.
    process.onKill(() => this.store === store && this.crash())
    return store
  }

  fail(fault: Fault, ms: number): void {
    this.faultyUntilMs[fault] = this.world.nowMs + ms
  }

  heal(): void {
    for (const fault of ['journal', 'table', 'read'] as const) this.faultyUntilMs[fault] = 0
    this.slownessMs = 2
  }

  /** Is the table being written? Then what it is to hold is in memory still, and on its way. */
  get isWriting(): boolean {
    return this.store?.isWriting === true
  }

  isFaulty(fault: Fault): boolean {
    return this.world.nowMs < this.faultyUntilMs[fault]
  }

  get last(): number {
    return this.durableFloor + this.entries.length
  }

  entry(number: number): Uint8Array {
    return this.entries[number - this.durableFloor - 1] as Uint8Array
  }

  append(entries: readonly Uint8Array[]): void {
    this.entries.push(...entries)
    // The floor as it is now goes with the append.
    this.entries.splice(0, this.floor - this.durableFloor)
    this.durableFloor = this.floor
  }

  change(changes: readonly TableChange[]): void {
    for (const { key, value } of changes) {
      if (value === null) this.table.delete(key)
      else this.table.set(key, value)
    }
  }

  private crash(): void {
    this.store?.crash()
    this.store = null
    if (this.floor > this.durableFloor) this.floor = this.random.int(this.durableFloor, this.floor)
  }
}

class SimStore implements Store {
  readonly durability = 'fsync'
  readonly location = 'simulated'
  readonly journal: Journal
  readonly table: Table
  private readonly disk: SimDisk
  private readonly process: Process
  private readonly queues = { journal: [] as Write[], table: [] as Write[] }
  private error: LitetopicError | null = null
  private closing: (() => void)[] | null = null

  constructor(disk: SimDisk, process: Process) {
    this.disk = disk
    this.process = process
    this.journal = this.makeJournal()
    this.table = this.makeTable()
  }

  get isWriting(): boolean {
    return this.queues.table.length > 0
  }

  /** The process is dead: of what waits, the journal and the table may each keep a first part. */
  crash(): void {
    const { random, world } = this.disk
    for (const which of ['journal', 'table'] as const) {
      for (const write of this.queues[which].splice(0)) {
        const kept = random.chance(0.5) ? random.int(0, write.parts) : 0
        world.note(`disk crash keeps ${kept} of ${write.parts} of the ${which}`)
        write.apply(kept)
        if (kept < write.parts) break
      }
    }
  }

  snapshot(): never {
    throw new Error('backups are not simulated')
  }

  async probe(): Promise<void> {
    await this.process.sleep(this.delayMs())
    if (this.disk.isFaulty('journal') || this.disk.isFaulty('table'))
      throw new LitetopicError('STORE_UNAVAILABLE', FULL)
  }

  diskBytes(): Promise<number> {
    return Promise.resolve(0)
  }

  compact(): Promise<void> {
    return this.process.sleep(this.delayMs())
  }

  async close(): Promise<void> {
    this.error ??= new LitetopicError('STORE_UNAVAILABLE', 'the store is closed')
    while (this.queues.journal.length + this.queues.table.length > 0) {
      await new Promise<void>((resolve) => {
        this.closing ??= []
        this.closing.push(resolve)
      })
    }
  }

  private makeJournal(): Journal {
    const { disk } = this
    const pending = (): number => this.queues.journal.reduce((sum, { parts }) => sum + parts, 0)
    return {
      get last() {
        return disk.last
      },
      append: (first, entries) => {
        const expected = disk.last + pending() + 1
        if (first !== expected) throw new LitetopicError('NOT_OWNER', `append of ${first} and not ${expected}`)
        const copies = entries.map(copied)
        return this.write('journal', copies.length, (parts) => disk.append(copies.slice(0, parts)))
      },
      async *entries() {
        for (let number = disk.floor + 1; number <= disk.last; number++) {
          yield { number, bytes: copied(disk.entry(number)) }
        }
      },
      skipTo: () => Promise.reject(new Error('copies of stores are not simulated')),
      truncate: async (number) => {
        if (this.error !== null) throw this.error
        await this.process.sleep(this.delayMs())
        if (this.error !== null) throw this.error
        disk.world.note(`disk truncate ${number}`)
        disk.floor = Math.max(disk.floor, Math.min(number, disk.last))
      },
    }
  }

  private makeTable(): Table {
    const { disk } = this
    const found = (key: Uint8Array): Uint8Array | undefined => {
      const value = disk.table.get(key)
      return value === undefined ? undefined : copied(value)
    }
    return {
      get: (key) => this.read(() => found(key)),
      getMany: (keys) => this.read(() => keys.map(found)),
      scan: (scan) =>
        this.read(() => {
          const found = disk.table.range(scan, scan.reverse === true, scan.limit ?? 1000)
          return found.map(({ key, value }) => ({ key: copied(key), value: copied(value) }))
        }),
      write: (changes) => {
        const copies = changes.map(({ key, value }) => ({
          key: copied(key),
          value: value === null ? null : copied(value),
        }))
        return this.write('table', copies.length, (parts) => disk.change(copies.slice(0, parts)))
      },
      clear: async (ranges, limit) => {
        const found = (range: TableRange, most: number) => disk.table.range(range, false, most)
        const keys = (most = limit) => ranges.flatMap((range) => found(range, limit)).slice(0, Math.min(most, limit))
        await this.write('table', keys().length, (parts) =>
          disk.change(keys(parts).map(({ key }) => ({ key, value: null }))),
        )
        const left = ranges.findIndex((range) => found(range, 1).length > 0)
        return left < 0 ? ranges.length : left
      },
    }
  }

  private delayMs(): number {
    const { random, slownessMs } = this.disk
    return random.chance(0.01) ? random.between(0, 400) : random.between(0, slownessMs)
  }

  /** What a read finds is what there is at one moment while it lasts. */
  private async read<T>(find: () => T): Promise<T> {
    const { disk, process } = this
    const early = disk.random.chance(0.5) ? find() : undefined
    await process.sleep(this.delayMs() / 2)
    if (disk.isFaulty('read')) throw new LitetopicError('STORE_UNAVAILABLE', 'the disk cannot be read')
    return early ?? find()
  }

  private write(which: 'journal' | 'table', parts: number, apply: (parts: number) => void): Promise<void> {
    if (this.error !== null) return Promise.reject(this.error)
    return new Promise((resolve, reject) => {
      const queue = this.queues[which]
      queue.push({ parts, apply, done: resolve, failed: reject })
      if (queue.length === 1) this.begin(which)
    })
  }

  private begin(which: 'journal' | 'table'): void {
    const queue = this.queues[which]
    const isFaulty = this.disk.isFaulty(which)
    this.process.after(this.delayMs(), () => {
      const write = queue.shift() as Write
      if (isFaulty || this.error?.message === FULL) this.refuse(which, write)
      else {
        write.apply(write.parts)
        write.done()
      }
      if (queue.length > 0) this.begin(which)
      else for (const closed of this.closing?.splice(0) ?? []) closed()
    })
  }

  private refuse(which: 'journal' | 'table', write: Write): void {
    const { random, world } = this.disk
    const hasFailed = this.error?.message === FULL
    const kept = !hasFailed && random.chance(0.3) ? random.int(0, write.parts) : 0
    this.error = new LitetopicError('STORE_UNAVAILABLE', FULL)
    world.note(`disk fault of the ${which} keeps ${kept} of ${write.parts}`)
    write.apply(kept)
    write.failed(this.error)
  }
}

const FULL = 'no space left on device'

const copied = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)
