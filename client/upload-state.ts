/**
 * The parts of one upload between the source and the broker, as a state machine without I/O and time. A part is kept from when
 * it is cut until it is durable, at most `partsPerConnection` of them. Parts go in order, only those that were granted, and
 * after a lost connection from the first that is not durable: the broker says which that is.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'

export interface Part {
  readonly index: number
  readonly bytes: Uint8Array
}

interface Kept extends Part {
  stored: boolean
}

export class UploadState {
  /** Parts from the first on that are durable. */
  stored = 0
  /** Parts cut so far. */
  cut = 0
  /** Does the broker know the upload on the present connection? */
  begun = false
  private everBegun = false
  private ended = false
  /** Those cut and not durable, from `stored` on. */
  private kept: Kept[] = []
  /** Index of the part to be sent next. */
  private next = 0
  private grants = 0
  /** Sent on this connection and not answered. */
  private inFlight = 0
  /** The part that was refused for the time being, or -1: nothing is sent until the broker has said again how far it is. */
  private refusedAt = -1

  /** May another part be cut? */
  get hasRoom(): boolean {
    return this.kept.length < LIMITS.partsPerConnection
  }

  /** Everything is durable, and there is nothing more to come. */
  get complete(): boolean {
    return this.ended && this.everBegun && this.kept.length === 0
  }

  /** May a part be sent now? */
  get sendable(): boolean {
    return this.begun && this.refusedAt < 0 && this.grants > 0 && this.next < this.cut
  }

  /** Was a part refused for the time being, and is nothing on its way any more? */
  get heldBack(): boolean {
    return this.refusedAt >= 0 && this.inFlight === 0
  }

  add(bytes: Uint8Array): void {
    this.kept.push({ index: this.cut++, bytes, stored: false })
  }

  /** The source has ended. */
  end(): void {
    this.ended = true
  }

  /** The broker may be sent so many more parts; 0 takes back what was granted and not used. */
  granted(parts: number): void {
    this.grants = parts === 0 ? 0 : this.grants + parts
  }

  /** The part to send now, or null. */
  take(): Part | null {
    if (!this.sendable) return null
    const part = this.kept[this.next - this.stored] as Kept
    this.grants--
    this.inFlight++
    this.next++
    return part
  }

  /** The broker has it. */
  partStored(index: number): void {
    this.inFlight--
    const part = this.kept[index - this.stored]
    if (part !== undefined) part.stored = true
    while (this.kept[0]?.stored === true) this.dropFirst()
  }

  /**
   * The broker refuses it; `passing`: for the time being. True if it, and those behind it, which are refused because they are no
   * longer the next, will be sent again: when `heldBack`, ask the broker how far it is. False if the upload has failed.
   */
  partRefused(index: number, passing: boolean): boolean {
    this.inFlight--
    if (this.refusedAt >= 0 && index > this.refusedAt) return true
    if (passing) this.refusedAt = index
    return passing
  }

  /** The connection is gone, and with it all that was granted or on its way. */
  lost(): void {
    this.begun = false
    this.grants = this.inFlight = 0
    this.refusedAt = -1
    this.next = this.stored
  }

  /**
   * The broker knows the upload and has so many of its parts; nothing is on its way, and it grants anew. Throws UPLOAD_UNKNOWN if
   * it has fewer than it said before: they were kept here no longer. Throws BAD_FRAME if it has more than there are.
   */
  began(storedParts: number): void {
    if (storedParts < this.stored) {
      throw new LitetopicError(
        'UPLOAD_UNKNOWN',
        `the broker has ${storedParts} parts of an upload of which it had ${this.stored}: it expired or was lost; append again`,
      )
    }
    if (storedParts > this.cut) {
      throw new LitetopicError('BAD_FRAME', `the broker has ${storedParts} parts of an upload of ${this.cut}`)
    }
    while (this.stored < storedParts) this.dropFirst()
    this.next = this.stored
    this.refusedAt = -1
    this.grants = 0
    this.begun = this.everBegun = true
  }

  private dropFirst(): void {
    this.kept.shift()
    this.stored++
  }
}
