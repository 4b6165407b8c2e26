/**
 * What every reader may see, as plain arrays: for each incarnation of a topic what was sent into it, by whom and in which order,
 * and what is known of its log. A record is known by its text here, which for what clients send is different each time.
 */

import type { SessionRecord } from '../../client/index.ts'
import type { World } from './world.ts'

/** A record on its way into an epoch. */
export interface Sent {
  readonly text: string
  /** The session that sent it, and when among its records. */
  readonly session: number
  readonly serial: number
  /** Of a token: its stream, and the fence of its writer. */
  readonly stream: string | null
  readonly fence: number
  /** Records of one append: all or none. */
  readonly append: number
  /** May have been sent before by others, and stored then: a record with an id. */
  readonly shared: boolean
  state: 'pending' | 'acknowledged' | 'refused'
}

/** What is told of a range of the log by one that has read it; it is compared when the log is known. */
export interface Deferred {
  readonly what: string
  check(log: readonly (string | undefined)[]): string | null
}

export class EpochModel {
  readonly name: string
  readonly epoch: number
  readonly lingerMs: number
  readonly ttlMs: number
  /** The text of each record, as far as anybody has seen it or been told. */
  readonly log: (string | undefined)[] = []
  readonly sent = new Map<string, Sent[]>()
  readonly deferred: Deferred[] = []
  /** Streams that were asked to be opened, and to be stopped; `*` stands for all. */
  readonly opened = new Set<string>()
  readonly stopped = new Set<string>()
  /** Fences told to writers, with their sessions. */
  readonly fences = new Map<number, { streamId: string; session: number; ended: boolean }>()
  /** Who writes it: when each session was asked for and opened, as numbers in order, and whether it shuts the others out. */
  readonly sessions = new Map<number, { asked: number; opened: number; exclusive: boolean }>()
  /** The furthest that anybody asked to trim. */
  trimAsked = 0
  deleteAsked = false
  closeAsked = false
  /** The end of the log, once anybody was told that there is no more; -1 before. */
  closedAt = -1
  /** The latest time at which somebody certainly held it. */
  heldMs = 0
  /** The latest time at which it was certainly read or appended to. */
  usedMs = 0
  goneMs: number | null = null
  private readonly world: World

  constructor(world: World, name: string, epoch: number, lingerMs: number, ttlMs: number) {
    this.world = world
    this.name = name
    this.epoch = epoch
    this.lingerMs = lingerMs
    this.ttlMs = ttlMs
  }

  get label(): string {
    return `${this.name}@${this.epoch}`
  }

  /** Whoever sees a record at an offset, or is told of it, must see the same one as everybody else. */
  know(offset: number, text: string, who: string): void {
    const known = this.log[offset]
    if (known === text) return
    if (known !== undefined) {
      this.world.violated(`${who}: ${this.label} has ${text} at ${offset}, where ${known} was before`)
      return
    }
    this.log[offset] = text
    this.checkClosed()
    const why = this.invented(text)
    if (why !== null) this.world.violated(`${who}: ${this.label} has ${text} at ${offset}: ${why}`)
  }

  send(record: Sent): void {
    const same = this.sent.get(record.text)
    if (same === undefined) this.sent.set(record.text, [record])
    else same.push(record)
  }

  /** Somebody was told that the topic is over. */
  gone(who: string): void {
    const { nowMs } = this.world
    this.goneMs ??= nowMs
    const until = Math.min(this.heldMs + this.lingerMs, this.lifeUntil)
    if (this.deleteAsked || nowMs >= until) return
    const left = until - nowMs
    this.world.violated(`${who}: ${this.label} is gone, ${left.toFixed(0)} ms before its time`)
  }

  /** It was there at this time, or later. */
  held(sinceMs: number, who: string): void {
    if (this.goneMs !== null && sinceMs > this.goneMs) {
      this.world.violated(`${who}: ${this.label} answers, and was gone at ${this.goneMs.toFixed(3)}`)
    }
    this.heldMs = Math.max(this.heldMs, sinceMs)
  }

  used(sinceMs: number): void {
    this.usedMs = Math.max(this.usedMs, sinceMs)
  }

