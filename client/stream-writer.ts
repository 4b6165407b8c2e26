/**
 * Writes one token stream. A token costs no object and no promise: it is encoded into the operation that goes out with the
 * next turn of the event loop, together with the tokens before it.
 */

import {
  checkId,
  DEFAULT_PART,
  LIMITS,
  LitetopicError,
  type RecordData,
  type StreamEnd,
  writeStream,
  writeToken,
} from '../protocol/index.ts'
import type { Attachment, Writing } from './attachment.ts'
import type { Operation, OperationOwner } from './operation.ts'
import { type PipeSource, pipe } from './pipe.ts'
import { stopReason, streamStopped } from './refusals.ts'
import { cutText, endsInFirstHalf, HeldSurrogates } from './surrogates.ts'
import { checkAppendSize, encodeJson, type Json } from './values.ts'

/** Where a record is stored, and where to read on after it. */
export interface Stored {
  readonly offset: number
  readonly cursor: string
}

export interface WriteOptions {
  /** The part of the stream it belongs to. Default `text`. */
  readonly part?: string
}

/** Writes one token stream; the only writer of it, until another takes over. */
export interface StreamWriter {
  readonly id: string
  /** Shuts out the writers before this one: offset of the record that opened or resumed the stream. */
  readonly fence: number
  /** Was the stream begun by another writer, or an earlier life of this one? */
  readonly resumed: boolean
  /** Text of the part `text` that was durable when this writer opened the stream: where to go on from. */
  readonly text: string
  /** The same, of each part. */
  readonly parts: ReadonlyMap<string, string>
  /** Aborted when nothing more can be written. Its reason is a LitetopicError: STREAM_STOPPED, FENCED, STREAM_ENDED, GONE … */
  readonly signal: AbortSignal
  /** Resolves when there is room to write more, or nothing can be written any more. Never rejects. */
  readonly ready: Promise<void>
  /**
   * Writes text or bytes as a token. Returns at once: false if more is written than the broker has acknowledged and the writer
   * should wait for `ready`. Text beyond 64 KiB becomes several tokens; a surrogate pair may be cut between two writes.
   * Throws the signal's reason if nothing can be written any more, STREAM_ENDED after `end`, BAD_NAME for the part, and
   * LIMIT_EXCEEDED or BUFFER_FULL for too much at once or without waiting.
   */
  write(data: string | Uint8Array, options?: WriteOptions): boolean
  /** Writes a JSON value as a token; else like `write`. Throws BAD_VALUE unless it is one. */
  writeJson(value: Json, options?: WriteOptions): boolean
  /**
   * Writes each piece of the source, waiting while there is no room. Resolves at its end, without ending the stream. Rejects with
   * the signal's reason as soon as nothing can be written any more, and with what the source throws.
   */
  pipe(source: PipeSource<string | Uint8Array>, options?: WriteOptions): Promise<void>
  /**
   * Ends the stream as `done`, with a JSON value to go with it. Resolves when that is durable. Rejects with the signal's reason,
   * or STREAM_ENDED if it was called before. Throws BAD_VALUE.
   */
  end(detail?: Json): Promise<Stored>
  /** Ends the stream as `failed`, with the error's message as `{ message }`; else like `end`. */
  fail(error: unknown): Promise<Stored>
  /** Resolves when all that was written so far is durable; rejects with the signal's reason if it is not. */
  flush(): Promise<void>
}

/** What is known when a stream has been opened. */
export interface OpenedStream {
  readonly streamId: string
  readonly fence: number
  /** Offset of the record that opened the stream first. */
  readonly openOffset: number
  /** Text of each part that is durable already. */
  readonly parts: ReadonlyMap<string, string>
  /** Told of every text that is written. */
  readonly onText?: (part: string, text: string) => void
}

/** Beyond its data: head, length and, for the first of its kind in an append, names. */
const TOKEN_OVERHEAD_BYTES = 16 + 2 * LIMITS.nameBytes
/** Text of this many UTF-16 units is within clientTokenBytes. */
const TOKEN_UNITS = Math.floor(LIMITS.clientTokenBytes / 3)

/** Of the message of a failure, so many UTF-16 units are kept. */
const FAILURE_LENGTH = 8192

