/**
 * A record, as bytes. The client encodes it once; the same bytes lie in the journal, in a chunk, in memory and in every
 * reader's frame. See PROTOCOL.md, Records.
 *
 *     record := bodyBytes:varint head:u8 [extras] fields data
 *     head   := kind (bits 0-2) | data tag (bits 3-4) | repeat (bit 5) | extras (bit 6)
 *     extras := size:varint (tag:u8 size:varint bytes)*
 *     fields := token, not repeat: streamId part      token, repeat: those of the token before it in the batch
 *               context: op:u8 name   checkpoint: name   stream: state:u8 streamId   message: none
 *
 * Ids and names are a length byte and UTF-8. An empty part is `text`.
 */

import { type ByteReader, type ByteWriter, isUtf8, readText, varintSize, writeText, writeVarint } from './bytes.ts'
import { LitetopicError } from './errors.ts'

export const KIND = { message: 1, token: 2, context: 3, checkpoint: 4, stream: 5 } as const
export type RecordKind = keyof typeof KIND
export type KindNumber = (typeof KIND)[RecordKind]

export const TAG = { text: 0, json: 1, bytes: 2 } as const
export type DataTag = keyof typeof TAG
export type TagNumber = (typeof TAG)[DataTag]

export const CONTEXT_OP = { set: 1, append: 2, delete: 3 } as const
export type ContextOp = keyof typeof CONTEXT_OP

/** What a stream record says of its stream. `done`, `stopped` and `failed` end it; `lost` and `resumed` do not. */
export const STREAM_STATE = { open: 1, resumed: 2, lost: 3, done: 4, stopped: 5, failed: 6 } as const
export type StreamState = keyof typeof STREAM_STATE
export type StreamEnd = 'done' | 'stopped' | 'failed'

export const DEFAULT_PART = 'text'

const REPEAT = 0x20
const EXTRAS = 0x40
const EXTRA_ID = 1
const EXTRA_TRACE = 2

const KIND_NAMES: readonly (RecordKind | undefined)[] = [
  undefined,
  'message',
  'token',
  'context',
  'checkpoint',
  'stream',
]
const TAG_NAMES: readonly DataTag[] = ['text', 'json', 'bytes']
const OP_NAMES: readonly (ContextOp | undefined)[] = [undefined, 'set', 'append', 'delete']
const STATE_NAMES: readonly (StreamState | undefined)[] = [
  undefined,
  'open',
  'resumed',
  'lost',
  'done',
  'stopped',
  'failed',
]

export function isStreamEnd(state: StreamState): state is StreamEnd {
  return state === 'done' || state === 'stopped' || state === 'failed'
}

/** Data with its tag. For `text` and `json` the value is text. */
export type RecordData =
  | { readonly tag: 'text' | 'json'; readonly value: string }
  | { readonly tag: 'bytes'; readonly value: Uint8Array }

export interface RecordExtras {
  /** Stored once per topic, whichever producer sends it. */
  readonly id?: string
  /** W3C traceparent. */
  readonly trace?: string
}

export const NO_DATA: RecordData = { tag: 'bytes', value: new Uint8Array(0) }

/** Appends a message to `out`. */
export function writeMessage(out: ByteWriter, data: RecordData, extras?: RecordExtras): void {
  writeRecord(out, KIND.message, data, extras, 0, undefined)
}

export function writeContext(
  out: ByteWriter,
  op: ContextOp,
  name: string,
  data: RecordData,
  extras?: RecordExtras,
): void {
  writeRecord(out, KIND.context, data, extras, CONTEXT_OP[op], name)
}

export function writeCheckpoint(out: ByteWriter, name: string, data: RecordData, extras?: RecordExtras): void {
  writeRecord(out, KIND.checkpoint, data, extras, 0, name)
}

export function writeStream(
  out: ByteWriter,
  state: StreamState,
  streamId: string,
  data: RecordData = NO_DATA,
  extras?: RecordExtras,
): void {
  writeRecord(out, KIND.stream, data, extras, STREAM_STATE[state], streamId)
}

/**
 * Appends a token. With `repeat`, the stream and part are those of the token before it in the same append and are not
 * written again: the common case, two bytes of overhead.
 */
export function writeToken(out: ByteWriter, streamId: string, part: string, data: RecordData, repeat: boolean): void {
  if (repeat && data.tag === 'text') {
    writeRepeatedText(out, data.value)
    return
  }
  const head = KIND.token | (TAG[data.tag] << 3) | (repeat ? REPEAT : 0)
  const start = beginBody(out, data.value.length * 3 + (streamId.length + part.length) * 3 + 8)
  out.u8(head)
  if (!repeat) {
    out.shortText(streamId)
    out.shortText(part === DEFAULT_PART ? '' : part)
  }
  writeData(out, data)
  endBody(out, start)
}

