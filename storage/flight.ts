/** One write of the table on its way: topics brought up to date, counters, and deleted topics removed. */

import type { Counter } from './counter.ts'
import type { AnyTopic } from './graves.ts'
import type { Snapshot } from './snapshot.ts'
import type { TableChange } from './store.ts'

export class Flight {
  /** Number of the oldest commit that it, or a topic that was not flushed when it began, needs of the journal. */
  readonly since: number
  /** Number of the newest commit of which it has something. */
  upTo = 0
  readonly snapshots: Snapshot[] = []
  readonly changes: TableChange[] = []
  /** Bytes of keys and values in `changes`. */
  bytes = 0
  readonly counters = new Set<Counter>()
  /** Deleted topics that it removes. */
  readonly graves: AnyTopic[] = []
  /** Resolves when it is written, or has failed. */
  over: Promise<void> = Promise.resolve()

  constructor(since: number) {
    this.since = since
  }
}
