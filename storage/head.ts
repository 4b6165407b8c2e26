/**
 * A head is the stored state of a topic, as of an operation of a commit, with its tail inside while that is small.
 * See FORMAT.md, Heads.
 */

import { crc32 } from 'node:zlib'
import {
  asLitetopicError,
  ByteReader,
  ByteWriter,
  LitetopicError,
  pack,
  readText,
  STREAM_STATE,
  streamStateName,
  unpack,
} from '../protocol/index.ts'
import { Blocks } from './blocks.ts'
import { packInlineTail } from './inline-tail.ts'
import { headKey } from './keys.ts'
import type { TopicExtra, TopicPolicy } from './operations.ts'
import { SEAL_BYTES, unseal } from './seal.ts'
import { EMPTY, extended } from './short-list.ts'
import { countsOf, type ProducerState, type StreamState, type TableCounts, TopicState } from './topic-state.ts'

export const HEAD_FORMAT = 2
/** Flags of a head: three of the topic, then which of the parts behind the numbers there are. */
export const FLAG = {
  closed: 1,
  tableUsed: 2,
  openStreams: 4,
  producers: 8,
  counts: 16,
  fenceHolder: 32,
  more: 64,
} as const

/** The point in the journal up to which a head holds all effects: operations of earlier commits, and so many of this one. */
export interface AsOf {
  readonly commit: number
  readonly operations: number
}

/** What the flush is about to make true, where the state does not say it yet. */
export interface HeadPlan {
  readonly asOf: AsOf
  readonly chunkedTo: number
  readonly inline: Uint8Array | null
  readonly tableUsed: boolean
}

type PackedStream = [
  id: string,
  state: string,
  open: number,
  fence: number,
  last: number,
  detail: string | null,
  writerSlot: number,
]
type PackedBranch = [incarnation: string, next: number]
type HeadExtra = TopicExtra & { readonly branches?: PackedBranch[] }
/** What few topics have. */
type More = [policy: TopicPolicy | null, extra: HeadExtra | null]

/** The key and then the value, so that one checksum runs over both. Heads are written by the million: nothing is made for each. */
const out = new ByteWriter(1024)
const values = new Blocks()

/** The value for the topic's head, whose key it is sealed with. */
export function encodeHead(key: Uint8Array, state: TopicState, plan: HeadPlan): Buffer {
  const extra = headExtra(state)
  const more = state.policy !== null || extra !== null
  out.reset()
  out.raw(key)
  out.u8(HEAD_FORMAT)
  out.u8(flagsOf(state, plan, more))
  out.varint(state.epoch)
  out.varint(plan.asOf.commit)
  out.varint(plan.asOf.operations)
  out.varint(state.createdMs)
  out.varint(state.lastAppendMs)
  out.varint(state.dueMs)
  out.varint(state.firstOffset)
  out.varint(state.clearedTo)
  out.varint(plan.chunkedTo)
  out.varint(state.nextOffset)
  // One that is counted wrong must not make the fields behind it unreadable.
  out.varint(Math.max(state.bytes, 0))
  out.varint(state.fence)
  if (state.fenceHolder !== null) out.shortText(state.fenceHolder)
  if (state.producers !== null) writeProducers(state.producers, state.nextOffset)
  if (state.openStreams !== null && state.openStreams.size > 0) writeStreams(state.openStreams)
  if (state.counts !== null) writeCounts(state.counts)
  if (more) writeBytes(pack([state.policy, extra] satisfies More))
  if (plan.inline !== null) out.raw(plan.inline)
  return sealed(key.length)
}

/** The state that a head holds, whose key may be given, and the point in the journal that it is of. Throws STORE_CORRUPT. */
export function decodeHead(
  name: string,
  value: Uint8Array,
  key: Uint8Array = headKey(name),
): { state: TopicState; asOf: AsOf } {
  const payload = unseal(key, value, `the head of topic ${name}`)
  try {
    return decodePayload(name, payload)
  } catch (cause) {
    const { code, message } = asLitetopicError(cause)
    if (code === 'STORE_CORRUPT') throw cause
    throw new LitetopicError('STORE_CORRUPT', `the head of topic ${name} cannot be read: ${message}`, {}, cause)
  }
}

function decodePayload(name: string, payload: Uint8Array): { state: TopicState; asOf: AsOf } {
  if (payload[0] !== HEAD_FORMAT) {
    throw new LitetopicError('STORE_CORRUPT', `the head of topic ${name} has format ${payload[0]}, unknown here`)
  }
  const reader = new ByteReader(payload, 1)
  const flags = reader.u8()
  const epoch = reader.varint()
  const asOf = { commit: reader.varint(), operations: reader.varint() }
  const state = new TopicState(name, epoch, reader.varint(), null)
  state.lastAppendMs = reader.varint()
  state.dueMs = state.storedDueMs = reader.varint()
  state.firstOffset = reader.varint()
  state.clearedTo = reader.varint()
  state.chunkedTo = reader.varint()
  state.flushedTo = state.nextOffset = state.committedTo = reader.varint()
  state.bytes = reader.varint()
  state.fence = reader.varint()
  state.closed = state.closeCommitted = (flags & FLAG.closed) !== 0
  state.tableUsed = (flags & FLAG.tableUsed) !== 0
  state.openStreamsStored = (flags & FLAG.openStreams) !== 0
  state.headStored = true
  if ((flags & FLAG.fenceHolder) !== 0) state.fenceHolder = reader.shortText()
  if ((flags & FLAG.producers) !== 0) state.producers = readProducers(reader, state.nextOffset)
  if (state.openStreamsStored) state.openStreams = readStreams(reader)
  if ((flags & FLAG.counts) !== 0) readCounts(reader, state)
  if ((flags & FLAG.more) !== 0) readMore(reader, state)
  state.inline = reader.done ? null : packInlineTail(payload.subarray(reader.at))
  return { state, asOf }
}

