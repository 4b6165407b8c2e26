/**
 * What a broker has done since it started, as plain numbers: to count costs an addition, and nothing is kept of any one topic, so
 * that it costs the same with ten topics and ten million. `metrics.ts` shows them to Prometheus.
 */

import type { ErrorCode, KindNumber, ResumeOutcome, StreamState } from '../../protocol/index.ts'

/** More than the number of any kind of record. */
const KINDS = 8

/** What is measured of each commit, for who wants to know how it is spread. */
export interface Samples {
  /** A commit is durable: milliseconds from its first operation on, and its size. */
  commit(ms: number, bytes: number): void
  /** The journal was written, with the fsync; one write stores several commits when they are large. */
  journalWrite(ms: number): void
}

export class Counts {
  readonly samples: Samples
  /** What clients sent to be appended, by number of the kind, refused or not. */
  readonly receivedRecords = new Float64Array(KINDS)
  readonly receivedBytes = new Float64Array(KINDS)
  /** What readers were given: as it was committed, and what was read for them because they were behind it. */
  readonly delivered = { live: { records: 0, bytes: 0 }, stored: { records: 0, bytes: 0 } }
  /** Stream records written, by their state. */
  readonly streams = new Map<StreamState, number>()
  readonly resumes = new Map<ResumeOutcome, number>()
  readonly rejected = new Map<ErrorCode, number>()
  readonly topics = { created: 0, deleted: 0, reclaimed: 0 }
  /** Chunks written into the table. */
  chunks = 0
  /** Publishers that were not read from for a while. */
  pauses = 0
  /** Readers that fell behind what is committed, and were left to read what is stored. */
  readersBehind = 0

  constructor(samples: Samples) {
    this.samples = samples
  }

  received(kind: KindNumber, bytes: number): void {
    this.receivedRecords[kind] = (this.receivedRecords[kind] as number) + 1
    this.receivedBytes[kind] = (this.receivedBytes[kind] as number) + bytes
  }

  gave(how: 'live' | 'stored', records: number, bytes: number): void {
    const delivered = this.delivered[how]
    delivered.records += records
    delivered.bytes += bytes
  }
}

export function increment<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
