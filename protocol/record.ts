/**
 * A record, as bytes. The client encodes it once; the same bytes lie in the journal, in a chunk, in memory and in every
 * reader's frame. This file writes records; record-walker.ts reads them. See PROTOCOL.md, Records.
 *
 *     record := bodyBytes:varint head:u8 [extras] fields data
 *     head   := kind (bits 0-2) | data tag (bits 3-4) | repeat (bit 5) | extras (bit 6)
 *     extras := size:varint (tag:u8 size:varint bytes)*
 *     fields := token, not repeat: streamId part      token, repeat: those of the token before it in the batch
 *               context: op:u8 name   checkpoint: name   stream: state:u8 streamId   message: none
 *
 * A large message lies outside the log: its record has no data and names an upload instead, with its size and hash.
 *
 *     parts  := size:varint sha256:32 uploadId
 *
 * Ids and names are a length byte and UTF-8. An empty part is `text`.
 */

import { type ByteWriter, varintSize, writeText, writeVarint } from './bytes.ts'

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

/** Bits of a record's head. */
export const HEAD_REPEAT = 0x20
export const HEAD_EXTRAS = 0x40

/** Tags of a record's extras. */
export const EXTRA_ID = 1
export const EXTRA_TRACE = 2
export const EXTRA_PARTS = 3

export const SHA256_BYTES = 32

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
  /** Of a large message only. */
  readonly parts?: RecordParts
}

/** Where the content of a large message lies, and what it must come to. The record's tag says what the content is. */
export interface RecordParts {
  /** Bytes of the content, at least 1. */
  readonly size: number
  /** SHA-256 of the content. */
  readonly sha256: Uint8Array
  readonly uploadId: string
}

export const NO_DATA: RecordData = { tag: 'bytes', value: new Uint8Array(0) }

/** Appends a message to `out`. */
export function writeMessage(out: ByteWriter, data: RecordData, extras?: RecordExtras): void {
  writeRecord(out, KIND.message, data, extras, 0, undefined)
}

/** The same, of bytes that are what the tag says: UTF-8, and JSON, are not looked at here. */
export function writeMessageBytes(out: ByteWriter, tag: DataTag, data: Uint8Array): void {
  const start = beginBody(out, data.length + 8)
  out.u8(KIND.message | (TAG[tag] << 3))
  out.raw(data)
  endBody(out, start)
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
  const head = KIND.token | (TAG[data.tag] << 3) | (repeat ? HEAD_REPEAT : 0)
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
  out.bytes[out.length++] = KIND.token | HEAD_REPEAT
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
  const hasExtras = extras?.id !== undefined || extras?.trace !== undefined || extras?.parts !== undefined
  const start = beginBody(out, data.value.length * 3 + 1024)
  out.u8(kind | (TAG[data.tag] << 3) | (hasExtras ? HEAD_EXTRAS : 0))
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
  if (extras.parts !== undefined) writeParts(out, extras.parts)
  endBody(out, start)
}

function writeExtra(out: ByteWriter, tag: number, text: string): void {
  out.u8(tag)
  const start = beginBody(out, text.length * 3)
  out.text(text)
  endBody(out, start)
}

function writeParts(out: ByteWriter, { size, sha256, uploadId }: RecordParts): void {
  out.u8(EXTRA_PARTS)
  const start = beginBody(out, 8 + SHA256_BYTES + uploadId.length * 3)
  out.varint(size)
  out.raw(sha256)
  out.text(uploadId)
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
