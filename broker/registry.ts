/** The resident topics by name. A topic is loaded once, whoever asks first, and leaves when nothing needs it. */

import type { Shard, TopicState } from '../storage/index.ts'
import type { Clock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'
import { Topic } from './topic.ts'

export class Registry {
  private readonly shard: Shard<CommitItem>
  private readonly clock: Clock
  private readonly topics = new Map<string, Topic>()
  private readonly loading = new Map<string, Promise<Topic | null>>()
  /** Told of each topic that has become resident. */
  onResident: (topic: Topic) => void = () => undefined

  constructor(shard: Shard<CommitItem>, clock: Clock) {
    this.shard = shard
    this.clock = clock
  }

  /** The topic if it is resident. */
  get(name: string): Topic | undefined {
    return this.topics.get(name)
  }

  /** The topic, made resident if it exists. */
  find(name: string): Topic | null | Promise<Topic | null> {
    const topic = this.topics.get(name)
    if (topic !== undefined) return topic
    const known = this.loading.get(name)
    if (known !== undefined) return known
    const loading = this.shard
      .load(name)
      .then((state) => {
        // A topic may have been created under the name while the table was read.
        const present = this.topics.get(name)
        if (present !== undefined) return present
        return state === null || state.deleted ? null : this.add(state)
      })
      .finally(() => this.loading.delete(name))
    this.loading.set(name, loading)
    return loading
  }

  add(state: TopicState): Topic {
    const topic = new Topic(state, this.clock.monotonicMs())
    this.topics.set(state.name, topic)
    this.onResident(topic)
    return topic
  }

  remove(topic: Topic): void {
    if (this.topics.get(topic.name) === topic) this.topics.delete(topic.name)
  }

  /** Its deletion could not be stored: the name stands for it again. */
  restore(topic: Topic): void {
    topic.ended = null
    topic.state.deleted = false
    this.topics.set(topic.name, topic)
  }

  /** Is this the topic that the name stands for now? */
  holds(topic: Topic): boolean {
    return this.topics.get(topic.name) === topic
  }

  get size(): number {
    return this.topics.size
  }

  values(): IterableIterator<Topic> {
    return this.topics.values()
  }
}
