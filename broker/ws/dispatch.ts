/** Frames to operations and back: one handler per frame type. It decodes nothing and decides nothing. */

import {
  type AppendEntry,
  asLitetopicError,
  ByteReader,
  isLitetopicError,
  LIMITS,
  type LitetopicError,
  newAppendEntry,
  PROTOCOL_VERSION,
  readAppendEntry,
  UP,
  type Up,
  type UpFrame,
} from '../../protocol/index.ts'
import type { Operations } from '../operations.ts'
import type { Subscription } from '../subscription.ts'
import type { Attachment } from '../topic.ts'
import { tooManyParts } from '../upload.ts'
import type { Connection } from './connection.ts'
import { helloMisplaced, inUse, unknownHandle, wrongVersion } from './refusals.ts'
import { type Welcome, welcomeFrame } from './welcome.ts'

/** Frames for a handle whose attach is under way wait in its list, in order. */
type Handle = Attachment | (() => void)[]

/** A subscription whose number is taken, from its frame on; there is none yet while its position is looked for. */
interface Slot {
  subscription: Subscription | null
  /** Credit that came before it. */
  credit: number
  /** Unsubscribed before it began. */
  isOver: boolean
}

/** About what a request takes while it waits. */
const REQUEST_BYTES = 256

/** Frames that a broker takes until it is gone; of an append, each entry is refused by itself. */
const ENDING: ReadonlySet<number> = new Set([UP.append, UP.credit, UP.detach, UP.unsubscribe])

/** What one connection has attached and subscribed to. */
export class Peer {
  readonly connection: Connection
  /** Throws STORE_UNAVAILABLE while there are none. */
  private readonly service: () => Operations
  /** Those that this connection uses, from its first request that needs them to its end. */
  private used: Operations | null = null
  private readonly welcome: Welcome
  private readonly handles = new Map<number, Handle>()
  private readonly subscriptions = new Map<number, Slot>()
  private readonly entry = newAppendEntry()
  private closed = false
  /** Why nothing new is begun any more, or null. */
  private stopping: LitetopicError | null = null

  constructor(connection: Connection, service: () => Operations, welcome: Welcome) {
    this.connection = connection
    this.service = service
    this.welcome = welcome
  }

  private get operations(): Operations {
    this.used ??= this.service()
    return this.used
  }

  frame(frame: UpFrame): void {
    if (this.connection.greeted === (frame[0] === UP.hello)) throw helloMisplaced(frame[0] === UP.hello)
    if (this.stopping !== null && !ENDING.has(frame[0])) throw this.stopping
    switch (frame[0]) {
      case UP.append:
        this.append(frame[1])
        return
      case UP.credit:
        this.credit(frame[1], frame[2])
        return
      case UP.hello:
        this.hello(frame)
        return
      case UP.attach:
        this.attach(frame)
        return
      case UP.detach:
        this.detach(frame)
        return
      case UP.subscribe:
        this.subscribe(frame)
        return
      case UP.unsubscribe:
        this.unsubscribe(frame)
        return
      case UP.token:
        // Access is not configured here: any token is as good as none.
        this.answer(frame[1], Promise.resolve({}))
        return
      default:
        this.request(frame)
        return
    }
  }

  /** From now on, what begins something is refused for this reason; what is under way goes on. */
  stop(reason: LitetopicError): void {
    this.stopping = reason
  }

  /** The connection is gone. */
  close(): void {
    this.closed = true
    for (const handle of this.handles.values()) if (!Array.isArray(handle)) this.used?.detach(handle)
    this.handles.clear()
    this.subscriptions.clear()
  }

