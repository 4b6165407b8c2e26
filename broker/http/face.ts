/** What the routes have of the broker: a caller for each request, and what is true of all requests together. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { asLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { addressOf } from '../access/address.ts'
import type { Authority } from '../access/authority.ts'
import { Identity, NOBODY } from '../access/identity.ts'
import type { Clock } from '../clock.ts'
import type { Core } from '../core.ts'
import type { Counts } from '../observe/counts.ts'
import type { Operations } from '../operations.ts'
import type { Unsent } from '../unsent.ts'
import type { Socket } from '../ws/socket.ts'
import { Bodies, cutOff, type Held } from './bodies.ts'
import { Caller, type CallerOwner, type Outlet } from './caller.ts'
import type { Reply, Request } from './fastify.ts'
import { Origins, type PageOptions } from './origins.ts'
import { type Placed, Present } from './present.ts'
import { EventStreams } from './sse.ts'

export interface FaceOptions {
  /** Null while the store is opened anew. */
  readonly core: () => Core | null
  readonly clock: Clock
  /** The largest content of a message, in bytes. */
  readonly maxMessageBytes: number
  /** The largest message of a connection, be it a WebSocket or over HTTP. */
  readonly frameBytes: number
  readonly version: string
  readonly unsent: Unsent
  readonly counts: Counts
  /** All that is measured, in the format of Prometheus. */
  readonly metrics: () => Promise<string>
  readonly authority: Authority
  readonly pages: PageOptions
  /** Where others reach it: a url with no slash at its end. */
  readonly publicUrl: () => string
}

/** What a look at the token of a request has found. */
type Looked = Identity | Promise<Identity> | LitetopicError

/** A request and its response, under way. */
export interface Exchange extends Held, Placed {
  /** Whose it is, once that is known, and where it comes from. */
  identity: Identity
  readonly address: string
  looked: Looked | null
  caller: Caller | null
  /** What has become of its body, where that was taken before the routes saw the request. */
  taken: Buffer | LitetopicError | null
}

/** What is known of a request that is under way, on itself. */
const EXCHANGE = Symbol('exchange')
type Exchanging = IncomingMessage & { [EXCHANGE]?: Exchange }

export class Face implements CallerOwner {
  readonly options: FaceOptions
  readonly bodies: Bodies
  readonly events: EventStreams
  readonly origins: Origins
  private readonly open = new Present<Exchange>()
  private relieved: (() => void)[] = []
  /** Takes a connection over HTTP as it takes WebSockets. */
  accept: (socket: Socket) => void = () => undefined
  /** Why nothing new is begun any more, or null. */
  stopping: LitetopicError | null = null
  private whenAnswered: () => void = () => undefined

  constructor(options: FaceOptions) {
    this.options = options
    this.bodies = new Bodies(options.clock)
    this.events = new EventStreams(options.clock, options.unsent)
    this.origins = new Origins(options.pages, options.authority)
  }

  /** Throws STORE_UNAVAILABLE while the store is opened anew. */
  get operations(): Operations {
    const core = this.options.core()
    if (core !== null) return core.operations
    throw new LitetopicError('STORE_UNAVAILABLE', 'the store is being opened anew; come back in a moment')
  }

  /** Of the store, for cursors. Throws STORE_UNAVAILABLE while it is opened anew. */
  get incarnation(): string {
    const core = this.options.core()
    if (core !== null) return core.incarnation
    throw new LitetopicError('STORE_UNAVAILABLE', 'the store is being opened anew; come back in a moment')
  }

  get overloaded(): boolean {
    return this.options.core()?.overloaded ?? false
  }

  /** The request as a client of the broker, until its response ends or its connection does. One for each request, of one topic. */
  caller({ raw, request }: Reply, outlet?: Outlet): Caller {
    const exchange = exchangeOf(request.raw)
    if (exchange !== null) return this.callerOf(exchange, raw, outlet)
    // It was over before it was looked at.
    const caller = new Caller(this, new ResponseOutlet(raw), NOBODY, addressOf(request.raw))
    caller.close()
    return caller
  }

  /** The same for an exchange that is at hand. */
  callerOf(exchange: Exchange, response: ServerResponse, outlet: Outlet = new ResponseOutlet(response)): Caller {
    const caller = new Caller(this, outlet, exchange.identity, exchange.address)
    exchange.caller = caller
    return caller
  }

