/** Wires a broker together: store, core, listener; and takes it down in order. No logic of its own. */

import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { asLitetopicError, DEFAULT_HOST, invariant, LitetopicError, WEBSOCKET_PATH } from '../protocol/index.ts'
import { MemoryDisk, openLevelStore, openMemoryStore, type Store } from '../storage/index.ts'
import { isLoopback } from './access/address.ts'
import { AUDIT_FILE, Audit } from './access/audit.ts'
import { Authority, type IssuedToken } from './access/authority.ts'
import type { TokenRequest } from './access/tokens.ts'
import { systemClock } from './clock.ts'
import { Control } from './control.ts'
import { Core, type CoreStats } from './core.ts'
import { wakeWriter } from './http/durable-streams/subscription-bodies.ts'
import { HttpServer } from './http/server.ts'
import { readTls, type TlsContent } from './http/tls.ts'
import { Metrics } from './observe/metrics.ts'
import { accessPath, type BrokerOptions, checked, DEFAULT_DATA_DIR } from './options.ts'
import { Recovery } from './recovery.ts'
import { Unsent } from './unsent.ts'
import { Hub } from './ws/hub.ts'

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
  /** Is anybody kept out? */
  readonly hasAccess: boolean
  /**
   * A token for somebody, such as a browser, with these rights on a topic or prefix, for 1 hour if it is not said. Throws BAD_REQUEST or
   * BAD_NAME; also where there are no API keys.
   */
  issueToken(request: TokenRequest): IssuedToken
  /** Reads access file and certificate again: what was revoked is over at once. Rejects with BAD_REQUEST, and leaves all as it was. */
  reload(): Promise<void>
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
  const { store: given } = options
  const opener = storeOpener(options)
  let store = typeof given === 'object' ? given : null
  try {
    const ready = await prepare(options)
    store ??= await opener()
    return await startOn(store, options, ready, typeof given === 'object' ? null : opener)
  } catch (error) {
    await store?.close()
    throw error
  }
}

/** What was checked, and read, before anything begins. */
interface Ready {
  readonly given: ReturnType<typeof checked>
  readonly authority: Authority
  readonly audit: Audit | null
  readonly tls: TlsContent | null
}

/** Rejects with BAD_NAME or BAD_REQUEST. */
async function prepare(options: BrokerOptions): Promise<Ready> {
  const given = checked(options)
  const audit = auditOf(options)
  return { given, audit, authority: await openAuthority(options, audit), tls: await openTls(options) }
}

