/**
 * Parts of large messages. They bypass the journal: each is durable in the table when its write resolves, and nobody sees
 * them before a committed record names their upload. An upload has a key of its own from before its first part until the
 * flush that brings its record into the table; then a mark behind its parts says at which offset that record lies. So
 * every key of a part belongs to an upload that can be found, or to a record. See FORMAT.md, Parts.
 */

import { asLitetopicError, type DataTag, LIMITS, LitetopicError, pack, unpack } from '../protocol/index.ts'
import { clearAll } from './clear-all.ts'
import { indexRange, MARK_PART, partKey, partNumber, partRange, uploadKey, uploadOfKey } from './keys.ts'
import { SEAL_BYTES, seal, unseal } from './seal.ts'
import { INDEX, type Table, type TableChange } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** Bytes in one write of the table: others that write there wait no longer than for this. */
const WRITE_BYTES = 1024 * 1024
/** Parts deleted in one step: LevelDB reads what it deletes. */
export const PARTS_PER_STEP = 64

/** An upload as the table has it. */
export interface StoredUpload {
  readonly epoch: number
  readonly uploadId: string
  /** Name of the topic. */
  readonly name: string
  /** Who may go on with it and commit it. */
  readonly producerId: string
  readonly tag: DataTag
  readonly startedMs: number
}

/** How much of an upload is durable. */
export interface StoredParts {
  /** Parts, and the bytes of all of them. */
  readonly parts: number
  readonly bytes: number
  /** Offset of the record that made them visible; null if the table has none. */
  readonly offset: number | null
}

interface Waiting {
  readonly changes: readonly TableChange[]
  readonly bytes: number
  /** Asked when it is written: false once its upload is over. */
  readonly wanted: () => boolean
  readonly resolve: () => void
  readonly reject: (error: LitetopicError) => void
}

export class Parts {
  private readonly table: Table
  private waiting: Waiting[] = []
  private writing = false
  private stopped = false

  constructor(table: Table) {
    this.table = table
  }

  /** Uploads that are not known to be committed, a page in the order of their keys. Entries that are damaged are given to `damaged`. */
  async uploads(
    after: StoredUpload | null,
    limit: number,
    damaged: (error: LitetopicError) => void,
  ): Promise<{ uploads: StoredUpload[]; last: StoredUpload | null }> {
    const { gte, lt } = indexRange(INDEX.upload)
    const from = after === null ? gte : Buffer.concat([uploadKey(after.epoch, after.uploadId), Buffer.of(0)])
    const entries = await this.table.scan({ gte: from, lt, limit })
    const uploads: StoredUpload[] = []
    let last: StoredUpload | null = null
    for (const { key, value } of entries) {
      const place = uploadOfKey(key)
      last = { ...place, name: '', producerId: '', tag: 'bytes', startedMs: 0 }
      try {
        const packed = unpack(unseal(key, value, `upload ${place.uploadId}`)) as [string, string, DataTag, number]
        const [name, producerId, tag, startedMs] = packed
        uploads.push({ ...place, name, producerId, tag, startedMs })
      } catch (error) {
        damaged(asLitetopicError(error))
      }
    }
    return { uploads, last: entries.length < limit ? null : last }
  }

  /** What the table has of an upload's content. Rejects with STORE_CORRUPT. */
  async stored(epoch: number, uploadId: string): Promise<StoredParts> {
    const [last] = await this.table.scan({ ...partRange(epoch, uploadId), reverse: true, limit: 1 })
    if (last === undefined) return { parts: 0, bytes: 0, offset: null }
    const value = unseal(last.key, last.value, `a part of upload ${uploadId}`)
    const number = partNumber(last.key)
    if (number === MARK_PART) return { parts: 0, bytes: 0, offset: unpack(value) as number }
    return { parts: number + 1, bytes: number * LIMITS.partBytes + value.length, offset: null }
  }

