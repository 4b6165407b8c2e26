/** Records as async iterators: what `records()` and `batches()` of a session return. */

import { checkId, type FromInfo, isLitetopicError, LIMITS, LitetopicError, parseCursor } from '../protocol/index.ts'
import type { Check } from './decode.ts'
import type { SessionRecord } from './records.ts'
import { Subscription, type SubscriptionHost, type SubscriptionOptions } from './subscription.ts'

/**
 * Where to start: `start` (the first record kept), `live` (the next one), a cursor, the last n records, a time (the first record at
 * or after it), an offset, or behind a checkpoint (`latest`: the newest).
 */
export type ReadFrom =
  | 'start'
  | 'live'
  | (string & {})
  | { readonly last: number }
  | { readonly time: Date | number }
  | { readonly cursor: string }
  | { readonly offset: number }
  | { readonly checkpoint: string }

export interface ReadOptions {
  /** Default `start`. */
  readonly from?: ReadFrom
  /** Every token as it was written, also while catching up. Default false: runs of tokens come as one record. */
  readonly raw?: boolean
  /** Ends the reading: the iterator rejects with its reason. */
  readonly signal?: AbortSignal
  /** Bytes that may be on their way or wait here. Default 1 MiB. */
  readonly creditBytes?: number
}

/**
 * Reads on for as long as there is something to read, through lost connections: to the end of a closed topic. Rejects with a LitetopicError when the topic
 * ends (GONE, RECREATED) or when a hole would have to be crossed (TRIMMED, DIVERGED), with `{ outcome, cursor }` in its
 * details; with SCHEMA_INVALID for a message that the schema refuses; with CONNECTION_CLOSED when the session is closed.
 * Leaving the loop ends the reading and nothing else.
 */
export interface Reader<V> extends AsyncIterableIterator<V, undefined>, AsyncDisposable {
  /** Where to read on after what was read so far; null until the broker has said where it begins. */
  readonly cursor: string | null
  next(): Promise<IteratorResult<V, undefined>>
  return(): Promise<IteratorReturnResult<undefined>>
  [Symbol.asyncIterator](): Reader<V>
  /** The same as a web stream; use one of the two. */
  toReadableStream(): ReadableStream<V>
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

interface Waiting<V> {
  readonly resolve: (result: IteratorResult<V, undefined>) => void
  readonly reject: (error: unknown) => void
}

abstract class SubscriptionReader<T, V> implements Reader<V> {
  protected subscription: Subscription<T> | null = null
  private readonly start: () => Subscription<T>
  private readonly signal: AbortSignal | undefined
  private readonly aborted = (): void => this.fail(this.signal?.reason)
  private waiting: Waiting<V> | null = null
  /** What the last call of `next` returned; those called before it is settled queue up behind it. */
  private latest: Promise<IteratorResult<V, undefined>> | null = null
  private over = false
  /** What ended it while nobody was waiting. */
  private untold: { readonly error: unknown } | null = null

  /** Throws BAD_REQUEST, BAD_CURSOR or BAD_NAME for options that make no sense. */
  constructor(host: SubscriptionHost, options: ReadOptions, check: Check<T> | null) {
    const from = fromInfo(options.from)
    const subscribe: SubscriptionOptions = { raw: options.raw === true, creditBytes: creditBytes(options.creditBytes) }
    this.start = () => new Subscription(host, from, subscribe, check, () => this.advance())
    this.signal = options.signal
  }

  abstract get cursor(): string | null

  /** The next value out of what has come, or null. Throws why there will be no more. */
  protected abstract take(subscription: Subscription<T>): V | null

  next(): Promise<IteratorResult<V, undefined>> {
    if (this.over) return this.afterEnd()
    if (this.waiting !== null && this.latest !== null) return this.latest.then(() => this.next())
    this.latest = new Promise((resolve, reject) => {
      this.waiting = { resolve, reject }
      this.advance()
    })
    return this.latest
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    this.close()
    this.waiting?.resolve(DONE)
    this.waiting = null
    return Promise.resolve(DONE)
  }

