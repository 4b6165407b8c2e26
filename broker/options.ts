/** What a broker is told when it is started, and whether that makes sense. */

import { join } from 'node:path'
import { DEFAULT_HOST, DEFAULT_PORT, LIMITS, LitetopicError } from '../protocol/index.ts'
import type { Durability, Store } from '../storage/index.ts'
import { ACCESS_FILE } from './access/access-file.ts'
import type { JwtOptions } from './access/jwt.ts'
import { type Clock, systemClock } from './clock.ts'
import { checkOrigin, type PageOptions } from './http/origins.ts'
import type { TlsFiles } from './http/tls.ts'
import { checkMaxMessageBytes, type LimitOptions, limitTable, type PrefixLimits } from './limits.ts'
import { policyTable } from './policy.ts'
import { Targets } from './wakes/targets.ts'
import type { Transport } from './ws/hub.ts'

export const DEFAULT_DATA_DIR = './data'

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
  /**
   * The file with its API keys, which `litetopic key` makes. As long as there is none, whoever reaches the broker may do everything,
   * and it listens on loopback only. Default: `access.json` in the data directory; without one, no file.
   */
  readonly accessFile?: string
  /** Who else signs tokens that are taken. With any, access is configured. */
  readonly jwt?: readonly JwtOptions[]
  /**
   * Web pages that may use it beside those of its own origin: `https://app.example.com`, or `*` for all. Without access, it must also be asked by a
   * name of this machine, or that of `publicUrl`.
   */
  readonly allowOrigins?: readonly string[]
  /** Certificate and key, as PEM files: it then speaks TLS only. `reload` reads them again. Default: no TLS. */
  readonly tls?: TlsFiles
  /** Listens wherever it is told to, though whoever reaches it may do everything. Default false. */
  readonly insecureOpen?: boolean
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

/** What the options say. Throws BAD_NAME or BAD_REQUEST. */
export function checked(options: BrokerOptions) {
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
    pages: pagesOf(options),
  }
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

/** Of the access file, which need not be there; null if there can be none. */
export function accessPath({ accessFile, dataDir, store }: BrokerOptions): string | null {
  if (accessFile !== undefined) return accessFile
  return store === undefined && dataDir !== null ? join(dataDir ?? DEFAULT_DATA_DIR, ACCESS_FILE) : null
}

/** Which web pages may use it. Throws BAD_REQUEST. */
function pagesOf({ allowOrigins = [], insecureOpen, publicUrl }: BrokerOptions): PageOptions {
  const url = checkPublicUrl(publicUrl)
  return {
    allowOrigins: allowOrigins.map(checkOrigin),
    anyHost: insecureOpen === true,
    publicHost: url === null ? null : new URL(url).hostname,
  }
}
