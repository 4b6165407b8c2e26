/** The memory of agents, a `Session` of the OpenAI Agents SDK, in a session of litetopic: each change is a record of its log. */

import {
  type AgentInputItem,
  applySessionHistoryMutations,
  type Session as SdkSession,
  type SessionHistoryRewriteArgs,
  type SessionHistoryRewriteAwareSession,
  type SessionHistoryTransaction,
  type SessionHistoryTransactionArgs,
  type SessionHistoryTransactionAwareSession,
} from '@openai/agents-core'
import { isLitetopicError, LitetopicError, type Session } from '../index.ts'
import { applies, type Change, type FoundItem, newestFirst, type PlacedChange, take } from './history.ts'
import { sameJson } from './json.ts'

export interface AgentSessionOptions {
  /** Tells several memories of one session apart. Default `items`. */
  readonly name?: string
}

/** Names of the checkpoints that changes are: this and the name of the memory. */
const CHECKPOINT_PREFIX = 'openai-agents/'

/** Changes asked for at a time: few at first, as a pop needs few. */
const PAGE_CHANGES = { first: 8, most: 128 } as const

/** So many changes that a pop has to look through are worth a shortcut past them. */
const SHORTCUT_CHANGES = 64

/** What a checkpoint holds whose change is larger than an append: the place of the message that has it. */
interface LargeChange {
  readonly op: 'large'
  readonly offset: number
}

/**
 * Changes nothing: behind the change at `behind` the newest item is the one of the change at `offset` that is so manieth there; none, if
 * `offset` is null. It counts if no other change came between `behind` and it.
 */
interface Shortcut {
  readonly op: 'shortcut'
  readonly behind: number
  readonly offset: number | null
  readonly count: number
}

type Stored = Change | LargeChange | Shortcut

/**
 * Items in the order in which they were added, by whichever process; each change is stored whole or not at all, and of two processes
 * that pop at once each gets an item of its own. What `getItems(limit)` and `popItem` read depends on what they give, not on how much there is.
 * Items must be JSON: BAD_VALUE. Everything rejects with TRIMMED where the log was trimmed so that items are missing, until `clearSession`.
 */