function writeRepeatedText(out: ByteWriter, text: string): void {
  if (text.length * 3 + 12 > out.bytes.length - out.length) out.reserve(text.length * 3 + 12)
  const start = beginBody(out, text.length * 3 + 8)
  out.bytes[out.length++] = KIND.token | REPEAT
  out.length = writeText(out.bytes, out.length, text)
  endBody(out, start)
}

function writeRecord(
  out: ByteWriter,
  kind: KindNumber,
  data: RecordData,
  extras: RecordExtras | undefined,
  code: number,
  name: string | undefined,
): void {
  const hasExtras = extras !== undefined && (extras.id !== undefined || extras.trace !== undefined)
  const start = beginBody(out, data.value.length * 3 + 1024)
  out.u8(kind | (TAG[data.tag] << 3) | (hasExtras ? EXTRAS : 0))
  if (hasExtras) writeExtras(out, extras)
  if (code !== 0) out.u8(code)
  if (name !== undefined) out.shortText(name)
  writeData(out, data)
  endBody(out, start)
}

function writeExtras(out: ByteWriter, extras: RecordExtras): void {
  const start = beginBody(out, 1024)
  if (extras.id !== undefined) writeExtra(out, EXTRA_ID, extras.id)
  if (extras.trace !== undefined) writeExtra(out, EXTRA_TRACE, extras.trace)
  endBody(out, start)
}

function writeExtra(out: ByteWriter, tag: number, text: string): void {
  out.u8(tag)
  const start = beginBody(out, text.length * 3)
  out.text(text)
  endBody(out, start)
}

function writeData(out: ByteWriter, data: RecordData): void {
  if (data.tag === 'bytes') out.raw(data.value)
  else out.text(data.value)
}

/** Leaves one byte for the length; `endBody` moves the body when the length needs more. */
function beginBody(out: ByteWriter, estimate: number): number {
  out.reserve(estimate + 8)
  return out.length++
}

function endBody(out: ByteWriter, start: number): void {
  const size = out.length - start - 1
  if (size < 0x80) {
    out.bytes[start] = size
    return
  }
  const extra = varintSize(size) - 1
  out.reserve(extra)
  out.bytes.copyWithin(start + 1 + extra, start + 1, out.length)
  writeVarint(out.bytes, start, size)
  out.length += extra
}

/**
 * Walks the records of one append or batch without making an object per record: after `next()` the fields describe the
 * record stood on. Shapes are checked as it goes: it throws BAD_FRAME on bytes that are not records.
 */
export class RecordWalker {
  kind: KindNumber = KIND.message
  tag: TagNumber = TAG.text
  /** Context op or stream state, as its number. */
  code = 0
  /** Where the whole record begins, and where its extras, name and data lie in `bytes`. */
  start = 0
  nameFrom = 0
  nameTo = 0
  partFrom = 0
  partTo = 0
  extrasFrom = 0
  extrasTo = 0
  dataFrom = 0
  dataTo = 0
  /** True for a token whose stream and part are those of the one before. */
  repeat = false
  private readonly reader: ByteReader
  private tokenSeen = false

  constructor(reader: ByteReader) {
    this.reader = reader
  }

  get bytes(): Uint8Array {
    return this.reader.bytes
  }

  /** Moves to the next record; false at the end. */
  next(): boolean {
    const reader = this.reader
    if (reader.at >= reader.end) return false
    this.start = reader.at
    const size = reader.varint()
    const from = reader.skip(size)
    const to = from + size
    if (size === 0) throw bad('an empty record')
    const head = reader.bytes[from] as number
    if (head === (KIND.token | REPEAT)) {
      if (!this.tokenSeen) throw bad('a repeating token without one before it')
      this.kind = KIND.token
      this.tag = TAG.text
      this.repeat = true
      this.extrasFrom = this.extrasTo = 0
      this.dataFrom = from + 1
      this.dataTo = to
      return true
    }
    this.parse(head, from + 1, to)
    return true
  }

  private parse(head: number, from: number, to: number): void {
    const kind = head & 0x07
    const tag = (head >> 3) & 0x03
    const repeat = (head & REPEAT) !== 0
    if (kind < 1 || kind > 5 || tag > 2 || head > 0x7f) throw bad('a record head that this version does not have')
    if (repeat && (kind !== KIND.token || !this.tokenSeen)) throw bad('a repeat without a token before it')
    this.kind = kind as KindNumber
    this.tag = tag as TagNumber
    this.repeat = repeat
    let at = from
    this.extrasFrom = this.extrasTo = 0
    if ((head & EXTRAS) !== 0) at = this.parseExtras(at, to)
    if (kind === KIND.context || kind === KIND.stream) at = this.parseCode(kind, at, to)
    if (kind !== KIND.message && !repeat) {
      this.nameFrom = at + 1
      this.nameTo = at = this.endOfShortText(at, to)
      if (this.nameTo === this.nameFrom) throw bad('an empty name')
    }
    if (kind === KIND.token && !repeat) {
      this.partFrom = at + 1
      this.partTo = at = this.endOfShortText(at, to)
      this.tokenSeen = true
    }
    this.dataFrom = at
    this.dataTo = to
  }

