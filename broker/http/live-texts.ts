/** The texts of what was committed last: encoded for the first of many readers who are sent the same. */

import { BatchReader, ByteReader } from '../../protocol/index.ts'
import type { SharedBatches, SharedMessage } from '../client.ts'

/**
 * All readers of a topic are given a batch one behind the other, each by itself while they are few. Only for batches that are delivered
 * live: their bytes are never written again.
 */
export class LiveTexts {
  private bytes: Uint8Array | null = null
  private from = 0
  private readonly messages = new Map<string, SharedMessage>()

  /** `key`: how the batch in `bytes[from, …)` is encoded. */
  of(bytes: Uint8Array, from: number, key: string, encode: () => SharedMessage): SharedMessage {
    if (bytes !== this.bytes || from !== this.from) {
      this.messages.clear()
      this.bytes = bytes
      this.from = from
    }
    return found(this.messages, key, encode)
  }

  /** What it keeps, and the memory that it lies in, is of no use any more. */
  clear(): void {
    this.bytes = null
    this.messages.clear()
  }
}

/** The same of batches that are given to many readers together. */
export function sharedText({ encoded }: SharedBatches, key: string, encode: () => SharedMessage): SharedMessage {
  return found(encoded, key, encode)
}

export function messageOf(text: string): SharedMessage {
  return { bytes: Buffer.from(text), wire: null }
}

/** The offset behind the batch that lies in `bytes[from, to)`. */
export function batchEnd(bytes: Uint8Array, from: number, to: number): number {
  const batch = new BatchReader(new ByteReader(bytes, from, to))
  batch.advance()
  return batch.next
}

function found(
  messages: { get(key: string): SharedMessage | undefined; set(key: string, message: SharedMessage): unknown },
  key: string,
  encode: () => SharedMessage,
): SharedMessage {
  let message = messages.get(key)
  if (message === undefined) {
    message = encode()
    messages.set(key, message)
  }
  return message
}
