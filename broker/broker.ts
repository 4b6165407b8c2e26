/** Wires a broker together: store, shard, operations, listener; and takes it down in order. No logic of its own. */

import { createRequire } from 'node:module'
import {
  asLitetopicError,
  DEFAULT_HOST,
  DEFAULT_PORT,
  LIMITS,
  LitetopicError,
  WEBSOCKET_PATH,
} from '../protocol/index.ts'
import { type Durability, MemoryDisk, openLevelStore, openMemoryStore, Shard, type Store } from '../storage/index.ts'
import { type Clock, systemClock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'
import type { Context } from './context.ts'
import { type LimitOptions, limitTable, type PrefixLimits } from './limits.ts'
import { Operations } from './operations.ts'
import { effectivePolicy, policyTable } from './policy.ts'
import { Quiet } from './quiet.ts'
import { Reclaimer } from './reclaim.ts'
import { Registry } from './registry.ts'
import { Scopes } from './scopes.ts'
import { Hub, type Transport } from './ws/hub.ts'
import { WebSocketTransport } from './ws/server.ts'

/** Linger and retention; see PROTOCOL.md, Limits. Retention is in whole chunks; null or absent is without bound. */
export interface PolicyOptions {
  readonly lingerMs?: number | 'forever'
  readonly maxBytes?: number
  readonly maxRecords?: number
  readonly maxAgeMs?: number
  /** Bounds of all topics below the prefix together. */
  readonly limits?: PrefixLimits
}

export interface BrokerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 7171; 0 takes any free port. */
  readonly port?: number
  /** Where the data lives; null keeps it in memory only. Default `./data`. */
  readonly dataDir?: string | null
  /** Default `fsync`. */
  readonly durability?: Durability
  /** How long topics outlive their last attachment, unless a prefix says otherwise. Default 1 hour. */
  readonly lingerMs?: number | 'forever'
  /** By prefix of whole segments; the longest that covers a topic counts. */
  readonly policies?: Readonly<Record<string, PolicyOptions>>
  /** Bounds of each connection and of each topic. Default: those of LIMITS. */
  readonly limits?: LimitOptions
  /** After a writer's connection dropped, how long its streams wait before they are lost. Default 10 s. */
  readonly streamGraceMs?: number
  /** How long a topic that nobody uses stays in memory. Default 10 s. */
  readonly residencyIdleMs?: number
  /** Idle time after which journal and disk space are given back. Default 10 s. */
  readonly quietMs?: number
  readonly clock?: Clock
  /** A store to use instead of a data directory. */
  readonly store?: Store
  /** Where connections come from, instead of a WebSocket server at host and port. */
  readonly transport?: Transport
  /** Told, in one line, of what an operator should know. */
  readonly log?: (line: string) => void
}

export interface Broker {
  /** For `connect`. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly dataDir: string | null
  /** Topics in memory, connections, and how full the journal is (1 is full). */
  stats(): { residentTopics: number; connections: number; journalFullness: number; reclaimed: number }
  /** Tells clients, stores what is acknowledged, and closes. Idempotent. */
  close(): Promise<void>
}

/**
 * Starts a broker in this process. Rejects with DATA_DIR_IN_USE, DATA_DIR_UNUSABLE, DATA_DIR_VERSION, STORE_CORRUPT,
 * BAD_NAME, BAD_REQUEST or PORT_IN_USE.
 */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const store = options.store ?? (await openStore(options))
  try {
    return await startOn(store, options)
  } catch (error) {
    await store.close()
    throw error
  }
}

async function startOn(store: Store, options: BrokerOptions): Promise<Broker> {
  const clock = options.clock ?? systemClock
  const log = options.log ?? (() => undefined)
  const policies = policyTable(options.lingerMs ?? LIMITS.lingerMs, options.policies ?? {})
  const limits = limitTable(options.limits ?? {}, options.policies ?? {})
  const report = (error: LitetopicError): void => log(`${error.code}: ${error.message}`)
  const unavailable = (error: LitetopicError): void => log(`the store cannot be written: ${error.message}`)
  const shard: Shard<CommitItem> = await Shard.open<CommitItem>(store, {
    committed(items) {
      for (const item of items) tell(item, null, report)
      shard.wakeFlusher()
      hub.relieve()
      quiet.touch()
    },
    failed(items, error) {
      unavailable(error)
      for (const item of items) tell(item, error, report)
    },
    lingerMs: (state) => effectivePolicy(policies, state.name, state.policy).lingerMs,
    flushed: (state) => reclaimer.flushed(state),
    truncated: () => hub.relieve(),
    flushFailed: unavailable,
  })
  const registry = new Registry(shard, clock)
  const context: Context = {
    shard,
    clock,
    registry,
    policies,
    scopes: new Scopes(limits, clock),
    streamGraceMs: options.streamGraceMs ?? LIMITS.streamGraceMs,
    residencyIdleMs: options.residencyIdleMs ?? LIMITS.residencyIdleMs,
    report,
  }
  const reclaimer = new Reclaimer(context)
  registry.onResident = (topic) => reclaimer.resident(topic)
  const quiet = new Quiet(shard, clock, options.quietMs ?? LIMITS.quietMs, unavailable)
  const hub = new Hub({
    operations: new Operations(context, reclaimer),
    clock,
    incarnation: shard.incarnation,
    version: packageVersion(),
    frameBytes: limits.frameBytes,
    overloaded: () => isOverloaded(shard),
  })
  const host = options.host ?? DEFAULT_HOST
  const port = await hub.open(
    options.transport ?? new WebSocketTransport(host, checkPort(options.port), limits.frameBytes),
  )
  void reclaimer.start()
  // A journal that is nearly full from before would pause publishers, and nothing would be committed that wakes it.
  shard.wakeFlusher()
  quiet.touch()
  let closed: Promise<void> | null = null
  const close = async (): Promise<void> => {
    await Promise.all([quiet.stop(), reclaimer.stop(), hub.close()])
    await shard.close()
  }
  return {
    url: `ws://${host.includes(':') ? `[${host}]` : host}:${port}${WEBSOCKET_PATH}`,
    host,
    port,
    dataDir: store.location === 'memory' ? null : store.location,
    stats: () => statsOf(context, hub, reclaimer),
    close() {
      closed ??= close()
      return closed
    },
  }
}

function statsOf({ registry, shard }: Context, hub: Hub, { reclaimed }: Reclaimer): ReturnType<Broker['stats']> {
  const { connections } = hub
  return { residentTopics: registry.size, connections, journalFullness: shard.log.fullness, reclaimed }
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

/** Are publishers to be paused, because the disk does not keep up? */
function isOverloaded({ log }: Shard<CommitItem>): boolean {
  return log.uncommittedBytes > LIMITS.uncommittedBytes || log.fullness > LIMITS.journalPauseShare
}

function checkPort(port: number = DEFAULT_PORT): number {
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new LitetopicError('BAD_REQUEST', `port must be from 0 to 65535, not ${port}`)
}

async function openStore(options: BrokerOptions): Promise<Store> {
  if (options.dataDir === null) return openMemoryStore(new MemoryDisk())
  return openLevelStore(options.dataDir ?? './data', { durability: options.durability ?? 'fsync' })
}

function packageVersion(): string {
  const require = createRequire(import.meta.url)
  // From the sources the package is one level up, from dist two.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const found = require(path) as { name?: string; version?: string }
      if (found.name === 'litetopic' && found.version !== undefined) return found.version
    } catch {
      // Not at this level.
    }
  }
  return 'unknown'
}