  [Symbol.asyncIterator](): Reader<V> {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  toReadableStream(): ReadableStream<V> {
    return new ReadableStream<V>({
      pull: async (controller) => {
        const { done, value } = await this.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: async () => {
        await this.return()
      },
    })
  }

  private afterEnd(): Promise<IteratorResult<V, undefined>> {
    const { untold } = this
    this.untold = null
    return untold === null ? Promise.resolve(DONE) : Promise.reject(untold.error)
  }

  private advance(): void {
    const { waiting } = this
    if (waiting === null) return
    try {
      const value = this.take(this.subscription ?? this.begin())
      if (value === null) return
      this.waiting = null
      waiting.resolve({ done: false, value })
    } catch (error) {
      this.fail(error)
    }
  }

  private begin(): Subscription<T> {
    this.signal?.throwIfAborted()
    this.signal?.addEventListener('abort', this.aborted)
    this.subscription = this.start()
    return this.subscription
  }

  private fail(error: unknown): void {
    this.close()
    if (isLitetopicError(error, 'CLOSED')) {
      this.waiting?.resolve(DONE)
      this.waiting = null
      return
    }
    if (this.waiting === null) this.untold = { error }
    else this.waiting.reject(error)
    this.waiting = null
  }

  private close(): void {
    this.over = true
    this.signal?.removeEventListener('abort', this.aborted)
    this.subscription?.close()
  }
}

class RecordReader<T> extends SubscriptionReader<T, SessionRecord<T>> {
  private records: SessionRecord<T>[] = []
  private at = 0
  private last: string | null = null

  get cursor(): string | null {
    return this.last ?? this.subscription?.cursor ?? null
  }

  protected take(subscription: Subscription<T>): SessionRecord<T> | null {
    if (this.at === this.records.length) {
      this.records = subscription.take() ?? []
      this.at = 0
    }
    const record = this.records[this.at]
    if (record === undefined) return null
    this.at++
    this.last = record.cursor
    return record
  }
}

class BatchesReader<T> extends SubscriptionReader<T, SessionRecord<T>[]> {
  get cursor(): string | null {
    return this.subscription?.cursor ?? null
  }

  protected take(subscription: Subscription<T>): SessionRecord<T>[] | null {
    return subscription.take()
  }
}

export function readRecords<T>(
  host: SubscriptionHost,
  options: ReadOptions,
  check: Check<T> | null,
): Reader<SessionRecord<T>> {
  return new RecordReader(host, options, check)
}

/** The same, as many at a time as have come. */
export function readBatches<T>(
  host: SubscriptionHost,
  options: ReadOptions,
  check: Check<T> | null,
): Reader<SessionRecord<T>[]> {
  return new BatchesReader(host, options, check)
}

/** Throws BAD_CURSOR, BAD_NAME or BAD_REQUEST. */
export function fromInfo(from: ReadFrom = 'start'): FromInfo {
  if (from === 'start') return { start: true }
  if (from === 'live') return { live: true }
  if (typeof from === 'string') return { cursor: checkCursor(from) }
  if ('cursor' in from) return { cursor: checkCursor(from.cursor) }
  if ('last' in from) return { last: checkCount(from.last, 'last') }
  if ('offset' in from) return { offset: checkCount(from.offset, 'offset') }
  if ('time' in from) return { timeMs: checkCount(Math.ceil(Number(from.time)), 'time') }
  if ('checkpoint' in from) return { checkpoint: checkpointName(from.checkpoint) }
  throw new LitetopicError('BAD_REQUEST', 'a place to read from that is none of those documented')
}

/** Null for `latest`. Throws BAD_NAME. */
export function checkpointName(name: string): string | null {
  return name === 'latest' ? null : checkId(name, 'checkpoint name')
}

function checkCursor(text: string): string {
  parseCursor(text)
  return text
}

function checkCount(value: number, what: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new LitetopicError('BAD_REQUEST', `${what} must be a whole number from 0 on, not ${value}`)
}

function creditBytes(bytes: number = LIMITS.creditBytes): number {
  if (Number.isSafeInteger(bytes) && bytes > 0 && bytes <= LIMITS.creditMaxBytes) return bytes
  throw new LitetopicError('BAD_REQUEST', `creditBytes must be from 1 to ${LIMITS.creditMaxBytes}, not ${bytes}`)
}
