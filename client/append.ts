/** Stores records in one append, all or nothing. */

import {
  type ByteWriter,
  LIMITS,
  type LitetopicError,
  type RecordData,
  type RecordExtras,
  writeMessage,
} from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import type { Operation, OperationOwner } from './operation.ts'
import { bufferFull, type Stored } from './stream-writer.ts'
import { checkAppendSize } from './values.ts'

/**
 * `write` encodes the records and returns their number; what it throws is thrown. Resolves with the place of the first or last record.
 * Throws LIMIT_EXCEEDED; rejects with BUFFER_FULL, the broker's refusal, or what ends the session.
 */
export function appendRecords(
  attachment: Attachment,
  which: 'first' | 'last',
  write: (records: ByteWriter) => number,
): Promise<Stored> {
  const append = new PendingAppend(attachment, which)
  const operation = attachment.operation(append)
  operation.count = write(operation.records)
  checkAppendSize(operation.records.length)
  return append.send(operation)
}

/** Appends one message; null if it is more than one append holds. An abort takes it back if it has not been sent. */
export function appendMessage(
  attachment: Attachment,
  data: RecordData,
  extras: RecordExtras,
  signal?: AbortSignal,
): Promise<Stored> | null {
  if (data.value.length > LIMITS.appendBytes) return null
  const append = new PendingAppend(attachment, 'first')
  const operation = attachment.operation(append)
  operation.count = 1
  writeMessage(operation.records, data, extras)
  if (operation.records.length > LIMITS.appendBytes) return null
  return append.send(operation, signal)
}

function nothing(): void {}

class PendingAppend implements OperationOwner {
  private resolve: (stored: Stored) => void = nothing
  private reject: (reason: unknown) => void = nothing
  private readonly attachment: Attachment
  private readonly which: 'first' | 'last'

  constructor(attachment: Attachment, which: 'first' | 'last') {
    this.attachment = attachment
    this.which = which
  }

  send(operation: Operation, signal?: AbortSignal): Promise<Stored> {
    const { attachment } = this
    const held = attachment.outbox.bytes
    if (attachment.refusesWrites !== null) return Promise.reject(attachment.refusesWrites)
    if (held > 0 && held + operation.records.length > LIMITS.sessionBufferMaxBytes)
      return Promise.reject(bufferFull(held))
    if (signal?.aborted) return Promise.reject(signal.reason)
    const stored = new Promise<Stored>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
      attachment.add(operation, false)
    })
    return signal === undefined ? stored : this.until(signal, stored)
  }

  sealed(): void {}

  acknowledged(operation: Operation, base: number): void {
    const { attachment } = this
    const next = base + operation.count
    if (next > attachment.nextOffset) attachment.nextOffset = next
    this.resolve({ offset: this.which === 'first' ? base : next - 1, cursor: attachment.cursor(next) })
  }

  refused(_operation: Operation, error: LitetopicError): void {
    this.reject(error)
  }

  private until(signal: AbortSignal, stored: Promise<Stored>): Promise<Stored> {
    const aborted = (): void => {
      this.attachment.outbox.withdraw(this)
      this.reject(signal.reason)
    }
    signal.addEventListener('abort', aborted)
    return stored.finally(() => signal.removeEventListener('abort', aborted))
  }
}
