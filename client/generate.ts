/**
 * One generation, however often it is started: the first call runs it, a repeat gets what is stored, a call while another process
 * runs it follows that one, and a call after an interruption goes on where the text stops.
 */

import { DEFAULT_PART, isLitetopicError, isStreamEnd, type StreamEnd, type StreamInfo } from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import { follow, readParts } from './follow.ts'
import { openStream } from './open-stream.ts'
import type { StreamWriter, TokenWriter } from './stream-writer.ts'
import { decodeJson, type Json } from './values.ts'

/** How a stream ended and what it holds. */
export interface StreamResult {
  readonly end: StreamEnd
  /** Text of the part `text`. */
  readonly text: string
  /** Text of each part. */
  readonly parts: Readonly<Record<string, string>>
  /** What was given to `end`; `{ message }` of a failure, `{ reason }` of a stop. */
  readonly detail: Json | undefined
  /** What `fn` threw, if it ran here and threw. */
  readonly error?: unknown
}

/**
 * Writes the stream; may be run again after an interruption, with what is durable in `stream.parts`. `signal` is the stream's:
 * aborted when nothing more can be written.
 */
export type GenerateFunction = (stream: StreamWriter, signal: AbortSignal) => unknown

export async function generate(
  attachment: Attachment,
  streamId: string,
  fn: GenerateFunction,
  signal: AbortSignal | undefined,
): Promise<StreamResult> {
  for (;;) {
    const written = new Map<string, string>()
    const onText = (part: string, text: string): void => void written.set(part, (written.get(part) ?? '') + text)
    const opened = await openStream(attachment, streamId, 'join', onText)
    if (opened.writer !== null) {
      for (const [part, text] of opened.writer.parts) written.set(part, text)
      const ended = await run(opened.writer, fn, signal, written)
      if (ended !== null) return ended
      // It was ended or taken over while it ran: the next turn finds out how it ends.
    } else if (isStreamEnd(opened.stream.state)) {
      return stored(attachment, opened.stream, opened.stream.state)
    } else {
      const { end, detail, parts } = await follow(attachment, opened.stream)
      if (end !== null) return result(end, parts, detail)
    }
  }
}

/** Null if the stream's end is not for this writer to say. Rejects when the session is over. */
async function run(
  writer: TokenWriter,
  fn: GenerateFunction,
  signal: AbortSignal | undefined,
  written: ReadonlyMap<string, string>,
): Promise<StreamResult | null> {
  let thrown: { readonly error: unknown } | null = null
  try {
    await fn(writer, signal === undefined ? writer.signal : AbortSignal.any([writer.signal, signal]))
  } catch (error) {
    thrown = { error }
  }
  try {
    if (writer.finished === null) await (thrown === null ? writer.end() : writer.fail(thrown.error))
    else await writer.finished.stored
  } catch (reason) {
    if (isLitetopicError(reason, 'STREAM_STOPPED', 'STREAM_ENDED', 'FENCED')) return null
    throw reason
  }
  const { state = 'done', detail } = writer.finished ?? {}
  const ended = result(state, written, detail)
  return thrown === null ? ended : { ...ended, error: thrown.error }
}

async function stored(attachment: Attachment, stream: StreamInfo, end: StreamEnd): Promise<StreamResult> {
  const parts = await readParts(attachment, stream, stream.lastOffset)
  return result(end, parts, stream.detail == null ? undefined : decodeJson(stream.detail))
}

function result(end: StreamEnd, parts: ReadonlyMap<string, string>, detail: Json | undefined): StreamResult {
  return { end, text: parts.get(DEFAULT_PART) ?? '', parts: Object.fromEntries(parts), detail }
}
