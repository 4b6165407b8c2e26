/**
 * Sequences of producers, which make every mutation happen once: what is next, what is a repeat, and which producer may
 * be forgotten. The decisions are pure; the caller writes them down. See PROTOCOL.md, Sequences.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'
import type { ProducerState, TopicState } from '../storage/index.ts'
import type { Clock } from './clock.ts'

export type Verdict =
  /** The next one. `begin` when the producer, or its new epoch, must be written down first. */
  | { readonly kind: 'next'; readonly slot: number; readonly begin: boolean }
  /** Done already: answer with the base offset it had, or -1 if it stored no record. */
  | { readonly kind: 'repeat'; readonly slot: number; readonly base: number }

/** By slot: made once, as nearly every append gets one of these. */
const NEXT = Array.from(
  { length: LIMITS.producersPerTopic },
  (_, slot): Verdict => ({ kind: 'next', slot, begin: false }),
)

/** Throws PRODUCER_UNKNOWN, PRODUCER_STALE, PRODUCER_LIMIT or SEQUENCE_GAP. */
export function judgeSequence(
  state: TopicState,
  producerId: string,
  epoch: number,
  sequence: number,
  clock: Pick<Clock, 'wallMs'>,
): Verdict {
  const slot = findSlot(state, producerId)
  const producer = slot < 0 ? null : (state.producers?.[slot] as ProducerState)
  if (producer === null || epoch > producer.epoch) {
    if (sequence !== 0) throw unknownStart(state, producer, sequence)
    return { kind: 'next', slot: slot < 0 ? freeSlot(state, clock.wallMs()) : slot, begin: true }
  }
  if (epoch < producer.epoch) {
    throw new LitetopicError(
      'PRODUCER_STALE',
      `producer epoch ${epoch} of topic ${state.name} was superseded by ${producer.epoch}`,
      { producerEpoch: producer.epoch },
    )
  }
  if (sequence === producer.sequence + 1) return NEXT[slot] as Verdict
  const base = producer.bases[producer.bases.length - 1 - (producer.sequence - sequence)]
  if (sequence <= producer.sequence && base !== undefined) return { kind: 'repeat', slot, base }
  throw new LitetopicError(
    'SEQUENCE_GAP',
    `topic ${state.name} expects sequence ${producer.sequence + 1} of this producer, not ${sequence}`,
    { expected: producer.sequence + 1, sequence },
  )
}

/** Slot of the producer, or -1. */
export function findSlot(state: TopicState, producerId: string): number {
  const { producers } = state
  if (producers === null) return -1
  for (let slot = 0; slot < producers.length; slot++) if (producers[slot]?.id === producerId) return slot
  return -1
}

function unknownStart(state: TopicState, producer: ProducerState | null, sequence: number): LitetopicError {
  if (producer !== null) {
    return new LitetopicError('SEQUENCE_GAP', `a new producer epoch begins with sequence 0, not ${sequence}`, {
      expected: 0,
      sequence,
      producerEpoch: producer.epoch,
    })
  }
  return new LitetopicError(
    'PRODUCER_UNKNOWN',
    `topic ${state.name} does not know this producer, which goes on at sequence ${sequence}`,
    { sequence },
  )
}

/**
 * What was acknowledged to the producer will not be sent again: it is the first to be forgotten when there is no slot left. Not
 * written down by itself: where that is lost, it is kept for the hour.
 */
export function letGoOfProducer(state: TopicState, producerId: string | null): void {
  const producer = producerId === null ? null : state.producers?.[findSlot(state, producerId)]
  if (producer) producer.lastUsedMs = 0
}

/** A slot nobody has, or that of the producer unused for longest, if it may be forgotten: not while its stream is open. */
function freeSlot(state: TopicState, nowMs: number): number {
  const producers = state.producers ?? []
  const empty = producers.indexOf(null)
  if (empty >= 0) return empty
  if (producers.length < LIMITS.producersPerTopic) return producers.length
  const writing = new Set([...(state.openStreams?.values() ?? [])].map((stream) => stream.writerSlot))
  let oldest = -1
  let oldestMs = nowMs - LIMITS.producerKeepMs
  producers.forEach((producer, slot) => {
    if (producer === null || writing.has(slot) || producer.lastUsedMs > oldestMs) return
    oldest = slot
    oldestMs = producer.lastUsedMs
  })
  if (oldest < 0) {
    throw new LitetopicError(
      'PRODUCER_LIMIT',
      `topic ${state.name} has ${LIMITS.producersPerTopic} producers, all used within the hour and not detached, or with an open stream`,
      { limit: 'producersPerTopic', bound: LIMITS.producersPerTopic },
    )
  }
  return oldest
}
