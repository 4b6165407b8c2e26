/** Sessions of threads: opened when they are needed, kept for the next call, closed when there are too many. */

import { type Broker, isLitetopicError, type Session } from '../index.ts'
import { threadOf, topicOf } from './names.ts'

/** Sessions kept open: a thread in use need not be attached for each call. */
const KEPT_SESSIONS = 1_000

interface Open {
  readonly session: Promise<Session>
  users: number
}

export class Threads {
  private readonly broker: Broker
  private readonly prefix: string
  private readonly lingerMs: number | 'forever'
  /** By thread; those used last come last. */
  private readonly open = new Map<string, Open>()

  constructor(broker: Broker, prefix: string, lingerMs: number | 'forever') {
    this.broker = broker
    this.prefix = prefix
    this.lingerMs = lingerMs
  }

  /** Runs `fn` with the thread's session, which is made if need be. A thread that was deleted meanwhile begins anew. */
  async write<R>(threadId: string, fn: (session: Session) => Promise<R>): Promise<R> {
    for (let retried = false; ; retried = true) {
      try {
        return await this.use(threadId, true, fn)
      } catch (error) {
        if (retried || !isOver(error)) throw error
      }
    }
  }

  /** The same, if there is such a thread; else undefined. */
  async read<R>(threadId: string, fn: (session: Session) => Promise<R>): Promise<R | undefined> {
    for (let retried = false; ; retried = true) {
      try {
        return await this.use(threadId, false, fn)
      } catch (error) {
        if (isLitetopicError(error, 'NOT_FOUND')) return undefined
        if (retried || !isOver(error)) throw error
      }
    }
  }

  async delete(threadId: string): Promise<void> {
    await this.read(threadId, (session) => session.delete())
    this.open.delete(threadId)
  }

  /** All threads there are, in byte order of their topics. */
  async *list(): AsyncGenerator<string> {
    for (let after: string | undefined; ; ) {
      const { topics, more } = await this.broker.list({ prefix: this.prefix, after })
      for (const { name } of topics) {
        const threadId = name.startsWith(`${this.prefix}/`) ? threadOf(this.prefix, name) : null
        if (threadId !== null) yield threadId
      }
      after = topics.at(-1)?.name
      if (!more) return
    }
  }

  async close(): Promise<void> {
    const all = [...this.open.values()]
    this.open.clear()
    await Promise.all(all.map(close))
  }

  private async use<R>(threadId: string, create: boolean, fn: (session: Session) => Promise<R>): Promise<R> {
    const entry = this.open.get(threadId) ?? (create ? this.create(threadId) : await this.find(threadId))
    this.open.delete(threadId)
    this.open.set(threadId, entry)
    entry.users++
    try {
      return await fn(await entry.session)
    } catch (error) {
      if (isOver(error)) this.forget(threadId, entry)
      throw error
    } finally {
      entry.users--
      if (this.open.size > KEPT_SESSIONS) this.closeOldest()
    }
  }

  private create(threadId: string): Open {
    const { prefix, lingerMs } = this
    const entry: Open = { session: this.broker.session(topicOf(prefix, threadId), { lingerMs }), users: 0 }
    entry.session.catch(() => this.forget(threadId, entry))
    return entry
  }

  /** Only one that exists is kept: who creates it must not wait for who only looks. */
  private async find(threadId: string): Promise<Open> {
    const session = await this.broker.session(topicOf(this.prefix, threadId), { create: false })
    const known = this.open.get(threadId)
    if (known !== undefined) {
      await session.close()
      return known
    }
    const entry: Open = { session: Promise.resolve(session), users: 0 }
    this.open.set(threadId, entry)
    return entry
  }

  private forget(threadId: string, entry: Open): void {
    if (this.open.get(threadId) === entry) this.open.delete(threadId)
  }

  private closeOldest(): void {
    for (const [threadId, entry] of this.open) {
      if (entry.users > 0) continue
      this.open.delete(threadId)
      // Nothing of it waits: its users have seen the outcome of what they did.
      void close(entry)
      return
    }
  }
}

/** There is no such topic, or not any more: the session is of no more use. */
function isOver(error: unknown): boolean {
  return isLitetopicError(error, 'NOT_FOUND', 'GONE', 'RECREATED')
}

async function close({ session }: Open): Promise<void> {
  try {
    await (await session).close()
  } catch {
    // It was never open, or is over already.
  }
}
