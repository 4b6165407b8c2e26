/** Batches to records, as late as possible. Hot: a live token is a batch of its own, so what it costs is paid per token. */

import {
  type BatchReader,
  contextOpName,
  type DataTag,
  DEFAULT_PART,
  DELIVER_LIVE,
  FORM,
  formatCursor,
  KIND,
  LitetopicError,
  type RecordParts,
  RecordWalker,
  type Run,
  readRun,
  readText,
  streamStateName,
  TAG,
  tagName,
} from '../protocol/index.ts'
import type {
  LargeMessageRecord,
  LargeValue,
  MessageRecord,
  RecordPlace,
  SessionRecord,
  TokenRecord,
} from './records.ts'
import { decodeJson, decodeValue, type Value } from './values.ts'

/** Checks and converts a message, or throws SCHEMA_INVALID. */
export type Check<T> = (value: Value) => T

/** Where a message is. */
export interface MessagePlace {
  readonly offset: number
  readonly cursor: string
}

/** What reads the content of a large message. */
export type OpenLarge<T> = (place: MessagePlace, tag: DataTag, parts: RecordParts) => LargeValue<T>

/** The last two hex digits of a cursor; the rest stays the same for 256 records. */
const LOW_DIGITS = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))

/** Used again, as a live token is a batch of its own. Null while it is in use: a schema may have others read meanwhile. */
let spare: RecordWalker | null = null

export class RecordDecoder<T> {
  /** What is below this has been given out already. */
  position = 0
  private readonly check: Check<T> | null
  private readonly openLarge: OpenLarge<T>
  private incarnation = ''
  private epoch = 0
  private cursorBase = -1
  private cursorHead = ''
  private batchLive = false
  private batchTimeMs = 0
  private batchPrincipal: string | undefined
  private readonly streamId = new NameCache()
  private readonly part = new NameCache()

  constructor(check: Check<T> | null, openLarge: OpenLarge<T>) {
    this.check = check
    this.openLarge = openLarge
  }

  /** Of the cursors that are given out from now on. */
  setOrigin(incarnation: string, epoch: number): void {
    this.incarnation = incarnation
    this.epoch = epoch
    this.cursorBase = -1
  }

  /** The cursor that reads on at `next`. */
  cursor(next: number): string {
    const low = next % 256
    if (next - low !== this.cursorBase) {
      this.cursorBase = next - low
      this.cursorHead = formatCursor({ incarnation: this.incarnation, epoch: this.epoch, next }).slice(0, -2)
    }
    return this.cursorHead + (LOW_DIGITS[low] as string)
  }

  /**
   * Adds the records of the batch to `into`, without those below the position, which it moves behind the batch. What is in
   * `into` when it throws is good. Throws SCHEMA_INVALID with the cursor behind the record in its details, or BAD_FRAME.
   */
  decode(batch: BatchReader, flags: number, into: SessionRecord<T>[]): void {
    this.batchLive = (flags & DELIVER_LIVE) !== 0
    this.batchTimeMs = batch.timeMs
    this.batchPrincipal = batch.extrasTo === 0 ? undefined : batch.envelope().principal
    if (batch.form === FORM.raw) this.decodeRaw(batch, into)
    else this.decodeRuns(batch, into)
    this.position = batch.next
  }

  private decodeRaw(batch: BatchReader, into: SessionRecord<T>[]): void {
    const walker = spare ?? new RecordWalker(batch.content())
    spare = null
    walker.restart(batch.bytes, batch.contentFrom, batch.end)
    let offset = batch.base
    while (walker.next()) {
      if (walker.kind === KIND.token && !walker.repeat) {
        this.streamId.see(walker.bytes, walker.nameFrom, walker.nameTo)
        this.part.see(walker.bytes, walker.partFrom, walker.partTo)
      }
      if (offset >= this.position) into.push(this.record(walker, offset))
      offset++
    }
    spare = walker
    if (offset !== batch.next) throw new LitetopicError('BAD_FRAME', 'a batch whose records are not as many as it says')
  }

  private record(walker: RecordWalker, offset: number): SessionRecord<T> {
    const record =
      walker.kind === KIND.token && walker.tag === TAG.text
        ? this.textToken(offset, walker.text())
        : this.otherRecord(walker, offset)
    if (this.batchPrincipal === undefined) return record
    return { ...record, principal: this.batchPrincipal }
  }

  private textToken(offset: number, text: string): TokenRecord {
    return {
      kind: 'token',
      offset,
      lastOffset: offset,
      timeMs: this.batchTimeMs,
      cursor: this.cursor(offset + 1),
      live: this.batchLive,
      streamId: this.streamId.text,
      part: this.part.text || DEFAULT_PART,
      text,
      count: 1,
    }
  }

