/**
 * The state of one topic.
 *
 * Offsets divide a topic's log: [firstOffset, chunkedTo) is in chunks, [chunkedTo, flushedTo) in `inline`, the rest in
 * the tail, which points into the journal. Readers see what lies below committedTo.
 */

import type { ContextOp, DataInfo, StreamInfo } from '../protocol/index.ts'
import type { Counter } from './counter.ts'
import type { InlineTail } from './inline-tail.ts'
import type { TopicExtra, TopicPolicy } from './operations.ts'
import { EMPTY } from './short-list.ts'

/** Epochs are commit number times this, plus the index of the creation within the commit. */
export const EPOCHS_PER_COMMIT = 4096

export interface ProducerState {
  id: string
  epoch: number
  /** The last sequence accepted; -1 at the beginning of a producer epoch. */
  sequence: number
  lastUsedMs: number
  /** Base offsets of the newest sequences, the last one belonging to `sequence`; -1 where no record was stored. */
  bases: number[]
}

export interface StreamState {
  readonly streamId: string
  state: StreamInfo['state']
  readonly openOffset: number
  /** Offset of the newest `open` or `resumed` record: who writes must name it. */
  fence: number
  /** Offset of the newest stream record. */
  lastOffset: number
  /** JSON text of the newest stream record, or null. */
  detail: string | null
  /** Slot of the producer that the fence was given to; -1 for none. */
  writerSlot: number
}

export interface ContextVersion {
  readonly name: string
  readonly offset: number
  readonly op: ContextOp
  readonly data: DataInfo
}

export interface CheckpointEntry {
  readonly name: string
  readonly offset: number
}

/** How far a topic is the same as in an earlier history, from which its store was copied. */
export interface Branch {
  /** Store incarnation of that history. */
  readonly incarnation: string
  /** The offset after the last record that both have. */
  readonly next: number
}

/** Each list is made when it is needed: most appends have none. */
export interface Effects {
  ids?: Map<string, number>
  context?: ContextVersion[]
  checkpoints?: CheckpointEntry[]
  /** Streams that ended. */
  ended?: Map<string, StreamState>
  /** Uploads that became large messages, and the offsets of those. */
  uploads?: Map<string, number>
}

/** How many entries of each kind the table holds beyond what is in memory; 0 saves looking. */
export interface TableCounts {
  ids: number
  streams: number
  context: number
  checkpoints: number
  /** Large messages. */
  large: number
}

export class TopicState {
  readonly name: string
  readonly epoch: number
  /** What few topics have. */
  extra: TopicExtra | null
  createdMs: number
  lastAppendMs: number
  firstOffset = 0
  chunkedTo = 0
  flushedTo = 0
  nextOffset = 0
  committedTo = 0
  /** Of the batches with a record that is kept; see `storedBytes`. Changed by `changeBytes` only. */
  bytes = 0
  /** Chunks below this offset, and index entries of their records, have been deleted. */
  clearedTo = 0
  /** Takes no more records; and is that durable, so that readers may be told? */
  closed = false
  closeCommitted = false
  policy: TopicPolicy | null
  /** How often an exclusive session has taken the topic: who writes must have attached under this number. */
  fence = 0
  /** Id of the producer that holds the fence, and alone may write; null while nobody does. */
  fenceHolder: string | null = null
  producers: readonly (ProducerState | null)[] | null = null
  /** Streams that have not ended, by id. */
  openStreams: Map<string, StreamState> | null = null

  /** What it has in common with earlier histories, oldest first; null for a topic of this one. */
  branches: readonly Branch[] | null = null

  inline: InlineTail | null = null
  /** Positions of the batches from flushedTo on. */
  tail: readonly number[] = EMPTY
  tailBytes = 0
  /** The next flush leaves nothing in the head: forks read chunks only. */
  wantsChunks = false
  /** Bytes of the tail that a flush under way covers. */
  flushingBytes = 0
  /** Entries of the indexes that are not in the table yet: of the tail, and of a flush under way. */
  recent: Effects | null = null
  flushing: Effects | null = null
  counts: TableCounts | null = null

  /** When the topic must be looked at next, as milliseconds since 1970; 0 for never. Written at the next flush. */
  dueMs = 0
  storedDueMs = 0
  /** Is there a head in the table, and are there chunks or index entries? */
  headStored = false
  tableUsed = false
  /** Unknown when a flush may have been cut off between the index of open streams and the head. */
  openStreamsStored: boolean | 'unknown' = false
  /** Number of the oldest commit with an operation not in the table; 0 when all are. */
  dirtySince = 0
  /** Flushes that the table has. */
  flushes = 0
  /** Named in the journal since the last flush. */
  introduced = false
  deleted = false
  /** What counts it, of the longest prefix; once something has changed. */
  counter: Counter | null = null

  constructor(
    name: string,
    epoch: number,
    createdMs: number,
    policy: TopicPolicy | null,
    extra: TopicExtra | null = null,
  ) {
    this.extra = extra
    this.name = name
    this.epoch = epoch
    this.createdMs = createdMs
    this.lastAppendMs = createdMs
    this.policy = policy
  }

  /** Who created it, once access is configured. */
  get principal(): string | null {
    return this.extra?.principal ?? null
  }
}

export function countsOf(state: TopicState): TableCounts {
  state.counts ??= { ids: 0, streams: 0, context: 0, checkpoints: 0, large: 0 }
  return state.counts
}

/** The topic keeps so many bytes more, or less. */
export function changeBytes(state: TopicState, by: number): void {
  state.bytes += by
}
