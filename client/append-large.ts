/** Appends a message of any size: inline if it fits into one append, else its content is uploaded before its record is written. */

import { type DataTag, invariant, LitetopicError, type RecordData } from '../protocol/index.ts'
import { appendMessage } from './append.ts'
import type { Attachment } from './attachment.ts'
import { type PipeSource, pipe } from './pipe.ts'
import { type ByteSource, checkPiece, PartCutter, piecesOf, sizeOf } from './source.ts'
import type { Stored } from './stream-writer.ts'
import { type AppendProgress, StoredAlready, Upload } from './upload.ts'
import { encodeAny } from './values.ts'

export interface AppendOptions {
  /** Stored once per topic, whoever repeats it; the repeat gets the place of the first. */
  readonly id?: string
  /** W3C traceparent, which readers get with the record. */
  readonly trace?: string
  /** Called whenever more of a large message is durable, and when all of a message is. What it throws fails the append. */
  readonly onProgress?: (progress: AppendProgress) => void
  /**
   * Gives the append up: it rejects with the signal's reason, the source is told to stop, and what was uploaded is deleted. The
   * message is not stored, unless its record was on its way already.
   */
  readonly signal?: AbortSignal
}

/** A message on its way: what it consists of, and what is known of it. */
interface Outgoing {
  readonly tag: DataTag
  readonly source: PipeSource<Uint8Array>
  readonly size: number | undefined
  /** May it become an ordinary message if it turns out to be small? */
  readonly mayBeInline: boolean
}

/** A half of a surrogate pair without the other: JSON can hold it, UTF-8 cannot. */
const LONE_SURROGATE = /\p{Surrogate}/u

/** Appends a value. Throws BAD_VALUE; else as `Session.append`. */
export function appendValue(attachment: Attachment, value: unknown, options: AppendOptions): Promise<Stored> {
  const data = encodeAny(value)
  const { id, trace, signal, onProgress } = options
  const stored = appendMessage(attachment, data, { id, trace }, signal)
  if (stored !== null) return onProgress === undefined ? stored : reported(stored, bytesOf(data).length, onProgress)
  const isText = typeof value === 'string' && !LONE_SURROGATE.test(value)
  const content = bytesOf(isText ? { tag: 'text', value } : data)
  const tag = isText ? 'text' : data.tag
  const outgoing: Outgoing = { tag, source: [content], size: content.length, mayBeInline: false }
  return send(attachment, outgoing, options)
}

/** Appends what a source gives, as bytes. `mayBeInline`: may it become an ordinary message if it turns out to be small? */
export function appendSource(
  attachment: Attachment,
  source: ByteSource,
  options: AppendOptions,
  mayBeInline: boolean,
): Promise<Stored> {
  const outgoing: Outgoing = { tag: 'bytes', source: piecesOf(source), size: sizeOf(source), mayBeInline }
  return send(attachment, outgoing, options)
}

async function send(attachment: Attachment, outgoing: Outgoing, options: AppendOptions): Promise<Stored> {
  const { id, signal, onProgress } = options
  if (attachment.refusesWrites !== null) throw attachment.refusesWrites
  signal?.throwIfAborted()
  const stop = new AbortController()
  const aborted = (): void => stop.abort(signal?.reason)
  signal?.addEventListener('abort', aborted)
  const upload = new Upload(attachment, { tag: outgoing.tag, id, size: outgoing.size, onProgress }, stop)
  try {
    const stored = await uploadAndAppend(attachment, upload, outgoing, { ...options, signal: stop.signal })
    upload.done()
    return stored
  } catch (error) {
    if (error instanceof StoredAlready) {
      upload.done()
      return error.place
    }
    upload.failed(error)
    throw error
  } finally {
    signal?.removeEventListener('abort', aborted)
  }
}

async function uploadAndAppend(
  attachment: Attachment,
  upload: Upload,
  outgoing: Outgoing,
  { id, trace, signal, onProgress }: AppendOptions & { readonly signal: AbortSignal },
): Promise<Stored> {
  const { tag, mayBeInline } = outgoing
  const rest = await feed(upload, outgoing, signal)
  if (rest !== null && !upload.started && mayBeInline) {
    const stored = appendMessage(attachment, { tag: 'bytes', value: rest }, { id, trace }, signal)
    if (stored !== null) return reported(stored, rest.length, onProgress)
  }
  if (rest !== null) await upload.add(rest)
  const parts = await upload.end()
  await attachment.whenRoom()
  const empty: RecordData = tag === 'bytes' ? { tag, value: new Uint8Array(0) } : { tag, value: '' }
  const stored = appendMessage(attachment, empty, { id, trace, parts }, signal)
  invariant(stored !== null, 'the record of an uploaded message fits into an append')
  return reported(stored, parts.size, onProgress)
}

/** Gives the upload all full parts of the source, as there is room for them. Resolves with the rest, or null if there is none. */
async function feed(
  upload: Upload,
  { source, size, mayBeInline }: Outgoing,
  signal: AbortSignal,
): Promise<Uint8Array | null> {
  const cutter = new PartCutter(size)
  await pipe(source, signal, async (piece) => {
    checkPiece(piece)
    for (let at = 0; at < piece.length; ) {
      at = cutter.take(piece, at)
      if (size !== undefined && cutter.taken > size) throw otherSize(size, `at least ${cutter.taken}`)
      if (cutter.full) await upload.add(cutter.part())
    }
  })
  if (size !== undefined && cutter.taken !== size) throw otherSize(size, `${cutter.taken}`)
  if (cutter.taken === 0 && !mayBeInline) throw new LitetopicError('BAD_VALUE', 'a large message has at least one byte')
  return cutter.length === 0 && cutter.taken > 0 ? null : cutter.part()
}

async function reported(
  stored: Promise<Stored>,
  bytes: number,
  onProgress: AppendOptions['onProgress'],
): Promise<Stored> {
  const place = await stored
  onProgress?.({ sentBytes: bytes, totalBytes: bytes })
  return place
}

function bytesOf({ tag, value }: RecordData): Uint8Array {
  return tag === 'bytes' ? value : new TextEncoder().encode(value)
}

function otherSize(size: number, given: string): LitetopicError {
  return new LitetopicError('BAD_VALUE', `the source of a message of ${size} bytes gave ${given}: it changed meanwhile`)
}
