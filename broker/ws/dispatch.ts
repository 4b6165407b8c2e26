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
  type ReplyOf,
  readAppendEntry,
  UP,
  type Up,
  type UpFrame,
} from '../../protocol/index.ts'
import type { Authority } from '../access/authority.ts'
import { RIGHT } from '../access/rights.ts'
import type { AtomicAppend } from '../atomic-append.ts'
import type { Operations } from '../operations.ts'
import type { Subscription } from '../subscription.ts'
import type { Attachment } from '../topic.ts'
import { tooManyParts } from '../upload.ts'
import type { Connection } from './connection.ts'
import { Handles, Queue, REQUEST_BYTES } from './handles.ts'
import { identify } from './identify.ts'
import { helloMisplaced, inUse, otherPrincipal, unknownHandle, wrongVersion } from './refusals.ts'
import { type Welcome, welcomeFrame } from './welcome.ts'

/** A subscription whose number is taken, from its frame on; there is none yet while its position is looked for. */
interface Slot {
  subscription: Subscription | null
  /** Credit that came before it. */
  credit: number
  /** Unsubscribed before it began. */
  isOver: boolean
}

/** Frames that a broker takes until it is gone; of an append, each entry is refused by itself. */
const ENDING: ReadonlySet<number> = new Set([UP.append, UP.credit, UP.detach, UP.unsubscribe])

const NO_BYTES = new Uint8Array(0)

/** What one connection has attached and subscribed to. */
export class Peer {
  readonly connection: Connection
  /** Throws STORE_UNAVAILABLE while there are none. */
  private readonly service: () => Operations
  /** Those that this connection uses, from its first request that needs them to its end. */
  private used: Operations | null = null
  private readonly welcome: Welcome
  private readonly authority: Authority
  private readonly handles: Handles
  private readonly subscriptions = new Map<number, Slot>()
  private readonly entry = newAppendEntry()
  /** Why nothing new is begun any more, or null. */
  private stopping: LitetopicError | null = null

  constructor(connection: Connection, service: () => Operations, welcome: Welcome, authority: Authority) {
    this.connection = connection
    this.service = service
    this.welcome = welcome
    this.authority = authority
    this.handles = new Handles(connection, () => this.operations)
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
        this.handles.attach(frame)
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
        this.answer(frame[1], this.newToken(frame[2]))
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
    this.handles.close()
    this.subscriptions.clear()
  }

  private request(frame: Exclude<UpFrame, Up<1> | Up<2> | Up<3> | Up<4> | Up<5> | Up<10> | Up<11> | Up<12>>): void {
    const { operations } = this
    const request = frame[1]
    switch (frame[0]) {
      case UP.openStream: {
        const [, , handle, producerEpoch, sequence, streamId, mode] = frame
        const open = { producerEpoch, sequence, streamId, mode }
        this.handles.with(handle, request, (at) => this.answer(request, operations.openStream(at, open)))
        return
      }
      case UP.stop: {
        const [, , handle, streamId, { reason }] = frame
        this.handles.with(handle, request, (at) => this.answer(request, operations.stop(at, streamId, reason ?? null)))
        return
      }
      case UP.closeTopic: {
        const [, , handle, producerEpoch, sequence, { records = NO_BYTES, count = 0, fence }] = frame
        const close = { producerEpoch, sequence, records, count, fence, close: true }
        const closing = (at: Attachment): void =>
          this.answer(request, closeTopic(operations, at, close), { bytes: records.length })
        this.handles.with(handle, request, closing)
        return
      }
      case UP.trim: {
        const [, , handle, producerEpoch, sequence, before] = frame
        const trim = { producerEpoch, sequence, ...before }
        this.handles.with(handle, request, (at) => this.answer(request, operations.trim(at, trim)))
        return
      }
      case UP.policy:
        this.handles.with(frame[2], request, (at) => this.answer(request, operations.policy(at, frame[3])))
        return
      case UP.resume:
        this.handles.with(frame[2], request, (at) => this.answer(request, operations.resume(at, frame[3])))
        return
      case UP.checkpoints:
        this.handles.with(frame[2], request, (at) => this.answer(request, operations.checkpoints(at, frame[3])))
        return
      case UP.context:
        this.handles.with(frame[2], request, (at) => this.answer(request, operations.contextEntries(at, frame[3])))
        return
      case UP.stream:
        this.handles.with(frame[2], request, (at) => this.answer(request, operations.stream(at, frame[3])))
        return
      case UP.upload:
        this.handles.with(frame[2], request, (at) => this.upload(at, frame))
        return
      case UP.part:
        this.part(frame)
        return
      case UP.abandon:
        this.handles.with(frame[2], request, (at) => this.answer(request, operations.abandon(at, frame[3])))
        return
      case UP.fetch:
        this.handles.with(frame[2], request, (at) => this.fetch(at, frame))
        return
      default:
        this.answer(request, this.unattached(frame))
        return
    }
  }

