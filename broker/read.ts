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
  const page = new Page(topic, request, await positionOf(context, topic, request.from))
  while (page.wants) page.take(await readBatches(context, topic, page.next))
  return page.reply()
}

/** The same at once, where all of it is in memory; null where it is not, or where it must be looked for or refused. */
export function readNow(context: Context, topic: Topic, request: ReadRequest): ReadReply | null {
  const position = topic.end === null ? positionNow(topic, request.from) : null
  if (position === null) return null
  const page = new Page(topic, request, position)
  while (page.wants) {
    const found = context.shard.readMemory(topic.state, page.next)
    if (found === null) return null
    page.take(found)
  }
  return page.reply()
}

/** All that is committed from an offset on. */
export interface Rest {
  readonly position: number
  readonly nextOffset: number
  readonly closed: boolean
  /** Batches, contiguous, several in one piece; the first may begin before `position`. */
  readonly pieces: readonly Uint8Array[]
}

/** What there is from a position on, if it is about `maxBytes` at most and in memory; null where it is not, or must be refused. */
export function restNow({ shard }: Context, { state }: Topic, from: number | null, maxBytes: number): Rest | null {
  const { firstOffset, flushedTo, committedTo: nextOffset, closeCommitted: closed } = state
  const position = from ?? firstOffset
  if (position < firstOffset || position > nextOffset) return null
  if (state.bytes * ((nextOffset - position) / Math.max(nextOffset - firstOffset, 1)) > maxBytes) return null
  const pieces: Uint8Array[] = []
  for (let at = position; at < nextOffset; at = at < flushedTo ? flushedTo : nextOffset) {
    const piece = shard.readMemory(state, at)
    if (piece === null) return null
    pieces.push(piece)
  }
  return { position, nextOffset, closed, pieces }
}

/** A read under way. What there is was settled when it began. */
class Page {
  next: number
  private readonly topic: Topic
  private readonly position: number
  private readonly raw: boolean
  private readonly maxBytes: number
  private readonly facts: Pick<ReadReply, 'firstOffset' | 'nextOffset' | 'closed' | 'storedBytes'>
  private readonly end: number
  private readonly batches: Uint8Array[] = []
  private bytes = 0

  constructor(topic: Topic, { raw = false, maxBytes = LIMITS.readBytes, to }: ReadRequest, position: number) {
    if (topic.ended !== null) throw topic.ended
    const { firstOffset, committedTo: nextOffset, closeCommitted: closed, bytes: storedBytes } = topic.state
    this.topic = topic
    this.next = this.position = position
    this.raw = raw
    this.maxBytes = maxBytes
    this.facts = { firstOffset, nextOffset, closed, storedBytes }
    this.end = Math.min(to ?? nextOffset, nextOffset)
  }

  get wants(): boolean {
    return this.next < this.end && this.bytes < this.maxBytes
  }

  /** Takes what it wants of contiguous batches, the first of which holds `next`. Throws STORE_CORRUPT if it does not. */
  take(found: Uint8Array): void {
    const before = this.next
    if (this.raw) takeRaw(found, this.next, this.end, this.add)
    else coalesce(found, this.next, this.end, this.add)
    if (this.next === before) throw hole(this.topic, before)
  }

  reply(): ReadReply {
    const { topic, position, next, batches, facts } = this
    if (topic.ended !== null) throw topic.ended
    return { position, next, batches, ...facts }
  }

  private readonly add = (source: Uint8Array, from: number, to: number, behind: number): boolean => {
    // What is coalesced lies in memory that is used again.
    this.batches.push(this.raw ? source.subarray(from, to) : source.slice(from, to))
    this.bytes += to - from
    this.next = behind
    return this.bytes < this.maxBytes
  }
}

/** Where a read begins, if that is known without a look at the table, and there is something to be read there. */
function positionNow({ state }: Topic, { start, live, offset }: FromInfo): number | null {
  if (start === true) return state.firstOffset
  if (live === true) return state.committedTo
  return offset !== undefined && offset >= state.firstOffset && offset <= state.committedTo ? offset : null
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
