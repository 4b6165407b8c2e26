/** The records of a session as its user sees them. */

import type { ContextOp, DataTag, StreamState } from '../protocol/index.ts'
import type { Json, Value } from './values.ts'

export interface RecordPlace {
  /** Of the record; of the first token for a run of tokens. */
  readonly offset: number
  /** Of the last token of a run; else the offset. Tokens of other streams may lie between. */
  readonly lastOffset: number
  /** When the broker took it, in milliseconds since 1970; of a run, its last token. */
  readonly timeMs: number
  /**
   * Where to read on after this record. Where runs of parallel streams overlap no offset separates them: all but the last of them
   * have the cursor before them, so that reading on there repeats rather than loses.
   */
  readonly cursor: string
  /** False while catching up with what was there before. */
  readonly live: boolean
  /** Who wrote it, where access is configured. */
  readonly principal?: string
}

interface AnyMessageRecord extends RecordPlace {
  readonly kind: 'message'
  /** As given to `append`. */
  readonly id?: string
  /** W3C traceparent, as given to `append`. */
  readonly trace?: string
}

/** A message that came with its value. */
export interface MessageRecord<T> extends AnyMessageRecord {
  readonly value: T
  readonly large?: undefined
}

/** A message beyond what one append holds: its content lies at the broker, and is read by those who want it. */
export interface LargeMessageRecord<T> extends AnyMessageRecord {
  readonly value?: undefined
  readonly large: LargeValue<T>
}

/** How far reading a large message has come. */
export interface LargeProgress {
  readonly receivedBytes: number
  /** All that is to be read: less than the message's size if it does not begin at 0. */
  readonly totalBytes: number
}

export interface LargeReadOptions {
  /** Ends the reading, which rejects with its reason. */
  readonly signal?: AbortSignal
  /** Called with each part that has come. What it throws ends the reading. */
  readonly onProgress?: (progress: LargeProgress) => void
}

export interface LargeStreamOptions extends LargeReadOptions {
  /** The first byte to read, from 0 to the size. Default 0. */
  readonly from?: number
}

/**
 * The content of a large message, read from the broker in parts as it is asked for, again each time. Goes on by itself after a lost
 * connection. What is read from the beginning is checked against the message's SHA-256 before its end: STORE_CORRUPT. All reject
 * with TRIMMED once the message has been trimmed, and with what ends the session. As JSON it is its size and tag.
 */
export interface LargeValue<T = Value> {
  /** In bytes. */
  readonly size: number
  /** What was appended: `text` for a string, `json` for any other JSON value, else `bytes`. */
  readonly tag: DataTag
  /** Fetches at the pace of its reader, with at most three parts on their way. Throws BAD_REQUEST for a place outside the message. */
  stream(options?: LargeStreamOptions): ReadableStream<Uint8Array>
  bytes(options?: LargeReadOptions): Promise<Uint8Array>
  /** Rejects with BAD_VALUE for bytes that are not UTF-8. */
  text(options?: LargeReadOptions): Promise<string>
  /** The string or JSON value appended, or the bytes as JSON. Rejects with BAD_VALUE unless it is, and SCHEMA_INVALID. */
  json(options?: LargeReadOptions): Promise<T>
  /** `type`: the default is that of the tag, such as `application/json`. */
  blob(type?: string, options?: LargeReadOptions): Promise<Blob>
}

/** A token, or while catching up a run of tokens of one part of a stream. Exactly one of text, value and bytes is there. */
export interface TokenRecord extends RecordPlace {
  readonly kind: 'token'
  readonly streamId: string
  readonly part: string
  readonly text?: string
  readonly value?: Json
  readonly bytes?: Uint8Array
  /** Tokens in this run. */
  readonly count: number
  /** Bytes of each token, where there are several. */
  readonly sizes?: readonly number[]
}

export interface ContextRecord extends RecordPlace {
  readonly kind: 'context'
  readonly op: ContextOp
  readonly name: string
  /** Not there for `delete`. */
  readonly value?: Value
}

export interface CheckpointRecord extends RecordPlace {
  readonly kind: 'checkpoint'
  readonly name: string
  readonly state: Value | null
}

/** What happened to a stream: `done`, `stopped` and `failed` end it, `lost` and `resumed` do not. */
export interface StreamRecord extends RecordPlace {
  readonly kind: 'stream'
  readonly streamId: string
  readonly state: StreamState
  /** What was given to `end`; `{ message }` of a failure, `{ reason }` of a stop. */
  readonly detail?: Json
}

/** A message has `value`, or `large` in its place: look at `large` first, and the types know which. */
export type SessionRecord<T = Value> =
  | MessageRecord<T>
  | LargeMessageRecord<T>
  | TokenRecord
  | ContextRecord
  | CheckpointRecord
  | StreamRecord
