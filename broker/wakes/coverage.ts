/**
 * Which topics some waker covers, and how far they go. A covered topic that is in memory has one more reader, which sees its
 * commits as any other does: so a topic that is not covered costs nothing, and one that is costs a call.
 */

import type { LitetopicError } from '../../protocol/index.ts'
import type { TopicState } from '../../storage/index.ts'
import type { Block } from '../crowd.ts'
import type { Reader, Topic } from '../topic.ts'
import { firstSegment, matches } from './glob.ts'
import type { Covered, Link, Waker } from './waker.ts'

/** Stands among the readers of a resident topic, and tells of what is committed. */
export class Watch implements Reader {
  readonly isCaughtUp = true
  readonly topic: Topic
  /** Have wakers been looked for whose pattern the topic matches? */
  matched = false
  private readonly told: Watcher

  constructor(topic: Topic, told: Watcher) {
    this.topic = topic
    this.told = told
  }

  offer(_position: number, _size: number, _base: number, next: number): void {
    this.told.appended(this, next)
  }

  serve(block: Block): void {
    this.told.appended(this, block.next)
  }

  /** That the topic takes no more records is no news. */
  finish(): void {}

  close(error: LitetopicError | null): void {
    if (error !== null) this.told.ended(this.topic.name)
  }
}

/** Of the topic of a name, and how far it goes. */
export interface Extent {
  readonly epoch: number
  /** Before it are records of the topic that it is a fork of: who is told of that one has been told of them. */
  readonly begin: number
  readonly tail: number
}

export const NO_TOPIC: Extent = { epoch: 0, begin: 0, tail: 0 }

export function extentOf({ epoch, extra }: TopicState, tail: number): Extent {
  return { epoch, begin: extra?.fork?.links[0][1] ?? 0, tail }
}

export interface Watcher {
  /** All of the topic up to before `next` is committed. */
  appended(watch: Watch, next: number): void
  /** The topic of that name was deleted. */
  ended(name: string): void
}

export class Coverage {
  private readonly topics = new Map<string, Covered>()
  /** Wakers with a pattern, by its first segment; and those whose first segment is any. */
  private readonly bySegment = new Map<string, Set<Waker>>()
  private readonly anywhere = new Set<Waker>()
  /** Links of all wakers. */
  links = 0
  /** Is there none? */
  isEmpty = true

  add(waker: Waker): void {
    this.isEmpty = false
    if (waker.pattern === null) return
    const segment = firstSegment(waker.pattern)
    if (segment === null) this.anywhere.add(waker)
    else if (!this.bySegment.get(segment)?.add(waker)) this.bySegment.set(segment, new Set([waker]))
  }

  remove(waker: Waker): void {
    this.anywhere.delete(waker)
    const segment = waker.pattern === null ? null : firstSegment(waker.pattern)
    const wakers = segment === null ? undefined : this.bySegment.get(segment)
    wakers?.delete(waker)
    if (wakers?.size === 0) this.bySegment.delete(segment as string)
    for (const link of waker.links.values()) this.unlink(link)
  }

  of(name: string): Covered | undefined {
    return this.topics.get(name)
  }

  /** The topic of a new link; it must get one. */
  enter(name: string): Covered {
    let covered = this.topics.get(name)
    if (covered === undefined) {
      covered = { name, ...NO_TOPIC, links: [] }
      this.topics.set(name, covered)
    }
    return covered
  }

  link(link: Link): void {
    link.topic.links.push(link)
    this.links++
  }

  unlink(link: Link): void {
    const { topic } = link
    topic.links = topic.links.filter((other) => other !== link)
    this.links--
    if (topic.links.length === 0) this.topics.delete(topic.name)
  }

  /** Is there a waker for the topic of that name? */
  covers(name: string): boolean {
    return this.topics.has(name) || !this.matching(name).next().done
  }

  /** The wakers with a pattern that matches the name. */
  *matching(name: string): Generator<Waker> {
    const end = name.indexOf('/')
    for (const waker of this.bySegment.get(end < 0 ? name : name.slice(0, end)) ?? []) {
      if (matchesWaker(waker, name)) yield waker
    }
    for (const waker of this.anywhere) if (matchesWaker(waker, name)) yield waker
  }
}

/** Does the pattern of the waker match the name? Its own wake topic it never does: each wake would be followed by another one. */
export function matchesWaker({ pattern, config }: Waker, name: string): boolean {
  if (pattern === null || name === config.wakeTopic) return false
  return matches(pattern, name) && !isReserved(name)
}

/** Names below `__ds` are kept for control. */
export function isReserved(name: string): boolean {
  return name === '__ds' || name.startsWith('__ds/')
}