  private request(frame: Exclude<UpFrame, Up<1> | Up<2> | Up<3> | Up<4> | Up<5> | Up<10> | Up<11> | Up<12>>): void {
    const { operations } = this
    const request = frame[1]
    switch (frame[0]) {
      case UP.openStream: {
        const [, , handle, producerEpoch, sequence, streamId, mode] = frame
        const open = { producerEpoch, sequence, streamId, mode }
        this.withHandle(handle, request, (at) => this.answer(request, operations.openStream(at, open)))
        return
      }
      case UP.stop: {
        const [, , handle, streamId, { reason }] = frame
        this.withHandle(handle, request, (at) => this.answer(request, operations.stop(at, streamId, reason ?? null)))
        return
      }
      case UP.trim: {
        const [, , handle, producerEpoch, sequence, before] = frame
        const trim = { producerEpoch, sequence, ...before }
        this.withHandle(handle, request, (at) => this.answer(request, operations.trim(at, trim)))
        return
      }
      case UP.policy:
        this.withHandle(frame[2], request, (at) => this.answer(request, operations.policy(at, frame[3])))
        return
      case UP.resume:
        this.withHandle(frame[2], request, (at) => this.answer(request, operations.resume(at, frame[3])))
        return
      case UP.checkpoints:
        this.withHandle(frame[2], request, (at) => this.answer(request, operations.checkpoints(at, frame[3])))
        return
      case UP.context:
        this.withHandle(frame[2], request, (at) => this.answer(request, operations.contextEntries(at, frame[3])))
        return
      case UP.stream:
        this.withHandle(frame[2], request, (at) => this.answer(request, operations.stream(at, frame[3])))
        return
      case UP.describe:
        this.answer(request, operations.describe(frame[2]))
        return
      case UP.list:
        this.answer(request, operations.list(frame[2], frame[3]))
        return
      case UP.upload:
        this.withHandle(frame[2], request, (at) => this.upload(at, frame))
        return
      case UP.part:
        this.part(frame)
        return
      case UP.abandon:
        this.withHandle(frame[2], request, (at) => this.answer(request, operations.abandon(at, frame[3])))
        return
      case UP.fetch:
        this.withHandle(frame[2], request, (at) => this.fetch(at, frame))
        return
      case UP.delete:
        this.answer(request, operations.delete(frame[2], frame[3]))
        return
    }
  }

  private hello([, version]: Up<typeof UP.hello>): void {
    if (version !== PROTOCOL_VERSION) {
      throw wrongVersion(version)
    }
    this.connection.greeted = true
    this.connection.send(welcomeFrame(this.welcome))
  }

  private attach(frame: Up<typeof UP.attach>): void {
    const [, request, handle, name, options] = frame
    const { operations } = this
    const present = this.handles.get(handle)
    if (Array.isArray(present)) {
      // Perhaps a detach is waiting before it.
      this.wait(present, REQUEST_BYTES, () => this.attach(frame))
      return
    }
    if (present !== undefined) {
      this.connection.fail(request, inUse('handle', handle))
      return
    }
    const waiting: (() => void)[] = []
    this.handles.set(handle, waiting)
    const attaching = operations.attach(this.connection, handle, name, options)
    // After a refused attach, what waits is refused behind it.
    const failed = (): void => this.runAll(waiting)
    const sent = (): void => {
      const attachment = this.handles.get(handle)
      if (attachment !== undefined && !Array.isArray(attachment)) this.operations.tellFenced(attachment)
    }
    this.answer(request, this.attached(handle, waiting, attaching), { sent, failed })
  }

  /** Puts the attachment in the place of the frames that wait for it, lets them go on, and gives the reply. */
  private async attached(
    handle: number,
    waiting: (() => void)[],
    attaching: ReturnType<Operations['attach']>,
  ): Promise<unknown> {
    const { attachment, reply } = await attaching.catch((error: unknown) => {
      if (this.handles.get(handle) === waiting) this.handles.delete(handle)
      throw error
    })
    if (this.closed) this.operations.detach(attachment)
    else {
      this.handles.set(handle, attachment)
      this.runAll(waiting)
    }
    return reply.catch((error: unknown) => {
      // The creation could not be stored.
      this.operations.detach(attachment)
      if (this.handles.get(handle) === attachment) this.handles.delete(handle)
      throw error
    })
  }

  private detach([, request, handle]: Up<typeof UP.detach>): void {
    this.withHandle(handle, request, (attachment) => {
      this.handles.delete(handle)
      this.answer(request, this.operations.leave(attachment))
    })
  }

  private subscribe(frame: Up<typeof UP.subscribe>): void {
    const [, request, handle, id, from, options] = frame
    if (this.subscriptions.has(id)) {
      this.connection.fail(request, inUse('subscription', id))
      return
    }
    const slot: Slot = { subscription: null, credit: 0, isOver: false }
    const free = (): void => {
      if (this.subscriptions.get(id) === slot) this.subscriptions.delete(id)
    }
    this.subscriptions.set(id, slot)
    this.withHandle(
      handle,
      request,
      (attachment) => {
        const subscribing = this.operations.subscribe(attachment, id, from, options)
        const reply = subscribing.then((begun) => {
          slot.subscription = begun.subscription
          begun.subscription.onClose = free
          if (slot.isOver) begun.subscription.close(null)
          return begun.reply
        })
        // Deliveries follow the reply.
        const sent = (): void => slot.subscription?.grant(slot.credit, LIMITS.creditMaxBytes)
        this.answer(request, reply, { sent, failed: free })
      },
      free,
    )
  }

  private unsubscribe([, request, id]: Up<typeof UP.unsubscribe>): void {
    const slot = this.subscriptions.get(id)
    if (slot !== undefined) {
      slot.isOver = true
      slot.subscription?.close(null)
      this.subscriptions.delete(id)
    }
    this.connection.reply(request, {})
  }

