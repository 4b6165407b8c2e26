/** Wires a broker together: store, core, listener; and takes it down in order. No logic of its own. */

import { createRequire } from 'node:module'
import {
  asLitetopicError,
  DEFAULT_HOST,
  DEFAULT_PORT,
  invariant,
  LIMITS,
  LitetopicError,
  WEBSOCKET_PATH,
} from '../protocol/index.ts'
import { type Durability, MemoryDisk, openLevelStore, openMemoryStore, type Store } from '../storage/index.ts'
import { type Clock, systemClock } from './clock.ts'
import { Control } from './control.ts'
import { Core, type CoreStats } from './core.ts'
import { wakeWriter } from './http/durable-streams/subscription-bodies.ts'
import { HttpServer } from './http/server.ts'
import { checkMaxMessageBytes, type LimitOptions, limitTable, type PrefixLimits } from './limits.ts'
import { Metrics } from './observe/metrics.ts'
import { policyTable } from './policy.ts'
import { Recovery } from './recovery.ts'
import { Unsent } from './unsent.ts'
import { Targets } from './wakes/targets.ts'
import { Hub, type Transport } from './ws/hub.ts'

/** Linger and retention; see PROTOCOL.md, Limits. Retention is in whole chunks; null or absent is without bound. */
export interface PolicyOptions {
  readonly lingerMs?: number | 'forever'
  readonly maxBytes?: number
  readonly maxRecords?: number
  readonly maxAgeMs?: number
  /** How long a topic lives after it was last read or written, also while it is attached. Default: no end. */
  readonly ttlMs?: number
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
  /** How long a topic that nobody uses, attached or not, stays in memory. Default 10 s. */
  readonly residencyIdleMs?: number
  /** Idle time after which journal and disk space are given back. Default 10 s. */
  readonly quietMs?: number
  /** The largest message, which travels in parts, in bytes. Default 256 MiB. */
  readonly maxMessageBytes?: number
  /**
   * Where webhooks of Durable Streams subscriptions may go; by default nowhere. Names (`hooks.example.com`, `*.example.com`, or `*`
   * for every public host), and addresses or ranges that may be called although they are private (`10.0.0.0/8`); each with or
   * without `:port`.
   */
  readonly webhookHosts?: readonly string[]
  /** Where others reach its HTTP: what webhooks are told to call back. Default: `http://`, host and port. */
  readonly publicUrl?: string
  /** All addresses of a host name. Default: as the system resolves it. */
  readonly resolveHost?: (host: string) => Promise<readonly string[]>
  readonly clock?: Clock
  /**
   * A store to use instead of a data directory, or what opens one: after a failed write it is called again, once the store is
   * closed. One that is given ready is not written again after a failed write.
   */
  readonly store?: Store | (() => Promise<Store>)
  /** Where connections come from, instead of a server at host and port; there is no HTTP then. */
  readonly transport?: Transport
  /** Told, in one line, of what an operator should know. */
  readonly log?: (line: string) => void
}

/** While no store is open. */
const NO_CORE: CoreStats = {
  residentTopics: 0,
  dormantTopics: 0,
  attachments: 0,
  journalFullness: 0,
  uncommittedBytes: 0,
  available: false,
  usage: {},
}

/** What stands at some height now; see `Broker.stats`. */
export interface BrokerStats extends CoreStats {
  readonly connections: number
  readonly unsentBytes: number
  /** Topics reclaimed since the start. */
  readonly reclaimed: number
}

export interface Broker {
  /** For `connect`. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly dataDir: string | null
  /**
   * Topics in memory, sessions and connections, what sockets have not taken yet, how full the journal is (1 is full), and whether the
   * store takes writes now.
   */
  stats(): BrokerStats
  /** What it counts and measures, in the text format of Prometheus, as `GET /metrics` answers. */
  metrics(): Promise<string>
  /**
   * Refuses new work with SHUTTING_DOWN, tells clients when to come back, answers what is under way, stores it, and closes.
   * Idempotent.
   */
  close(): Promise<void>
}

/**
 * Starts a broker in this process. Rejects with DATA_DIR_IN_USE, DATA_DIR_UNUSABLE, DATA_DIR_VERSION, STORE_CORRUPT,
 * BAD_NAME, BAD_REQUEST or PORT_IN_USE.
 */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const opener = storeOpener(options)
  const { store: given } = options
  const store = await (typeof given === 'object' ? given : opener())
  try {
    return await startOn(store, options, typeof given === 'object' ? null : opener)
  } catch (error) {
    await store.close()
    throw error
  }
}

