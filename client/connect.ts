/** The way in: a broker by its address. */

import {
  type AttachOptions,
  checkPrefix,
  checkTopicName,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  type TopicInfo,
  UP,
} from '../protocol/index.ts'
import { Attachment } from './attachment.ts'
import { type Clock, systemClock } from './clock.ts'
import { Connection } from './connection.ts'
import { type Fetch, httpSockets } from './http-socket.ts'
import { randomId } from './random-id.ts'
import { type ConnectionState, RECONNECT_DEFAULTS, type ReconnectOptions } from './reconnect.ts'
import type { StandardSchemaV1 } from './schema.ts'
import { Session } from './session.ts'
import { connectionUrl, type SocketFactory } from './socket.ts'
import type { Value } from './values.ts'
import { openSocket } from './websocket.ts'

export interface ConnectOptions {
  /** An API key or a token, where the broker asks for one. A function is called for each connection. */
  readonly token?: string | (() => string | Promise<string>)
  /** Between two attempts to connect. Default: 100 ms, growing to 10 s, with jitter. */
  readonly reconnect?: Partial<ReconnectOptions>
  /** Another WebSocket than the platform's. */
  readonly webSocket?: SocketFactory
  /** Another `fetch` than the platform's, for an http address. */
  readonly fetch?: Fetch
  /** Another clock than the platform's. */
  readonly clock?: Clock
}

export interface SessionOptions<T> {
  /** Validates messages, written and read; Standard Schema version 1, not asynchronous. */
  readonly schema?: StandardSchemaV1<unknown, T>
  /** Default true. With false, a topic that does not exist is NOT_FOUND. */
  readonly create?: boolean
  /** Only looks: neither creates the topic nor keeps it alive, and cannot write. Default false. */
  readonly observe?: boolean
  /**
   * Takes the topic for itself: every other session may read and stop, but not write (FENCED), those open now for good, others until
   * this one is closed. Another exclusive session takes it over at once. One that only crashed still has it. Default false.
   */
  readonly exclusive?: boolean
  /** If this creates the topic: how long it outlives its last attachment, in ms. Default: the broker's policy for its name. */
  readonly lingerMs?: number | 'forever'
  /** If this creates the topic: how much of it is kept. Default: everything. */
  readonly maxBytes?: number
  readonly maxRecords?: number
  readonly maxAgeMs?: number
  /** Of a topic that this creates: it goes so long after it was last read or written, also while it is attached. Default: no end. */
  readonly ttlMs?: number
  /** Of a topic that this creates: it goes at this time, milliseconds since 1970, also while it is attached. Default: never. */
  readonly expiresAtMs?: number
  /** Of a topic that this creates: what its data is, a media type, for readers over HTTP. */
  readonly contentType?: string
}

export interface ListOptions {
  /** Names that begin with these whole segments. Default: all. */
  readonly prefix?: string
  /** The last name of the page before. */
  readonly after?: string
  /** Default and maximum: 1,000. */
  readonly limit?: number
}

export interface TokenRequest {
  /** A session, or a prefix of whole segments: what lies below it is meant, too. */
  readonly topic: string
  readonly can: readonly ('read' | 'write' | 'stop' | 'manage')[]
  /** Default 1 hour, at most 30 days. */
  readonly forMs?: number
  /** Who has it: its records carry that, behind the name of the key. Default `token`. */
  readonly as?: string
}

export interface IssuedToken {
  readonly token: string
  /** Whom records of it are of. */
  readonly principal: string
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number
}

/**
 * A broker, reached when it is needed. Requests wait for as long as it is unreachable; they reject with UNAUTHENTICATED or
 * VERSION_MISMATCH, which waiting does not change, and with CONNECTION_CLOSED after `close`.
 */
export interface Broker extends AsyncDisposable {
  readonly url: string
  readonly state: ConnectionState
  /** Why the last attempt or connection ended, or null. */
  readonly lastError: LitetopicError | null
  /** Calls the listener with each new state, soon after it changed. Returns what ends that. */
  onState(listener: (state: ConnectionState) => void): () => void
  /** Opens, resumes or creates a session. Rejects with BAD_NAME, NOT_FOUND (create: false), BAD_REQUEST or LIMIT_EXCEEDED. */
  session<T = Value>(name: string, options?: SessionOptions<T>): Promise<Session<T>>
  /** One page of topics in byte order of their names. Rejects with BAD_NAME. */
  list(options?: ListOptions): Promise<{ readonly topics: readonly TopicInfo[]; readonly more: boolean }>
  /** Rejects with NOT_FOUND or BAD_NAME. */
  describe(name: string): Promise<TopicInfo>
  /** Deletes a topic; false if there was none. With `epoch`: only that incarnation, else RECREATED. Rejects with BAD_NAME. */
  delete(name: string, options?: { readonly epoch?: number }): Promise<boolean>
  /**
   * A token for somebody else, such as a browser, who may do some of what this client may. Only who has connected with an API key gets
   * one. Rejects with ACCESS_DENIED, BAD_REQUEST or BAD_NAME.
   */
  issueToken(request: TokenRequest): Promise<IssuedToken>
  /** Waits up to 5 s for what was written to be durable, then closes. Rejects with the first error if something is not durable. */
  close(): Promise<void>
}

