/**
 * Deleted topics of which the table may still have something. Until that is removed, a grave keeps their heads from being
 * taken for topics; and it is removed before the head of a successor of the same name is written.
 */

import { hidingChanges, kinshipOf } from './forks.ts'
import { garbageMark } from './garbage.ts'
import { headKey, openStreamsKey, timerKey } from './keys.ts'
import type { TableChange } from './store.ts'
import { TopicState } from './topic-state.ts'

/** A topic in the journal whose state must be loaded before it can be flushed. */
export interface LazyTopic {
  readonly name: string
  readonly epoch: number
  readonly principal: string | null
  /** Number of the oldest commit that names it. */
  readonly since: number
  /** Its state once it is loaded. */
  readonly state: TopicState | null
  /** Null when the topic was deleted and nothing of it is left. Rejects with STORE_CORRUPT. */
  load(): Promise<TopicState | null>
}

export type AnyTopic = TopicState | LazyTopic

export function isLazy(topic: AnyTopic): topic is LazyTopic {
  return !(topic instanceof TopicState)
}

const NONE: readonly AnyTopic[] = []

export class Graves {
  /** Several under one name when it was used and deleted again before a flush; the table has the head of one at most. */
  private readonly byName = new Map<string, AnyTopic[]>()
  private readonly underWay = new Set<AnyTopic>()
  private readonly epochs = new Set<number>()
  /** Epochs removed from the table while heads were being read: what was read may be from before. */
  private removed: number[] = []
  private readers = 0

  add(topic: AnyTopic): void {
    this.epochs.add(topic.epoch)
    const graves = this.byName.get(topic.name)
    if (graves === undefined) this.byName.set(topic.name, [topic])
    else graves.push(topic)
  }

  /** Does a head of that epoch, read within `reading`, belong to a deleted topic? */
  isDead(epoch: number): boolean {
    return this.epochs.has(epoch)
  }

  /** Runs work that reads heads in the table and asks `isDead`. */
  async reading<T>(work: () => Promise<T>): Promise<T> {
    this.readers++
    try {
      return await work()
    } finally {
      if (--this.readers === 0) for (const epoch of this.removed.splice(0)) this.epochs.delete(epoch)
    }
  }

  /** Was a topic of that name deleted that the table still has? */
  has(name: string): boolean {
    return this.byName.has(name)
  }

  /** Deleted topics of that name that the table may still have something of. */
  of(name: string): readonly AnyTopic[] {
    return this.byName.get(name) ?? NONE
  }

  /** Is something under that name that `bury` has not been asked to remove yet? */
  isOpen(name: string): boolean {
    return this.next(name) !== undefined
  }

  /**
   * Adds the changes that remove the deleted topics of that name from the table, and tells of each. `buried` is to be called
   * once they are durable. Rejects with STORE_CORRUPT.
   */
  async bury(name: string, changes: TableChange[], told: (topic: AnyTopic) => void): Promise<void> {
    for (let grave = this.next(name); grave !== undefined; grave = this.next(name)) {
      const state = isLazy(grave) ? await grave.load() : grave
      this.underWay.add(grave)
      told(grave)
      if (state === null) continue
      state.dirtySince = 0
      addBurial(state, changes)
    }
  }

  /** The table has the changes that remove these. */
  buried(graves: readonly AnyTopic[]): void {
    for (const grave of graves) {
      this.underWay.delete(grave)
      const left = this.of(grave.name).filter((other) => other !== grave)
      if (left.length > 0) this.byName.set(grave.name, left)
      else this.byName.delete(grave.name)
      if (this.readers === 0) this.epochs.delete(grave.epoch)
      else this.removed.push(grave.epoch)
    }
  }

  private next(name: string): AnyTopic | undefined {
    return this.of(name).find((grave) => !this.underWay.has(grave))
  }
}

/** The head goes last: while it is there, a start after a crash in between finds all that must be removed. */
function addBurial(state: TopicState, changes: TableChange[]): void {
  // Parts are there before their record is flushed; those of no record are deleted with their uploads.
  const hasParts = state.recent?.uploads !== undefined || state.flushing?.uploads !== undefined
  const kinship = kinshipOf(state)
  if (kinship?.forked === true) changes.push(...hidingChanges(state))
  if (state.tableUsed || hasParts || kinship !== null) changes.push(garbageMark(state.epoch, kinship))
  if (state.storedDueMs !== 0) changes.push({ key: timerKey(state.storedDueMs, state.epoch), value: null })
  if (state.openStreamsStored !== false) changes.push({ key: openStreamsKey(state.epoch), value: null })
  if (state.headStored) changes.push({ key: headKey(state.name), value: null })
}
