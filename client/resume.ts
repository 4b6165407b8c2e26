/** Coming back: what a session was at a checkpoint or cursor, and what has happened since, in one round trip. */

import {
  type CheckpointInfo,
  DEFAULT_PART,
  LitetopicError,
  parseCursor,
  type ReplyOf,
  type ResumeOutcome,
  type StreamInfo,
  type StreamState,
  UP,
} from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import { type Context, fold } from './context.ts'
import type { Check } from './decode.ts'
import { readTokens } from './follow.ts'
import { checkpointName, type Reader, type ReadOptions, readRecords } from './reader.ts'
import type { SessionRecord } from './records.ts'
import { dataOf, decodeJson, decodeValue, type Json, type Value } from './values.ts'

/** Where to resume from: by default the newest checkpoint. */
export type ResumeFrom = { readonly checkpoint?: string } | { readonly cursor: string }

/** A named state, bound to an offset. */
export interface Checkpoint {
  readonly name: string
  readonly offset: number
  /** Where to read on after it. */
  readonly cursor: string
  readonly timeMs: number
  /** Null if none was given. */
  readonly state: Value | null
}

/** A stream that was open or has ended since. */
export interface ResumedStream {
  readonly id: string
  readonly state: StreamState
  /** Is its writer connected? */
  readonly live: boolean
  readonly detail: Json | undefined
  /** Text of each part so far; empty if `partial`. */
  readonly parts: ReadonlyMap<string, string>
  /** Text of the part `text` so far; empty if `partial`. */
  readonly text: string
  /** The text so far piece by piece, whatever its size. */
  pieces(): AsyncIterable<{ readonly part: string; readonly text: string }>
}

export interface Resumed<T> {
  /** `continued`, or why it cannot be gone on from there. */
  readonly outcome: ResumeOutcome
  /** Where to read on; null where there is no such place. */
  readonly cursor: string | null
  /** Offsets of the topic as it is now. */
  readonly firstOffset: number
  readonly nextOffset: number
  /** Of `diverged`: how far both histories are the same, as the offset after their last common record; null if unknown. */
  readonly commonOffset: number | null
  readonly checkpoint: Checkpoint | null
  /**
   * Context and text were left out, and are read with `entries` and `pieces`: they are more than 1 MiB, or the beginning of
   * a stream was trimmed, in which case its `pieces` reject with TRIMMED.
   */
  readonly partial: boolean
  /** The context as of the place resumed from; empty if `partial`. */
  readonly context: ReadonlyMap<string, Value>
  readonly streams: readonly ResumedStream[]
  /** The context entry by entry, whatever its size. */
  entries(): AsyncIterable<[name: string, value: Value]>
  /** The records after the place resumed from. Throws GONE, RECREATED or DIVERGED if there is none. */
  records(options?: Omit<ReadOptions, 'from'>): Reader<SessionRecord<T>>
}

type ResumeReply = ReplyOf<typeof UP.resume>

const ERROR_OF = { gone: 'GONE', recreated: 'RECREATED', diverged: 'DIVERGED', trimmed: 'TRIMMED' } as const

/** Rejects with CHECKPOINT_UNKNOWN, BAD_CURSOR or what ends the session. Throws BAD_CURSOR or BAD_NAME. */
export async function resume<T>(
  attachment: Attachment,
  context: Context,
  from: ResumeFrom,
  check: Check<T> | null,
): Promise<Resumed<T>> {
  const asked = 'cursor' in from ? { cursor: from.cursor } : { checkpoint: checkpointName(from.checkpoint ?? 'latest') }
  if (asked.cursor !== undefined) parseCursor(asked.cursor)
  const reply = await attachment.ask(UP.resume, (request) => [UP.resume, request, attachment.handle, asked])
  const { outcome, cursor, firstOffset, nextOffset } = reply
  const entries = new Map((reply.context ?? []).map((entry) => [entry.name, fold(entry)] as const))
  const partial = reply.partial === true
  return {
    outcome,
    cursor,
    firstOffset,
    nextOffset,
    commonOffset: reply.commonOffset ?? null,
    checkpoint: reply.checkpoint == null ? null : checkpointOf(reply.checkpoint),
    partial,
    context: entries,
    streams: (reply.streams ?? []).map((found) => streamOf(attachment, found, partial, nextOffset)),
    async *entries() {
      if (!partial) yield* entries
      else if (cursor !== null) yield* context.pages({ asOf: cursor })
    },
    records: (options = {}) => {
      if (cursor !== null) return readRecords(attachment, { ...options, from: { cursor } }, check)
      const code = outcome === 'continued' ? 'BAD_CURSOR' : ERROR_OF[outcome]
      const details = { outcome, cursor, commonOffset: reply.commonOffset ?? null }
      throw new LitetopicError(code, `there is no place to read on from: ${outcome}`, details)
    },
  }
}

export function checkpointOf(info: CheckpointInfo): Checkpoint {
  const { name, offset, cursor, timeMs } = info
  return { name, offset, cursor, timeMs, state: info.state === undefined ? null : stateOf(info.state) }
}

function stateOf(state: NonNullable<CheckpointInfo['state']>): Value | null {
  const value = decodeValue(dataOf(state))
  // How a checkpoint without a state is stored.
  return value instanceof Uint8Array && value.length === 0 ? null : value
}

function streamOf(
  attachment: Attachment,
  { stream, text }: NonNullable<ResumeReply['streams']>[number],
  partial: boolean,
  nextOffset: number,
): ResumedStream {
  const parts = new Map(text.map((piece) => [piece.part, piece.text]))
  return {
    id: stream.streamId,
    state: stream.state,
    live: stream.live,
    detail: detailOf(stream),
    parts,
    text: parts.get(DEFAULT_PART) ?? '',
    async *pieces() {
      if (!partial) {
        for (const [part, piece] of parts) yield { part, text: piece }
        return
      }
      for await (const token of readTokens(attachment, stream, nextOffset)) {
        if (token.text !== undefined) yield { part: token.part, text: token.text }
      }
    },
  }
}

function detailOf({ detail }: StreamInfo): Json | undefined {
  return detail == null ? undefined : decodeJson(detail)
}