  private parseCode(kind: number, at: number, to: number): number {
    if (at >= to) throw bad('a record that ends in its fields')
    this.code = this.bytes[at] as number
    if (this.code < 1 || this.code > (kind === KIND.context ? 3 : 6)) throw bad('an unknown context op or stream state')
    return at + 1
  }

  private parseExtras(at: number, to: number): number {
    const size = this.bytes[at] as number
    // A body's length is known, so its parts are read by hand: extras are small, and a longer varint is rare.
    let from = at + 1
    let length = size
    if (size >= 0x80) {
      length = (size & 0x7f) + (this.bytes[from] as number) * 0x80
      if ((this.bytes[from] as number) >= 0x80) throw bad('extras of more than 16 KiB')
      from++
    }
    if (from + length > to) throw bad('extras that end beyond their record')
    this.extrasFrom = from
    this.extrasTo = from + length
    return this.extrasTo
  }

  private endOfShortText(at: number, to: number): number {
    const end = at + 1 + (this.bytes[at] as number)
    if (at >= to || end > to) throw bad('a name that ends beyond its record')
    return end
  }

  /** Record id and trace, or undefined when there are none. Unknown extras are skipped. */
  extras(): RecordExtras | undefined {
    if (this.extrasTo === 0) return undefined
    const found: { id?: string; trace?: string } = {}
    let at = this.extrasFrom
    while (at < this.extrasTo) {
      const tag = this.bytes[at] as number
      let size = this.bytes[at + 1] as number
      let from = at + 2
      if (size >= 0x80) size = (size & 0x7f) + (this.bytes[from++] as number) * 0x80
      const to = from + size
      if (!(to <= this.extrasTo)) throw bad('an extra that ends beyond its record')
      if (tag === EXTRA_ID) found.id = readText(this.bytes, from, to)
      if (tag === EXTRA_TRACE) found.trace = readText(this.bytes, from, to)
      at = to
    }
    return found
  }

  /** The name of a context entry or checkpoint, or the id of a stream. */
  name(): string {
    return readText(this.bytes, this.nameFrom, this.nameTo)
  }

  part(): string {
    return this.partFrom === this.partTo ? DEFAULT_PART : readText(this.bytes, this.partFrom, this.partTo)
  }

  text(): string {
    return readText(this.bytes, this.dataFrom, this.dataTo)
  }

  data(): Uint8Array {
    return this.bytes.subarray(this.dataFrom, this.dataTo)
  }

  recordData(): RecordData {
    if (this.tag === TAG.bytes) return { tag: 'bytes', value: this.data() }
    return { tag: this.tag === TAG.text ? 'text' : 'json', value: this.text() }
  }

  /** Throws BAD_VALUE unless the data, name and part are what their tags say. The broker calls it once, on the way in. */
  checkData(): void {
    const bytes = this.bytes
    if (!this.repeat && this.kind !== KIND.message) {
      const nameOk = isUtf8(bytes, this.nameFrom, this.nameTo)
      const partOk = this.kind !== KIND.token || isUtf8(bytes, this.partFrom, this.partTo)
      if (!nameOk || !partOk) throw new LitetopicError('BAD_NAME', 'a name that is not UTF-8')
    }
    if (this.tag === TAG.bytes) return
    if (!isUtf8(bytes, this.dataFrom, this.dataTo)) {
      throw new LitetopicError('BAD_VALUE', 'data tagged as text that is not UTF-8')
    }
    if (this.tag === TAG.json && !isJson(this.text())) {
      throw new LitetopicError('BAD_VALUE', 'data tagged as JSON that is not JSON')
    }
  }
}

export function kindName(kind: KindNumber): RecordKind {
  return KIND_NAMES[kind] as RecordKind
}

export function tagName(tag: TagNumber): DataTag {
  return TAG_NAMES[tag] as DataTag
}

export function contextOpName(code: number): ContextOp {
  return OP_NAMES[code] as ContextOp
}

export function streamStateName(code: number): StreamState {
  return STATE_NAMES[code] as StreamState
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function bad(what: string): LitetopicError {
  return new LitetopicError('BAD_FRAME', `not a record: ${what}`)
}
