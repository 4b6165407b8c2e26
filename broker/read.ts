/** Reading what there is of a topic now, for who asks for a piece and goes: no subscription, nothing that waits for more. */

import { BatchReader, ByteReader, type FromInfo, LIMITS, LitetopicError } from '../protocol/index.ts'
import { coalesce } from './coalesce.ts'
import type { Context } from './context.ts'
import { positionOf, readBatches } from './positions.ts'
import type { Topic } from './topic.ts'

export interface ReadRequest {
  readonly from: FromInfo
  /** Batches as they were appended; else coalesced. Default false. */
  readonly raw?: boolean
  /** Ends behind the batch that reaches it. Default `readBytes`. */
  readonly maxBytes?: number
  /** Reads no record at or beyond this offset, but for those of a raw batch that begins before it. Default: the end. */
  readonly to?: number
}

export interface ReadReply {
  /** Where it began, and where to read on. */
  readonly position: number
  readonly next: number
  /** What there is: the first offset kept, and the one behind the last that is durable. */
  readonly firstOffset: number
  readonly nextOffset: number
  /** Is the topic closed, so that nothing ever comes behind `nextOffset`? */
  readonly closed: boolean
  /** What is stored of the topic, in bytes. */
  readonly storedBytes: number
  /** Batches, contiguous; the first raw one may begin before `position`. The reader's own. */
  readonly batches: readonly Uint8Array[]
}

/** Rejects with the error of the outcome, BAD_CURSOR, BAD_REQUEST, CHECKPOINT_UNKNOWN or STORE_CORRUPT. */
export async function read(context: Context, topic: Topic, request: ReadRequest): Promise<ReadReply> {
  const position = await positionOf(context, topic, request.from)
  if (topic.ended !== null) throw topic.ended
  const { maxBytes = LIMITS.readBytes, raw = false } = request
  const { firstOffset, committedTo: nextOffset, closeCommitted: closed, bytes: storedBytes } = topic.state
  const end = Math.min(request.to ?? nextOffset, nextOffset)
  const batches: Uint8Array[] = []
  let next = position
  let bytes = 0
  while (next < end && bytes < maxBytes) {
    const before = next
    const take = (source: Uint8Array, from: number, to: number, behind: number): boolean => {
      // What is coalesced lies in memory that is used again.
      batches.push(raw ? source.subarray(from, to) : source.slice(from, to))
      bytes += to - from
      next = behind
      return bytes < maxBytes
    }
    const found = await readBatches(context, topic, next)
    if (raw) takeRaw(found, next, end, take)
    else coalesce(found, next, end, take)
    if (next === before) throw hole(topic, before)
  }
  if (topic.ended !== null) throw topic.ended
  return { position, next, firstOffset, nextOffset, closed, storedBytes, batches }
}

function takeRaw(
  bytes: Uint8Array,
  from: number,
  end: number,
  take: (source: Uint8Array, from: number, to: number, next: number) => boolean,
): void {
  const batch = new BatchReader(new ByteReader(bytes))
  while (batch.advance() && batch.base < end) {
    if (batch.next <= from) continue
    if (!take(bytes, batch.start, batch.end, batch.next)) return
  }
}

function hole({ name }: Topic, offset: number): LitetopicError {
  return new LitetopicError('STORE_CORRUPT', `topic ${name} has no record at offset ${offset}`, { topic: name, offset })
}