  /** Notes an upload; to be resolved before its first part is written. */
  begin(upload: StoredUpload, wanted: () => boolean): Promise<void> {
    const { epoch, uploadId, name, producerId, tag, startedMs } = upload
    const key = uploadKey(epoch, uploadId)
    return this.enqueue(key, seal(key, pack([name, producerId, tag, startedMs])), wanted)
  }

  /**
   * Writes a part, whose bytes are copied at once; durable when it resolves. Rejects with UPLOAD_UNKNOWN, and has written nothing,
   * if it is not `wanted` any more when its turn has come: what was deleted stays so, because the table applies writes
   * and deletions in the order of their calls.
   */
  write(epoch: number, uploadId: string, part: number, bytes: Uint8Array, wanted: () => boolean): Promise<void> {
    const key = partKey(epoch, uploadId, part)
    return this.enqueue(key, seal(key, bytes), wanted)
  }

  /** One part of a content, as it was written; rejects with STORE_CORRUPT if it is missing, damaged or not of that size. */
  async read(epoch: number, uploadId: string, part: number, size: number): Promise<Uint8Array> {
    const key = partKey(epoch, uploadId, part)
    const value = await this.table.get(key)
    const what = `part ${part} of upload ${uploadId}`
    if (value === undefined || value.length !== size + SEAL_BYTES) {
      throw new LitetopicError('STORE_CORRUPT', `${what} is missing or not as long as it was`, { uploadId, part })
    }
    return unseal(key, value, what)
  }

  /** Deletes an upload that was not committed: its parts, and then what says that there are some. */
  async remove(epoch: number, uploadId: string): Promise<void> {
    await clearParts(this.table, epoch, uploadId)
    await this.table.write([{ key: uploadKey(epoch, uploadId), value: null }])
  }

  /** Writes no more: what waits is rejected. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.stopped = true
    for (const { reject } of this.waiting.splice(0)) reject(unavailable())
    while (this.writing) await turn()
  }

  private enqueue(key: Uint8Array, value: Uint8Array, wanted: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.stopped) {
        reject(unavailable())
        return
      }
      this.waiting.push({ changes: [{ key, value }], bytes: key.length + value.length, wanted, resolve, reject })
      if (!this.writing) void this.run()
    })
  }

  /** One write of the table after another, each of what has come meanwhile. */
  private async run(): Promise<void> {
    this.writing = true
    // What comes in the same turn goes together.
    await turn()
    while (this.waiting.length > 0) {
      const batch = this.take()
      try {
        await this.table.write(batch.flatMap(({ changes }) => changes))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(asLitetopicError(error))
      }
    }
    this.writing = false
  }

  private take(): Waiting[] {
    const batch: Waiting[] = []
    for (let bytes = 0; this.waiting.length > 0; ) {
      const next = this.waiting[0] as Waiting
      if (bytes > 0 && bytes + next.bytes > WRITE_BYTES) break
      this.waiting.shift()
      if (!next.wanted()) {
        next.reject(new LitetopicError('UPLOAD_UNKNOWN', 'the upload ended before this part was stored'))
        continue
      }
      bytes += next.bytes
      batch.push(next)
    }
    return batch
  }
}

/** Deletes all that the part index has of an upload, in bounded steps. */
export async function clearParts(table: Table, epoch: number, uploadId: string): Promise<void> {
  await clearAll(table, [partRange(epoch, uploadId)], PARTS_PER_STEP)
}

/** The change that says, behind the parts of an upload, where its record lies; and the one that ends the upload. */
export function commitMark(epoch: number, uploadId: string, offset: number): TableChange[] {
  const key = partKey(epoch, uploadId, MARK_PART)
  return [
    { key, value: seal(key, pack(offset)) },
    { key: uploadKey(epoch, uploadId), value: null },
  ]
}

/** Offset of the record of an upload that no flush has brought into the table yet; null if there is none. */
export function recentUpload(state: TopicState, uploadId: string): number | null {
  return state.recent?.uploads?.get(uploadId) ?? state.flushing?.uploads?.get(uploadId) ?? null
}

function unavailable(): LitetopicError {
  return new LitetopicError('STORE_UNAVAILABLE', 'the store is closing')
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