  /** Somebody was told that the log ends there for good. */
  closed(at: number, who: string): void {
    if (!this.closeAsked) this.world.violated(`${who}: ${this.label} is closed, and nobody closed it`)
    if (this.closedAt >= 0 && at !== this.closedAt) {
      this.world.violated(`${who}: ${this.label} is closed at ${at}, and was at ${this.closedAt} before`)
    }
    this.closedAt = at
    this.checkClosed()
  }

  /** When its life may end. Where the wall clock was set, a broker that starts cannot know better. */
  private get lifeUntil(): number {
    if (this.ttlMs === Number.POSITIVE_INFINITY) return this.ttlMs
    return this.world.wallWasSet ? 0 : this.usedMs + this.ttlMs
  }

  private checkClosed(): void {
    if (this.closedAt < 0 || this.log.length <= this.closedAt) return
    this.world.violated(`${this.label} has ${this.log.length} records, and was closed at ${this.closedAt}`)
  }

  later(what: string, check: Deferred['check']): void {
    this.deferred.push({ what, check })
  }

  /** Why nobody can have sent it; null if somebody can. */
  private invented(text: string): string | null {
    if (this.sent.has(text)) return null
    const [kind, streamId = '', state] = text.split(' ')
    if (kind !== 's') return 'nobody sent it'
    if (state === 'lost' || state === 'resumed' || state === 'open') {
      return this.opened.has(streamId) ? null : 'nobody opened it'
    }
    if (state !== 'stopped') return 'nobody ended it so'
    return this.stopped.has(streamId) || this.stopped.has('*') ? null : 'nobody stopped it'
  }
}

export class Model {
  readonly epochs = new Map<number, EpochModel>()
  private readonly world: World
  private readonly lingers: ReadonlyMap<string, number>
  private readonly ttls: ReadonlyMap<string, number>
  private numbers = 0

  /** The linger of each topic by its name, Infinity for ever; and its time to live, if it has one. */
  constructor(world: World, lingers: ReadonlyMap<string, number>, ttls: ReadonlyMap<string, number>) {
    this.world = world
    this.ttls = ttls
    this.lingers = lingers
  }

  /** A number that is not used again. */
  number(): number {
    return ++this.numbers
  }

  epoch(name: string, epoch: number): EpochModel {
    let found = this.epochs.get(epoch)
    if (found === undefined) {
      const ttlMs = this.ttls.get(name) ?? Number.POSITIVE_INFINITY
      found = new EpochModel(this.world, name, epoch, this.lingers.get(name) as number, ttlMs)
      this.epochs.set(epoch, found)
    }
    if (found.name !== name) this.world.violated(`epoch ${epoch} is of ${found.name} and of ${name}`)
    return found
  }

  /** The incarnations of a name that nobody knows to be over. */
  alive(name: string): EpochModel[] {
    return [...this.epochs.values()].filter((epoch) => epoch.name === name && epoch.goneMs === null)
  }
}

export const messageText = (value: unknown, id?: string): string => `m ${brief(value)} ${id ?? '-'}`
export const tokenText = (streamId: string, part: string, text: string): string => `t ${streamId} ${part} ${text}`
export const contextText = (op: string, name: string, value: unknown): string => `c ${op} ${name} ${brief(value)}`
export const checkpointText = (name: string, state: unknown): string => `p ${name} ${brief(state)}`
export const streamText = (streamId: string, state: string, detail: unknown): string =>
  `s ${streamId} ${state} ${state === 'stopped' ? '' : brief(detail ?? null)}`

/** JSON, with what only fills shown by its length. */
function brief(value: unknown): string {
  return JSON.stringify(value ?? null).replace(/\.{20,}/g, (fill) => `<${fill.length}>`)
}

/** The text of a record that is one, and no run of tokens. */
export function textOf(record: SessionRecord): string {
  switch (record.kind) {
    case 'message':
      return messageText(record.value, record.id)
    case 'token':
      return tokenText(record.streamId, record.part, record.text ?? '')
    case 'context':
      return contextText(record.op, record.name, record.value)
    case 'checkpoint':
      return checkpointText(record.name, record.state)
    case 'stream':
      return streamText(record.streamId, record.state, record.detail)
  }
}
