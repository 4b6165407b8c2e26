/** Finds the topics of a waker, and how far they go: when it is made, and after a start. */

import { LIMITS } from '../../protocol/index.ts'
import type { Context } from '../context.ts'
import { type Coverage, type Extent, extentOf, matchesWaker, NO_TOPIC } from './coverage.ts'
import { literalStart } from './glob.ts'
import { checkBound } from './request.ts'
import { type Covered, Link, type Waker } from './waker.ts'

export class Survey {
  private readonly context: Context
  private readonly coverage: Coverage
  private readonly log: (line: string) => void

  constructor(context: Context, coverage: Coverage, log: (line: string) => void) {
    this.context = context
    this.coverage = coverage
    this.log = log
  }

  /**
   * Links the topics that the waker's pattern matches: for a new waker at their ends, else from their beginning, since what was
   * there before the waker was linked when it was made. Links to topics that are no more are dropped, unless they are explicit.
   * Rejects with LIMIT_EXCEEDED if a new waker has too many topics.
   */
  async of(waker: Waker, isNew: boolean): Promise<void> {
    waker.surveying = new Set()
    try {
      const seen = await this.matching(waker, isNew)
      for (const link of [...waker.links.values()]) {
        if (seen.has(link)) continue
        this.note(link.topic, await this.extent(link.topic.name))
        if (link.topic.epoch === 0 && !link.explicit) this.drop(waker, link)
      }
      // What was created or appended to meanwhile, and is on no page: it is newer than the waker.
      for (const name of waker.surveying) {
        if (!waker.links.has(name)) this.linkNew(waker, name, await this.extent(name))
      }
    } finally {
      waker.surveying = null
    }
    for (const link of waker.links.values()) waker.judge(link)
  }

  /** Links topics by name, at their ends. Rejects with LIMIT_EXCEEDED, and has linked none then. */
  async link(waker: Waker, names: readonly string[]): Promise<void> {
    const extents = new Map<string, Extent>()
    for (const name of names) if (!waker.links.has(name)) extents.set(name, await this.extent(name))
    const added = [...extents.keys()].filter((name) => !waker.links.has(name)).length
    checkBound('wakerTopics', waker.links.size + added)
    checkBound('wakerLinks', this.coverage.links + added)
    for (const name of names) {
      const link = waker.links.get(name)
      if (link === undefined) this.enter(waker, name, extents.get(name) ?? NO_TOPIC, { atEnd: true, explicit: true })
      else link.explicit = true
      waker.unsaved.set(name, waker.links.get(name) as Link)
    }
  }

  /** Links a topic that is newer than the waker, from its beginning, if there is room for it. */
  linkNew(waker: Waker, name: string, extent: Extent): void {
    if (extent.epoch === 0) return
    if (this.hasRoom(waker)) this.enter(waker, name, extent, { atEnd: false, explicit: false })
  }

  drop(waker: Waker, link: Link): void {
    const { name } = link.topic
    waker.links.delete(name)
    waker.pending.delete(link)
    waker.unsaved.set(name, null)
    this.coverage.unlink(link)
  }

  /** Links what the pattern matches, page by page, and returns all these links. */
  private async matching(waker: Waker, isNew: boolean): Promise<Set<Link>> {
    const { shard, registry } = this.context
    const seen = new Set<Link>()
    if (waker.pattern === null) return seen
    const start = literalStart(waker.pattern)
    for (let after = '', more = true; more && !waker.deleted; ) {
      const page = await shard.list(start, after, LIMITS.pageItems)
      for (const state of page.states) {
        after = state.name
        if (!matchesWaker(waker, state.name)) continue
        const known = registry.resident(state.name)?.state ?? state
        const extent = extentOf(known, known.committedTo)
        let link = waker.links.get(state.name)
        if (link === undefined) {
          if (isNew) checkBound('wakerTopics', waker.links.size + 1)
          if (isNew) checkBound('wakerLinks', this.coverage.links + 1)
          if (!isNew && !this.hasRoom(waker)) continue
          link = this.enter(waker, state.name, extent, { atEnd: isNew, explicit: false })
        }
        this.note(link.topic, extent)
        seen.add(link)
      }
      more = page.more
    }
    return seen
  }

  /** Is there room for another link? If not it is said once. */
  private hasRoom(waker: Waker): boolean {
    if (waker.links.size < LIMITS.wakerTopics && this.coverage.links < LIMITS.wakerLinks) return true
    if (!waker.saidFull) {
      this.log(`subscription ${JSON.stringify(waker.id)} has ${waker.links.size} streams, and is given no more`)
    }
    waker.saidFull = true
    return false
  }

  private enter(
    waker: Waker,
    name: string,
    extent: Extent,
    { atEnd, explicit }: { atEnd: boolean; explicit: boolean },
  ): Link {
    const topic = this.coverage.enter(name)
    this.note(topic, extent)
    const link = new Link(waker, topic, { epoch: extent.epoch, acked: atEnd ? extent.tail : extent.begin, explicit })
    waker.links.set(name, link)
    waker.unsaved.set(name, link)
    this.coverage.link(link)
    return link
  }

  /** Unless more is known already. */
  private note(topic: Covered, { epoch, begin, tail }: Extent): void {
    if (epoch !== 0 && epoch < topic.epoch) return
    topic.tail = topic.epoch === epoch ? Math.max(topic.tail, tail) : tail
    topic.epoch = epoch
    topic.begin = begin
  }

  private async extent(name: string): Promise<Extent> {
    const { shard, registry } = this.context
    const [first] = (await shard.list(name, '', 1)).states
    const state = registry.resident(name)?.state ?? first
    return state?.name === name ? extentOf(state, state.committedTo) : NO_TOPIC
  }
}
