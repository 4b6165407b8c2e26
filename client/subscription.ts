/**
 * One reader's place in a topic: asks for deliveries, keeps what has come and not been taken as bytes, grants credit as it is
 * taken, and asks again at its place after a lost connection. It ends rather than cross a hole.
 */

import {
  asLitetopicError,
  BatchReader,
  ByteReader,
  ByteWriter,
  type ErrorCode,
  type FromInfo,
  formatCursor,
  LIMITS,
  LitetopicError,
  type ReplyOf,
  type ResumeOutcome,
  UP,
} from '../protocol/index.ts'
import { type Check, RecordDecoder } from './decode.ts'
import type { Exchange } from './exchange.ts'
import { type LargeHost, StoredLarge } from './large.ts'
import { isPassing, retryDelayMs } from './passing.ts'
import type { SessionRecord } from './records.ts'
import type { Subscribed } from './router.ts'

/** What goes with an attachment from one connection to the next. */
export interface Companion {
  /** The handle is attached on the present connection. */
  attached(): void
  /** The connection is gone. */
  lost(): void
  /** The session is over, for this reason. */
  ended(error: LitetopicError): void
  /** The session may write no more, for this reason. */
  shutOut?(error: LitetopicError): void
  /** Of what is being written: resolves when it is stored or has failed, with the error if it has. */
  readonly settled?: Promise<LitetopicError | undefined>
}

/** Where a subscription is at home. */
export interface SubscriptionHost extends LargeHost {
  readonly epoch: number
  /** Can requests that need the handle be sent now? */
  readonly attached: boolean
  /** Why it is over, or null. */
  readonly failure: LitetopicError | null
  addCompanion(companion: Companion): void
  removeCompanion(companion: Companion): void
}

export interface SubscriptionOptions {
  readonly raw: boolean
  readonly creditBytes: number
}

/** `asked`: the broker has not said yet where it begins. `unasked`: it must be told, when attached. */
type Stage = 'unasked' | 'asked' | 'running' | 'over'

const OUTCOMES: { readonly [code in ErrorCode]?: ResumeOutcome } = {
  TRIMMED: 'trimmed',
  RECREATED: 'recreated',
  GONE: 'gone',
  DIVERGED: 'diverged',
}

/** Used again, as most of what is taken is a token or two. Null while it is in use: a schema may have others read meanwhile. */
let spare: BatchReader | null = null

export class Subscription<T> implements Subscribed, Companion {
  private readonly host: SubscriptionHost
  private readonly from: FromInfo
  private readonly options: SubscriptionOptions
  private readonly decoder: RecordDecoder<T>
  private readonly wake: () => void
  private readonly number: number
  private stage: Stage = 'unasked'
  /** The offset after the last one that has come; -1 until the broker has said where it begins. */
  private position = -1
  /** Of the store, when the broker last agreed to the position. */
  private incarnation = ''
  /** Flags and batch of each delivery not taken yet, from `queueAt` on. */
  private queue: ByteWriter | null = null
  private queueAt = 0
  /** Bytes taken and not granted again. */
  private takenBytes = 0
  private isWoken = false
  private failure: LitetopicError | null = null

  /** `wake` is called when there is something to take, at the end of the message that brought it. Throws LIMIT_EXCEEDED. */
  constructor(
    host: SubscriptionHost,
    from: FromInfo,
    options: SubscriptionOptions,
    check: Check<T> | null,
    wake: () => void,
  ) {
    this.host = host
    this.from = from
    this.options = options
    this.decoder = new RecordDecoder(check, (place, tag, parts) => new StoredLarge(host, place, tag, parts, check))
    this.wake = wake
    if (host.failure !== null) throw this.withOutcome(host.failure)
    this.number = host.connection.router.subscriptions.add(this)
    host.addCompanion(this)
    if (host.attached) this.attached()
  }

  /** Where to read on after all that was taken; null until the broker has said where it begins. */
  get cursor(): string | null {
    return this.position < 0 ? null : this.decoder.cursor(this.decoder.position)
  }

  /**
   * The records that have come, from some tens of KiB at most; null when there are none. Throws why it has ended, once all
   * before that has been taken.
   */
  take(): SessionRecord<T>[] | null {
    const { queue } = this
    if (queue === null || this.queueAt === queue.length) {
      if (this.failure !== null) throw this.failure
      return null
    }
    const records: SessionRecord<T>[] = []
    const batch = spare ?? new BatchReader(new ByteReader(queue.bytes))
    spare = null
    const { reader } = batch
    reader.restart(queue.bytes, this.queueAt, queue.length)
    const enough = Math.min(queue.length, this.queueAt + LIMITS.clientDecodeBytes)
    try {
      while (reader.at < enough) {
        const flags = reader.u8()
        batch.advance()
        this.decoder.decode(batch, flags, records)
      }
    } catch (error) {
      this.end(asLitetopicError(error), true)
      this.failure = asLitetopicError(error)
      this.queue = null
      if (records.length === 0) throw error
      return records
    }
    this.grant(reader.at - this.queueAt)
    this.queueAt = reader.at
    spare = batch
    if (reader.done) this.release(queue)
    return records.length > 0 ? records : this.take()
  }

