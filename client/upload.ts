/**
 * Carries one large message to the broker, part by part, through lost connections. upload-state.ts says what may be sent; the
 * connection says when, so that tokens and appends go between parts.
 */

import {
  type DataTag,
  isLitetopicError,
  LIMITS,
  type LitetopicError,
  type RecordParts,
  type ReplyOf,
  UP,
} from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import type { PartSender } from './connection.ts'
import { crc32, sha256 } from './hash.ts'
import { isPassing, retryDelayMs } from './passing.ts'
import { Promised } from './promised.ts'
import { randomId } from './random-id.ts'
import type { Granted } from './router.ts'
import type { Stored } from './stream-writer.ts'
import type { Companion } from './subscription.ts'
import { type Part, UploadState } from './upload-state.ts'

/** How far an append has come. */
export interface AppendProgress {
  /** Bytes that are durable at the broker. */
  readonly sentBytes: number
  /** Null while the source has not ended and does not say its size. */
  readonly totalBytes: number | null
}

/** What is known of a message before its first byte. */
export interface UploadSetup {
  readonly tag: DataTag
  /** Id of its record. */
  readonly id: string | undefined
  readonly size: number | undefined
  readonly onProgress: ((progress: AppendProgress) => void) | undefined
}

/** Why an upload stops whose message is in the log already: a record of the same id is. */
export class StoredAlready {
  readonly place: Stored

  constructor(place: Stored) {
    this.place = place
  }
}

/** What it rejects with once it has failed: the source's error, the broker's refusal, what ended the session, the signal's reason. */
export class Upload implements Companion, Granted, PartSender {
  /** Has a part been added, or the end told? Before that the broker does not hear of it. */
  started = false
  private readonly id = randomId()
  private readonly attachment: Attachment
  private readonly setup: UploadSetup
  private readonly stop: AbortController
  private readonly state = new UploadState()
  private readonly hash = sha256()
  private failure: { readonly reason: unknown } | null = null
  /** Bytes added, and whether those are all. */
  private bytes = 0
  private isWhole = false
  /** Is the handle attached on the present connection, and has the broker been asked there how far it is? */
  private isAttached = false
  private asking = false
  private isOver = false
  private timer: unknown
  private retryMs: number = LIMITS.clientRetryMs
  private readonly outcome = new Promised<LitetopicError | undefined>()
  private waiting: Promised<void> | null = null

  /** It fails when `stop` is aborted, and aborts it when it fails: the source is not read any further. */
  constructor(attachment: Attachment, setup: UploadSetup, stop: AbortController) {
    this.attachment = attachment
    this.setup = setup
    this.stop = stop
    stop.signal.addEventListener('abort', () => this.fail(stop.signal.reason))
    this.isAttached = attachment.attached
    attachment.addCompanion(this)
    attachment.connection.router.uploads.set(this.id, this)
  }

  get settled(): Promise<LitetopicError | undefined> {
    return this.outcome.promise
  }

  /** Takes the next part, which all but the last fill. Resolves when there is room for another; rejects when it has failed. */
  async add(part: Uint8Array): Promise<void> {
    this.check()
    this.hash.update(part)
    this.bytes += part.length
    this.state.add(part)
    this.start()
    this.offer()
    while (!this.state.hasRoom) await this.change()
  }

  /** Resolves when all parts are durable, with what the message's record says of them; rejects when it has failed. */
  async end(): Promise<RecordParts> {
    this.check()
    this.isWhole = true
    this.state.end()
    this.start()
    while (!this.state.complete) await this.change()
    return { size: this.bytes, sha256: new Uint8Array(this.hash.digest()), uploadId: this.id }
  }

  /** The message is stored, also if without its help. */
  done(): void {
    this.leave()
    this.outcome.resolve(undefined)
  }

  /** The message is not stored: the broker is told to delete what it has of it. What a source throws concerns only who gave it. */
  failed(error: unknown): void {
    this.leave()
    this.outcome.resolve(isLitetopicError(error) ? error : undefined)
    this.abandon()
  }

  private abandon(): void {
    const { attachment } = this
    if (!this.started || attachment.failure !== null) return
    attachment
      .ask(UP.abandon, (request) => [UP.abandon, request, attachment.handle, this.id])
      // Whatever the reason: the broker deletes by itself what nobody goes on with.
      .catch((error: unknown) => {
        if (!isLitetopicError(error)) throw error
      })
  }

  /** Nothing more is sent. */
  private leave(): void {
    const { attachment } = this
    this.isOver = true
    attachment.connection.clock.clearTimeout(this.timer)
    attachment.removeCompanion(this)
    attachment.connection.router.uploads.delete(this.id)
  }

  // What the attachment tells.

  attached(): void {
    this.isAttached = true
    this.begin()
  }

