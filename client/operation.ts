/** One sequenced mutation on its way into a topic: the records of an append, or a request that takes a sequence number. */

import { ByteWriter, type LitetopicError, type UP, type UpFrame } from '../protocol/index.ts'

/** Who is told what became of an operation. Exactly one of acknowledged and refused is called, unless it is withdrawn. */
export interface OperationOwner {
  /** It is being sent: nothing may be added to it any more. */
  sealed(operation: Operation): void
  /** Committed. `base` is the offset of its first record. The operation must not be used afterwards. */
  acknowledged(operation: Operation, base: number): void
  /** Certainly not committed, except for PRODUCER_UNKNOWN, which says that it may have been. */
  refused(operation: Operation, error: LitetopicError): void
}

/** A request that is sequenced like an append; its answer is its acknowledgement. */
export interface SequencedRequest {
  readonly type: typeof UP.openStream | typeof UP.trim | typeof UP.closeTopic
  frame(request: number, handle: number, producerEpoch: number, sequence: number): UpFrame
  answered(reply: unknown): void
}

export class Operation {
  readonly records = new ByteWriter(64)
  owner: OperationOwner
  request: SequencedRequest | null = null
  /** Of the stream whose tokens or end it carries, or -1. */
  fence = -1
  count = 0
  /** Its place in the session, counted from the first operation on. */
  order = 0
  /** Given when it is sent for the first time; -1 before. */
  sequence = -1
  /** Sent on this connection, and not refused since. */
  inFlight = false
  next: Operation | null = null

  constructor(owner: OperationOwner) {
    this.owner = owner
  }
}

/** Spent operations are kept up to so many bytes of buffers; one whose buffer has grown beyond the second bound is not. */
const KEPT_BYTES = 8 * 1024 * 1024
const KEPT_BUFFER_BYTES = 4096

/** What the sessions of one connection share: the bytes that wait for acknowledgement, and spent operations to use again. */
export class Account {
  bytes = 0
  /** Of these, what has been sent on the present connection. */
  sentBytes = 0
  private readonly spent: Operation[] = []
  private spentBytes = 0

  take(owner: OperationOwner): Operation {
    const operation = this.spent.pop()
    if (operation === undefined) return new Operation(owner)
    this.spentBytes -= operation.records.bytes.length
    operation.owner = owner
    return operation
  }

  give(operation: Operation): void {
    const size = operation.records.bytes.length
    if (size > KEPT_BUFFER_BYTES || this.spentBytes > KEPT_BYTES) return
    this.spentBytes += size
    operation.owner = NOBODY
    operation.records.reset()
    operation.request = null
    operation.fence = operation.sequence = -1
    operation.count = operation.order = 0
    operation.inFlight = false
    operation.next = null
    this.spent.push(operation)
  }
}

const NOBODY: OperationOwner = { sealed: () => {}, acknowledged: () => {}, refused: () => {} }