interface Finishing {
  readonly operation: Operation
  readonly resolve: (stored: Stored) => void
  readonly reject: (error: LitetopicError) => void
}

export class TokenWriter implements StreamWriter, OperationOwner, Writing {
  readonly id: string
  readonly fence: number
  readonly resumed: boolean
  readonly parts: ReadonlyMap<string, string>
  /** From `end` or `fail` on: which, and its outcome. */
  finished: {
    readonly state: 'done' | 'failed'
    readonly detail: Json | undefined
    readonly stored: Promise<Stored>
  } | null = null
  private readonly attachment: Attachment
  private readonly onText: ((part: string, text: string) => void) | undefined
  /** The operation that tokens are added to, until it is sent. */
  private current: Operation | null = null
  /** The part of the last token in it. */
  private currentPart: string | null = null
  private knownPart = DEFAULT_PART
  private held: HeldSurrogates | null = null
  private failure: LitetopicError | null = null
  private controller: AbortController | null = null
  private finishing: Finishing | null = null
  /** Used again for each token. */
  private readonly token: { tag: 'text'; value: string } = { tag: 'text', value: '' }

  constructor(attachment: Attachment, opened: OpenedStream) {
    this.attachment = attachment
    this.id = opened.streamId
    this.fence = opened.fence
    this.resumed = opened.fence !== opened.openOffset
    this.parts = opened.parts
    this.onText = opened.onText
    this.failure = attachment.refusesWrites
    if (this.failure === null) attachment.addWriter(this.id, this)
  }

  get text(): string {
    return this.parts.get(DEFAULT_PART) ?? ''
  }

  get ending(): boolean {
    return this.finished !== null
  }

  get signal(): AbortSignal {
    if (this.controller === null) {
      this.controller = new AbortController()
      if (this.failure !== null) this.controller.abort(this.failure)
    }
    return this.controller.signal
  }

  get ready(): Promise<void> {
    return this.failure === null ? this.attachment.whenRoom() : Promise.resolve()
  }

  write(data: string | Uint8Array, options?: WriteOptions): boolean {
    const part = options?.part ?? DEFAULT_PART
    if (part !== this.knownPart) this.knownPart = checkId(part, 'part')
    if (typeof data !== 'string') {
      if (data instanceof Uint8Array) return this.writeData({ tag: 'bytes', value: data }, part)
      throw new LitetopicError('BAD_VALUE', 'a token is text or bytes; JSON values are for writeJson')
    }
    if (data.length > TOKEN_UNITS || this.held !== null || endsInFirstHalf(data)) return this.writeAwkward(data, part)
    if (data === '') return this.attachment.hasRoom
    return this.writeText(data, part)
  }

  writeJson(value: Json, options?: WriteOptions): boolean {
    const part = checkId(options?.part ?? DEFAULT_PART, 'part')
    return this.writeData({ tag: 'json', value: encodeJson(value) }, part)
  }

  pipe(source: PipeSource<string | Uint8Array>, options?: WriteOptions): Promise<void> {
    return pipe(source, this.signal, async (piece) => {
      if (!this.write(piece, options)) await this.ready
    })
  }

  end(detail?: Json): Promise<Stored> {
    return this.finish('done', detail)
  }

  fail(error: unknown): Promise<Stored> {
    const message = error instanceof Error ? error.message : String(error)
    return this.finish('failed', { message: message.slice(0, FAILURE_LENGTH) })
  }

  async flush(): Promise<void> {
    if (this.failure !== null) throw this.failure
    await this.attachment.drained()
    if (this.failure !== null) throw this.failure
  }

  abort(error: LitetopicError): void {
    if (this.failure !== null) return
    this.failure = error
    this.current = null
    this.attachment.removeWriter(this.id, this)
    this.attachment.outbox.withdraw(this, error)
    this.finishing?.reject(error)
    this.finishing = null
    this.attachment.wakeAll()
    this.controller?.abort(error)
  }

  sealed(operation: Operation): void {
    if (this.current === operation) this.current = null
  }

  acknowledged(operation: Operation, base: number): void {
    const { attachment, finishing } = this
    const next = base + operation.count
    if (next > attachment.nextOffset) attachment.nextOffset = next
    if (finishing?.operation !== operation) return
    this.finishing = null
    attachment.removeWriter(this.id, this)
    finishing.resolve({ offset: next - 1, cursor: attachment.cursor(next) })
  }

