/**
 * A call that must not happen twice, such as that of a tool: its claim, input, result and end are one stream of the topic, so
 * whoever asks again gets what is stored. Whether a call that was cut off took effect nobody can know: that is for the caller.
 */

import { isLitetopicError, isStreamEnd, LitetopicError, type StreamInfo, UP } from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import { type FoundStream, follow, readParts } from './follow.ts'
import { type OpenedBy, openStream } from './open-stream.ts'
import type { TokenWriter } from './stream-writer.ts'
import { decodeJson, encodeJson, type Json } from './values.ts'

/** Streams of calls have these ids: this and the id of the call. */
export const CALL_PREFIX = 'once/'

/** Parts of a call's stream; each is JSON text. */
export const CALL_PARTS = { tool: 'tool', input: 'input', output: 'output' } as const

/** So many UTF-16 units of a result make a token. */
const PIECE_UNITS = 16_384

export interface OnceOptions {
  /** What is called, for who reads the log. */
  readonly tool?: string
  /** What it is called with, for who reads the log: a JSON value. */
  readonly input?: Json
  /**
   * What to do if an earlier call was cut off, so that nobody knows whether it took effect: reject with OUTCOME_UNKNOWN, or run it
   * again. Default `reject`.
   */
  readonly ifUnknown?: 'reject' | 'run'
}

/** `signal` is aborted when the call is stopped, or its result cannot be stored any more. */
export type OnceFunction<R> = (signal: AbortSignal) => R | Promise<R>

/** See `Session.once`. */
export async function once<R>(
  attachment: Attachment,
  id: string,
  fn: OnceFunction<R>,
  options: OnceOptions,
): Promise<R> {
  const streamId = CALL_PREFIX + id
  const input = options.input === undefined ? undefined : encodeJson(options.input)
  for (let isUnknown = false; ; ) {
    const { writer, stream } = await claim(attachment, streamId, isUnknown)
    if (writer !== null) {
      describe(writer, options.tool, input)
      const ended = await run(writer, fn)
      if (ended !== null) return ended.value
      // It was stopped or taken over while it ran: what is stored counts.
      continue
    }
    const { end, detail, parts } = await outcome(attachment, stream)
    if (end === 'done') return stored(parts) as R
    if (end !== null) throw notDone(attachment, id, end, detail)
    if (options.ifUnknown !== 'run') throw unknown(attachment, id)
    isUnknown = true
  }
}

/** The call, or how another one stands. One whose outcome is unknown is taken over only if it still is. */
async function claim(
  attachment: Attachment,
  streamId: string,
  isUnknown: boolean,
): Promise<{ writer: TokenWriter; stream: null } | { writer: null; stream: StreamInfo }> {
  if (isUnknown) return claimed(await openStream(attachment, streamId, 'join'))
  try {
    return claimed(await openStream(attachment, streamId, 'create'))
  } catch (error) {
    if (!isLitetopicError(error, 'STREAM_EXISTS')) throw error
  }
  const { stream } = await attachment.ask(UP.stream, (request) => [UP.stream, request, attachment.handle, streamId])
  if (stream != null) return { writer: null, stream }
  const why = 'the stream of the call is there, and its beginning is trimmed'
  throw new LitetopicError('TRIMMED', `topic ${attachment.name} has forgotten ${streamId}: ${why}`, { streamId })
}

function claimed(opened: OpenedBy): { writer: TokenWriter; stream: null } | { writer: null; stream: StreamInfo } {
  return opened.writer === null ? opened : { writer: opened.writer, stream: null }
}

/** One that is taken over has said what it is. */
function describe(writer: TokenWriter, tool: string | undefined, input: string | undefined): void {
  if (writer.resumed) return
  if (tool !== undefined) writer.write(encodeJson(tool), { part: CALL_PARTS.tool })
  if (input !== undefined) writer.write(input, { part: CALL_PARTS.input })
}

/** Null if the end of the call is not for this writer to say. Rejects with what `fn` throws, or when the session is over. */
async function run<R>(writer: TokenWriter, fn: OnceFunction<R>): Promise<{ readonly value: R } | null> {
  let value: R
  let output: string | undefined
  try {
    value = await fn(writer.signal)
    output = value === undefined ? undefined : encodeJson(value)
  } catch (error) {
    return (await isStored(writer.fail(error))) ? Promise.reject(error) : null
  }
  const writing = async (): Promise<void> => {
    if (output !== undefined) await writer.pipe(pieces(output), { part: CALL_PARTS.output })
    await writer.end()
  }
  return (await isStored(writing())) ? { value } : null
}

/** False if the stream was stopped or taken over. */
async function isStored(writing: Promise<unknown>): Promise<boolean> {
  try {
    await writing
    return true
  } catch (reason) {
    if (isLitetopicError(reason, 'STREAM_STOPPED', 'STREAM_ENDED', 'FENCED')) return false
    throw reason
  }
}

function* pieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += PIECE_UNITS) yield text.slice(at, at + PIECE_UNITS)
}

/**
 * How a call ended that is not this one, when it has; with no end if it was cut off. Of one that ran again only the last run counts: the
 * one before may have been cut off while it stored its result.
 */
async function outcome(attachment: Attachment, stream: StreamInfo): Promise<FoundStream> {
  const { state, detail, fence, lastOffset } = stream
  const lastRun = { ...stream, openOffset: Math.max(stream.openOffset, fence) }
  if (!isStreamEnd(state)) return follow(attachment, lastRun)
  const parts = state === 'done' ? await readParts(attachment, lastRun, lastOffset) : new Map<string, string>()
  return { end: state, detail: detail == null ? undefined : decodeJson(detail), parts }
}

function stored(parts: ReadonlyMap<string, string>): Json | undefined {
  const output = parts.get(CALL_PARTS.output)
  return output === undefined ? undefined : decodeJson(output)
}

function notDone(
  { name }: Attachment,
  id: string,
  end: 'failed' | 'stopped',
  detail: Json | undefined,
): LitetopicError {
  const facts = { call: id, detail }
  if (end === 'stopped') return new LitetopicError('STREAM_STOPPED', `call ${id} in topic ${name} was stopped`, facts)
  return new LitetopicError('CALL_FAILED', `call ${id} in topic ${name} has failed; it is not run again`, facts)
}

function unknown({ name }: Attachment, id: string): LitetopicError {
  const advice = 'find out whether it took effect, then run it with ifUnknown: "run", or stop its stream'
  return new LitetopicError('OUTCOME_UNKNOWN', `call ${id} in topic ${name} was cut off: ${advice}`, {
    call: id,
    streamId: CALL_PREFIX + id,
  })
}