/**
 * Nothing happens before the first request. With ws:// or wss:// the connection is a WebSocket; with http:// or https:// it needs
 * nothing but fetch and web streams, for where WebSockets do not pass, and promises the same. Throws BAD_REQUEST for other addresses.
 */
export function connect(url: string, options: ConnectOptions = {}): Broker {
  return new RemoteBroker(url, options)
}

class RemoteBroker implements Broker {
  readonly url: string
  private readonly connection: Connection

  constructor(url: string, options: ConnectOptions) {
    this.url = connectionUrl(url)
    this.connection = new Connection({
      url: this.url,
      token: options.token,
      clock: options.clock ?? systemClock,
      openSocket:
        options.webSocket ?? (this.url.startsWith('http') ? httpSockets(options.fetch ?? plainFetch) : openSocket),
      reconnect: { ...RECONNECT_DEFAULTS, ...options.reconnect },
    })
  }

  get state(): ConnectionState {
    return this.connection.state
  }

  get lastError(): LitetopicError | null {
    return this.connection.lastError
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    return this.connection.onState(listener)
  }

  async session<T = Value>(name: string, options: SessionOptions<T> = {}): Promise<Session<T>> {
    checkTopicName(name)
    if (this.connection.failure !== null) throw this.connection.failure
    const attachment = new Attachment(this.connection, name, attachOptions(options))
    await attachment.open()
    return new Session(attachment, options.schema)
  }

  async list(options: ListOptions = {}): Promise<{ readonly topics: readonly TopicInfo[]; readonly more: boolean }> {
    const prefix = checkPrefix(options.prefix ?? '')
    const page = { after: options.after, limit: options.limit ?? LIMITS.pageItems }
    return this.connection.ask(UP.list, (request) => [UP.list, request, prefix, page])
  }

  async describe(name: string): Promise<TopicInfo> {
    checkTopicName(name)
    return this.connection.ask(UP.describe, (request) => [UP.describe, request, name])
  }

  async delete(name: string, options: { readonly epoch?: number } = {}): Promise<boolean> {
    const epoch = options.epoch ?? (await this.epochOf(name))
    if (epoch === null) return false
    // Asked twice, it cannot hit a topic that was created in between.
    const { deleted } = await this.connection.ask(UP.delete, (request) => [UP.delete, request, name, epoch])
    return deleted
  }

  issueToken(request: TokenRequest): Promise<IssuedToken> {
    return this.connection.ask(UP.issueToken, (number) => [
      UP.issueToken,
      number,
      { ...request, can: [...request.can] },
    ])
  }

  close(): Promise<void> {
    return this.connection.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private async epochOf(name: string): Promise<number | null> {
    try {
      return (await this.describe(name)).epoch
    } catch (error) {
      if (error instanceof LitetopicError && error.code === 'NOT_FOUND') return null
      throw error
    }
  }
}

/** Called as a method it is refused by browsers. */
const plainFetch: Fetch = (url, init) => fetch(url, init)

/** Only what is given is in it: a client may have a million sessions, of most of which nothing is said. */
function attachOptions<T>(options: SessionOptions<T>): AttachOptions {
  const { create, observe, exclusive, contentType } = options
  const given: { -readonly [K in keyof AttachOptions]: AttachOptions[K] } = {}
  if (observe !== true) given.producer = randomId()
  if (create !== undefined) given.create = create
  if (observe !== undefined) given.observe = observe
  if (exclusive !== undefined) given.exclusive = exclusive
  if (contentType !== undefined) given.contentType = contentType
  const policy = policyOf(options)
  if (policy !== undefined) given.policy = policy
  return given
}

/** What is said of the policy; undefined if nothing is. */
function policyOf<T>(options: SessionOptions<T>): PolicyInfo | undefined {
  const { lingerMs, maxBytes, maxRecords, maxAgeMs, ttlMs, expiresAtMs } = options
  const keeps = maxBytes !== undefined || maxRecords !== undefined || maxAgeMs !== undefined
  const ends = lingerMs !== undefined || ttlMs !== undefined || expiresAtMs !== undefined
  return keeps || ends ? { lingerMs, maxBytes, maxRecords, maxAgeMs, ttlMs, expiresAtMs } : undefined
}