/** `reopen` opens the store again after a failed write; null for one that cannot be. */
async function startOn(store: Store, options: BrokerOptions, reopen: (() => Promise<Store>) | null): Promise<Broker> {
  const given = checked(options)
  const { clock, log, limits, maxMessageBytes, host } = given
  const metrics = new Metrics({ levels: stats, diskBytes: async (part) => core?.diskBytes(part) ?? 0 })
  const { counts } = metrics
  const relieved = (): void => {
    hub.relieve()
    http?.relieve()
  }
  const publicUrl = (): string => given.publicUrl ?? `http://${urlHost(host)}:${port}`
  const wakes = { targets: given.targets, write: wakeWriter(publicUrl) }
  const coreOn = async (opened: Store): Promise<Core> => {
    const broken = (error: LitetopicError): void => {
      log(brokenLine(opened.location, error, reopen !== null))
      if (reopen !== null) recovery.begin(made)
    }
    const made = await Core.open(opened, { ...options, ...given, counts, wakes, relieved, broken })
    return made
  }
  const recovery = new Recovery<Core>({
    clock,
    log,
    open: () => openCore(reopen, coreOn),
    use(next) {
      hub.use(next)
      core = next
      if (next === null) http?.sendAway()
      next?.start()
    },
  })
  let core: Core | null = await coreOn(store)
  const version = packageVersion()
  const { frameBytes } = limits
  const unsent = new Unsent()
  const hub = new Hub({ core, clock, version, frameBytes, unsent, counts })
  const listening = { host, port: given.port, frameBytes, core: () => core, clock, unsent, counts, publicUrl }
  const http =
    options.transport === undefined
      ? new HttpServer({ ...listening, maxMessageBytes, version, metrics: () => metrics.text() })
      : null
  /** Known before the core begins to do anything. */
  const port = await hub.open(options.transport ?? (http as HttpServer))
  core.start()
  const control = await openControl(store, options, () => core)
  function stats(): BrokerStats {
    const { connections } = hub
    return { ...(core?.stats() ?? NO_CORE), connections, unsentBytes: unsent.bytes, reclaimed: counts.topics.reclaimed }
  }
  return brokerAt(host, port, store.location, {
    stats,
    metrics: () => metrics.text(),
    async close() {
      await control?.close()
      await recovery.stop()
      await Promise.all([core?.stop(), hub.close()])
      await core?.close()
    },
  })
}

/** What the options say. Throws BAD_NAME or BAD_REQUEST. */
function checked(options: BrokerOptions) {
  return {
    clock: options.clock ?? systemClock,
    log: options.log ?? (() => undefined),
    limits: limitTable(options.limits ?? {}, options.policies ?? {}),
    maxMessageBytes: checkMaxMessageBytes(options.maxMessageBytes),
    policies: policyTable(options.lingerMs ?? LIMITS.lingerMs, options.policies ?? {}),
    targets: new Targets(options.webhookHosts ?? [], options.resolveHost),
    host: options.host ?? DEFAULT_HOST,
    port: checkPort(options.port),
    publicUrl: checkPublicUrl(options.publicUrl),
  }
}

function brokerAt(
  host: string,
  port: number,
  location: string,
  own: Pick<Broker, 'stats' | 'metrics' | 'close'>,
): Broker {
  let closed: Promise<void> | null = null
  return {
    url: `ws://${urlHost(host)}:${port}${WEBSOCKET_PATH}`,
    host,
    port,
    dataDir: location === 'memory' ? null : location,
    stats: own.stats,
    metrics: own.metrics,
    close() {
      closed ??= own.close()
      return closed
    },
  }
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** Without a slash at its end. */
function checkPublicUrl(text: string | undefined): string | null {
  if (text === undefined) return null
  const url = URL.canParse(text) ? new URL(text) : null
  if (url !== null && /^https?:$/.test(url.protocol) && url.search + url.hash === '') return text.replace(/\/+$/, '')
  throw new LitetopicError('BAD_REQUEST', `publicUrl must be an http or https url, not ${JSON.stringify(text)}`)
}

function checkPort(port: number = DEFAULT_PORT): number {
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new LitetopicError('BAD_REQUEST', `port must be from 0 to 65535, not ${port}`)
}

/** What opens the store, at the start and after a failed write. */
function storeOpener({ store, dataDir, durability }: BrokerOptions): () => Promise<Store> {
  if (typeof store === 'function') return store
  if (dataDir !== null) return () => openLevelStore(dataDir ?? './data', { durability: durability ?? 'fsync' })
  const disk = new MemoryDisk()
  return () => openMemoryStore(disk)
}

async function openCore(reopen: (() => Promise<Store>) | null, coreOn: (store: Store) => Promise<Core>): Promise<Core> {
  invariant(reopen !== null, 'the store can be opened anew')
  const store = await reopen()
  try {
    return await coreOn(store)
  } catch (error) {
    await store.close()
    throw error
  }
}

function brokenLine(location: string, error: LitetopicError, heals: boolean): string {
  const advice = heals
    ? 'make room or mend the disk, and the broker goes on by itself'
    : 'make room or mend the disk, and start the broker again'
  return `the store cannot be written, and nothing is acknowledged until it can: ${error.message} (${location}); ${advice}`
}

/** A broker that cannot be asked for a copy serves all the same. */
async function openControl(store: Store, options: BrokerOptions, core: () => Core | null): Promise<Control | null> {
  if (options.store !== undefined || store.location === 'memory') return null
  try {
    return await Control.open(store.location, {
      async copyTo(path, copied, signal) {
        const present = core()
        if (present === null) throw new LitetopicError('STORE_UNAVAILABLE', 'the store is being opened anew')
        await present.copyOut(path, copied, signal)
      },
    })
  } catch (error) {
    options.log?.(`no backup can be taken while the broker runs: ${asLitetopicError(error).message}`)
    return null
  }
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
