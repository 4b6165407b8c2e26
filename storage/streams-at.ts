/** Which streams of a topic were open at an offset that is past: what a fork from there finds open. */

import { BatchReader, ByteReader, LitetopicError, unpack } from '../protocol/index.ts'
import { chunkWith } from './chunks.ts'
import { addEffects } from './effects.ts'
import { streamOf } from './head.ts'
import { epochRange } from './keys.ts'
import { cutBatches, KINDS, shares } from './lineage.ts'
import { unseal } from './seal.ts'
import { INDEX, type Table } from './store.ts'
import { type StreamState, TopicState } from './topic-state.ts'

/** Entries read at once. */
const PAGE = 500

/**
 * Streams that were open when the record before `at` was written, as they were then; no producer is their writer. All before `at`
 * must be in chunks. Rejects with STORE_CORRUPT.
 */
export async function streamsAt(table: Table, state: TopicState, at: number): Promise<StreamState[]> {
  // In memory first, and in the same turn: what leaves it meanwhile is in the table by then.
  const { openStreams, recent, flushing, nextOffset } = state
  const open = [...(openStreams?.values() ?? [])].map(copied)
  const ended = [...(flushing?.ended?.values() ?? []), ...(recent?.ended?.values() ?? [])].map(copied)
  const known = new Map([...open, ...ended].map((stream) => [stream.streamId, stream]))
  if (at < nextOffset) {
    for (const stream of await endedBehind(table, state, at))
      if (!known.has(stream.streamId)) known.set(stream.streamId, stream)
  }
  const found = [...known.values()].filter(({ openOffset, lastOffset, state: now }) => {
    const isEnd = now === 'done' || now === 'stopped' || now === 'failed'
    return openOffset < at && (lastOffset >= at || !isEnd)
  })
  const changed = found.filter(({ lastOffset }) => lastOffset >= at)
  const before = changed.length === 0 ? null : await readStreams(table, state, changed, at)
  return found.map((stream) => {
    const { openOffset } = stream
    const then = before?.get(stream.streamId)
    // Its opening may be trimmed: then the records do not tell where it was.
    return {
      ...(then === undefined ? asOpened(stream, at) : { ...then, openOffset, fence: openOffset }),
      writerSlot: -1,
    }
  })
}

function copied(stream: StreamState): StreamState {
  return { ...stream }
}

/** One whose stream records before the offset are trimmed, or that has not changed since. */
function asOpened(stream: StreamState, at: number): StreamState {
  if (stream.lastOffset < at) return stream
  const { openOffset } = stream
  return { ...stream, state: 'open', fence: openOffset, lastOffset: openOffset, detail: null }
}

/** Streams of the index that ended at the offset or behind it, and were opened before. */
async function endedBehind(table: Table, state: TopicState, at: number): Promise<StreamState[]> {
  const own = { epoch: state.epoch, upTo: Number.POSITIVE_INFINITY, has: (state.counts?.streams ?? 0) > 0 }
  const older = shares(state)
    .filter(({ upTo }) => upTo > at)
    .map(({ epoch, upTo, kinds }) => ({ epoch, upTo, has: (kinds & KINDS.streams) !== 0 }))
  const found: StreamState[] = []
  for (const { epoch, upTo } of [own, ...older].filter(({ has }) => has)) {
    for (let { gte, lt } = epochRange(INDEX.stream, epoch); ; ) {
      const page = await table.scan({ gte, lt, limit: PAGE })
      for (const { key, value } of page) {
        gte = Buffer.concat([key, Buffer.of(0)])
        const stream = streamOf(unpack(unseal(key, value, `a stream of topic ${state.name}`)))
        if (stream.openOffset < at && stream.lastOffset >= at && stream.lastOffset < upTo) found.push(stream)
      }
      if (page.length < PAGE) break
    }
  }
  return found
}

/** What the records before the offset say of these streams. */
async function readStreams(
  table: Table,
  state: TopicState,
  streams: readonly StreamState[],
  at: number,
): Promise<Map<string, StreamState>> {
  const scratch = new TopicState(state.name, state.epoch, 0, null)
  const first = streams.reduce((low, { openOffset }) => Math.min(low, openOffset), at)
  for (let next = Math.max(first, state.firstOffset); next < at; ) {
    const batches = await chunkWith(table, state, next)
    const before = next
    const batch = new BatchReader(new ByteReader(cutBatches(batches ?? new Uint8Array(0), at)))
    while (batch.advance()) {
      addEffects(scratch, {}, batch.bytes, batch.contentFrom, batch.end, batch.base, -1)
      next = Math.max(next, batch.next)
    }
    if (next === before) {
      throw new LitetopicError('STORE_CORRUPT', `topic ${state.name} has no record at offset ${next}`, { offset: next })
    }
  }
  const wanted = new Set(streams.map(({ streamId }) => streamId))
  return new Map([...(scratch.openStreams ?? [])].filter(([streamId]) => wanted.has(streamId)))
}
