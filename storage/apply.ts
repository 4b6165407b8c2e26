/**
 * What each journal operation does to the state of its topic. The same functions run when an operation is assigned and
 * when the journal is replayed, so that both give the same state.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'
import { addEffects } from './effects.ts'
import { streamOf } from './head.ts'
import { forkPoint } from './lineage.ts'
import type { Inherited, TopicExtra, TopicPolicy } from './operations.ts'
import { EMPTY, extended } from './short-list.ts'
import { changeBytes, type ProducerState, type TopicState } from './topic-state.ts'

/** Records were appended: `position` is where their batch lies, `slot` the producer's or -1. */
export function applyAppend(
  state: TopicState,
  slot: number,
  sequence: number,
  base: number,
  count: number,
  timeMs: number,
  position: number,
  size: number,
): void {
  if (base !== state.nextOffset) broken(`the offsets of ${state.name} have no gap`)
  state.nextOffset = base + count
  if (timeMs > state.lastAppendMs) state.lastAppendMs = timeMs
  changeBytes(state, size)
  state.tail = extended(state.tail, position)
  state.tailBytes += size
  if (slot >= 0) applySequence(state, slot, sequence, base, timeMs)
}

/** Gives a producer a slot. */
export function putProducer(state: TopicState, slot: number, producer: ProducerState): void {
  let producers: readonly (ProducerState | null)[] = state.producers ?? EMPTY
  while (producers.length < slot) producers = extended(producers, null)
  state.producers = slot < producers.length ? producers.with(slot, producer) : extended(producers, producer)
}

/** What the records of a batch change besides the log. */
export function applyEffects(
  state: TopicState,
  records: Uint8Array,
  from: number,
  to: number,
  base: number,
  slot: number,
): void {
  state.recent ??= {}
  addEffects(state, state.recent, records, from, to, base, slot)
}

export function applyProducer(state: TopicState, slot: number, id: string, epoch: number, timeMs: number): void {
  putProducer(state, slot, { id, epoch, sequence: -1, lastUsedMs: timeMs, bases: [] })
}

export function applySequence(state: TopicState, slot: number, sequence: number, base: number, timeMs: number): void {
  const producer = state.producers?.[slot]
  if (!producer) broken(`producer slot ${slot} of ${state.name} is taken`)
  if (sequence !== producer.sequence + 1) broken(`the sequences of a producer of ${state.name} have no gap`)
  producer.sequence = sequence
  producer.lastUsedMs = timeMs
  const { bases } = producer
  if (bases.length < LIMITS.appendsInFlight) producer.bases = extended(bases, base)
  else {
    bases.shift()
    bases.push(base)
  }
}

export function applyTrim(state: TopicState, firstOffset: number, freedBytes: number): void {
  if (firstOffset > state.nextOffset) broken(`${state.name} is trimmed within its log`)
  if (firstOffset <= state.firstOffset) return
  state.firstOffset = firstOffset
  changeBytes(state, -freedBytes)
}

export function applyPolicy(state: TopicState, policy: TopicPolicy): void {
  state.policy = { ...state.policy, ...policy }
}

/** The fence was taken by a producer, or, with null, is let go of. */
export function applyFence(state: TopicState, fence: number, holder: string | null): void {
  if (fence < state.fence) broken(`the fence of ${state.name} only rises`)
  state.fence = fence
  state.fenceHolder = holder
}

export function applyClose(state: TopicState, slot: number, sequence: number, base: number, timeMs: number): void {
  state.closed = true
  // A write as any other: it begins a time to live anew.
  if (timeMs > state.lastAppendMs) state.lastAppendMs = timeMs
  if (slot >= 0) applySequence(state, slot, sequence, base, timeMs)
}

export function applyExtra(state: TopicState, change: TopicExtra): void {
  state.extra = { ...state.extra, ...change }
}

/** A topic that was just created is a fork. Nothing that it shares is its own: to its flush and its garbage it begins at the fork point. */
export function applyFork(state: TopicState, { firstOffset, streams, branches }: Inherited): void {
  const at = forkPoint(state)
  state.firstOffset = firstOffset
  state.clearedTo = state.chunkedTo = state.flushedTo = state.nextOffset = state.committedTo = at
  if (streams.length > 0) {
    state.openStreams = new Map(streams.map(streamOf).map((stream) => [stream.streamId, stream]))
  }
  if (branches.length > 0) state.branches = branches.map(([incarnation, next]) => ({ incarnation, next }))
  // Its parent is kept by a key of its own.
  state.tableUsed = true
}

/** The text costs something: it is only made when it is needed. */
function broken(what: string): never {
  throw new LitetopicError('INTERNAL', `broken invariant: ${what}`)
}
