/** How many topics there are under a prefix, or of a principal, and how many bytes they have. */

/** What a counter needs to know of a topic. */
export interface CountedTopic {
  readonly name: string
  readonly epoch: number
  readonly bytes: number
  readonly deleted: boolean
}

/** Tells the topics that a count under way has seen from those that it has not. */
export interface Count {
  /** Notes the topic as seen; false if it was before. */
  see(topic: CountedTopic): boolean
}

export class Counter {
  /** In the table; null for one that is counted anew by each start. */
  readonly key: Buffer | null
  /** Of the next shorter prefix. */
  readonly parent: Counter | null
  /** Without what the table has and was not looked up, and what a count under way has not seen. */
  topics = 0
  bytes = 0
  /** Are `topics` and `bytes` all there is? */
  whole = false
  /** Changed since the flush that the table has. */
  dirty = false
  /** Somebody looks at it: it stays in memory. */
  watched = false
  /** What the table has of it cannot be read. */
  damaged = false
  /** Not in memory any more: ask for the one of the name again. */
  dropped = false
  count: Count | null = null

  constructor(key: Buffer | null, parent: Counter | null) {
    this.key = key
    this.parent = parent
  }

  /** A topic has changed, by so much; it is now as it is given. */
  change(topic: CountedTopic, topics: number, bytes: number): void {
    this.dirty = true
    if (this.count?.see(topic)) this.add(topic)
    else {
      this.topics += topics
      this.bytes += bytes
    }
  }

  /** A topic that is not counted yet. */
  add({ deleted, bytes }: CountedTopic): void {
    if (deleted) return
    this.topics++
    this.bytes += bytes
  }
}