  lost(): void {
    this.isAttached = false
    this.asking = false
    this.attachment.connection.clock.clearTimeout(this.timer)
    this.state.lost()
  }

  ended(error: LitetopicError): void {
    const { connection, handle } = this.attachment
    // The handle is freed behind this, and nobody can go on with the upload of a session that is over.
    if (this.started && this.isAttached && connection.isOpen) {
      const ignored = (): void => {}
      connection.exchange({
        type: UP.abandon,
        frame: (request) => [UP.abandon, request, handle, this.id],
        answered: ignored,
        refused: ignored,
        lost: ignored,
      })
    }
    this.fail(error)
  }

  shutOut(error: LitetopicError): void {
    this.fail(error)
  }

  // What the connection tells.

  granted(parts: number): void {
    this.state.granted(parts)
    this.offer()
  }

  sendPart(): boolean {
    const part = this.isOver ? null : this.state.take()
    if (part === null) return false
    const { connection, handle } = this.attachment
    const { index, bytes } = part
    connection.exchange({
      type: UP.part,
      frame: (request) => [UP.part, request, handle, this.id, index, crc32(bytes), bytes],
      answered: () => this.partStored(index),
      refused: (error) => this.partRefused(part, error),
      lost: () => {},
    })
    return this.state.sendable
  }

  private start(): void {
    if (this.started) return
    this.started = true
    this.begin()
  }

  /** Tells the broker of it, or asks how far it is. */
  private begin(): void {
    if (this.isOver || !this.started || !this.isAttached || this.asking || this.state.complete) return
    this.asking = true
    const { tag, id, size } = this.setup
    const { handle } = this.attachment
    this.attachment.connection.exchange({
      type: UP.upload,
      frame: (request) => [UP.upload, request, handle, this.id, { tag, id, size }],
      answered: (reply) => this.began(reply as ReplyOf<typeof UP.upload>),
      refused: (error) => {
        this.asking = false
        if (this.isOver) return
        if (isPassing(error)) this.beginLater(this.delayMs(error))
        else this.fail(error)
      },
      lost: () => {},
    })
  }

  private began({ storedParts, offset }: ReplyOf<typeof UP.upload>): void {
    this.asking = false
    if (this.isOver) return
    if (offset != null) {
      const { attachment } = this
      if (offset >= attachment.nextOffset) attachment.nextOffset = offset + 1
      this.fail(new StoredAlready({ offset, cursor: attachment.cursor(offset + 1) }))
      return
    }
    try {
      this.state.began(storedParts)
    } catch (error) {
      this.fail(error)
      return
    }
    this.changed()
  }

  private partStored(index: number): void {
    this.state.partStored(index)
    this.changed()
    this.askAgain()
  }

  private partRefused({ index }: Part, error: LitetopicError): void {
    // Its grant may have been taken back while it was on its way: it is granted again.
    const passing = isPassing(error) || error.details.limit === 'partsPerConnection'
    if (!this.state.partRefused(index, passing)) {
      this.fail(error)
      return
    }
    if (passing) this.retryMs = this.delayMs(error)
    this.askAgain()
  }

  /** Before it goes on after a refusal for the time being: as after a lost connection. */
  private askAgain(): void {
    if (!this.isOver && this.state.heldBack) this.beginLater(this.retryMs)
  }

  private delayMs(error: LitetopicError): number {
    return retryDelayMs(error, this.attachment.connection.clock.random())
  }

  private beginLater(ms: number): void {
    const { clock } = this.attachment.connection
    clock.clearTimeout(this.timer)
    this.timer = clock.setTimeout(() => this.begin(), ms)
  }

  private offer(): void {
    if (!this.isOver && this.state.sendable) this.attachment.connection.offerParts(this)
  }

  private changed(): void {
    if (this.isOver) return
    try {
      this.report()
    } catch (error) {
      this.fail(error)
      return
    }
    this.offer()
    this.waiting?.resolve()
    this.waiting = null
  }

  private report(): void {
    const { onProgress, size } = this.setup
    if (onProgress === undefined) return
    const sentBytes = Math.min(this.state.stored * LIMITS.partBytes, this.bytes)
    onProgress({ sentBytes, totalBytes: size ?? (this.isWhole ? this.bytes : null) })
  }

  private change(): Promise<void> {
    this.check()
    this.waiting = new Promised()
    return this.waiting.promise
  }

  private check(): void {
    if (this.failure !== null) throw this.failure.reason
  }

  /** What waits for it rejects with the reason. */
  private fail(reason: unknown): void {
    if (this.isOver) return
    this.failure = { reason }
    this.leave()
    this.stop.abort(reason)
    this.waiting?.reject(reason)
    this.waiting = null
  }
}
