/** Frames to operations and back: one handler per frame type. It decodes nothing and decides nothing. */

import {
  asLitetopicError,
  ByteReader,
  DOWN,
  LIMITS,
  LitetopicError,
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
import type { Connection } from './connection.ts'

/** Frames for a handle whose attach is under way wait in its list. */
type Handle = Attachment | (() => void)[]

/** What one connection has attached and subscribed to. */
export class Peer {
  readonly connection: Connection
  private readonly operations: Operations
  private readonly welcome: { incarnation: string; server: string; wallMs(): number }
  private readonly handles = new Map<number, Handle>()
  private readonly subscriptions = new Map<number, Subscription | null>()
  private readonly entry = newAppendEntry()
  private closed = false

  constructor(
    connection: Connection,
    operations: Operations,
    welcome: { incarnation: string; server: string; wallMs(): number },
  ) {
    this.connection = connection
    this.operations = operations
    this.welcome = welcome
  }

  frame(frame: UpFrame): void {
    if (!this.connection.greeted && frame[0] !== UP.hello) {
      throw new LitetopicError('HELLO_EXPECTED', 'the first frame of a connection is hello')
    }
    switch (frame[0]) {
      case UP.append:
        this.append(frame[1])
        return
      case UP.credit:
        this.subscriptions.get(frame[1])?.grant(frame[2], LIMITS.creditMaxBytes)
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
        this.withHandle(frame[2], frame[1], (attachment) => this.subscribe(attachment, frame))
        return
      case UP.unsubscribe:
        this.subscriptions.get(frame[2])?.close(null)
        this.subscriptions.delete(frame[2])
        this.connection.send([DOWN.reply, frame[1], {}])
        return
      default:
        this.request(frame)
        return
    }
  }

  /** The connection is gone. */
  close(): void {
    for (const handle of this.handles.values()) if (!Array.isArray(handle)) this.operations.detach(handle)
    this.handles.clear()
    this.closed = true
  }

  private request(frame: Exclude<UpFrame, Up<5> | Up<12> | Up<1> | Up<3> | Up<4> | Up<10> | Up<11>>): void {
    const { operations } = this
    const request = frame[1]
    switch (frame[0]) {
      case UP.token:
        // Access is not configured here: any token is as good as none.
        this.answer(request, Promise.resolve({}))
        return
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
      case UP.delete:
        this.answer(request, operations.delete(frame[2], frame[3]))
        return
    }
  }

  private hello([, version]: Up<typeof UP.hello>): void {
    if (version !== PROTOCOL_VERSION) {
      throw new LitetopicError(
        'VERSION_MISMATCH',
        `this broker speaks protocol version ${PROTOCOL_VERSION}, the client ${version}: upgrade the older one`,
        { version: PROTOCOL_VERSION },
      )
    }
    this.connection.greeted = true
    const { incarnation, server } = this.welcome
    const facts = { incarnation, server, timeMs: this.welcome.wallMs() }
    const limits = { messageBytes: LIMITS.messageBytes, pingMs: LIMITS.pingMs }
    this.connection.send([DOWN.welcome, PROTOCOL_VERSION, { ...facts, ...limits }])
  }

  private attach([, request, handle, name, options]: Up<typeof UP.attach>): void {
    if (this.handles.has(handle)) {
      const error = new LitetopicError('HANDLE_IN_USE', `handle ${handle} is attached already`, { handle })
      this.connection.fail(request, error)
      return
    }
    const waiting: (() => void)[] = []
    this.handles.set(handle, waiting)
    this.operations
      .attach(this.connection, handle, name, options)
      .then(({ attachment, reply }) => {
        if (this.closed || this.handles.get(handle) !== waiting) {
          this.operations.detach(attachment)
          return
        }
        this.handles.set(handle, attachment)
        this.answer(request, reply)
      })
      .catch((error: unknown) => {
        if (this.handles.get(handle) === waiting) this.handles.delete(handle)
        this.connection.fail(request, asLitetopicError(error))
      })
      .then(() => {
        for (const run of waiting) run()
      })
      .catch((error: unknown) => this.connection.fail(0, asLitetopicError(error)))
  }

  private detach([, request, handle]: Up<typeof UP.detach>): void {
    this.withHandle(handle, request, (attachment) => {
      this.operations.detach(attachment)
      this.handles.delete(handle)
      this.connection.send([DOWN.reply, request, {}])
    })
  }

  private subscribe(attachment: Attachment, frame: Up<typeof UP.subscribe>): void {
    const [, request, , id, from, options] = frame
    if (this.subscriptions.has(id)) {
      const error = new LitetopicError('HANDLE_IN_USE', `subscription ${id} is taken`, { subscription: id })
      this.connection.fail(request, error)
      return
    }
    this.subscriptions.set(id, null)
    this.operations
      .subscribe(attachment, id, from, options)
      .then(({ subscription, reply }) => {
        if (this.subscriptions.get(id) !== null) {
          subscription.close(null)
          return
        }
        this.subscriptions.set(id, subscription)
        subscription.onClose = () => this.subscriptions.delete(id)
        this.connection.send([DOWN.reply, request, reply])
        subscription.pump()
      })
      .catch((error: unknown) => {
        this.subscriptions.delete(id)
        this.connection.fail(request, asLitetopicError(error))
      })
  }

  private append(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const { entry } = this
    while (!reader.done) {
      readAppendEntry(reader, entry)
      const handle = this.handles.get(entry.handle)
      if (handle === undefined) this.refuseUnknown(entry.handle, entry.producerEpoch, entry.sequence)
      else if (!Array.isArray(handle)) this.operations.append(handle, entry, bytes)
      else {
        const kept = { ...entry }
        handle.push(() => {
          const attached = this.handles.get(kept.handle)
          if (attached === undefined || Array.isArray(attached)) {
            this.refuseUnknown(kept.handle, kept.producerEpoch, kept.sequence)
          } else this.operations.append(attached, kept, bytes)
        })
      }
    }
  }

  private refuseUnknown(handle: number, producerEpoch: number, sequence: number): void {
    this.connection.refuse(handle, producerEpoch, sequence, unknownHandle(handle))
  }

  private withHandle(handle: number, request: number, run: (attachment: Attachment) => void): void {
    const found = this.handles.get(handle)
    if (found === undefined) this.connection.fail(request, unknownHandle(handle))
    else if (Array.isArray(found)) found.push(() => this.withHandle(handle, request, run))
    else run(found)
  }

  private answer(request: number, reply: Promise<unknown>): void {
    reply.then(
      (value) => this.connection.send([DOWN.reply, request, value]),
      (error: unknown) => this.connection.fail(request, asLitetopicError(error)),
    )
  }
}

function unknownHandle(handle: number): LitetopicError {
  return new LitetopicError('UNKNOWN_HANDLE', `handle ${handle} is not attached on this connection`, { handle })
}
