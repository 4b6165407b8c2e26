/** What a user has of a topic: everything that can be done with one session. */

import {
  ByteWriter,
  checkId,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  parseCursor,
  type RecordExtras,
  type ReplyOf,
  type RequestType,
  type StreamInfo,
  type TopicInfo,
  UP,
  type UpFrame,
  writeCheckpoint,
  writeMessage,
} from '../protocol/index.ts'
import { appendRecords } from './append.ts'
import { type AppendOptions, appendSource, appendValue } from './append-large.ts'
import type { Attachment } from './attachment.ts'
import { Context } from './context.ts'
import type { Check } from './decode.ts'
import { type ForkOptions, forkOf } from './fork.ts'
import { type GenerateFunction, generate, type StreamResult } from './generate.ts'
import { CALL_PREFIX, type OnceFunction, type OnceOptions, once } from './once.ts'
import { openStream, sequencedRequest } from './open-stream.ts'
import { checkpointName, type Reader, type ReadOptions, readBatches, readRecords } from './reader.ts'
import type { SessionRecord } from './records.ts'
import { type Checkpoint, checkpointOf, type Resumed, type ResumeFrom, resume } from './resume.ts'
import { type StandardSchemaV1, validate } from './schema.ts'
import { type ByteSource, isByteSource } from './source.ts'
import type { Stored, StreamWriter } from './stream-writer.ts'
import { checkAppendSize, encodeValue, type Value } from './values.ts'

export interface CheckpointOptions<T> {
  /** Messages that are stored with it, before it. */
  readonly records?: readonly T[]
  /** Stored once per topic, whoever repeats it; the repeat gets the place of the first. */
  readonly id?: string
}

/**
 * Everything survives lost connections: what was written is sent again and stored once, readers go on where they were. All
 * that is asked rejects with GONE or RECREATED once the topic is over, and with CONNECTION_CLOSED once the session is closed.
 */
export class Session<T = Value> implements AsyncDisposable {
  readonly name: string
  private readonly attachment: Attachment
  private readonly schema: StandardSchemaV1<unknown, T> | undefined
  private contextOf: Context | null = null
  private generating: Map<string, Promise<StreamResult>> | null = null
  private calls: Map<string, Promise<unknown>> | null = null

  /** Made by `Broker.session`. */
  constructor(attachment: Attachment, schema: StandardSchemaV1<unknown, T> | undefined) {
    this.attachment = attachment
    this.schema = schema
    this.name = attachment.name
  }

  /** Named entries that go with the session. */
  get context(): Context {
    this.contextOf ??= new Context(this.attachment)
    return this.contextOf
  }

  /** The incarnation of the topic; another one of the same name has another. */
  get epoch(): number {
    return this.attachment.epoch
  }

  /** Did opening this session create the topic? */
  get created(): boolean {
    return this.attachment.created
  }

  /** The end of the topic when it was opened, or after the last append of this session. */
  get cursor(): string {
    return this.attachment.cursor(this.attachment.nextOffset)
  }

  /**
   * Appends a message: a JSON value or bytes. Resolves when it is durable, with its offset. Throws at the call: BAD_VALUE for
   * anything else, SCHEMA_INVALID, BAD_NAME for the id. Rejects with BUFFER_FULL when too much waits already.
   *
   * One that is more than 256 KiB is uploaded first, in parts and through lost connections; it takes its place in the order when
   * that is done. Bytes are read as they are uploaded: leave them unchanged until then. Rejects with LIMIT_EXCEEDED if it is larger
   * than the broker takes (256 MiB), UPLOAD_UNKNOWN if the client was away for so long that the broker has deleted what was
   * uploaded, and with the reason of the signal.
   */
  append(value: T, options?: AppendOptions): Promise<Stored>
  /**
   * Appends what a Blob, File, web stream or Readable gives, as bytes. Rejects with what the source throws, or BAD_VALUE if it gives
   * anything but Uint8Arrays. What fits into one append becomes an ordinary message, unless the session has a schema, which is for
   * values: then readers always get `large`.
   */
  append(source: ByteSource, options?: AppendOptions): Promise<Stored>
  append(value: T | ByteSource, options: AppendOptions = {}): Promise<Stored> {
    if (options.id !== undefined) checkId(options.id, 'record id')
    if (isByteSource(value)) return appendSource(this.attachment, value, options, this.schema === undefined)
    if (this.schema !== undefined) validate(this.schema, value)
    return appendValue(this.attachment, value, options)
  }

