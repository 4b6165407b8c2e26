/** Where a subscription begins: the start, the end, a count, a time, a cursor, an offset or a checkpoint. */

import {
  BatchReader,
  ByteReader,
  type FromInfo,
  isLitetopicError,
  LitetopicError,
  parseCursor,
  type RecordData,
  type RecordParts,
  RecordWalker,
} from '../protocol/index.ts'
import { findCheckpoint } from '../storage/index.ts'
import { allCommitted, type Context } from './context.ts'
import { beyondEnd, endedError, judgeCursor } from './outcomes.ts'
import type { Topic } from './topic.ts'

const FIELDS = ['start', 'live', 'last', 'timeMs', 'cursor', 'offset', 'checkpoint'] as const

/** The offset to begin with. Rejects with the error of the outcome, BAD_CURSOR, BAD_REQUEST or CHECKPOINT_UNKNOWN. */
export async function positionOf(context: Context, topic: Topic, from: FromInfo): Promise<number> {
  const { state } = topic
  const given = FIELDS.filter((field) => from[field] !== undefined)
  if (given.length !== 1) throw new LitetopicError('BAD_REQUEST', 'say with exactly one field where to read from')
  if (from.start === true) return state.firstOffset
  if (from.live === true) return state.committedTo
  if (from.last !== undefined) return Math.max(state.firstOffset, state.committedTo - from.last)
  if (from.timeMs !== undefined) return positionAtTime(context, topic, from.timeMs)
  if (from.offset !== undefined) return positionAtOffset(context, topic, from.offset)
  if (from.checkpoint !== undefined) return (await checkpointOffset(context, topic, from.checkpoint)) + 1
  if (from.cursor !== undefined) return positionAtCursor(context, topic, from.cursor)
  throw new LitetopicError('BAD_REQUEST', 'start and live can only be true')
}

/** Offset of the newest checkpoint of that name, or of any; rejects with CHECKPOINT_UNKNOWN. */
export async function checkpointOffset(context: Context, topic: Topic, name: string | null): Promise<number> {
  const offset = await findCheckpoint(context.shard.store.table, topic.state, name)
  if (offset !== null) {
    // One that is just being written is waited for: an older one would be the wrong answer soon.
    if (offset >= topic.state.committedTo) await allCommitted(context, topic)
    return offset
  }
  const which = name === null ? 'no checkpoint' : `no checkpoint ${name}`
  throw new LitetopicError('CHECKPOINT_UNKNOWN', `topic ${topic.name} has ${which}`, { checkpoint: name })
}

/** Contiguous batches that begin with the one that holds the offset. Rejects with TRIMMED if that is gone by now. */
export async function readBatches(context: Context, topic: Topic, from: number): Promise<Uint8Array> {
  const { shard } = context
  try {
    return shard.readMemory(topic.state, from) ?? (await shard.readChunk(topic.state, from))
  } catch (error) {
    // What was trimmed while the table was read looks like a hole.
    if (from < topic.state.firstOffset && topic.end === null) throw endedError(topic, 'trimmed', shard.incarnation)
    throw error
  }
}

/** One record, by its offset. */
export async function readRecord(
  context: Context,
  topic: Topic,
  offset: number,
): Promise<{ name: string; data: RecordData; timeMs: number; parts: RecordParts | undefined }> {
  const batch = new BatchReader(new ByteReader(await readBatches(context, topic, offset)))
  while (batch.advance()) {
    if (batch.next <= offset) continue
    const walker = new RecordWalker(batch.content())
    for (let at = batch.base; walker.next(); at++) {
      if (at !== offset) continue
      const parts = walker.parts()
      return { name: walker.name(), data: walker.recordData(), timeMs: batch.timeMs, parts }
    }
  }
  if (offset < topic.state.firstOffset) throw endedError(topic, 'trimmed', context.shard.incarnation)
  throw new LitetopicError('STORE_CORRUPT', `topic ${topic.name} has no record at offset ${offset}`, { offset })
}

function positionAtOffset(context: Context, topic: Topic, offset: number): number {
  if (offset > topic.state.committedTo) throw beyondEnd(topic.state, offset)
  if (offset < topic.state.firstOffset) throw endedError(topic, 'trimmed', context.shard.incarnation)
  return offset
}

function positionAtCursor(context: Context, topic: Topic, text: string): number {
  const cursor = parseCursor(text)
  const { outcome, commonOffset } = judgeCursor(topic.state, context.shard, cursor)
  if (outcome !== 'continued') throw endedError(topic, outcome, context.shard.incarnation, commonOffset)
  return cursor.next
}

/** The first record written at or after a time: batches are in order of time, so halves are looked at. */
async function positionAtTime(context: Context, topic: Topic, timeMs: number): Promise<number> {
  const { state } = topic
  let low = state.firstOffset
  let high = state.committedTo
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const batch = await batchWith(context, topic, middle)
    if (batch === null) low = state.firstOffset
    else if (batch.timeMs >= timeMs) high = Math.max(low, Math.min(batch.base, middle))
    else low = batch.next
  }
  return Math.max(low, state.firstOffset)
}

/** The batch that holds the offset; null if it has been trimmed meanwhile. */
async function batchWith(context: Context, topic: Topic, offset: number): Promise<BatchReader | null> {
  try {
    const batch = new BatchReader(new ByteReader(await readBatches(context, topic, offset)))
    while (batch.advance() && batch.next <= offset);
    return batch
  } catch (error) {
    if (isLitetopicError(error, 'TRIMMED')) return null
    throw error
  }
}