  /** Whose the request is: of its bearer. Throws, or rejects with, UNAUTHENTICATED or RATE_LIMITED. At once, if it can be. */
  authenticate({ raw }: Request): void | Promise<void> {
    const exchange = exchangeOf(raw)
    if (exchange === null) return
    const found = this.lookAt(raw, exchange)
    if (found instanceof LitetopicError) throw found
    const use = (identity: Identity): void => {
      exchange.identity = identity
    }
    return found instanceof Promise ? found.then(use) : use(found)
  }

  /** The same for one that is not to wait: false where it must, or is refused, or its page is, which is for the routes to say. */
  mayServe(request: IncomingMessage, exchange: Exchange): boolean {
    if (this.origins.refusal(request) !== null) return false
    const found = this.lookAt(request, exchange)
    if (!(found instanceof Identity)) return false
    exchange.identity = found
    return true
  }

  /** Once for each request: a wrong token counts once. */
  private lookAt(request: IncomingMessage, exchange: Exchange): Looked {
    exchange.looked ??= this.identify(request, exchange.address)
    return exchange.looked
  }

  private identify(request: IncomingMessage, address: string): Looked {
    const [, token] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? []
    try {
      const found = this.options.authority.identify(token, address)
      // Nobody may wait for it.
      if (found instanceof Promise) found.catch(() => undefined)
      return found
    } catch (error) {
      return asLitetopicError(error)
    }
  }

  /** As `authenticate` has found it. */
  identityOf({ raw }: Request): Identity {
    return exchangeOf(raw)?.identity ?? NOBODY
  }

  /** The body of a request, whole, up to the limit of its route. It counts until the response has ended. */
  readBody({ raw, routeOptions }: Request, done: (error: LitetopicError | null, body?: Buffer) => void): void {
    const exchange = exchangeOf(raw)
    if (exchange === null) done(cutOff())
    else if (Buffer.isBuffer(exchange.taken)) done(null, exchange.taken)
    else if (exchange.taken !== null) done(exchange.taken)
    else this.bodies.read(raw, exchange, routeOptions.bodyLimit ?? LIMITS.httpBodyBytes, done)
  }

  /** Nothing of the body is held any more, though the response goes on. */
  forgetBody({ raw }: Request): void {
    const exchange = exchangeOf(raw)
    if (exchange !== null) this.bodies.release(exchange)
  }

  whenRelieved(resume: () => void): void {
    this.options.counts.pauses++
    this.relieved.push(resume)
  }

  /** To be called after commits and flushes: lets publishers go on when there is room. */
  relieve(): void {
    if (this.relieved.length === 0 || this.overloaded) return
    const { relieved } = this
    this.relieved = []
    for (const resume of relieved) resume()
  }

  /** A request has come. */
  begun(request: IncomingMessage, response: ServerResponse): Exchange {
    const { open, bodies } = this
    const exchange: Exchange = {
      ...{ identity: NOBODY, looked: null, caller: null, taken: null, bodyBytes: 0, place: -1 },
      address: addressOf(request),
    }
    open.add(exchange)
    ;(request as Exchanging)[EXCHANGE] = exchange
    response.once('close', () => {
      exchange.caller?.close()
      if (exchange.bodyBytes > 0) bodies.release(exchange)
      open.remove(exchange)
      this.whenAnswered()
    })
    return exchange
  }

  /** The core is no more: what used it ends. */
  sendAway(): void {
    const error = new LitetopicError('STORE_UNAVAILABLE', 'the store is opened anew; come back in a moment')
    for (const { caller } of this.open.all()) caller?.away(error)
    this.relieve()
  }

  /** Refuses what comes from now on, and ends what would stay open. Resolves when all is answered. */
  async stop(error: LitetopicError): Promise<void> {
    this.stopping = error
    for (const { caller } of this.open.all()) caller?.stopLive(error)
    while (this.open.size > 0) {
      await new Promise<void>((resolve) => {
        this.whenAnswered = resolve
      })
    }
  }
}

/** Null once its response has ended. */
function exchangeOf(request: IncomingMessage): Exchange | null {
  const exchange = (request as Exchanging)[EXCHANGE] ?? null
  return exchange !== null && exchange.place >= 0 ? exchange : null
}

/** A response that holds what its socket has not taken. */
class ResponseOutlet implements Outlet {
  private readonly response: ServerResponse

  constructor(response: ServerResponse) {
    this.response = response
  }

  get clogged(): boolean {
    return this.response.writableNeedDrain
  }

  whenUnclogged(resume: () => void): void {
    this.response.once('drain', resume)
  }

  cut(): void {
    this.response.destroy()
  }
}
