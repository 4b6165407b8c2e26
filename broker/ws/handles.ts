/** What one connection has attached, by handle, and the frames that wait while an attach is under way. */

import { asLitetopicError, type LitetopicError, type UP, type Up } from '../../protocol/index.ts'
import type { Attaching, AttachReply } from '../attach.ts'
import type { Operations } from '../operations.ts'
import type { Attachment } from '../topic.ts'
import type { Connection } from './connection.ts'
import { inUse, unknownHandle } from './refusals.ts'

/** About what a request takes while it waits. */
export const REQUEST_BYTES = 256

/** An attach under way, and the frames for its handle, in order. */
export class Arrival implements Attaching {
  private readonly handles: Handles
  private readonly request: number
  private readonly handle: number
  private waiting: (() => void)[] | null = null
  private attachment: Attachment | null = null

  constructor(handles: Handles, request: number, handle: number) {
    this.handles = handles
    this.request = request
    this.handle = handle
  }

  wait(run: () => void): void {
    this.waiting ??= []
    this.waiting.push(run)
  }

  attached(attachment: Attachment): void {
    const { handles } = this
    this.attachment = attachment
    if (handles.closed) {
      handles.operations.detach(attachment)
      return
    }
    handles.replace(this.handle, this, attachment)
    this.runAll()
  }

  answered(reply: AttachReply): void {
    const { connection, operations } = this.handles
    connection.reply(this.request, reply)
    if (this.attachment !== null && !this.attachment.detached) operations.tellFenced(this.attachment)
    connection.ended(REQUEST_BYTES)
  }

  refused(error: LitetopicError): void {
    const { connection, operations } = this.handles
    this.handles.replace(this.handle, this.attachment ?? this, null)
    operations.refuse(error, (refusal) => connection.fail(this.request, refusal))
    // What waits is refused behind it.
    this.runAll()
    connection.ended(REQUEST_BYTES)
  }

  private runAll(): void {
    const { waiting } = this
    this.waiting = null
    for (const run of waiting ?? []) run()
  }
}

export class Handles {
  readonly connection: Connection
  /** Throws STORE_UNAVAILABLE while there are none. */
  private readonly service: () => Operations
  private readonly byNumber = new Map<number, Attachment | Arrival>()
  closed = false

  constructor(connection: Connection, service: () => Operations) {
    this.connection = connection
    this.service = service
  }

  get operations(): Operations {
    return this.service()
  }

  get(handle: number): Attachment | Arrival | undefined {
    return this.byNumber.get(handle)
  }

  attach([type, request, handle, name, options]: Up<typeof UP.attach>): void {
    const { connection, operations } = this
    const present = this.byNumber.get(handle)
    if (present instanceof Arrival) {
      // Perhaps a detach is waiting before it.
      this.wait(present, REQUEST_BYTES, () => this.attach([type, request, handle, name, options]))
      return
    }
    if (present !== undefined) {
      connection.fail(request, inUse('handle', handle))
      return
    }
    const arrival = new Arrival(this, request, handle)
    this.byNumber.set(handle, arrival)
    connection.begun(REQUEST_BYTES)
    operations.attach(connection, handle, name, options, arrival)
  }

  /** Frees the handle. */
  remove(handle: number): void {
    this.byNumber.delete(handle)
  }

  /** Puts another, or nothing, in the place of what the handle stands for, if it still does. */
  replace(handle: number, before: Attachment | Arrival, now: Attachment | null): void {
    if (this.byNumber.get(handle) !== before) return
    if (now === null) this.byNumber.delete(handle)
    else this.byNumber.set(handle, now)
  }

  /** Runs with the attachment, once it is attached; or fails the request, and calls `otherwise`. */
  with(
    handle: number,
    request: number,
    run: (attachment: Attachment) => void,
    otherwise: () => void = () => undefined,
  ): void {
    const found = this.byNumber.get(handle)
    if (found === undefined) {
      otherwise()
      this.connection.fail(request, unknownHandle(handle))
    } else if (found instanceof Arrival) {
      this.wait(found, REQUEST_BYTES, () => this.with(handle, request, run, otherwise))
    } else run(found)
  }

  /** Runs when the attach under way is done. What waits takes so many bytes. */
  wait(arrival: Arrival, bytes: number, run: () => void): void {
    const { connection } = this
    connection.begun(bytes)
    arrival.wait(() => {
      connection.ended(bytes)
      try {
        run()
      } catch (error) {
        connection.fail(0, asLitetopicError(error))
      }
    })
  }

  /** The connection is gone. */
  close(): void {
    this.closed = true
    for (const found of this.byNumber.values()) if (!(found instanceof Arrival)) this.operations.detach(found)
    this.byNumber.clear()
  }
}