  private credit(id: number, bytes: number): void {
    const slot = this.subscriptions.get(id)
    if (slot === undefined) return
    if (slot.subscription === null) slot.credit += bytes
    else slot.subscription.grant(bytes, LIMITS.creditMaxBytes)
  }

  private upload(attachment: Attachment, [, request, , uploadId, options]: Up<typeof UP.upload>): void {
    const sent = (): void => this.operations.uploadBegun(attachment, uploadId)
    this.answer(request, this.operations.upload(attachment, { uploadId, ...options }), { sent })
  }

  /** There is no grant before the handle is attached: a part is never kept until then. */
  private part([, request, handle, uploadId, index, crc, bytes]: Up<typeof UP.part>): void {
    const found = this.handles.get(handle)
    if (found === undefined) this.connection.fail(request, unknownHandle(handle))
    else if (Array.isArray(found)) this.connection.fail(request, tooManyParts(uploadId))
    else this.answer(request, this.operations.part(found, { uploadId, index, crc, bytes }))
  }

  private fetch(attachment: Attachment, [, request, , offset, from, maxBytes]: Up<typeof UP.fetch>): void {
    this.connection.begun(REQUEST_BYTES)
    this.operations
      .fetch(attachment, { offset, from, maxBytes })
      .then(
        ({ reply, taken }) => this.connection.transfer(request, reply, taken),
        (error: unknown) =>
          this.operations.refuse(asLitetopicError(error), (refusal) => this.connection.fail(request, refusal)),
      )
      .finally(() => this.connection.ended(REQUEST_BYTES))
      .catch((error: unknown) => this.connection.fail(0, asLitetopicError(error)))
  }

  private append(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const { entry } = this
    while (!reader.done) {
      try {
        readAppendEntry(reader, entry)
      } catch (error) {
        // One that is too large is refused by itself; on what is not an entry the connection ends.
        if (!isLitetopicError(error, 'LIMIT_EXCEEDED')) throw error
        this.connection.refuse(entry.handle, entry.producerEpoch, entry.sequence, error)
        continue
      }
      const handle = this.handles.get(entry.handle)
      if (this.stopping !== null) {
        this.connection.refuse(entry.handle, entry.producerEpoch, entry.sequence, this.stopping)
      } else if (handle === undefined) this.refuseUnknown(entry)
      else if (Array.isArray(handle)) this.appendLater(handle, { ...entry }, bytes)
      else this.operations.append(handle, entry, bytes)
    }
  }

  private appendLater(waiting: (() => void)[], entry: AppendEntry, bytes: Uint8Array): void {
    this.wait(waiting, entry.to - entry.from, () => {
      const handle = this.handles.get(entry.handle)
      if (handle === undefined) this.refuseUnknown(entry)
      else if (Array.isArray(handle)) this.appendLater(handle, entry, bytes)
      else this.operations.append(handle, entry, bytes)
    })
  }

  private refuseUnknown({ handle, producerEpoch, sequence }: AppendEntry): void {
    this.connection.refuse(handle, producerEpoch, sequence, unknownHandle(handle))
  }

  private withHandle(
    handle: number,
    request: number,
    run: (attachment: Attachment) => void,
    otherwise: () => void = () => undefined,
  ): void {
    const found = this.handles.get(handle)
    if (found === undefined) {
      otherwise()
      this.connection.fail(request, unknownHandle(handle))
    } else if (Array.isArray(found)) {
      this.wait(found, REQUEST_BYTES, () => this.withHandle(handle, request, run, otherwise))
    } else run(found)
  }

  private wait(waiting: (() => void)[], bytes: number, run: () => void): void {
    this.connection.begun(bytes)
    waiting.push(() => {
      this.connection.ended(bytes)
      run()
    })
  }

  private runAll(waiting: (() => void)[]): void {
    for (const run of waiting.splice(0)) run()
  }

  /** Answers a request when its reply is there, and then calls `sent` or `failed`. */
  private answer(
    request: number,
    reply: Promise<unknown>,
    then: { sent?: () => void; failed?: () => void } = {},
  ): void {
    this.connection.begun(REQUEST_BYTES)
    reply
      .then(
        (value) => {
          this.connection.reply(request, value)
          then.sent?.()
        },
        (error: unknown) => {
          this.operations.refuse(asLitetopicError(error), (refusal) => this.connection.fail(request, refusal))
          then.failed?.()
        },
      )
      .finally(() => this.connection.ended(REQUEST_BYTES))
      .catch((error: unknown) => this.connection.fail(0, asLitetopicError(error)))
  }
}
