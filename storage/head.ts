/**
 * A head is the stored state of a topic, as of an operation of a commit, with its tail inside while that is small.
 * See FORMAT.md, Heads.
 */

import { LitetopicError, pack, unpack } from '../protocol/index.ts'
import { putProducer } from './apply.ts'
import { headKey } from './keys.ts'
import type { TopicExtra, TopicPolicy } from './operations.ts'
import { seal, unseal } from './seal.ts'
import { countsOf, type StreamState, type TableCounts, TopicState, topicExtra } from './topic-state.ts'

export const HEAD_FORMAT = 1
export const FLAG = { closed: 1, tableUsed: 2, openStreams: 4 } as const

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

type PackedProducer = [slot: number, id: string, epoch: number, sequence: number, lastUsedMs: number, bases: number[]]
type PackedStream = [
  id: string,
  state: string,
  open: number,
  fence: number,
  last: number,
  detail: string | null,
  writerSlot: number,
]
type PackedHead = [
  format: number,
  epoch: number,
  commit: number,
  operations: number,
  flags: number,
  createdMs: number,
  lastAppendMs: number,
  firstOffset: number,
  chunkedTo: number,
  nextOffset: number,
  clearedTo: number,
  bytes: number,
  fence: number | [fence: number, holder: string],
  dueMs: number,
  policy: TopicPolicy | null,
  producers: PackedProducer[] | null,
  openStreams: PackedStream[] | null,
  counts: [ids: number, streams: number, context: number, checkpoints: number, large?: number] | null,
  inline: Uint8Array | null,
  /** Room for content type, time to live, expiry, fork parent. */
  extra: HeadExtra | null,
]
type PackedBranch = [incarnation: string, next: number]
type HeadExtra = TopicExtra & { readonly branches?: PackedBranch[] }

/** The value for the topic's head, whose key it is sealed with. */
export function encodeHead(key: Uint8Array, state: TopicState, plan: HeadPlan): Buffer {
  const flags =
    (state.closed ? FLAG.closed : 0) |
    (plan.tableUsed ? FLAG.tableUsed : 0) |
    (state.openStreams !== null && state.openStreams.size > 0 ? FLAG.openStreams : 0)
  const counts = state.counts
  const head: PackedHead = [
    HEAD_FORMAT,
    state.epoch,
    plan.asOf.commit,
    plan.asOf.operations,
    flags,
    state.createdMs,
    state.lastAppendMs,
    state.firstOffset,
    plan.chunkedTo,
    state.nextOffset,
    state.clearedTo,
    state.bytes,
    state.fenceHolder === null ? state.fence : [state.fence, state.fenceHolder],
    state.dueMs,
    state.policy,
    packProducers(state),
    packStreams(state),
    counts === null ? null : packCounts(counts),
    plan.inline,
    headExtra(state),
  ]
  return seal(key, pack(head))
}

/** The state that a head holds, and the point in the journal that it is of. Throws STORE_CORRUPT. */
export function decodeHead(name: string, value: Uint8Array): { state: TopicState; asOf: AsOf } {
  const head = unpack(unseal(headKey(name), value, `the head of topic ${name}`)) as PackedHead
  if (head[0] !== HEAD_FORMAT) {
    throw new LitetopicError('STORE_CORRUPT', `the head of topic ${name} has format ${head[0]}, unknown here`)
  }
  const [, epoch, commit, operations, flags, createdMs, lastAppendMs, firstOffset, chunkedTo, nextOffset] = head
  const state = new TopicState(name, epoch, createdMs, head[14], head[19]?.principal ?? null)
  state.lastAppendMs = lastAppendMs
  state.firstOffset = firstOffset
  state.chunkedTo = chunkedTo
  state.flushedTo = state.nextOffset = state.committedTo = nextOffset
  state.clearedTo = head[10]
  state.bytes = head[11]
  const fence = head[12]
  if (typeof fence === 'number') state.fence = fence
  else [state.fence, state.fenceHolder] = fence
  state.dueMs = state.storedDueMs = head[13]
  state.closed = (flags & FLAG.closed) !== 0
  state.tableUsed = (flags & FLAG.tableUsed) !== 0
  state.openStreamsStored = (flags & FLAG.openStreams) !== 0
  state.headStored = true
  for (const producer of head[15] ?? []) unpackProducer(state, producer)
  for (const stream of head[16] ?? []) unpackStream(state, stream)
  if (head[17] !== null) {
    const [ids, streams, context, checkpoints, large = 0] = head[17]
    Object.assign(countsOf(state), { ids, streams, context, checkpoints, large })
  }
  state.inline = head[18] === null ? null : Buffer.from(head[18])
  const branches = head[19]?.branches
  if (branches !== undefined) state.branches = branches.map(([incarnation, next]) => ({ incarnation, next }))
  return { state, asOf: { commit, operations } }
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

function headExtra(state: TopicState): HeadExtra | null {
  const extra = topicExtra(state)
  if (state.branches === null) return extra
  return { ...extra, branches: state.branches.map(({ incarnation, next }) => [incarnation, next]) }
}

/** The last one is there only for topics that have had one. */
function packCounts({ ids, streams, context, checkpoints, large }: TableCounts): PackedHead[17] {
  return large === 0 ? [ids, streams, context, checkpoints] : [ids, streams, context, checkpoints, large]
}

function packProducers(state: TopicState): PackedProducer[] | null {
  if (state.producers === null) return null
  const packed: PackedProducer[] = []
  state.producers.forEach((producer, slot) => {
    if (producer === null) return
    packed.push([slot, producer.id, producer.epoch, producer.sequence, producer.lastUsedMs, producer.bases])
  })
  return packed
}

function unpackProducer(state: TopicState, packed: PackedProducer): void {
  const [slot, id, epoch, sequence, lastUsedMs, bases] = packed
  putProducer(state, slot, { id, epoch, sequence, lastUsedMs, bases })
}

function packStreams(state: TopicState): PackedStream[] | null {
  if (state.openStreams === null || state.openStreams.size === 0) return null
  return [...state.openStreams.values()].map(packStream)
}

function unpackStream(state: TopicState, packed: PackedStream): void {
  state.openStreams ??= new Map()
  state.openStreams.set(packed[0], streamOf(packed))
}