  /**
   * Appends messages, all or none; the id goes with the first and stands for all. Throws LIMIT_EXCEEDED if all of them are more than
   * 256 KiB, else like `append`.
   */
  appendAll(values: readonly T[], options: Pick<AppendOptions, 'id' | 'trace'> = {}): Promise<Stored> {
    if (values.length === 0) throw new LitetopicError('BAD_REQUEST', 'an append of no records')
    if (options.id !== undefined) checkId(options.id, 'record id')
    const { id, trace } = options
    return appendRecords(this.attachment, 'first', (records) => {
      values.forEach((value, i) => {
        const extras: RecordExtras | undefined = i === 0 ? { id, trace } : undefined
        writeMessage(records, this.encode(value), extras)
      })
      return values.length
    })
  }

  /**
   * Runs `fn` to write the stream, once: `fn` returns → `done`, throws → `failed`, is stopped → `stopped`. For a stream that has
   * ended the stored result comes back and `fn` is not called; one with a live writer elsewhere is followed to its end, or until
   * that writer is lost; an interrupted one is taken over at once, and `stream.parts` holds what is durable. Called again here while it runs, it returns
   * the same result. `signal` only aborts the signal that `fn` gets; what `fn` throws then counts as any throw.
   */
  generate(
    streamId: string,
    fn: GenerateFunction,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<StreamResult> {
    checkId(streamId, 'stream id')
    this.generating ??= new Map()
    const running = this.generating.get(streamId)
    if (running !== undefined) return running
    const result = generate(this.attachment, streamId, fn, options.signal).finally(() =>
      this.generating?.delete(streamId),
    )
    this.generating.set(streamId, result)
    return result
  }

  /**
   * Runs `fn`, once: its JSON result, or undefined, is stored under the id, and whoever asks for that id again gets it. A call that
   * runs elsewhere is waited for. Called again here while it runs, it returns the same result. Rejects with what `fn` throws, asked
   * again with CALL_FAILED; with STREAM_STOPPED if its stream, `once/<id>`, was stopped; and with OUTCOME_UNKNOWN if an earlier call
   * was cut off, by a crash or for longer than the broker waits for a writer: then nobody can know whether it took effect. Throws
   * BAD_NAME, BAD_VALUE.
   */
  once<R>(id: string, fn: OnceFunction<R>, options: OnceOptions = {}): Promise<R> {
    checkId(CALL_PREFIX + id, 'call id')
    this.calls ??= new Map()
    const running = this.calls.get(id)
    if (running !== undefined) return running as Promise<R>
    const result = once(this.attachment, id, fn, options).finally(() => this.calls?.delete(id))
    this.calls.set(id, result)
    return result
  }

  /** Opens a new stream. Rejects with STREAM_EXISTS if there ever was one of that id in the topic, or BAD_NAME. */
  openStream(streamId: string): Promise<StreamWriter> {
    return this.open(streamId, 'create')
  }

  /** Takes over a stream that has not ended, whoever writes it. Rejects with STREAM_UNKNOWN, STREAM_ENDED or BAD_NAME. */
  continue(streamId: string): Promise<StreamWriter> {
    return this.open(streamId, 'continue')
  }

  /**
   * Reads the records, by default from the start; first what is there, coalesced, then live, until the topic is closed. Throws BAD_CURSOR, BAD_NAME or BAD_REQUEST.
   */
  records(options: ReadOptions = {}): Reader<SessionRecord<T>> {
    return readRecords(this.attachment, options, this.check)
  }

  /** The same, as many at a time as have come: for throughput. */
  batches(options: ReadOptions = {}): Reader<SessionRecord<T>[]> {
    return readBatches(this.attachment, options, this.check)
  }

  /** What the session was at a checkpoint, by default the newest, or at a cursor, and which streams there have been since. */
  resume(from: ResumeFrom = {}): Promise<Resumed<T>> {
    return resume(this.attachment, this.context, from, this.check)
  }

  /**
   * Marks this point of the log with a name and a state, together with the records given, if any: all or nothing. With an `id` all of
   * it is stored once, whoever repeats it. Resolves with the checkpoint's place. Throws BAD_NAME, also for `latest`, and else like `append`.
   */
  checkpoint(name: string, state?: unknown, options: CheckpointOptions<T> = {}): Promise<Stored> {
    if (checkpointName(name) === null) throw new LitetopicError('BAD_NAME', '"latest" stands for the newest checkpoint')
    if (options.id !== undefined) checkId(options.id, 'record id')
    const data = state === undefined ? undefined : encodeValue(state)
    const { records: values = [], id } = options
    return appendRecords(this.attachment, 'last', (records) => {
      values.forEach((value, i) => {
        writeMessage(records, this.encode(value), i === 0 ? { id } : undefined)
      })
      const extras = values.length === 0 ? { id } : undefined
      writeCheckpoint(records, name, data ?? { tag: 'bytes', value: new Uint8Array(0) }, extras)
      return values.length + 1
    })
  }

  /** The newest checkpoints, newest first; by default at most 100. */
  async checkpoints(options: { readonly limit?: number; readonly before?: number } = {}): Promise<Checkpoint[]> {
    const { limit = 100 } = options
    const found: Checkpoint[] = []
    for (let { before } = options; ; before = found.at(-1)?.offset) {
      const page = { before, limit: Math.min(limit - found.length, LIMITS.pageItems) }
      const { checkpoints, more } = await this.ask(UP.checkpoints, (request, handle) => [
        UP.checkpoints,
        request,
        handle,
        page,
      ])
      found.push(...checkpoints.map(checkpointOf))
      if (!more || found.length >= limit || checkpoints.length === 0) return found
    }
  }

  /** Stops a stream, or all that are open: they end as `stopped`, unless they ended before. One that does not exist yet is born stopped. */
  async stop(streamId?: string, options: { readonly reason?: string } = {}): Promise<StreamInfo[]> {
    const id = streamId === undefined ? null : checkId(streamId, 'stream id')
    const { reason } = options
    const { streams } = await this.ask(UP.stop, (request, handle) => [UP.stop, request, handle, id, { reason }])
    return streams
  }

  /** A stream as it is now, or null. */
  async stream(streamId: string): Promise<StreamInfo | null> {
    checkId(streamId, 'stream id')
    const { stream } = await this.ask(UP.stream, (request, handle) => [UP.stream, request, handle, streamId])
    return stream
  }

  /** Drops the records before an offset, a cursor or a checkpoint, but none of a stream that is open. Resolves with the first one kept. */
  trim(
    to: { readonly before: number | string } | { readonly checkpoint: string },
  ): Promise<{ readonly firstOffset: number }> {
    const where =
      'checkpoint' in to
        ? { checkpoint: checkId(to.checkpoint, 'checkpoint name') }
        : { before: typeof to.before === 'string' ? parseCursor(to.before).next : to.before }
    return sequencedRequest<typeof UP.trim>(this.attachment, UP.trim, (request, handle, producerEpoch, sequence) => [
      UP.trim,
      request,
      handle,
      producerEpoch,
      sequence,
      where,
    ])
  }

  /**
   * Closes the topic: it takes no more records, of whomever, and its readers end when they have read all of it. `records` are its
   * last messages, stored together with the close or not at all. Streams that are open end as stopped. Resolves with the place of
   * the first of the records, or where it would be; also when the topic was closed before, unless there are records: then it rejects with CLOSED,
   * as every append does from now on. The session stays open, for reading.
   */
  async closeTopic(options: { readonly records?: readonly T[] } = {}): Promise<Stored> {
    const { records = [] } = options
    const out = new ByteWriter(64)
    for (const value of records) writeMessage(out, this.encode(value))
    checkAppendSize(out.length)
    const last = records.length === 0 ? {} : { records: out.copy(), count: records.length }
    const { offset, nextOffset } = await sequencedRequest<typeof UP.closeTopic>(
      this.attachment,
      UP.closeTopic,
      (request, handle, producerEpoch, sequence) => [UP.closeTopic, request, handle, producerEpoch, sequence, last],
    )
    this.attachment.nextOffset = nextOffset
    return { offset, cursor: this.attachment.cursor(nextOffset) }
  }

  /**
   * Makes a session of its own that begins with what this one has before some point: records, context, checkpoints and ended streams. They
   * are shared, not copied, and stay there also when this topic is trimmed or deleted. What either writes from then on the other does
   * not see. A stream that was open there can be continued in the fork, else it is `lost` there after a while. Cursors of this session up to that
   * point are good in the fork. If there is such a fork already, it is opened. Rejects with TOPIC_EXISTS if the name is another
   * topic's, and like `records` with what is wrong with the point. Throws BAD_NAME, BAD_CURSOR.
   */
  async fork(options: ForkOptions): Promise<Session<T>> {
    return new Session(await forkOf(this.attachment, options), this.schema)
  }

  /** Changes how long the topic and its records are kept; null removes a bound. Resolves with the whole policy. */
  async policy(changes: PolicyInfo): Promise<PolicyInfo> {
    const { policy } = await this.ask(UP.policy, (request, handle) => [UP.policy, request, handle, changes])
    return policy
  }

  describe(): Promise<TopicInfo> {
    return this.ask(UP.describe, (request) => [UP.describe, request, this.name])
  }

  /** Deletes the topic and ends the session with it. */
  async delete(): Promise<void> {
    const { attachment, name, epoch } = this
    if (attachment.failure !== null) throw attachment.failure
    // Not with the session's own requests, which end when the topic does.
    await attachment.connection.ask(UP.delete, (request) => [UP.delete, request, name, epoch])
    void attachment.detach(new LitetopicError('GONE', `topic ${name} was deleted`, { reason: 'deleted' }))
  }

  /** Resolves when all that was written so far is durable; rejects with the first error if some of it is not. */
  async flush(): Promise<void> {
    if (this.attachment.failure !== null) throw this.attachment.failure
    const error = await this.attachment.drained()
    if (error !== undefined) throw error
  }

  /**
   * Waits up to 5 s for what was written to be durable, then leaves the topic. Streams that were not ended stay open, for
   * another writer to continue. Rejects with the first error if something is not durable.
   */
  async close(): Promise<void> {
    const { attachment } = this
    if (attachment.failure !== null) return
    const { clock } = attachment.connection
    const drained = attachment.drained()
    const closed = new LitetopicError('CONNECTION_CLOSED', `the session of ${this.name} was closed`)
    const timer = clock.setTimeout(() => void attachment.detach(closed), LIMITS.closeFlushMs)
    const error = await drained
    clock.clearTimeout(timer)
    const left = attachment.detach(closed)
    // Who comes next finds the topic free.
    if (attachment.isExclusive) await left
    if (error !== undefined) throw error
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private get check(): Check<T> | null {
    const { schema } = this
    return schema === undefined ? null : (value) => validate(schema, value)
  }

  /** What the schema makes of the value is for readers; what is stored is what was given. */
  private encode(value: T): ReturnType<typeof encodeValue> {
    if (this.schema !== undefined) validate(this.schema, value)
    return encodeValue(value)
  }

  private async open(streamId: string, mode: 'create' | 'continue'): Promise<StreamWriter> {
    checkId(streamId, 'stream id')
    const { writer } = await openStream(this.attachment, streamId, mode)
    if (writer !== null) return writer
    throw new LitetopicError('BAD_FRAME', 'the broker neither opened the stream nor refused')
  }

  private ask<R extends RequestType>(
    type: R,
    frame: (request: number, handle: number) => UpFrame,
  ): Promise<ReplyOf<R>> {
    return this.attachment.ask(type, (request) => frame(request, this.attachment.handle))
  }
}