  /** What needs no handle. */
  private unattached(frame: Up<14> | Up<15> | Up<16> | Up<21> | Up<22>): Promise<unknown> {
    const { operations, connection } = this
    switch (frame[0]) {
      case UP.describe:
        return operations.describe(connection, frame[2])
      case UP.list:
        return operations.list(connection, frame[2], frame[3])
      case UP.delete:
        return operations.delete(connection, frame[2], frame[3])
      case UP.fork:
        return operations.fork(connection, frame[2], { as: frame[3], ...frame[4] })
      case UP.issueToken:
        return operations.issueToken(connection, frame[2])
    }
  }

  private hello([, version, { token }]: Up<typeof UP.hello>): void {
    if (version !== PROTOCOL_VERSION) throw wrongVersion(version)
    const { connection } = this
    connection.greeted = true
    connection.cancelHelloTimer()
    identify(this.authority, connection, token, () => connection.send(welcomeFrame(this.welcome)))
  }

  /** The rights of what is attached are those of the new token; what may be read no more ends. */
  private async newToken(token: string): Promise<Record<never, never>> {
    const { connection } = this
    const identity = await this.authority.identify(token, connection.address)
    if (identity.principal !== connection.identity.principal) throw otherPrincipal()
    connection.become(identity)
    for (const attachment of this.handles.attachments()) {
      attachment.rights = identity.rightsOn(attachment.topic.name)
      if ((attachment.rights & RIGHT.read) === 0) this.operations.endReading(attachment)
    }
    return {}
  }

  private detach([, request, handle]: Up<typeof UP.detach>): void {
    // The client may use their numbers again from here on, also while the topic is being read.
    this.handles.endSubscriptions(handle)
    const leave = (attachment: Attachment): void => {
      this.handles.remove(handle)
      this.answer(request, this.operations.leave(attachment))
    }
    // Also of a topic that cannot be read now: the client counts the handle as free.
    this.handles.with(handle, request, leave, () => this.handles.letGo(handle))
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
    this.handles.with(
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
    else if (found instanceof Queue) this.connection.fail(request, tooManyParts(uploadId))
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
      else if (handle instanceof Queue) this.appendLater(handle, { ...entry }, bytes)
      else this.operations.append(handle, entry, bytes)
    }
  }

  private appendLater(queue: Queue, entry: AppendEntry, bytes: Uint8Array): void {
    this.handles.wait(queue, entry.to - entry.from, (error) => {
      if (error !== null) {
        this.connection.refuse(entry.handle, entry.producerEpoch, entry.sequence, error)
        return
      }
      const handle = this.handles.get(entry.handle)
      if (handle === undefined) this.refuseUnknown(entry)
      else if (handle instanceof Queue) this.appendLater(handle, entry, bytes)
      else this.operations.append(handle, entry, bytes)
    })
  }

  private refuseUnknown({ handle, producerEpoch, sequence }: AppendEntry): void {
    this.connection.refuse(handle, producerEpoch, sequence, unknownHandle(handle))
  }

  /** Answers a request, which keeps so many bytes, when its reply is there, and then calls `sent` or `failed`. */
  private answer(
    request: number,
    reply: Promise<unknown>,
    then: { bytes?: number; sent?: () => void; failed?: () => void } = {},
  ): void {
    const bytes = REQUEST_BYTES + (then.bytes ?? 0)
    this.connection.begun(bytes)
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
      .finally(() => this.connection.ended(bytes))
      .catch((error: unknown) => this.connection.fail(0, asLitetopicError(error)))
  }
}

async function closeTopic(
  operations: Operations,
  attachment: Attachment,
  request: AtomicAppend,
): Promise<ReplyOf<typeof UP.closeTopic>> {
  const { offset, nextOffset } = await operations.atomicAppend(attachment, request)
  return { offset: offset ?? nextOffset, nextOffset }
}