  private otherRecord(walker: RecordWalker, offset: number): SessionRecord<T> {
    const cursor = this.cursor(offset + 1)
    const place = { offset, lastOffset: offset, timeMs: this.batchTimeMs, cursor, live: this.batchLive }
    if (walker.kind === KIND.message) return this.message(walker, place)
    const value = decodeValue(walker.recordData())
    const hasValue = walker.tag !== TAG.bytes || walker.dataTo > walker.dataFrom
    switch (walker.kind) {
      case KIND.token: {
        const token = {
          kind: 'token' as const,
          ...place,
          streamId: this.streamId.text,
          part: this.part.text || DEFAULT_PART,
        }
        return value instanceof Uint8Array ? { ...token, bytes: value, count: 1 } : { ...token, value, count: 1 }
      }
      case KIND.context: {
        const op = contextOpName(walker.code)
        const named = { kind: 'context' as const, ...place, op, name: walker.name() }
        return op === 'delete' ? named : { ...named, value }
      }
      case KIND.checkpoint:
        return { kind: 'checkpoint', ...place, name: walker.name(), state: hasValue ? value : null }
      case KIND.stream: {
        const stated = {
          kind: 'stream' as const,
          ...place,
          streamId: walker.name(),
          state: streamStateName(walker.code),
        }
        return !hasValue || value instanceof Uint8Array ? stated : { ...stated, detail: value }
      }
    }
  }

  private message(walker: RecordWalker, place: RecordPlace): MessageRecord<T> | LargeMessageRecord<T> {
    const { parts, ...extras } = walker.extras() ?? {}
    const message = { kind: 'message' as const, ...place, ...extras }
    if (parts !== undefined) return { ...message, large: this.openLarge(place, tagName(walker.tag), parts) }
    return { ...message, value: checked(this.check, decodeValue(walker.recordData()), place) }
  }

  private decodeRuns(batch: BatchReader, into: SessionRecord<T>[]): void {
    if (batch.base < this.position) {
      throw new LitetopicError('BAD_FRAME', 'a coalesced batch that begins before the position asked for')
    }
    const reader = batch.content()
    const runs: Run[] = []
    while (!reader.done) runs.push(readRun(reader, batch.base))
    let covered = batch.base
    // What has been given out completely: no later run begins before it.
    let safe = batch.base
    for (let i = 0; i < runs.length; i++) {
      const run = runs[i] as Run
      covered = Math.max(covered, run.last + 1)
      const following = runs[i + 1]
      if (following === undefined) safe = batch.next
      else if (following.first >= covered) safe = following.first
      into.push(this.run(run, safe))
    }
  }

  private run(run: Run, next: number): TokenRecord {
    const { sizes } = run
    return {
      kind: 'token',
      offset: run.first,
      lastOffset: run.last,
      timeMs: this.batchTimeMs,
      cursor: this.cursor(next),
      live: this.batchLive,
      streamId: run.streamId,
      part: run.part,
      ...runData(run),
      count: sizes.length,
      ...(sizes.length > 1 ? { sizes } : {}),
      ...(this.batchPrincipal === undefined ? {} : { principal: this.batchPrincipal }),
    }
  }
}

/** The value as the schema has it. Throws SCHEMA_INVALID, which says where the message is. */
export function checked<T>(check: Check<T> | null, value: Value, { offset, cursor }: MessagePlace): T {
  if (check === null) return value as T
  try {
    return check(value)
  } catch (error) {
    if (!(error instanceof LitetopicError)) throw error
    const details = { ...error.details, offset, cursor }
    throw new LitetopicError(error.code, `${error.message} (the message at offset ${offset})`, details)
  }
}

function runData({ tag, data }: Run): Pick<TokenRecord, 'text' | 'value' | 'bytes'> {
  if (tag === TAG.bytes) return { bytes: new Uint8Array(data) }
  const text = readText(data, 0, data.length)
  return tag === TAG.text ? { text } : { value: decodeJson(text) }
}

const NO_BYTES = new Uint8Array(0)

/** The name read last: the next record mostly has the same, and comparing bytes is cheaper than making a string. */
class NameCache {
  text = ''
  private bytes = NO_BYTES

  see(bytes: Uint8Array, from: number, to: number): void {
    const known = this.bytes
    let i = known.length === to - from ? 0 : -1
    if (i === 0) while (i < known.length && known[i] === bytes[from + i]) i++
    if (i === known.length) return
    this.bytes = new Uint8Array(bytes.subarray(from, to))
    this.text = readText(bytes, from, to)
  }
}
