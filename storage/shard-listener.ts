/** Who uses a shard, as the shard sees it. */

import type { LitetopicError } from '../protocol/index.ts'
import type { CommitListener } from './commit-log.ts'
import type { FlusherListener } from './flusher.ts'

export interface ShardListener<Item> extends CommitListener<Item>, Omit<FlusherListener, 'buried' | 'stopped'> {
  /** Once: nothing can be written any more, until the store is opened anew. What is committed can be read on. */
  broken(error: LitetopicError): void
}

/** For a shard that serves nobody. What falls due is looked at when a broker starts, which knows the policies. */
export function silentListener(failed: (error: LitetopicError) => void): ShardListener<never> {
  const nothing = (): undefined => undefined
  return {
    committed: nothing,
    failed: nothing,
    lingerMs: () => 0,
    flushed: nothing,
    truncated: nothing,
    flushFailed: failed,
    broken: failed,
  }
}
