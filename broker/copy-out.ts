/** Copies a running broker's store into a new data directory, at a pace that leaves its commits their turn. */

import { LIMITS } from '../protocol/index.ts'
import { copySnapshot, openLevelStore } from '../storage/index.ts'
import type { Context } from './context.ts'

/**
 * The copy has all that was acknowledged when this is called, and is of one commit. It is as it lies in the store: whoever
 * asked for it makes it a history of its own. Rejects with DATA_DIR_IN_USE, DATA_DIR_UNUSABLE, STORE_UNAVAILABLE,
 * STORE_CORRUPT or the signal's reason.
 */
export async function copyOut(
  { shard, clock }: Context,
  path: string,
  copied: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const target = await openLevelStore(path)
  try {
    const snapshot = shard.store.snapshot()
    try {
      await copySnapshot(snapshot, target, {
        async piece(bytes) {
          copied(bytes)
          signal.throwIfAborted()
          await shard.log.whenAllDurable()
          await new Promise<void>((resolve) => clock.after(LIMITS.copyPauseMs, resolve))
        },
      })
    } finally {
      await snapshot.close()
    }
  } finally {
    await target.close()
  }
}
