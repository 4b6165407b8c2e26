/** What the operations share: the shard, the clock, the resident topics and the policies. */

import { asLitetopicError, type LitetopicError } from '../protocol/index.ts'
import type { Shard } from '../storage/index.ts'
import type { Gate } from './access/gate.ts'
import type { Clock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'
import { CallbackItem } from './committer.ts'
import type { Crowds } from './crowd.ts'
import type { Counts } from './observe/counts.ts'
import { type EffectivePolicy, effectivePolicy, type PolicyTable } from './policy.ts'
import type { Registry } from './registry.ts'
import type { Scopes } from './scopes.ts'
import type { Topic } from './topic.ts'
import type { Uploads } from './uploads.ts'

export interface Context {
  readonly shard: Shard<CommitItem>
  readonly clock: Clock
  /**
   * The wall time at the start, and what has passed since: stored times at which something falls due are by it, so that nothing
   * ends early or late when the wall clock is set.
   */
  readonly steadyWallMs: () => number
  /** What clients may do. */
  readonly gate: Gate
  readonly registry: Registry
  readonly policies: PolicyTable
  readonly scopes: Scopes
  readonly uploads: Uploads
  readonly crowds: Crowds
  readonly counts: Counts
  /** After a writer's connection dropped, how long its streams wait before they are lost. */
  readonly streamGraceMs: number
  /** How long a resident topic that nobody uses stays in memory. */
  readonly residencyIdleMs: number
  /** Tells the operator of an error that no client waits for. */
  readonly report: (error: LitetopicError) => void
}

export function policyOf(context: Context, topic: Topic): EffectivePolicy {
  return effectivePolicy(context.policies, topic.name, topic.state.policy)
}

/** Resolves when all that was assigned, to this topic or to any, is durable; rejects with STORE_UNAVAILABLE if it is not to be. */
export function allCommitted({ shard }: Context, topic: Topic | null): Promise<void> {
  if (topic !== null && shard.log.isSettled(topic.state.epoch)) return Promise.resolve()
  return new Promise((resolve, reject) => shard.log.afterCommit(new CallbackItem(resolve, reject)))
}

/**
 * Tells of an error when all that it may follow from is durable: a topic that is gone, a stream that has ended. If that is not
 * stored it is not so, and the store's own error is told.
 */
export function whenTrue(context: Context, error: LitetopicError, tell: (error: LitetopicError) => void): void {
  try {
    context.shard.log.afterCommit(new CallbackItem(() => tell(error), tell))
  } catch (failure) {
    tell(asLitetopicError(failure))
  }
}
