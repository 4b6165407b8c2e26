/** The resident topics by name. A topic is loaded once, whoever asks first, and leaves when nothing needs it. */

import { asLitetopicError, LIMITS, LitetopicError } from '../protocol/index.ts'
import type { Loaded, Shard, TopicState } from '../storage/index.ts'
import type { Clock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'
import { Topic } from './topic.ts'

type Told = (error: LitetopicError | null, topic: Topic | null) => void

export class Registry {
  private readonly shard: Shard<CommitItem>
  private readonly clock: Clock
  private readonly topics = new Map<string, Topic>()
  /** Who waits for the topics that are being read, by name. */
  private readonly waiting = new Map<string, Told[]>()
  /** Names to be read together at the end of this turn of the loop. */
  private wanted: string[] = []
  /** How many topics in use are dormant. */
  private dormant = 0
  /** Told of each topic in use that was dormant and is resident again. */
  onAwake: (topic: Topic) => void = () => undefined
  /** Told of each topic that has become resident. */
  onResident: (topic: Topic) => void = () => undefined

  constructor(shard: Shard<CommitItem>, clock: Clock) {
    this.shard = shard
    this.clock = clock
  }

  /** The topic if it is in use, be it dormant or resident. */
  get(name: string): Topic | undefined {
    return this.topics.get(name)
  }

  /** The topic if it is resident. */
  resident(name: string): Topic | undefined {
    const topic = this.topics.get(name)
    return topic === undefined || topic.isDormant ? undefined : topic
  }

  /** Takes the state of a topic that is attached and idle out of memory. */
  sleep(topic: Topic): void {
    topic.sleep()
    this.dormant++
  }

  /** The topic, made resident if it exists. Rejects with STORE_CORRUPT or STORE_UNAVAILABLE. */
  find(name: string): Promise<Topic | null> {
    return new Promise((resolve, reject) => {
      this.whenFound(name, (error, topic) => {
        // It must not fall asleep before who waits has its turn.
        if (topic !== null) topic.lastUsedMs = this.clock.monotonicMs()
        if (error === null) resolve(topic)
        else reject(error)
      })
    })
  }

  /**
   * Tells of the topic, made resident if it exists: at once if it is resident, else when it has been read, together with all that
   * are asked for in the same turn of the loop. Who is told must decide before it waits for anything.
   */
  whenFound(name: string, told: Told): void {
    const topic = this.resident(name)
    if (topic !== undefined) {
      told(null, topic)
      return
    }
    const others = this.waiting.get(name)
    if (others !== undefined) {
      others.push(told)
      return
    }
    this.waiting.set(name, [told])
    if (this.wanted.push(name) === 1) queueMicrotask(() => this.readWanted())
    else if (this.wanted.length === LIMITS.loadTopics) this.readWanted()
  }

  private readWanted(): void {
    const names = this.wanted
    if (names.length === 0) return
    this.wanted = []
    this.shard.loadAll(names).then(
      (all) => {
        for (let i = 0; i < all.length; i++) this.loaded(names[i] as string, all[i] as Loaded)
      },
      (error: unknown) => {
        for (const name of names) this.loaded(name, asLitetopicError(error))
      },
    )
  }

  private loaded(name: string, loaded: Loaded): void {
    const waiting = this.waiting.get(name) ?? []
    this.waiting.delete(name)
    let error = loaded instanceof Error ? loaded : null
    const present = this.topics.get(name)
    if (present?.isDormant === true) {
      if (error === null && loaded === null)
        error = new LitetopicError('STORE_CORRUPT', `topic ${name} has lost its head`)
      if (error === null) this.wake(present, loaded as TopicState)
      // A topic may have been created under the name while the table was read.
    } else if (present === undefined && loaded !== null && !(loaded instanceof Error)) this.add(loaded)
    for (const told of waiting) {
      const topic = this.resident(name) ?? null
      // The first one may create it for the next; or let go of it, so that it must be read again.
      if (topic === null && loaded !== null && error === null) this.whenFound(name, told)
      else told(error, topic)
    }
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

  private wake(topic: Topic, state: TopicState): void {
    topic.wake(state, this.clock.monotonicMs())
    this.dormant--
    this.onAwake(topic)
  }

  /** Its deletion could not be stored: the name stands for it again. */
  restore(topic: Topic): void {
    topic.end = null
    topic.state.deleted = false
    this.topics.set(topic.name, topic)
  }

  /** Is this the topic that the name stands for now? */
  holds(topic: Topic): boolean {
    return this.topics.get(topic.name) === topic
  }

  /** How many are resident. */
  get size(): number {
    return this.topics.size - this.dormant
  }

  /** How many are in use and dormant. */
  get dormantSize(): number {
    return this.dormant
  }

  values(): IterableIterator<Topic> {
    return this.topics.values()
  }
}
