/**
 * Which topics have forks. What a topic has in the table stays as long as a fork shares it, also when the topic is deleted: it is
 * hidden then. A fork has a key from its first flush on; before that it is in the journal and noted here. See FORMAT.md, Forks.
 */

import { LitetopicError, pack, unpack } from '../protocol/index.ts'
import { epochRange, forkKey, hiddenKey, hiddenNameKey, hiddenNames, numberInKey } from './keys.ts'
import { seal, unseal } from './seal.ts'
import { INDEX, type Table, type TableChange, type TableEntry } from './store.ts'
import type { TopicState } from './topic-state.ts'

/** What is to be known of an epoch when it is cleared; 0 for no parent. */
export interface Kinship {
  readonly parent: number
  /** Has it been forked? Then it is hidden, and cleared only when no fork of it is left. */
  readonly forked: boolean
}

/** A deleted topic whose records forks share. */
export interface Hidden {
  readonly name: string
  readonly parent: number
  /** Nothing from there on is shared. */
  readonly sharedTo: number
}

interface Waiting {
  readonly resolve: () => void
  readonly reject: (error: LitetopicError) => void
}

/** Null for a topic that nobody shares anything with, as nearly all are. */
export function kinshipOf({ extra }: TopicState): Kinship | null {
  const parent = extra?.fork?.links[0][0] ?? 0
  const forked = extra?.forkedTo !== undefined
  return parent === 0 && !forked ? null : { parent, forked }
}

/** What keeps the data of a fork's parent; none for a topic that is no fork. */
export function forkChanges({ epoch, extra }: TopicState): TableChange[] {
  const link = extra?.fork?.links[0]
  if (link === undefined) return []
  const key = forkKey(link[0], epoch)
  return [{ key, value: seal(key, pack(link[1])) }]
}

/** What hides a deleted topic that has been forked, before its head goes. It keeps its parent, even if it never had a head. */
export function hidingChanges(state: TopicState): TableChange[] {
  const { epoch, name, extra } = state
  const key = hiddenKey(epoch)
  const nameKey = hiddenNameKey(name, epoch)
  return [
    ...forkChanges(state),
    { key: nameKey, value: seal(nameKey, new Uint8Array(0)) },
    { key, value: seal(key, pack([name, extra?.fork?.links[0][0] ?? 0, extra?.forkedTo ?? 0])) },
  ]
}

/** Throws STORE_CORRUPT for what is no list of a name and two numbers. */
export function hiddenOf({ key, value }: TableEntry): Hidden {
  const packed = unpack(unseal(key, value, 'a hidden topic'))
  const [name, ...numbers] = Array.isArray(packed) ? (packed as unknown[]) : []
  if (typeof name !== 'string' || numbers.length !== 2 || !numbers.every((number) => Number.isSafeInteger(number))) {
    throw new LitetopicError('STORE_CORRUPT', 'a hidden topic is not a name and two numbers')
  }
  const [parent, sharedTo] = numbers as [number, number]
  return { name, parent, sharedTo }
}

export class Forks {
  private readonly table: Table
  /** Forks that the table does not have yet, by the epoch of their parent. */
  private readonly young = new Map<number, Set<number>>()
  /** Who waits for the next flush of a topic. */
  private readonly waiting = new Map<TopicState, Waiting[]>()

  constructor(table: Table) {
    this.table = table
  }

  /** Notes a fork that is in the journal. */
  add(parent: number, fork: number): void {
    const forks = this.young.get(parent)
    if (forks === undefined) this.young.set(parent, new Set([fork]))
    else forks.add(fork)
  }

  /** The table has the topic, or a mark that it is garbage. */
  stored({ epoch, extra }: Pick<TopicState, 'epoch' | 'extra'>): void {
    const parent = extra?.fork?.links[0][0]
    if (parent === undefined) return
    const forks = this.young.get(parent)
    if (forks?.delete(epoch) && forks.size === 0) this.young.delete(parent)
  }

  /** Has the epoch a fork that is not cleared yet? */
  async isShared(epoch: number): Promise<boolean> {
    if (this.young.has(epoch)) return true
    const found = await this.table.scan({ ...epochRange(INDEX.fork, epoch), limit: 1 })
    return found.length > 0 || this.young.has(epoch)
  }

  /** The offset before which nothing that the topic has trimmed may go. */
  async sharedTo({ epoch, extra }: TopicState): Promise<number> {
    if (extra?.forkedTo === undefined) return 0
    return (await this.isShared(epoch)) ? extra.forkedTo : 0
  }

  /** A deleted topic that forks still read, or read until a moment ago; null if it is none. */
  async hidden(epoch: number): Promise<Hidden | null> {
    const key = hiddenKey(epoch)
    const value = await this.table.get(key)
    return value === undefined ? null : hiddenOf({ key, value })
  }

  /** Is a deleted topic of that name hidden in the table? */
  async isNameHidden(name: string): Promise<boolean> {
    const found = await this.table.scan({ ...hiddenNames(name), limit: 1 })
    return found.length > 0
  }

  /** What the table forgets of epochs that have been cleared; parents of which they were the last forks become garbage. */
  async release(
    cleared: readonly (Kinship & { readonly epoch: number })[],
    mark: (epoch: number, kinship: Kinship) => TableChange,
  ): Promise<TableChange[]> {
    const changes: TableChange[] = []
    const forks = cleared.filter(({ parent }) => parent !== 0)
    if (forks.length > 0) {
      await this.table.write(forks.map(({ parent, epoch }) => ({ key: forkKey(parent, epoch), value: null })))
    }
    for (const parent of new Set(forks.map((fork) => fork.parent))) {
      const hidden = (await this.isShared(parent)) ? null : await this.hidden(parent)
      if (hidden !== null) changes.push(mark(parent, { parent: hidden.parent, forked: true }))
    }
    for (const { epoch, forked } of cleared) {
      const hidden = forked ? await this.hidden(epoch) : null
      if (hidden === null) continue
      changes.push({ key: hiddenNameKey(hidden.name, epoch), value: null }, { key: hiddenKey(epoch), value: null })
    }
    return changes
  }

  /** Resolves at the next flush of the topic, or when it is deleted. Rejects when nothing is flushed any more. */
  whenFlushed(state: TopicState): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting = this.waiting.get(state)
      if (waiting === undefined) this.waiting.set(state, [{ resolve, reject }])
      else waiting.push({ resolve, reject })
    })
  }

  flushed(state: TopicState): void {
    const waiting = this.waiting.get(state)
    if (waiting === undefined) return
    this.waiting.delete(state)
    for (const { resolve } of waiting) resolve()
  }

  fail(error: LitetopicError): void {
    const all = [...this.waiting.values()].flat()
    this.waiting.clear()
    for (const { reject } of all) reject(error)
  }
}

/** Epoch of the fork that a key is of. */
export function forkOfKey(key: Uint8Array): number {
  return numberInKey(key, 1)
}
