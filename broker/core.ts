/**
 * A broker without its connections: the topics of one opened store, and every verb on them. It knows no socket, so that it
 * can be replaced beneath them. Once a write of its store has failed it takes none any more; what is committed is still read.
 */

import { asLitetopicError, LIMITS, type LitetopicError } from '../protocol/index.ts'
import { Shard, type Store, type StorePart } from '../storage/index.ts'
import type { Audit } from './access/audit.ts'
import type { Authority } from './access/authority.ts'
import { Gate } from './access/gate.ts'
import type { Clock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'
import type { Context } from './context.ts'
import { copyOut } from './copy-out.ts'
import { Crowds } from './crowd.ts'
import { endsByItself } from './life.ts'
import { countedPrefixes, type LimitTable } from './limits.ts'
import { Commits } from './observe/commits.ts'
import type { Counts } from './observe/counts.ts'
import { measuredStore } from './observe/measured-store.ts'
import { Operations } from './operations.ts'
import { effectivePolicy, type PolicyTable } from './policy.ts'
import { Quiet } from './quiet.ts'
import { Reclaimer } from './reclaim.ts'
import { Registry } from './registry.ts'
import { Scopes } from './scopes.ts'
import { Uploads } from './uploads.ts'
import { Wakers, type WakersOptions } from './wakes/wakers.ts'

export interface CoreOptions {
  readonly clock: Clock
  readonly authority: Authority
  readonly audit: Audit | null
  readonly policies: PolicyTable
  readonly limits: LimitTable
  /** What is done is counted here. */
  readonly counts: Counts
  /** As in BrokerOptions. */
  readonly streamGraceMs?: number
  readonly residencyIdleMs?: number
  readonly quietMs?: number
  /** The largest content of a message. */
  readonly maxMessageBytes: number
  /** Where webhooks may go, and what they say. */
  readonly wakes: Omit<WakersOptions, 'log'>
  /** Told, in one line, of what an operator should know. */
  readonly log: (line: string) => void
  /** Publishers that were paused may go on, if it is not `overloaded` any more. */
  readonly relieved: () => void
  /** Told once, when nothing can be written any more: the store must be opened anew. */
  readonly broken: (error: LitetopicError) => void
}

export interface CoreStats {
  readonly residentTopics: number
  /** Attached, and not in memory. */
  readonly dormantTopics: number
  /** Sessions of all connections, those that only look too. */
  readonly attachments: number
  /** 1 is full. */
  readonly journalFullness: number
  /** What waits to be durable. */
  readonly uncommittedBytes: number
  /** Does the store take writes? */
  readonly available: boolean
  /** What is stored below each prefix that bounds it; not `counted` yet if it is still being counted. */
  readonly usage: Readonly<Record<string, { topics: number; bytes: number; counted: boolean }>>
}

export class Core {
  /** All that clients can ask. */
  readonly operations: Operations
  private readonly context: Context
  private readonly reclaimer: Reclaimer
  private readonly wakers: Wakers
  private readonly quiet: Quiet

  private constructor(context: Context, reclaimer: Reclaimer, wakers: Wakers, quiet: Quiet, authority: Authority) {
    this.context = context
    this.reclaimer = reclaimer
    this.quiet = quiet
    this.wakers = wakers
    this.operations = new Operations(context, reclaimer, wakers, authority)
  }

  /** Reads the store's journal. Call `start` then. Rejects with STORE_CORRUPT or DATA_DIR_VERSION, and leaves the store open. */
  static async open(store: Store, options: CoreOptions): Promise<Core> {
    const { clock, policies, limits, maxMessageBytes, log, relieved, counts } = options
    const commits = new Commits(clock, counts.samples)
    const report = (error: LitetopicError): void => {
      // What follows from a failed write has been told with it.
      if (error.code === 'STORE_UNAVAILABLE' && shard.log.failure !== null) return
      log(`${error.code}: ${error.message}`)
    }
    const shard: Shard<CommitItem> = await Shard.open<CommitItem>(measuredStore(store, clock, counts), {
      begun: () => commits.begun(),
      durable: (bytes) => commits.durable(bytes),
      committed(items) {
        for (const item of items) tell(item, null, report)
        shard.wakeFlusher()
        relieved()
        quiet.touch()
      },
      failed(items, error) {
        for (const item of items) tell(item, error, report)
      },
      lingerMs(state) {
        const policy = effectivePolicy(policies, state.name, state.policy)
        // One that ends by itself has no full linger after a start: it is looked at when it is due.
        return endsByItself(policy) ? 0 : policy.lingerMs
      },
      flushed: (state) => reclaimer.flushed(state),
      truncated: relieved,
      flushFailed: report,
      broken(error) {
        options.broken(error)
        // Those that wait for room are refused, and can go on reading.
        relieved()
      },
    })
    const registry = new Registry(shard, clock)
    const { usage } = shard
    await usage.watch(countedPrefixes(limits))
    const aheadMs = clock.wallMs() - clock.monotonicMs()
    const context: Context = {
      shard,
      clock,
      steadyWallMs: () => clock.monotonicMs() + aheadMs,
      gate: new Gate(options.audit),
      registry,
      uploads: new Uploads({ shard, registry, clock, maxMessageBytes, report }),
      crowds: new Crowds((position) => shard.slabAt(position), report),
      counts,
      policies,
      scopes: new Scopes(limits, clock, usage.watched),
      streamGraceMs: options.streamGraceMs ?? LIMITS.streamGraceMs,
      residencyIdleMs: options.residencyIdleMs ?? LIMITS.residencyIdleMs,
      report,
    }
    const reclaimer = new Reclaimer(context)
    const wakers = new Wakers(context, { ...options.wakes, log })
    registry.onResident = (topic) => {
      reclaimer.resident(topic)
      wakers.resident(topic)
    }
    registry.onAwake = (topic) => reclaimer.awake(topic)
    const quiet = new Quiet(shard, clock, options.quietMs ?? LIMITS.quietMs, report)
    return new Core(context, reclaimer, wakers, quiet, options.authority)
  }

  /** Looks after what was live when the broker stopped. */
  start(): void {
    void this.reclaimer.start()
    void this.context.uploads.start()
    void this.context.shard.countUsage()
    void this.wakers.start()
    // A journal that is nearly full from before would pause publishers, and nothing would be committed that wakes it.
    this.context.shard.wakeFlusher()
    this.quiet.touch()
  }

  /** Identity of the store's history. */
  get incarnation(): string {
    return this.context.shard.incarnation
  }

  /** Where the store is, for people. */
  get location(): string {
    return this.context.shard.store.location
  }

  /** Bytes on disk of one part of the store. */
  diskBytes(part: StorePart): Promise<number> {
    return this.context.shard.store.diskBytes(part)
  }

  /** Rejects with STORE_UNAVAILABLE as long as the store, opened anew, could not be written. */
  probe(): Promise<void> {
    return this.context.shard.store.probe()
  }

  /** Are publishers to be paused, because the disk does not keep up? */
  get overloaded(): boolean {
    const { log } = this.context.shard
    return (
      log.failure === null &&
      (log.uncommittedBytes > LIMITS.uncommittedBytes || log.fullness > LIMITS.journalPauseShare)
    )
  }

  stats(): CoreStats {
    const { registry, shard } = this.context
    const usage = [...shard.usage.watched].map(
      ([prefix, { topics, bytes, whole }]) => [prefix, { topics, bytes, counted: whole }] as const,
    )
    return {
      residentTopics: registry.size,
      dormantTopics: registry.dormantSize,
      attachments: this.operations.attachments,
      journalFullness: shard.log.fullness,
      uncommittedBytes: shard.log.uncommittedBytes,
      available: shard.log.failure === null,
      usage: Object.fromEntries(usage),
    }
  }

  /** Resolves when all that was taken is durable and acknowledged; rejects with STORE_UNAVAILABLE if it cannot be. */
  settled(): Promise<void> {
    return this.context.shard.log.whenAllDurable()
  }

  /** Copies what is stored into a new data directory, while it goes on; see `copyOut`. */
  copyOut(path: string, copied: (bytes: number) => void, signal: AbortSignal): Promise<void> {
    return copyOut(this.context, path, copied, signal)
  }

  /** Does nothing more of its own accord, and resolves when it does nothing any more. Idempotent. */
  async stop(): Promise<void> {
    const { uploads } = this.context
    await Promise.all([this.quiet.stop(), this.reclaimer.stop(), uploads.stop(), this.wakers.stop()])
  }

  /** Stores what is acknowledged, and closes the store. */
  async close(): Promise<void> {
    await this.stop()
    await this.context.shard.close()
  }
}

/** A fault in telling one client must not keep the others from being told. */
function tell(item: CommitItem, failure: LitetopicError | null, report: (error: LitetopicError) => void): void {
  try {
    if (failure === null) item.committed()
    else item.failed(failure)
  } catch (error) {
    report(asLitetopicError(error))
  }
}
