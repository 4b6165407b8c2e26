/** Stores records in one append, all or nothing. */

import { type ByteWriter, LIMITS, type LitetopicError } from '../protocol/index.ts'
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
  const owner = new PendingAppend(attachment, which)
  const operation = attachment.operation(owner)
  operation.count = write(operation.records)
  checkAppendSize(operation.records.length)
  const held = attachment.outbox.bytes
  if (attachment.refusesWrites !== null) return Promise.reject(attachment.refusesWrites)
  if (held > 0 && held + operation.records.length > LIMITS.sessionBufferMaxBytes)
    return Promise.reject(bufferFull(held))
  return new Promise((resolve, reject) => {
    owner.resolve = resolve
    owner.reject = reject
    attachment.add(operation, false)
  })
}

class PendingAppend implements OperationOwner {
  resolve: (stored: Stored) => void = () => {}
  reject: (error: LitetopicError) => void = () => {}
  private readonly attachment: Attachment
  private readonly which: 'first' | 'last'

  constructor(attachment: Attachment, which: 'first' | 'last') {
    this.attachment = attachment
    this.which = which
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
}