/** `reopen` opens the store again after a failed write; null for one that cannot be. */
async function startOn(
  store: Store,
  options: BrokerOptions,
  { given, authority, audit, tls }: Ready,
  reopen: (() => Promise<Store>) | null,
): Promise<Broker> {
  const { clock, log, limits, maxMessageBytes, host } = given
  const metrics = new Metrics({ levels: stats, diskBytes: async (part) => core?.diskBytes(part) ?? 0 })
  const { counts } = metrics
  const relieved = (): void => {
    hub.relieve()
    http?.relieve()
  }
  const publicUrl = (): string => given.publicUrl ?? `http${tls === null ? '' : 's'}://${urlHost(host)}:${port}`
  const wakes = { targets: given.targets, write: wakeWriter(publicUrl) }
  const coreOn = async (opened: Store): Promise<Core> => {
    const broken = (error: LitetopicError): void => {
      log(brokenLine(opened.location, error, reopen !== null))
      if (reopen !== null) recovery.begin(made)
    }
    const made = await Core.open(opened, { ...options, ...given, authority, audit, counts, wakes, relieved, broken })
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
  const [version, { frameBytes }] = [packageVersion(), limits]
  const unsent = new Unsent()
  const hub = new Hub({ core, clock, version, frameBytes, unsent, counts, authority })
  const listening = { host, port: given.port, frameBytes, core: () => core, clock, unsent, counts, publicUrl, tls }
  const face = { authority, maxMessageBytes, version, pages: given.pages, metrics: () => metrics.text() }
  const http = options.transport === undefined ? new HttpServer({ ...listening, ...face }) : null
  /** Known before the core begins to do anything. */
  const port = await hub.open(options.transport ?? (http as HttpServer))
  core.start()
  const reload = (): Promise<void> => readAgain(options, authority, http)
  const control = await openControl(store, options, () => core, reload)
  function stats(): BrokerStats {
    const { connections } = hub
    return { ...(core?.stats() ?? NO_CORE), connections, unsentBytes: unsent.bytes, reclaimed: counts.topics.reclaimed }
  }
  const place = { host, port, isTls: tls !== null, location: store.location }
  return brokerAt(place, {
    reload,
    hasAccess: () => authority.isConfigured,
    issueToken: (request) => authority.grant(request),
    stats,
    metrics: () => metrics.text(),
    async close() {
      await control?.close()
      await recovery.stop()
      await Promise.all([core?.stop(), hub.close()])
      await core?.close()
      await audit?.close()
    },
  })
}

/** Beside the access file, be it there or not. */
function auditOf(options: BrokerOptions): Audit | null {
  const path = accessPath(options)
  const { clock = systemClock, log = () => undefined } = options
  return path === null ? null : new Audit(join(dirname(path), AUDIT_FILE), clock, log)
}

/** Rejects with BAD_REQUEST where whoever comes could do everything, and not only this machine could come. */
async function openAuthority(options: BrokerOptions, audit: Audit | null): Promise<Authority> {
  const { transport, host = DEFAULT_HOST, insecureOpen, clock = systemClock, jwt } = options
  const authority = await Authority.open(accessPath(options), clock, jwt, audit)
  if (authority.isConfigured || insecureOpen === true || transport !== undefined || isLoopback(host)) return authority
  throw new LitetopicError(
    'BAD_REQUEST',
    `without access configured the broker listens on loopback only, not on ${host}: make a key with "litetopic key create", ` +
      'or let whoever reaches it do everything with --insecure-open',
    { host },
  )
}

async function readAgain(options: BrokerOptions, authority: Authority, http: HttpServer | null): Promise<void> {
  const tls = await openTls(options)
  await authority.reload()
  if (tls !== null) http?.useCertificate(tls)
}

async function openTls({ tls, clock = systemClock }: BrokerOptions): Promise<TlsContent | null> {
  return tls === undefined ? null : readTls(tls, clock.wallMs())
}

function brokerAt(
  { host, port, isTls, location }: { host: string; port: number; isTls: boolean; location: string },
  own: Pick<Broker, 'stats' | 'metrics' | 'close' | 'reload' | 'issueToken'> & { hasAccess(): boolean },
): Broker {
  let closed: Promise<void> | null = null
  return {
    url: `${isTls ? 'wss' : 'ws'}://${urlHost(host)}:${port}${WEBSOCKET_PATH}`,
    host,
    port,
    dataDir: location === 'memory' ? null : location,
    stats: own.stats,
    metrics: own.metrics,
    reload: own.reload,
    issueToken: own.issueToken,
    get hasAccess() {
      return own.hasAccess()
    },
    close() {
      closed ??= own.close()
      return closed
    },
  }
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** What opens the store, at the start and after a failed write. */
function storeOpener({ store, dataDir, durability }: BrokerOptions): () => Promise<Store> {
  if (typeof store === 'function') return store
  if (dataDir !== null) return () => openLevelStore(dataDir ?? DEFAULT_DATA_DIR, { durability: durability ?? 'fsync' })
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
async function openControl(
  store: Store,
  options: BrokerOptions,
  core: () => Core | null,
  reload: () => Promise<void>,
): Promise<Control | null> {
  if (options.store !== undefined || store.location === 'memory') return null
  try {
    return await Control.open(store.location, {
      reload,
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
