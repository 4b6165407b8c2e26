/**
 * Gives back the space of deleted topics and trimmed records, in bounded steps. A deleted topic leaves a garbage key with
 * its epoch in the same write that removes its head, so that a crash cannot make the step forgotten.
 */

import { BatchReader, ByteReader, KIND, RecordWalker } from '../protocol/index.ts'
import {
  checkpointKey,
  chunkRange,
  contextVersions,
  epochRange,
  garbageKey,
  indexRange,
  numberInKey,
  parseContextKey,
  recordIdKey,
} from './keys.ts'
import { seal, unseal } from './seal.ts'
import { INDEX, type Table, type TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** Keys deleted, and chunks read, in one step. */
const KEYS_PER_STEP = 1000
const CHUNKS_PER_STEP = 16

const EPOCH_INDEXES = [
  INDEX.chunk,
  INDEX.stream,
  INDEX.recordId,
  INDEX.context,
  INDEX.checkpoint,
  INDEX.checkpointName,
] as const

export class Garbage {
  private readonly table: Table
  private running: Promise<void> | null = null
  private found = true
  private readonly trimmed = new Set<TopicState>()
  private stopped = false

  constructor(table: Table) {
    this.table = table
  }

  /** The change that marks an epoch's keys as garbage; to be written with the removal of the head. */
  add(epoch: number): TableChange {
    this.found = true
    const key = garbageKey(epoch)
    return { key, value: seal(key, new Uint8Array(0)) }
  }

  /** Notes that records of the topic below its first offset may be deleted: its trim is durable. */
  trim(state: TopicState): void {
    this.trimmed.add(state)
  }

  get pending(): boolean {
    return this.found || this.trimmed.size > 0
  }

  /** Works until nothing is left, or `stop`. */
  collect(): Promise<void> {
    this.running ??= this.run().finally(() => {
      this.running = null
    })
    return this.running
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  private async run(): Promise<void> {
    for (const state of this.trimmed) {
      this.trimmed.delete(state)
      if (!state.deleted) await this.clearTrimmed(state)
    }
    while (this.found && !this.stopped) {
      this.found = false
      const marks = await this.table.scan({ ...indexRange(INDEX.garbage), limit: KEYS_PER_STEP })
      for (const { key } of marks) {
        if (this.stopped) return
        await this.clearEpoch(numberInKey(key, 0))
      }
      if (marks.length > 0) {
        this.found = true
        await this.table.write(marks.map(({ key }) => ({ key, value: null })))
      }
    }
  }

  private async clearEpoch(epoch: number): Promise<void> {
    for (const index of EPOCH_INDEXES) {
      while ((await this.table.clear(epochRange(index, epoch), KEYS_PER_STEP)) === KEYS_PER_STEP) {
        if (this.stopped) return
      }
    }
  }

  /** Deletes the chunks that lie wholly below the first offset, and the index entries that they alone needed. */
  private async clearTrimmed(state: TopicState): Promise<void> {
    const to = state.firstOffset
    while (!this.stopped) {
      const chunks = await this.table.scan({ ...chunkRange(state.epoch, 0, to), limit: CHUNKS_PER_STEP })
      if (chunks.length === 0) break
      const changes: TableChange[] = chunks.map(({ key }) => ({ key, value: null }))
      const names = new Set<string>()
      for (const { key, value } of chunks) {
        const batches = unseal(key, value, `a chunk of topic ${state.name}`)
        this.indexEntriesOf(state, batches, changes, names)
      }
      for (const name of names) changes.push(...(await this.oldVersions(state, name, to)))
      await this.table.write(changes)
    }
    state.clearedTo = to
  }

  private indexEntriesOf(state: TopicState, batches: Uint8Array, changes: TableChange[], names: Set<string>): void {
    const batch = new BatchReader(new ByteReader(batches))
    while (batch.advance()) {
      const walker = new RecordWalker(batch.content())
      for (let offset = batch.base; walker.next(); offset++) {
        const id = walker.extras()?.id
        if (id !== undefined) changes.push({ key: recordIdKey(state.epoch, id), value: null })
        if (walker.kind === KIND.checkpoint) changes.push({ key: checkpointKey(state.epoch, offset), value: null })
        if (walker.kind === KIND.context) names.add(walker.name())
      }
    }
  }

  /** Versions of a context entry below an offset that a later set or delete below it has replaced. */
  private async oldVersions(state: TopicState, name: string, below: number): Promise<TableChange[]> {
    const versions = await this.table.scan({
      ...contextVersions(state.epoch, name, below),
      reverse: true,
      limit: KEYS_PER_STEP,
    })
    const changes: TableChange[] = []
    let replaced = false
    for (const { key, value } of versions) {
      if (parseContextKey(key).name !== name) continue
      if (replaced) changes.push({ key, value: null })
      const packed = unseal(key, value, `a context entry of topic ${state.name}`)
      if (!replaced) replaced = isWhole(packed)
    }
    return changes
  }
}

/** Is it a set or a delete, which make earlier versions superfluous? The value is msgpack `[op, tag, data]`. */
function isWhole(packed: Uint8Array): boolean {
  const size = (packed[1] as number) & 0x1f
  const op = Buffer.from(packed.subarray(2, 2 + size)).toString()
  return op === 'set' || op === 'delete'
}
