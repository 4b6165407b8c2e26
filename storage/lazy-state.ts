/** A topic that the journal names, and whose state is built when it is needed first. */

import type { LazyTopic } from './graves.ts'
import { loadUnloaded, type Unloaded } from './recovery.ts'
import type { Slabs } from './slabs.ts'
import type { Table } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** What all of them share. */
export interface LazyPlace {
  readonly table: Table
  readonly slabs: Slabs
  /** Told of each state before anybody who waits for it. */
  loaded(lazy: LazyState, state: TopicState | null): void
}

export class LazyState implements LazyTopic {
  state: TopicState | null = null
  private readonly topic: Unloaded
  private readonly place: LazyPlace
  private loading: Promise<TopicState | null> | null = null

  constructor(topic: Unloaded, place: LazyPlace) {
    this.topic = topic
    this.place = place
  }

  get name(): string {
    return this.topic.name
  }

  get epoch(): number {
    return this.topic.epoch
  }

  get principal(): string | null {
    return this.topic.principal
  }

  get since(): number {
    return this.topic.since
  }

  /** The one state of the topic, whoever asks; null when it was deleted and nothing of it is left. */
  load(): Promise<TopicState | null> {
    this.loading ??= this.read().catch((error: unknown) => {
      this.loading = null
      throw error
    })
    return this.loading
  }

  private async read(): Promise<TopicState | null> {
    const { table, slabs } = this.place
    const state = await loadUnloaded(table, slabs, this.topic)
    this.state = state
    this.place.loaded(this, state)
    return state
  }
}