export class AgentSession
  implements SdkSession, SessionHistoryTransactionAwareSession, SessionHistoryRewriteAwareSession
{
  private readonly session: Session<unknown>
  private readonly name: string
  private readonly checkpoint: string
  /** The change under way: one object writes in the order in which it is called. */
  private writing: Promise<unknown> = Promise.resolve()
  /** Is it known that there are changes? */
  private begun = false

  /** Throws BAD_NAME at the first call for a name that is none. */
  constructor(session: Session<unknown>, options: AgentSessionOptions = {}) {
    this.session = session
    this.name = options.name ?? 'items'
    this.checkpoint = CHECKPOINT_PREFIX + this.name
  }

  /** The name of the session, and that of the memory behind it. */
  async getSessionId(): Promise<string> {
    return `${this.session.name}:${this.name}`
  }

  /** All items, or the newest ones, oldest first. */
  async getItems(limit?: number): Promise<AgentInputItem[]> {
    if (limit !== undefined && limit <= 0) return []
    const newest = await take(this.newest(), limit)
    return newest.map(({ item }) => item).reverse()
  }

  /** Adds all of them, or none. Resolves when they are durable. */
  addItems(items: AgentInputItem[]): Promise<void> {
    return this.addOnce(items, undefined)
  }

  /** The same; under one id items are added once, whoever repeats it. */
  addOnce(items: AgentInputItem[], id: string | undefined): Promise<void> {
    if (items.length === 0) return Promise.resolve()
    return this.inOrder(async () => {
      await this.store({ op: 'add', items, first: await this.isFirst() }, id)
    })
  }

  /** Takes the newest item away and gives it; undefined if there is none. If the process dies before it has it, nobody has. */
  popItem(): Promise<AgentInputItem | undefined> {
    return this.inOrder(async () => {
      const [any] = await take(this.newest(), 1)
      if (any === undefined) return undefined
      const offset = await this.store({ op: 'pop' })
      const read = { changes: 0 }
      const found = this.newest(offset, read)
      const { value: taken } = await found.next()
      // The item is taken, whatever becomes of this.
      await this.shorten(offset, found, read).catch(() => {})
      return taken?.item
    })
  }

  /** Forgets all items. The log keeps them until it is trimmed. */
  clearSession(): Promise<void> {
    return this.replaceHistoryWithCompaction([])
  }

  /** Puts these items in the place of all that there are. */
  replaceHistoryWithCompaction(items: AgentInputItem[]): Promise<void> {
    return this.inOrder(async () => {
      await this.store({ op: 'reset', items })
    })
  }

  /**
   * Applies the transaction, once for its operation id. Rejects with BAD_REQUEST if that id was used for another one, or if the
   * newest items are not those expected, which is final for the id; then no item has changed.
   */
  applyHistoryTransaction({ operationId, transaction }: SessionHistoryTransactionArgs): Promise<void> {
    const change = changeOf(transaction)
    return this.inOrder(async () => {
      const first = await this.isFirst()
      const offset = await this.store({ ...change, first }, operationId)
      const changes = this.changes(offset + 1)
      const { value: stored } = await changes.next()
      if (!sameJson({ ...stored?.change, first: undefined }, change))
        throw refused(operationId, 'was used for another transaction')
      if (change.op === 'replace' && !(await applies(change.expected, changes))) {
        throw refused(operationId, 'expects other items than the newest')
      }
    })
  }

  /** Rewrites items; reads all of them. If others change them meanwhile it begins again. */
  applyHistoryMutations({ mutations }: SessionHistoryRewriteArgs): Promise<void> {
    return this.inOrder(async () => {
      for (;;) {
        const expected = await this.getItems()
        const items = applySessionHistoryMutations(expected, mutations)
        const same = expected.findIndex((item, i) => !sameJson(item, items[i]))
        if (same < 0) return
        const change: Change = { op: 'replace', expected: expected.slice(same), items: items.slice(same) }
        const offset = await this.store(change)
        if (await applies(change.expected, this.changes(offset))) return
      }
    })
  }

  private inOrder<R>(write: () => Promise<R>): Promise<R> {
    const written = this.writing.then(write)
    this.writing = written.catch(() => {})
    return written
  }

  private newest(before?: number, read?: { changes: number }): AsyncGenerator<FoundItem, undefined> {
    return newestFirst(this.changes(before, read))
  }

  /** Are there no changes yet? */
  private async isFirst(): Promise<true | undefined> {
    this.begun ||= !(await this.places().next()).done
    return this.begun ? undefined : true
  }

  /** Resolves with the place of the change. */
  private async store(change: Change | Shortcut, id?: string): Promise<number> {
    const offset = await this.append(change, id)
    this.begun = true
    return offset
  }

  private async append(change: Change | Shortcut, id: string | undefined): Promise<number> {
    const key = id === undefined ? undefined : `${this.checkpoint}/${id}`
    try {
      const { offset } = await this.session.checkpoint(this.checkpoint, change, { id: key })
      return offset
    } catch (error) {
      if (!isLitetopicError(error, 'LIMIT_EXCEEDED') || error.details.limit !== 'appendBytes') throw error
    }
    const content = new Blob([JSON.stringify(change)])
    const message = await this.session.append(content, { id: key === undefined ? undefined : `${key}/large` })
    const large: LargeChange = { op: 'large', offset: message.offset }
    const { offset } = await this.session.checkpoint(this.checkpoint, large, { id: key })
    return offset
  }

  /** Stores where the newest item is, behind the change at that offset, if it takes long to find. */
  private async shorten(
    behind: number,
    found: AsyncGenerator<FoundItem, undefined>,
    read: { readonly changes: number },
  ): Promise<void> {
    const { value: next } = await found.next()
    if (read.changes <= SHORTCUT_CHANGES) return
    const place = next === undefined ? { offset: null, count: 0 } : next.place
    if (place !== null) await this.store({ op: 'shortcut', behind, ...place })
  }

  /** The changes below an offset, newest first; counts those that it reads. */
  private async *changes(before?: number, read = { changes: 0 }): AsyncGenerator<PlacedChange, undefined> {
    let oldest: Stored | undefined
    let keep = Number.POSITIVE_INFINITY
    let places = this.places(before)
    for (;;) {
      const { done, value: place } = await places.next()
      if (done) break
      read.changes++
      if (oldest?.op === 'shortcut' && oldest.behind === place.offset) {
        if (oldest.offset === null) return
        keep = oldest.count
        places = this.places(oldest.offset + 1)
        oldest = undefined
        continue
      }
      oldest = place.change.op === 'large' ? await this.large(place.change.offset) : place.change
      if (oldest.op === 'shortcut') continue
      yield {
        offset: place.offset,
        change: 'items' in oldest ? { ...oldest, items: oldest.items.slice(0, keep) } : oldest,
      }
      keep = Number.POSITIVE_INFINITY
    }
    if (oldest === undefined || oldest.op === 'reset' || ('first' in oldest && oldest.first)) return
    throw new LitetopicError('TRIMMED', `items of ${this.name} in topic ${this.session.name} have been trimmed`, {
      topic: this.session.name,
      checkpoint: this.checkpoint,
    })
  }

  private async *places(before?: number): AsyncGenerator<{ offset: number; change: Stored }, undefined> {
    for (let limit: number = PAGE_CHANGES.first, from = before; ; limit = Math.min(limit * 2, PAGE_CHANGES.most)) {
      const page = await this.session.checkpoints({ limit, before: from })
      for (const { name, offset, state } of page) {
        if (name === this.checkpoint) yield { offset, change: state as unknown as Stored }
      }
      if (page.length < limit) return
      from = page.at(-1)?.offset
    }
  }

  private async large(offset: number): Promise<Change> {
    for await (const record of this.session.records({ from: { offset } })) {
      if (record.kind !== 'message') break
      if (record.large !== undefined) return JSON.parse(await record.large.text()) as Change
      return JSON.parse(new TextDecoder().decode(record.value as Uint8Array)) as Change
    }
    throw new LitetopicError('STORE_CORRUPT', `topic ${this.session.name} has no change at offset ${offset}`, {
      offset,
    })
  }
}

function changeOf(transaction: SessionHistoryTransaction): Extract<Change, { op: 'add' | 'replace' }> {
  if (transaction.type === 'append_items') return { op: 'add', items: transaction.items }
  return { op: 'replace', expected: transaction.expectedSuffix, items: transaction.replacement }
}

function refused(operationId: string, why: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', `the history operation ${operationId} ${why}: nothing was changed`, {
    operationId,
  })
}
