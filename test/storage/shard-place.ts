/** Where shards are opened, one after the other: on a memory disk or in a directory; closed properly, or killed. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import type { Store, TableEntry } from '../../storage/store.ts'
import { Rig } from './shard-rig.ts'

export class ShardPlace {
  private readonly openStore: () => Promise<Store>
  readonly remove: () => Promise<void>
  rig!: Rig

  constructor(openStore: () => Promise<Store>, remove: () => Promise<void>) {
    this.openStore = openStore
    this.remove = remove
  }

  async open(): Promise<Rig> {
    this.rig = await Rig.open(await this.openStore())
    return this.rig
  }

  get store(): Store {
    return this.rig.shard.store
  }

  /** Closes the store under the shard: what is not stored yet is lost, as for a killed process. Then opens it anew. */
  async kill(): Promise<Rig> {
    await this.store.close()
    return this.open()
  }

  async reopen(): Promise<Rig> {
    await this.rig.shard.close()
    return this.open()
  }

  /** All entries of an index of the table. */
  entries(index: number): Promise<TableEntry[]> {
    return this.store.table.scan({ gte: Buffer.of(index), lt: Buffer.of(index + 1), limit: 100_000 })
  }

  /** Numbers of the commits that the journal still has. */
  async journal(): Promise<number[]> {
    const numbers: number[] = []
    for await (const { number } of this.store.journal.entries()) numbers.push(number)
    return numbers
  }
}

export async function memoryPlace(): Promise<ShardPlace> {
  const disk = new MemoryDisk()
  return new ShardPlace(
    () => openMemoryStore(disk),
    async () => undefined,
  )
}

export async function levelPlace(): Promise<ShardPlace> {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-shard-'))
  return new ShardPlace(
    () => openLevelStore(directory, { durability: 'os' }),
    () => rm(directory, { recursive: true }),
  )
}

export const PLACES = [
  ['memory', memoryPlace],
  ['LevelDB', levelPlace],
] as const
