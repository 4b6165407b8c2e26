/** The records of a session as its user sees them. */

import type { ContextOp, StreamState } from '../protocol/index.ts'
import type { Json, Value } from './values.ts'

interface RecordPlace {
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

export interface MessageRecord<T> extends RecordPlace {
  readonly kind: 'message'
  readonly value: T
  /** As given to `append`. */
  readonly id?: string
  /** W3C traceparent, as given to `append`. */
  readonly trace?: string
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

export type SessionRecord<T = Value> = MessageRecord<T> | TokenRecord | ContextRecord | CheckpointRecord | StreamRecord
