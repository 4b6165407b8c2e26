/**
 * One upload under way, in memory: what of it is durable, what is on its way, and what its client may send. Parts come in
 * order, only those that were granted, and each has its memory until it is durable.
 */

import { crc32 } from 'node:zlib'
import { type DataTag, LIMITS, LitetopicError } from '../protocol/index.ts'
import type { StoredUpload } from '../storage/index.ts'
import { charge } from './admission.ts'
import type { Client } from './client.ts'
import type { PartSlots, Slot, SlotTaker } from './part-slots.ts'
import type { Scope } from './scopes.ts'
import type { Attachment } from './topic.ts'

export interface PartFrame {
  readonly uploadId: string
  readonly index: number
  readonly crc: number
  readonly bytes: Uint8Array
}

export class Upload implements SlotTaker {
  readonly stored: StoredUpload
  /** What is durable. */
  parts = 0
  bytes = 0
  /** Parts on their way to the table. */
  private underWay = 0
  private underWayBytes = 0
  /** Whose client sends it now. */
  attachment: Attachment | null = null
  /** Committed, abandoned, expired or gone with its topic: nothing is taken or written any more. */
  isOver = false
  /** Bucket of the timers in which its expiry lies, and monotonic time of the last part. */
  bucket = -1
  lastMs = 0
  patienceMs: number = LIMITS.partGrantMs
  /** What counts it as being uploaded, and how many bytes of it. */
  private scopes: readonly Scope[] = []
  chargedBytes = 0
  private readonly slots: PartSlots
  private readonly maxBytes: number
  private granted: Slot[] = []
  /** Its grants were taken back: a part may be on its way nevertheless. */
  private hasLapsed = false
  /** The next part was refused for the time being, and so are those behind it. */
  private hasRefused = false
  /** Bytes that the client said it would have; else one more than it may, so that the part beyond the bound comes and is refused. */
  private expected: number = Number.POSITIVE_INFINITY
  private whenIdle: (() => void)[] = []

  constructor(stored: StoredUpload, slots: PartSlots, maxBytes: number) {
    this.stored = stored
    this.slots = slots
    this.maxBytes = maxBytes
  }

  get client(): Client {
    return (this.attachment as Attachment).client
  }

  get producerId(): string {
    return this.stored.producerId
  }

  get tag(): DataTag {
    return this.stored.tag
  }

  /** The attachment sends it from now on, beginning behind what is durable. Grants follow `askForGrant`. */
  attach(attachment: Attachment, size: number | undefined): void {
    this.leave()
    this.attachment = attachment
    this.charge(-this.chargedBytes)
    this.scopes = attachment.scopes
    this.charge(this.bytes)
    this.expected = size ?? this.maxBytes + 1
    this.hasLapsed = this.hasRefused = false
    attachment.uploads ??= new Set()
    attachment.uploads.add(this)
  }

  /** Nobody sends it any more. What has come is still written. */
  leave(): void {
    if (this.attachment === null) return
    this.slots.forget(this)
    this.attachment.uploads?.delete(this)
    for (const slot of this.granted.splice(0)) this.slots.release(slot)
    this.attachment = null
  }

  /** It is over: what waits to be written is not. */
  end(): void {
    this.isOver = true
    this.leave()
    this.charge(-this.chargedBytes)
  }

  /** Resolves when nothing is on its way to the table. */
  idle(): Promise<void> {
    if (this.underWay === 0) return Promise.resolve()
    return new Promise((resolve) => this.whenIdle.push(resolve))
  }

  askForGrant(): void {
    if (this.attachment === null || this.isOver || this.isWhole) return
    const held = this.granted.length + this.underWay
    const coming = (this.parts + held) * LIMITS.partBytes
    if (held < LIMITS.partsPerConnection && coming < this.expected) this.slots.ask(this)
  }

