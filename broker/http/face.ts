/** What the routes have of the broker: a caller for each request, and what is true of all requests together. */

import type { ServerResponse } from 'node:http'
import { LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import type { Core } from '../core.ts'
import type { Operations } from '../operations.ts'
import { Caller, type CallerOwner, type Outlet } from './caller.ts'
import type { Reply } from './fastify.ts'

export interface FaceOptions {
  /** Null while the store is opened anew. */
  readonly core: () => Core | null
  readonly clock: Clock
  /** The largest content of a message, in bytes. */
  readonly maxMessageBytes: number
  readonly version: string
}

export class Face implements CallerOwner {
  readonly options: FaceOptions
  /** Responses under way, each with its caller once it has one. */
  private readonly open = new Map<ServerResponse, Caller | null>()
  private relieved: (() => void)[] = []
  /** Why nothing new is begun any more, or null. */
  stopping: LitetopicError | null = null
  private whenAnswered: () => void = () => undefined

  constructor(options: FaceOptions) {
    this.options = options
  }

  /** Throws STORE_UNAVAILABLE while the store is opened anew. */
  get operations(): Operations {
    const core = this.options.core()
    if (core !== null) return core.operations
    throw new LitetopicError('STORE_UNAVAILABLE', 'the store is being opened anew; come back in a moment')
  }

  get overloaded(): boolean {
    return this.options.core()?.overloaded ?? false
  }

  /** The request as a client of the broker, until its response ends or its connection does. One for each request, of one topic. */
  caller(reply: Reply): Caller {
    const { raw } = reply
    const caller = new Caller(this, new ResponseOutlet(raw))
    if (this.open.has(raw)) this.open.set(raw, caller)
    // It was over before it was looked at.
    else caller.close()
    return caller
  }

  whenRelieved(resume: () => void): void {
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
  begun(response: ServerResponse): void {
    const { open } = this
    open.set(response, null)
    response.once('close', () => {
      open.get(response)?.close()
      open.delete(response)
      this.whenAnswered()
    })
  }

  /** The core is no more: what used it ends. */
  sendAway(): void {
    const error = new LitetopicError('STORE_UNAVAILABLE', 'the store is opened anew; come back in a moment')
    for (const caller of [...this.open.values()]) caller?.away(error)
    this.relieve()
  }

  /** Refuses what comes from now on, and ends what would stay open. Resolves when all is answered. */
  async stop(error: LitetopicError): Promise<void> {
    this.stopping = error
    for (const caller of [...this.open.values()]) caller?.stopLive(error)
    while (this.open.size > 0) {
      await new Promise<void>((resolve) => {
        this.whenAnswered = resolve
      })
    }
  }
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
