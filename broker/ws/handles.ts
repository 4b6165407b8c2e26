/** What one connection has attached, by handle, and the frames that wait until an attachment can be used. */

import { asLitetopicError, type LitetopicError, type UP, type Up } from '../../protocol/index.ts'
import type { Attaching, AttachReply } from '../attach.ts'
import type { Operations } from '../operations.ts'
import type { Attachment } from '../topic.ts'
import type { Connection } from './connection.ts'
import { inUse, unknownHandle } from './refusals.ts'

/** About what a request takes while it waits. */
export const REQUEST_BYTES = 256

/** Does what a frame asks for; or refuses it, if its topic cannot be read. */
type Waiter = (error: LitetopicError | null) => void

/** The frames for a handle whose attachment cannot be used yet, in order. */
export class Queue {
  /** Null while it is being made. */
  attachment: Attachment | null
  private waiters: Waiter[] | null = null

  constructor(attachment: Attachment | null) {
    this.attachment = attachment
  }

  add(waiter: Waiter): void {
    this.waiters ??= []
    this.waiters.push(waiter)
  }

  runAll(error: LitetopicError | null): void {
    const { waiters } = this
    this.waiters = null
    for (const waiter of waiters ?? []) waiter(error)
  }
}

/** An attach under way. */
class Arrival extends Queue implements Attaching {
  private readonly handles: Handles
  private readonly request: number
  private readonly handle: number

  constructor(handles: Handles, request: number, handle: number) {
    super(null)
    this.handles = handles
    this.request = request
    this.handle = handle
  }

  attached(attachment: Attachment): void {
    const { handles } = this
    this.attachment = attachment
    if (handles.closed) {
      handles.operations.detach(attachment)
      return
    }
    handles.replace(this.handle, this, attachment)
    this.runAll(null)
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
    // What waits is refused behind it: the handle is unknown.
    this.runAll(null)
    connection.ended(REQUEST_BYTES)
  }
}

export class Handles {
  readonly connection: Connection
  /** Throws STORE_UNAVAILABLE while there are none. */
  private readonly service: () => Operations
  private readonly byNumber = new Map<number, Attachment | Queue>()
  closed = false

  constructor(connection: Connection, service: () => Operations) {
    this.connection = connection
    this.service = service
  }

  get operations(): Operations {
    return this.service()
  }

  /** The attachment, if it can be used now; where frames wait for it, if there is or will be one; or undefined. */
  get(handle: number): Attachment | Queue | undefined {
    const found = this.byNumber.get(handle)
    if (found === undefined || found instanceof Queue || !found.topic.isDormant) return found
    const queue = new Queue(found)
    this.byNumber.set(handle, queue)
    this.operations.wake(found, (error) => {
      if (this.closed) return
      this.replace(handle, queue, found)
      queue.runAll(error)
    })
    return queue
  }

  attach(frame: Up<typeof UP.attach>): void {
    const { connection, operations } = this
    const [, request, handle, name, options] = frame
    const present = this.byNumber.get(handle)
    if (present instanceof Queue) {
      // Perhaps a detach is waiting before it.
      this.wait(present, REQUEST_BYTES, () => this.attach(frame))
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

  /** Ends the subscriptions of the attachment, if there is one, which needs no state of its topic. */
  endSubscriptions(handle: number): void {
    const found = this.byNumber.get(handle)
    const attachment = found instanceof Queue ? found.attachment : found
    for (const subscription of attachment?.subscriptions ?? []) subscription.close(null)
  }

  /** Those that are made, whether or not they can be used now. */
  attachments(): Attachment[] {
    return [...this.byNumber.values()].flatMap((found) => (found instanceof Queue ? (found.attachment ?? []) : found))
  }

  /** Frees the handle. */
  remove(handle: number): void {
    this.byNumber.delete(handle)
  }

  /** Frees the handle and detaches what it stands for, without a look at its topic. */
  letGo(handle: number): void {
    const found = this.byNumber.get(handle)
    const attachment = found instanceof Queue ? found.attachment : found
    this.remove(handle)
    if (attachment) this.operations.detach(attachment)
  }

  /** Puts another, or nothing, in the place of what the handle stands for, if it still does. */
  replace(handle: number, before: Attachment | Queue, now: Attachment | null): void {
    if (this.byNumber.get(handle) !== before) return
    if (now === null) this.byNumber.delete(handle)
    else this.byNumber.set(handle, now)
  }

  /** Runs with the attachment as soon as it can be used; or fails the request, and calls `otherwise`. */
  with(
    handle: number,
    request: number,
    run: (attachment: Attachment) => void,
    otherwise: () => void = () => undefined,
  ): void {
    const found = this.get(handle)
    if (found === undefined) {
      otherwise()
      this.connection.fail(request, unknownHandle(handle))
    } else if (found instanceof Queue) {
      this.wait(found, REQUEST_BYTES, (error) => {
        if (error === null) this.with(handle, request, run, otherwise)
        else {
          otherwise()
          this.connection.fail(request, error)
        }
      })
    } else run(found)
  }

  /** Runs when the attachment can be used. What waits takes so many bytes. */
  wait(queue: Queue, bytes: number, waiter: Waiter): void {
    const { connection } = this
    connection.begun(bytes)
    queue.add((error) => {
      connection.ended(bytes)
      try {
        waiter(error)
      } catch (fault) {
        connection.fail(0, asLitetopicError(fault))
      }
    })
  }

  /** The connection is gone. */
  close(): void {
    this.closed = true
    for (const found of this.byNumber.values()) {
      const attachment = found instanceof Queue ? found.attachment : found
      if (attachment !== null) this.operations.detach(attachment)
    }
    this.byNumber.clear()
  }
}
