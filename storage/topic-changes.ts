/**
 * What can be done to a topic. Each change goes into the commit that gathers now and into the state in memory at once; replaying
 * the journal does the same to the state again, by the same functions.
 */

import { invariant, LIMITS } from '../protocol/index.ts'
import {
  applyAppend,
  applyClose,
  applyEffects,
  applyExtra,
  applyFence,
  applyFork,
  applyPolicy,
  applyProducer,
  applySequence,
  applyTrim,
} from './apply.ts'
import type { CommitLog, ShardAppend } from './commit-log.ts'
import type { Flusher } from './flusher.ts'
import { type Forks, kinshipOf } from './forks.ts'
import { packStream } from './head.ts'
import { linksAt } from './lineage.ts'
import type { TopicExtra, TopicPolicy } from './operations.ts'
import { type StreamState, TopicState } from './topic-state.ts'
import type { Usage } from './usage.ts'

/** More than the creation of a fork needs, with its lineage and the streams that it finds open. */
export const FORK_BYTES = 64 * 1024

/** Of a fork, what it does not have from its parent. */
export interface ForkFacts {
  readonly createdMs: number
  readonly policy: TopicPolicy | null
  readonly extra: TopicExtra | null
  readonly streams: readonly StreamState[]
  /** Of records that are appended to it in the same commit. */
  readonly givenBytes?: number
}

export abstract class TopicChanges<Item> {
  abstract readonly log: CommitLog<Item>
  /** What there is of topics and bytes. */
  abstract readonly usage: Usage
  protected abstract readonly flusher: Flusher
  protected abstract readonly forks: Forks

  /** A new topic, in memory and in the commit that gathers now. The caller has made sure that the name is free. */
  create(
    name: string,
    createdMs: number,
    policy: TopicPolicy | null,
    item: Item | null,
    extra: TopicExtra | null = null,
  ): TopicState {
    this.log.check()
    const epoch = this.log.nextEpoch()
    const state = new TopicState(name, epoch, createdMs, policy, extra)
    this.log.write(state, 'create', [epoch, name, createdMs, policy, extra], item)
    this.usage.change(state, 1, 0)
    return state
  }

  /**
   * A new topic that shares the records of another one before an offset, up to which that was prepared (`prepareFork`), and has not been
   * trimmed. `streams` are those open there. The caller has made sure that the name is free.
   */
  fork(
    parent: TopicState,
    at: number,
    name: string,
    { createdMs, policy, extra, streams, givenBytes = 0 }: ForkFacts,
    item: Item | null,
  ): TopicState {
    this.log.check()
    this.log.reserve(FORK_BYTES)
    const epoch = this.log.nextEpoch()
    const fork = { name: parent.name, links: linksAt(parent, at), ...(givenBytes > 0 && { givenBytes }) }
    const inherited = {
      firstOffset: parent.firstOffset,
      streams: streams.map(packStream),
      branches: (parent.branches ?? []).map(({ incarnation, next }) => [incarnation, Math.min(next, at)] as const),
    }
    const whole = { ...extra, fork }
    const state = new TopicState(name, epoch, createdMs, policy, whole)
    this.log.write(state, 'create', [epoch, name, createdMs, policy, whole, inherited], item)
    applyFork(state, inherited)
    this.forks.add(parent.epoch, epoch)
    this.usage.change(state, 1, 0)
    return state
  }

  /** Appends records at the topic's next offset and returns the position of their batch in memory. */
  append(state: TopicState, append: ShardAppend<Item>): number {
    const { log } = this
    const { nextOffset: base, bytes } = state
    const position = log.append(state, append)
    applyAppend(state, append.slot, append.sequence, base, append.count, append.timeMs, position, log.batchBytes)
    if (append.effects) applyEffects(state, append.source, append.from, append.to, base, append.slot)
    this.usage.change(state, 0, state.bytes - bytes)
    if (state.tailBytes - state.flushingBytes >= LIMITS.chunkBytes) this.flusher.hurry(state)
    return position
  }

  /** Gives a producer a slot, or a new producer epoch in it. */
  setProducer(state: TopicState, slot: number, id: string, producerEpoch: number, timeMs: number): void {
    this.log.write(state, 'producer', [state.epoch, slot, id, producerEpoch, timeMs], null)
    applyProducer(state, slot, id, producerEpoch, timeMs)
  }

  /** Uses a sequence without a record. `base` is what a repeat is answered with, or -1. */
  advance(state: TopicState, slot: number, sequence: number, base: number, timeMs: number, item: Item): void {
    this.log.write(state, 'advance', [state.epoch, slot, sequence, base, timeMs], item)
    applySequence(state, slot, sequence, base, timeMs)
  }

  setPolicy(state: TopicState, policy: TopicPolicy, item: Item): void {
    this.log.write(state, 'policy', [state.epoch, policy], item)
    applyPolicy(state, policy)
  }

  /** Gives the topic's fence to a producer, or, with null, takes it from the one that has it. */
  setFence(state: TopicState, fence: number, holder: string | null, item: Item): void {
    this.log.write(state, 'fence', [state.epoch, fence, holder], item)
    applyFence(state, fence, holder)
  }

  /** Makes `firstOffset` the first one kept. `slot` is -1 for the broker's own retention. */
  trim(
    state: TopicState,
    slot: number,
    sequence: number,
    firstOffset: number,
    freedBytes: number,
    timeMs: number,
    item: Item,
  ): void {
    this.log.write(state, 'trim', [state.epoch, slot, sequence, firstOffset, freedBytes, timeMs], item)
    const { bytes } = state
    applyTrim(state, firstOffset, freedBytes)
    this.usage.change(state, 0, state.bytes - bytes)
    if (slot >= 0) applySequence(state, slot, sequence, firstOffset, timeMs)
  }

  /**
   * Has all changes of topics that `change` makes go into one commit, and thus happen together or not at all. It makes few, with
   * no more than so many bytes of records, ids and principals.
   */
  together(bytes: number, change: () => void): void {
    this.log.reserve(bytes)
    const { number } = this.log
    change()
    invariant(this.log.number === number, 'changes that belong together are in one commit')
  }

  /**
   * The topic takes no more records from here on; not to be called while it has open streams. Uses a sequence of a producer, with `base`
   * for what a repeat is answered with; none if `slot` is -1.
   */
  closeTopic(state: TopicState, slot: number, sequence: number, base: number, timeMs: number, item: Item): void {
    this.log.write(state, 'close', [state.epoch, slot, sequence, base, timeMs], item)
    applyClose(state, slot, sequence, base, timeMs)
  }

  /** Changes what is given of the topic's extra. */
  setExtra(state: TopicState, change: TopicExtra, item: Item | null): void {
    this.log.write(state, 'extra', [state.epoch, change], item)
    applyExtra(state, change)
  }

  /** The same for what need not survive a crash, and is no operation: the next flush stores it. */
  noteExtra(state: TopicState, change: TopicExtra): void {
    applyExtra(state, change)
    this.log.mark(state)
  }

  delete(state: TopicState, item: Item): void {
    this.log.write(state, 'delete', [state.epoch, state.name, state.bytes], item)
    state.deleted = true
    this.usage.change(state, -1, -state.bytes)
    this.flusher.addGrave(state)
    if (kinshipOf(state) === null) return
    // Who waits for a flush of it waits in vain; and whether its name is hidden is to be known soon.
    this.forks.flushed(state)
    this.flusher.hurry(state)
  }
}
