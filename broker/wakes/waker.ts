/**
 * A waker, which is what a Durable Streams subscription is called here, with its links to topics and the wake under way. It says
 * what is pending; what follows from that is in wakers.ts.
 */

import type { StoredLink, StoredWaker, WakerConfig, WakerState } from '../../storage/index.ts'
import { type Pattern, parsePattern } from './glob.ts'

/** A topic that is linked to wakers, in memory or not; with epoch 0 there is none of that name. */
export interface Covered {
  readonly name: string
  epoch: number
  /** Offset of its first record that is not shared with the topic that it is a fork of. */
  begin: number
  /** Offset behind its last committed record. */
  tail: number
  links: Link[]
}

/** A waker's view of one topic. */
export class Link {
  readonly waker: Waker
  readonly topic: Covered
  /** In which epoch of the topic it has been acknowledged, up to before which offset. */
  epoch: number
  acked: number
  /** Asked for by its name; else by the pattern. */
  explicit: boolean

  constructor(waker: Waker, topic: Covered, { epoch, acked, explicit }: StoredLink) {
    this.waker = waker
    this.topic = topic
    this.epoch = epoch
    this.acked = acked
    this.explicit = explicit
  }

  /** Up to before which offset the present topic of that name has been acknowledged. */
  get ackedTo(): number {
    return this.epoch === this.topic.epoch ? Math.min(this.acked, this.topic.tail) : this.topic.begin
  }

  get isPending(): boolean {
    return this.topic.tail > this.ackedTo
  }
}

/** How far each topic went when a wake told of it. */
export type Snapshot = ReadonlyMap<Link, { readonly epoch: number; readonly tail: number }>

/** A wake that somebody is told of, or has claimed. */
export interface Wake {
  readonly id: string
  /** What it told of, when it did so the last time. */
  told: Snapshot
  /** Ends the attempt to tell of it that is under way. */
  attempt: AbortController | null
}

export class Waker {
  readonly id: string
  readonly config: WakerConfig
  readonly pattern: Pattern | null
  readonly configHash: string
  readonly createdMs: number
  state: WakerState
  readonly links = new Map<string, Link>()
  /** Of those, the ones with something that is not acknowledged. */
  readonly pending = new Set<Link>()
  /** Those that the table does not have as they are; null where one is to be forgotten. */
  readonly unsaved = new Map<string, Link | null>()
  wake: Wake | null = null
  /** Is it to be looked at whether it must be woken? */
  looking = false
  /** While its topics are looked up: those that got something meanwhile. */
  surveying: Set<string> | null = null
  deleted = false
  /** Told already that it has as many links as it may. */
  saidFull = false
  cancelLease: (() => void) | null = null
  cancelRetry: (() => void) | null = null
  /** What is done with it is done in turn. */
  private last: Promise<unknown> = Promise.resolve()

  constructor(stored: StoredWaker) {
    this.id = stored.id
    this.config = stored.config
    this.pattern = stored.config.pattern === null ? null : parsePattern(stored.config.pattern)
    this.configHash = stored.configHash
    this.createdMs = stored.createdMs
    this.state = stored.state
  }

  /** As it is stored, with another state. */
  stored(state: WakerState): StoredWaker {
    const { id, config, configHash, createdMs } = this
    return { id, config, configHash, createdMs, state }
  }

  /** Does the work behind all that was asked before. */
  inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const turn = this.last.then(work)
    this.last = turn.catch(() => undefined)
    return turn
  }

  /** Resolves when all that was asked so far is done. */
  settled(): Promise<unknown> {
    return this.last
  }

  /** Notes whether there is something in the topic that is not acknowledged. */
  judge(link: Link): void {
    if (link.isPending) this.pending.add(link)
    else this.pending.delete(link)
  }

  /** The next wake tells of these. */
  snapshot(most: number): Snapshot {
    const told = new Map<Link, { epoch: number; tail: number }>()
    for (const link of this.pending) {
      told.set(link, { epoch: link.topic.epoch, tail: link.topic.tail })
      if (told.size === most) break
    }
    return told
  }

  /** Everything up to before the offset, in that epoch of the topic, is acknowledged. */
  acknowledge(link: Link, epoch: number, offset: number): void {
    if (this.links.get(link.topic.name) !== link || epoch !== link.topic.epoch || offset < link.ackedTo) return
    link.epoch = epoch
    link.acked = offset
    this.unsaved.set(link.topic.name, link)
    this.judge(link)
  }

  stopTimers(): void {
    this.cancelLease?.()
    this.cancelRetry?.()
    this.cancelLease = this.cancelRetry = null
    this.wake?.attempt?.abort('it is not wanted any more')
  }
}
