/**
 * Index entries of trimmed records: ids, checkpoints, parts of large messages, and context versions that a later one
 * below the first offset has replaced. What an id or a checkpoint's name means now may be another record, stored again since: each entry is looked
 * at before it goes, and looked at again if the topic was flushed meanwhile.
 */

import { BatchReader, ByteReader, KIND, RecordWalker, unpack } from '../protocol/index.ts'
import { checkpointKey, checkpointNameKey, contextVersions, parseContextKey, recordIdKey } from './keys.ts'
import { clearParts } from './parts.ts'
import { unseal } from './seal.ts'
import type { Table, TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** Context versions looked at in one step. */
const VERSIONS_PER_STEP = 1000

/** An entry whose value is the offset of the newest record of an id, or of a checkpoint's name. */
interface Newest {
  readonly key: Uint8Array
  readonly kind: 'id' | 'checkpoint'
  readonly name: string
}

export class TrimmedIndexes {
  private readonly table: Table
  private readonly state: TopicState
  /** Below it are trimmed records; those below `from` are kept for forks. */
  private readonly below: number
  private readonly from: number
  private readonly newest: Newest[] = []
  /** Keys of entries that are of one record. */
  private readonly single: Uint8Array[] = []
  private readonly contexts = new Set<string>()
  private readonly uploads: string[] = []

  /** Trimmed records from `from` to before `to` go. */
  constructor(table: Table, state: TopicState, { from, to }: { from: number; to: number }) {
    this.table = table
    this.state = state
    this.below = to
    this.from = from
  }

  /** Notes the records of batches that lie wholly below. */
  add(batches: Uint8Array): void {
    const { epoch, extra } = this.state
    const forked = extra?.forkedTo !== undefined
    const batch = new BatchReader(new ByteReader(batches))
    while (batch.advance()) {
      const walker = new RecordWalker(batch.content())
      for (let offset = batch.base; walker.next(); offset++) {
        const extras = walker.extras()
        const id = extras?.id
        if (extras?.parts !== undefined) this.uploads.push(extras.parts.uploadId)
        if (id !== undefined) {
          this.newest.push({ key: recordIdKey(epoch, id), kind: 'id', name: id })
          if (forked) this.single.push(recordIdKey(epoch, id, offset))
        }
        if (walker.kind === KIND.context) this.contexts.add(walker.name())
        if (walker.kind !== KIND.checkpoint) continue
        const name = walker.name()
        this.single.push(checkpointKey(epoch, offset))
        this.newest.push({ key: checkpointNameKey(epoch, name), kind: 'checkpoint', name })
      }
    }
  }

  /** Deletes the entries of what was noted. */
  async clear(): Promise<void> {
    await this.table.write(this.single.splice(0).map((key) => ({ key, value: null })))
    await this.clearNewest(this.newest.splice(0))
    for (const uploadId of this.uploads.splice(0)) await clearParts(this.table, this.state.epoch, uploadId)
    for (const name of this.contexts) await this.clearVersions(name)
    this.contexts.clear()
  }

  private async clearNewest(entries: readonly Newest[]): Promise<void> {
    const { state, table } = this
    for (;;) {
      const { flushes } = state
      const values = await table.getMany(entries.map(({ key }) => key))
      const changes: TableChange[] = []
      entries.forEach(({ key, kind, name }, i) => {
        const value = values[i]
        if (value === undefined || isInMemory(state, kind, name)) return
        const offset = unpack(unseal(key, value, `an index entry of topic ${state.name}`)) as number
        if (offset >= this.from && offset < this.below) changes.push({ key, value: null })
      })
      if (state.flushes !== flushes) continue
      await table.write(changes)
      return
    }
  }

  /** Deletes the versions of a context entry that a set or delete below the offset has replaced. */
  private async clearVersions(name: string): Promise<void> {
    const { epoch } = this.state
    let replaced = false
    for (let before = this.below; ; ) {
      const range = contextVersions(epoch, name, before)
      const versions = await this.table.scan({ ...range, reverse: true, limit: VERSIONS_PER_STEP })
      const changes: TableChange[] = []
      for (const { key, value } of versions) {
        if (replaced && parseContextKey(key).offset >= this.from) changes.push({ key, value: null })
        else replaced = isWhole(unseal(key, value, `a context entry of topic ${this.state.name}`))
      }
      await this.table.write(changes)
      const oldest = versions.at(-1)
      if (oldest === undefined || versions.length < VERSIONS_PER_STEP) return
      before = parseContextKey(oldest.key).offset
    }
  }
}

/** Is there a newer record of it, which a flush is writing or will write? */
function isInMemory(state: TopicState, kind: Newest['kind'], name: string): boolean {
  return [state.recent, state.flushing].some((effects) =>
    kind === 'id' ? effects?.ids?.has(name) : effects?.checkpoints?.some((entry) => entry.name === name),
  )
}

/** Is it a set or a delete, which make earlier versions superfluous? */
function isWhole(packed: Uint8Array): boolean {
  const [op] = unpack(packed) as [op: string]
  return op === 'set' || op === 'delete'
}
