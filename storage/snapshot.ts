/**
 * What one flush of a topic writes: its tail as chunks or inside the head, the index entries of its recent effects, and
 * its head. Taken at one moment; the state learns of it (`settle`) when the table has it. See FORMAT.md, Flushing.
 */

import { BatchReader, ByteReader, LIMITS, pack } from '../protocol/index.ts'
import { forkChanges } from './forks.ts'
import { type AsOf, encodeHead, packStream } from './head.ts'
import { type InlineTail, packInlineTail } from './inline-tail.ts'
import {
  checkpointKey,
  checkpointNameKey,
  chunkKey,
  contextKey,
  headKey,
  openStreamsKey,
  recordIdKey,
  streamKey,
  timerKey,
} from './keys.ts'
import { commitMark } from './parts.ts'
import { seal } from './seal.ts'
import { EMPTY } from './short-list.ts'
import type { Slabs } from './slabs.ts'
import type { TableChange } from './store.ts'
import { copyTail } from './tail.ts'
import { countsOf, type Effects, type TopicState } from './topic-state.ts'

export interface Snapshot {
  readonly state: TopicState
  /** Batches of the tail that are in it. */
  readonly batches: number
  readonly tailBytes: number
  readonly flushedTo: number
  readonly chunkedTo: number
  readonly inline: InlineTail | null
  readonly dueMs: number
  readonly tableUsed: boolean
  readonly openStreams: boolean
}

/** Where an inline tail is put together. */
const scratch = Buffer.alloc(LIMITS.inlineTailBytes)

/**
 * Adds what is to be written, in this order: should a crash let only the first changes through, then the head still is the old
 * one, and replaying the journal on it writes the same again. `lingerMs` of the topic is stored beside its timer.
 */
export function takeSnapshot(
  state: TopicState,
  slabs: Slabs,
  asOf: AsOf,
  lingerMs: number,
  changes: TableChange[],
): Snapshot {
  const before = changes.length
  // Before the head, which is never without it.
  if (!state.headStored) changes.push(...forkChanges(state))
  const size = state.tailBytes + (state.inline?.length ?? 0)
  // A large message ends a chunk, so that its parts can go as soon as it is trimmed.
  const small = size <= LIMITS.inlineTailBytes && state.recent?.uploads === undefined && !state.wantsChunks
  const inline = small && size > 0 ? copyTail(state, slabs, scratch.subarray(0, size)) : null
  if (!small) putChunks(state, copyTail(state, slabs, Buffer.allocUnsafe(size)), changes)
  state.flushing = state.recent
  state.recent = null
  if (state.flushing !== null) putEffects(state, state.flushing, changes)
  const tableUsed = state.tableUsed || changes.length > before
  const chunkedTo = small ? state.chunkedTo : state.nextOffset
  const openStreams = (state.openStreams?.size ?? 0) > 0
  putTimer(state, tableUsed, lingerMs, changes)
  putOpenStreams(state, openStreams, changes)
  const key = headKey(state.name)
  changes.push({ key, value: encodeHead(key, state, { asOf, chunkedTo, inline, tableUsed }) })
  dropOldTimer(state, changes)
  state.introduced = state.wantsChunks = false
  state.dirtySince = 0
  state.flushingBytes = state.tailBytes
  return {
    state,
    batches: state.tail.length,
    tailBytes: state.tailBytes,
    flushedTo: state.nextOffset,
    chunkedTo,
    inline: inline && (state.tailBytes === 0 ? state.inline : packInlineTail(inline)),
    dueMs: state.dueMs,
    tableUsed,
    openStreams,
  }
}

/** The table has the snapshot: what it holds is no longer needed in memory. */
export function settle(snapshot: Snapshot): void {
  const { state } = snapshot
  state.tail = snapshot.batches === state.tail.length ? EMPTY : state.tail.slice(snapshot.batches)
  state.tailBytes -= snapshot.tailBytes
  state.flushingBytes = 0
  state.flushedTo = snapshot.flushedTo
  state.chunkedTo = snapshot.chunkedTo
  state.inline = snapshot.inline
  state.storedDueMs = snapshot.dueMs
  state.tableUsed = snapshot.tableUsed
  state.openStreamsStored = snapshot.openStreams
  state.headStored = true
  state.flushing = null
  state.flushes++
}

export function putChunks(state: TopicState, batches: Uint8Array, changes: TableChange[]): void {
  const batch = new BatchReader(new ByteReader(batches))
  const large = new Set(state.recent?.uploads?.values())
  let start = 0
  let last = -1
  const put = (end: number): void => {
    const key = chunkKey(state.epoch, last)
    changes.push({ key, value: seal(key, batches.subarray(start, end)) })
    start = end
  }
  while (batch.advance()) {
    if (batch.end - start > LIMITS.chunkBytes && batch.start > start) put(batch.start)
    last = batch.next - 1
    if (large.has(batch.base)) put(batch.end)
  }
  if (start < batch.end) put(batch.end)
}

export function putEffects(state: TopicState, effects: Effects, changes: TableChange[]): void {
  for (const change of effectChanges(state, effects)) changes.push(change)
  const counts = countsOf(state)
  counts.ids += effects.ids?.size ?? 0
  counts.large += effects.uploads?.size ?? 0
  counts.context += effects.context?.length ?? 0
  counts.checkpoints += effects.checkpoints?.length ?? 0
  counts.streams += effects.ended?.size ?? 0
}

/** What the indexes of a topic get of the effects. */
export function effectChanges({ epoch, extra }: Pick<TopicState, 'epoch' | 'extra'>, effects: Effects): TableChange[] {
  // What an id stood for at a fork point is not replaced.
  const versioned = extra?.forkedTo !== undefined
  const changes: TableChange[] = []
  const put = (key: Buffer, value: unknown): void => {
    changes.push({ key, value: seal(key, pack(value)) })
  }
  for (const [id, offset] of effects.ids ?? []) put(recordIdKey(epoch, id, versioned ? offset : undefined), offset)
  for (const { name, offset, op, data } of effects.context ?? []) {
    put(contextKey(epoch, name, offset), [op, data.tag, data.value])
  }
  for (const { name, offset } of effects.checkpoints ?? []) {
    put(checkpointKey(epoch, offset), name)
    put(checkpointNameKey(epoch, name), offset)
  }
  for (const stream of effects.ended?.values() ?? []) put(streamKey(epoch, stream.streamId), packStream(stream))
  for (const [uploadId, offset] of effects.uploads ?? []) changes.push(...commitMark(epoch, uploadId, offset))
  return changes
}

function putTimer(state: TopicState, tableUsed: boolean, lingerMs: number, changes: TableChange[]): void {
  const { dueMs, storedDueMs, epoch, name } = state
  if (dueMs === 0 || (dueMs === storedDueMs && tableUsed === state.tableUsed)) return
  const key = timerKey(dueMs, epoch)
  changes.push({ key, value: seal(key, pack([name, epoch, lingerMs, tableUsed])) })
}

/** Comes after the head, so that a topic is never without a timer. One that is left over finds a later one in the head. */
function dropOldTimer({ dueMs, storedDueMs, epoch }: TopicState, changes: TableChange[]): void {
  if (storedDueMs === 0 || storedDueMs === dueMs) return
  changes.push({ key: timerKey(storedDueMs, epoch), value: null })
}

function putOpenStreams(state: TopicState, open: boolean, changes: TableChange[]): void {
  if (open === state.openStreamsStored) return
  const key = openStreamsKey(state.epoch)
  changes.push({ key, value: open ? seal(key, pack(state.name)) : null })
}
