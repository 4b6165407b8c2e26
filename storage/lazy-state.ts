/** A topic that the journal names, and whose state is built when it is needed first. */

import type { LazyTopic } from './graves.ts'
import { loadUnloaded, type Unloaded } from './recovery.ts'
import type { Slabs } from './slabs.ts'
import type { Table } from './store.ts'
import type { TopicState } from './topic-state.ts'

export class LazyState implements LazyTopic {
  readonly name: string
  readonly epoch: number
  readonly principal: string | null
  readonly since: number
  state: TopicState | null = null
  private readonly topic: Unloaded
  private readonly table: Table
  private readonly slabs: Slabs
  private readonly loaded: (state: TopicState | null) => void
  private loading: Promise<TopicState | null> | null = null

  /** `loaded` is told of the state before anybody who waits for it. */
  constructor(topic: Unloaded, table: Table, slabs: Slabs, loaded: (state: TopicState | null) => void) {
    this.name = topic.name
    this.epoch = topic.epoch
    this.principal = topic.principal
    this.since = topic.since
    this.topic = topic
    this.table = table
    this.slabs = slabs
    this.loaded = loaded
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
    const state = await loadUnloaded(this.table, this.slabs, this.topic)
    this.state = state
    this.loaded(state)
    return state
  }
}