  given(slot: Slot): void {
    if (this.attachment === null) {
      this.slots.release(slot)
      return
    }
    this.granted.push(slot)
    this.hasLapsed = false
    this.attachment.client.grantParts(this.attachment.handle, this.stored.uploadId, 1)
    this.askForGrant()
  }

  late(): void {
    if (this.attachment === null) return
    this.hasLapsed = true
    this.patienceMs = Math.max(this.patienceMs / 2, LIMITS.partGrantLeastMs)
    for (const slot of this.granted.splice(0)) this.slots.release(slot)
    this.attachment.client.grantParts(this.attachment.handle, this.stored.uploadId, 0)
    this.askForGrant()
  }

  /** May this part be taken? Returns its memory; throws BAD_REQUEST, BAD_VALUE, LIMIT_EXCEEDED or RATE_LIMITED. */
  admit({ index, crc, bytes }: PartFrame): Slot {
    const next = this.parts + this.underWay
    this.patienceMs = LIMITS.partGrantMs
    if (this.hasRefused && index > next) throw this.later(index)
    if (index !== next) throw this.bad(`part ${index} came where ${next} is next: parts are sent in order`)
    if (bytes.length === 0 || bytes.length > LIMITS.partBytes || this.isWhole) {
      throw this.bad(`part ${index} has ${bytes.length} bytes: all but the last have ${LIMITS.partBytes}`)
    }
    const size = this.bytes + this.underWayBytes + bytes.length
    if (size > this.maxBytes) throw tooLarge(size, this.maxBytes)
    if (crc32(bytes) !== crc) {
      throw new LitetopicError('BAD_VALUE', `part ${index} of upload ${this.stored.uploadId} fails its checksum`)
    }
    const slot = this.granted.shift() ?? (this.hasLapsed ? this.slots.take(this) : undefined)
    if (slot === undefined) throw tooManyParts(this.stored.uploadId)
    this.hasRefused = slot === null
    if (slot === null) throw this.later(index)
    slot.used = true
    this.underWay++
    this.underWayBytes += bytes.length
    this.charge(bytes.length)
    return slot
  }

  /** The part that was admitted is durable, or could not be written. */
  settled(slot: Slot, bytes: number, isDurable: boolean): void {
    this.underWay--
    this.underWayBytes -= bytes
    if (isDurable) {
      this.parts++
      this.bytes += bytes
    } else if (!this.isOver) this.charge(-bytes)
    this.slots.release(slot)
    this.askForGrant()
    if (this.underWay === 0) for (const resolve of this.whenIdle.splice(0)) resolve()
  }

  private charge(bytes: number): void {
    this.chargedBytes += bytes
    charge(this.scopes, bytes)
  }

  /** Has a part come that is shorter than others? It is the last. */
  private get isWhole(): boolean {
    return (this.bytes + this.underWayBytes) % LIMITS.partBytes !== 0
  }

  private bad(what: string): LitetopicError {
    const { uploadId } = this.stored
    return new LitetopicError('BAD_REQUEST', `upload ${uploadId}: ${what}`, { uploadId })
  }

  private later(index: number): LitetopicError {
    const { uploadId } = this.stored
    const what = `part ${index} of upload ${uploadId} came when its grant had been taken back: wait for the next one`
    const bound = LIMITS.partMemoryBytes
    return new LitetopicError('RATE_LIMITED', what, { limit: 'partMemoryBytes', bound, retryAfterMs: 0 })
  }
}

export function tooLarge(value: number, bound: number): LitetopicError {
  const details = { limit: 'largeMessageBytes', value, bound }
  return new LitetopicError('LIMIT_EXCEEDED', `a message of ${value} bytes, at most ${bound}: split it`, details)
}

/** A part for which there is no grant. */
export function tooManyParts(uploadId: string): LitetopicError {
  const bound = LIMITS.partsPerConnection
  const details = { limit: 'partsPerConnection', value: bound + 1, bound, uploadId }
  return new LitetopicError('LIMIT_EXCEEDED', `a part of upload ${uploadId} came without a grant`, details)
}