  refused(_operation: Operation, error: LitetopicError): void {
    const { state, detail } = error.details
    const isStop = error.code === 'STREAM_ENDED' && state === 'stopped'
    this.abort(isStop ? streamStopped(this.id, stopReason(typeof detail === 'string' ? detail : null)) : error)
  }

  private writeText(text: string, part: string, isLast = false): boolean {
    const { token } = this
    token.value = text
    const operation = this.room(text.length * 3, isLast)
    const { records } = operation
    const before = records.length
    writeToken(records, this.id, part, token, this.currentPart === part)
    this.currentPart = part
    this.onText?.(part, text)
    return this.wrote(operation, before)
  }

  private writeData(data: RecordData, part: string): boolean {
    const operation = this.room(data.value.length * (data.tag === 'bytes' ? 1 : 3))
    const { records } = operation
    const before = records.length
    writeToken(records, this.id, part, data, this.currentPart === part)
    if (before === 0) checkAppendSize(records.length)
    this.currentPart = part
    return this.wrote(operation, before)
  }

  /** Text that is too long for one token, or that begins or ends within a character. */
  private writeAwkward(text: string, part: string): boolean {
    this.checkOpen()
    const held = this.held ?? new HeldSurrogates()
    const whole = held.join(part, text)
    this.held = held.empty ? null : held
    let hasRoom = this.attachment.hasRoom
    for (const piece of cutText(whole, TOKEN_UNITS)) hasRoom = this.writeText(piece, part)
    return hasRoom
  }

  /**
   * An operation with room for a record of so many bytes of data: the one that has not been sent yet, or a new one. The last
   * record of a stream finds room beyond the hard bound too.
   */
  private room(bytes: number, isLast = false): Operation {
    if (this.failure !== null || this.finished !== null) this.checkOpen()
    const { attachment, current } = this
    const { outbox } = attachment
    if (outbox.bytes + bytes > LIMITS.sessionBufferMaxBytes && !isLast) throw bufferFull(outbox.bytes)
    if (current !== null && outbox.hasRoom(current, bytes + TOKEN_OVERHEAD_BYTES)) return current
    this.current = null
    this.currentPart = null
    const operation = attachment.operation(this)
    operation.fence = this.fence
    return operation
  }

  /** A record has been written into the operation, from `before` on. */
  private wrote(operation: Operation, before: number): boolean {
    const { attachment } = this
    operation.count++
    if (before === 0) {
      this.current = operation
      attachment.add(operation, true)
    } else {
      const bytes = operation.records.length - before
      attachment.outbox.grew(bytes)
      attachment.connection.wrote(bytes)
    }
    return attachment.hasRoom
  }

  private finish(state: Exclude<StreamEnd, 'stopped'>, detail: Json | undefined): Promise<Stored> {
    const data: RecordData | undefined = detail === undefined ? undefined : { tag: 'json', value: encodeJson(detail) }
    if (this.failure !== null) return Promise.reject(this.failure)
    if (this.ending) return Promise.reject(this.ended())
    for (const [part, half] of this.held?.takeAll() ?? []) this.writeText(half, part, true)
    const operation = this.room((data?.value.length ?? 0) * 3, true)
    const { records } = operation
    const before = records.length
    writeStream(records, state, this.id, data)
    if (before === 0) checkAppendSize(records.length)
    const stored = new Promise<Stored>((resolve, reject) => {
      this.finishing = { operation, resolve, reject }
    })
    this.finished = { state, detail, stored }
    this.wrote(operation, before)
    this.current = null
    return stored
  }

  private checkOpen(): void {
    if (this.failure !== null) throw this.failure
    if (this.ending) throw this.ended()
  }

  private ended(): LitetopicError {
    return new LitetopicError('STREAM_ENDED', `stream ${this.id} was ended by this writer`, { streamId: this.id })
  }
}

export function bufferFull(bytes: number): LitetopicError {
  const bound = LIMITS.sessionBufferMaxBytes
  return new LitetopicError('BUFFER_FULL', `${bytes} bytes wait to be acknowledged, and the session holds ${bound}`, {
    limit: 'sessionBufferMaxBytes',
    value: bytes,
    bound,
  })
}