function flagsOf(state: TopicState, plan: HeadPlan, more: boolean): number {
  return (
    (state.closed ? FLAG.closed : 0) |
    (plan.tableUsed ? FLAG.tableUsed : 0) |
    (state.openStreams !== null && state.openStreams.size > 0 ? FLAG.openStreams : 0) |
    (state.producers !== null ? FLAG.producers : 0) |
    (state.counts !== null ? FLAG.counts : 0) |
    (state.fenceHolder !== null ? FLAG.fenceHolder : 0) |
    (more ? FLAG.more : 0)
  )
}

/** What `out` has behind the key, with the checksum of both before it. */
function sealed(keyBytes: number): Buffer {
  const { bytes, length } = out
  const value = values.take(SEAL_BYTES + length - keyBytes)
  value.writeUInt32BE(crc32(bytes.subarray(0, length)), 0)
  value.set(bytes.subarray(keyBytes, length), SEAL_BYTES)
  return value
}

function writeBytes(bytes: Uint8Array): void {
  out.varint(bytes.length)
  out.raw(bytes)
}

/** The table's value for a stream that has ended. */
export function packStream(stream: StreamState): PackedStream {
  const { streamId, state, openOffset, fence, lastOffset, detail, writerSlot } = stream
  return [streamId, state, openOffset, fence, lastOffset, detail, writerSlot]
}

export function streamOf(packed: unknown): StreamState {
  const [streamId, state, openOffset, fence, lastOffset, detail, writerSlot] = packed as PackedStream
  return { streamId, state: state as StreamState['state'], openOffset, fence, lastOffset, detail, writerSlot }
}

function headExtra({ extra, branches }: TopicState): HeadExtra | null {
  if (branches === null) return extra
  return { ...extra, branches: branches.map(({ incarnation, next }) => [incarnation, next]) }
}

/** Bases are counted back from the end: those of a stream that runs take a byte each. */
function writeProducers(producers: readonly (ProducerState | null)[], nextOffset: number): void {
  out.varint(producers.length)
  for (const producer of producers) {
    out.u8(producer === null ? 0 : 1 + producer.bases.length)
    if (producer === null) continue
    out.shortText(producer.id)
    out.varint(producer.epoch)
    out.varint(producer.sequence + 1)
    out.varint(producer.lastUsedMs)
    for (const base of producer.bases) out.varint(nextOffset - base)
  }
}

function readProducers(reader: ByteReader, nextOffset: number): readonly (ProducerState | null)[] {
  let producers: readonly (ProducerState | null)[] = EMPTY
  for (let left = reader.varint(); left > 0; left--) {
    const size = reader.u8()
    if (size === 0) {
      producers = extended(producers, null)
      continue
    }
    const id = reader.shortText()
    const epoch = reader.varint()
    const sequence = reader.varint() - 1
    const lastUsedMs = reader.varint()
    let bases: number[] = []
    for (let i = 1; i < size; i++) bases = extended(bases, nextOffset - reader.varint())
    producers = extended(producers, { id, epoch, sequence, lastUsedMs, bases })
  }
  return producers
}

function writeStreams(streams: ReadonlyMap<string, StreamState>): void {
  out.varint(streams.size)
  for (const { streamId, state, openOffset, fence, lastOffset, detail, writerSlot } of streams.values()) {
    out.shortText(streamId)
    out.u8(STREAM_STATE[state])
    out.varint(openOffset)
    out.varint(fence)
    out.varint(lastOffset)
    out.varint(writerSlot + 1)
    out.u8(detail === null ? 0 : 1)
    if (detail !== null) writeBytes(Buffer.from(detail))
  }
}

function readStreams(reader: ByteReader): Map<string, StreamState> {
  const streams = new Map<string, StreamState>()
  for (let left = reader.varint(); left > 0; left--) {
    const streamId = reader.shortText()
    const state = streamStateName(reader.u8())
    const [openOffset, fence, lastOffset] = [reader.varint(), reader.varint(), reader.varint()]
    const writerSlot = reader.varint() - 1
    const detail = reader.u8() === 0 ? null : readLongText(reader)
    streams.set(streamId, { streamId, state, openOffset, fence, lastOffset, detail, writerSlot })
  }
  return streams
}

function readLongText(reader: ByteReader): string {
  const size = reader.varint()
  const at = reader.skip(size)
  return readText(reader.bytes, at, at + size)
}

function writeCounts({ ids, streams, context, checkpoints, large }: TableCounts): void {
  for (const count of [ids, streams, context, checkpoints, large]) out.varint(count)
}

function readCounts(reader: ByteReader, state: TopicState): void {
  const counts = countsOf(state)
  counts.ids = reader.varint()
  counts.streams = reader.varint()
  counts.context = reader.varint()
  counts.checkpoints = reader.varint()
  counts.large = reader.varint()
}

function readMore(reader: ByteReader, state: TopicState): void {
  const [policy, extra] = unpack(reader.view(reader.varint())) as More
  state.policy = policy
  if (extra === null) return
  const { branches, ...own } = extra
  if (Object.keys(own).length > 0) state.extra = own
  if (branches !== undefined) state.branches = branches.map(([incarnation, next]) => ({ incarnation, next }))
}
