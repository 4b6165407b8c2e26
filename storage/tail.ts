/** Reading what of a topic's log is in memory: its tail, as positions in the slabs, and the tail that its head holds. */

import { BatchReader, ByteReader, copyBytes, LIMITS } from '../protocol/index.ts'
import { unpackInlineTail } from './inline-tail.ts'
import { SLAB_BYTES, type Slabs } from './slabs.ts'
import type { TopicState } from './topic-state.ts'

/** A reader that stands on the batch at a position of the slabs. */
export function batchAt(slabs: Slabs, position: number): BatchReader {
  const batch = new BatchReader(new ByteReader(slabs.at(position)))
  moveTo(batch, slabs, position)
  return batch
}

/** Moves a reader to the batch at another position: one object for a whole tail. */
function moveTo(batch: BatchReader, slabs: Slabs, position: number): void {
  const { reader } = batch
  reader.bytes = slabs.at(position)
  reader.at = position % SLAB_BYTES
  reader.end = SLAB_BYTES
  batch.advance()
}

/** The offset of the first record of the batch that begins there. */
export function firstOffsetOf(batches: Uint8Array, from = 0): number {
  return new ByteReader(batches, from + 1).varint()
}

/** Index into the tail of the batch that holds the offset. */
function indexOf(state: TopicState, slabs: Slabs, offset: number): number {
  let low = 0
  let high = state.tail.length - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    const position = state.tail[middle] as number
    if (firstOffsetOf(slabs.at(position), position % SLAB_BYTES) <= offset) low = middle
    else high = middle - 1
  }
  return low
}

/**
 * Committed batches from the one that holds `from` on, contiguous in one buffer of about `maxBytes`; null when the
 * offset is only in the table; empty at the end.
 */
export function readMemory(
  state: TopicState,
  slabs: Slabs,
  from: number,
  maxBytes: number = LIMITS.readBytes,
): Uint8Array | null {
  if (from < state.chunkedTo) return null
  if (from < state.flushedTo) return state.inline === null ? null : unpackInlineTail(state.inline)
  const first = from >= state.committedTo ? state.tail.length : indexOf(state, slabs, from)
  return copyBatches(state, slabs, first, state.tail.length, state.committedTo, maxBytes)
}

/** Fills `target`, which has their size, with the inline tail and the tail. */
export function copyTail(state: TopicState, slabs: Slabs, target: Buffer): Buffer {
  let at = 0
  if (state.inline !== null) {
    target.write(state.inline, 'latin1')
    at = state.inline.length
  }
  if (state.tail.length === 0) return target
  const batch = batchAt(slabs, state.tail[0] as number)
  for (let i = 0; i < state.tail.length; i++) {
    if (i > 0) moveTo(batch, slabs, state.tail[i] as number)
    at = copyBytes(batch.bytes, batch.start, batch.end, target, at)
  }
  return target
}

/** The batches `[first, end)` of the tail that begin below `limit`, copied into one buffer. */
export function copyBatches(
  state: TopicState,
  slabs: Slabs,
  first: number,
  end: number,
  limit: number,
  maxBytes: number,
): Uint8Array {
  const ranges: number[] = []
  let bytes = 0
  if (first >= end) return Buffer.alloc(0)
  const batch = batchAt(slabs, state.tail[first] as number)
  for (let i = first; i < end && bytes < maxBytes; i++) {
    const position = state.tail[i] as number
    if (i > first) moveTo(batch, slabs, position)
    if (batch.base >= limit) break
    ranges.push(position, batch.end - batch.start)
    bytes += batch.end - batch.start
  }
  const copy = Buffer.allocUnsafe(bytes)
  let at = 0
  for (let i = 0; i < ranges.length; i += 2) {
    const position = ranges[i] as number
    const from = position % SLAB_BYTES
    at = copyBytes(slabs.at(position), from, from + (ranges[i + 1] as number), copy, at)
  }
  return copy
}