  /** The user wants no more. */
  close(): void {
    this.queue = null
    this.end(new LitetopicError('CONNECTION_CLOSED', 'the reader was closed'), true)
  }

  deliver(batch: BatchReader, flags: number): void {
    if (this.stage !== 'running' || batch.next <= this.position) return
    if (batch.base > this.position) {
      const expected = this.position
      const missing = `deliveries leave out offsets ${expected} to ${batch.base - 1}`
      this.end(new LitetopicError('BAD_FRAME', missing, { expected }), true)
      this.wake()
      return
    }
    this.position = batch.next
    this.queue ??= new ByteWriter(128)
    this.queue.u8(flags)
    this.queue.slice(batch.bytes, batch.start, batch.end)
    if (this.isWoken) return
    this.isWoken = true
    this.host.connection.router.wake(this)
  }

  delivered(): void {
    this.isWoken = false
    this.wake()
  }

  attached(): void {
    if (this.stage !== 'unasked') return
    this.stage = 'asked'
    this.host.connection.exchange(this.subscribe())
  }

  lost(): void {
    if (this.stage !== 'over') this.stage = 'unasked'
  }

  /** The broker, or the session, has ended it. If only the store cannot be read for a while, it asks again. */
  ended(error: LitetopicError): void {
    if (this.stage === 'running' && isPassing(error)) {
      this.askLater(error)
      return
    }
    this.end(this.withOutcome(error), false)
    this.wake()
  }

  private subscribe(): Exchange {
    const { connection, epoch, handle } = this.host
    const { position } = this
    const from: FromInfo = position < 0 ? this.from : { cursor: this.textCursor(position) }
    const queued = this.queue === null ? 0 : this.queue.length - this.queueAt
    const creditBytes = Math.max(0, this.options.creditBytes - queued)
    this.takenBytes = 0
    return {
      type: UP.subscribe,
      frame: (request) => [UP.subscribe, request, handle, this.number, from, { raw: this.options.raw, creditBytes }],
      answered: (reply) => {
        const { next } = reply as ReplyOf<typeof UP.subscribe>
        if (this.stage !== 'asked') return
        if (position >= 0 && next !== position) {
          return this.ended(
            new LitetopicError('BAD_FRAME', `asked to go on at ${position}, the broker begins at ${next}`),
          )
        }
        this.stage = 'running'
        if (position < 0) this.decoder.position = next
        this.position = next
        this.incarnation = connection.incarnation
        this.decoder.setOrigin(connection.incarnation, epoch)
        // What was taken since the question, of which the credit asked for knew nothing.
        this.grant(0)
      },
      refused: (error) => {
        if (this.stage !== 'asked') return
        if (isPassing(error)) this.askLater(error)
        else this.ended(error)
      },
      lost: () => {},
    }
  }

  private askLater(error: LitetopicError): void {
    this.stage = 'unasked'
    const { clock } = this.host.connection
    const again = (): void => {
      if (this.host.attached) this.attached()
    }
    clock.setTimeout(again, retryDelayMs(error, clock.random()))
  }

  private textCursor(next: number): string {
    return formatCursor({ incarnation: this.incarnation, epoch: this.host.epoch, next })
  }

  /** What resuming would have said, and where the reader stood; what the broker says of them goes first. */
  private withOutcome(error: LitetopicError): LitetopicError {
    const outcome = OUTCOMES[error.code]
    if (outcome === undefined) return error
    const cursor = this.position < 0 ? undefined : this.textCursor(this.position)
    return new LitetopicError(error.code, error.message, { outcome, cursor, ...error.details }, error)
  }

  private grant(bytes: number): void {
    this.takenBytes += bytes
    if (this.stage !== 'running' || this.takenBytes * 2 < this.options.creditBytes) return
    this.host.connection.frame([UP.credit, this.number, this.takenBytes])
    this.takenBytes = 0
  }

  private release(queue: ByteWriter): void {
    queue.reset()
    this.queueAt = 0
    // A large buffer is not kept for a reader that has caught up.
    if (queue.bytes.length > LIMITS.clientDecodeBytes || this.failure !== null) this.queue = null
  }

  private end(error: LitetopicError, unsubscribe: boolean): void {
    if (this.stage === 'over') return
    const { host } = this
    const isKnown = unsubscribe && this.stage !== 'unasked' && host.attached
    this.stage = 'over'
    this.failure = error
    host.removeCompanion(this)
    const { subscriptions } = host.connection.router
    if (!isKnown) {
      subscriptions.remove(this.number)
      return
    }
    // Deliveries may be on their way: the number is free when the broker has answered.
    host.connection.exchange({
      type: UP.unsubscribe,
      frame: (request) => [UP.unsubscribe, request, this.number],
      answered: () => subscriptions.remove(this.number),
      refused: () => subscriptions.remove(this.number),
      lost: () => subscriptions.remove(this.number),
    })
  }
}
