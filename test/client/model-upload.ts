/** How a broker judges the parts of one upload, as PROTOCOL.md says: what was granted, the next index, durable or on its way. */

import { type ErrorCode, LIMITS, LitetopicError } from '../../protocol/index.ts'

export class ModelUpload {
  /** What is durable, part by part. */
  readonly stored: string[] = []
  /** Accepted on this connection and not durable yet. */
  private writing: string[] = []
  private grants = 0
  /** Granted once, and taken back: parts sent before the client heard of it. */
  private takenBack = 0

  /** More parts that may be granted now. */
  get mayGrant(): number {
    return LIMITS.partsPerConnection - this.grants - this.writing.length
  }

  /** The client asks how far it is: what it was granted before is void. */
  ask(): number {
    this.grants = this.takenBack = 0
    return this.stored.length
  }

  grant(parts: number): void {
    this.grants += parts
  }

  takeBack(): void {
    this.takenBack += this.grants
    this.grants = 0
  }

  /** A part comes in. Null if it is accepted; `store` follows then. Throws for one that was never granted. */
  receive(index: number, content: string, refusal: ErrorCode | null): LitetopicError | null {
    if (this.grants === 0) {
      if (this.takenBack-- === 0) throw new Error(`part ${index} was never granted`)
      return new LitetopicError('RATE_LIMITED', 'later', { retryAfterMs: 100 })
    }
    this.grants--
    if (index !== this.stored.length + this.writing.length) return new LitetopicError('BAD_REQUEST', 'out of order')
    if (refusal !== null) return new LitetopicError(refusal, refusal)
    this.writing.push(content)
    return null
  }

  /** The oldest part being written is durable. */
  store(): void {
    this.stored.push(this.writing.shift() as string)
  }

  /** The connection is gone; what was being written may have become durable all the same. */
  cut(alsoStored: number): void {
    this.stored.push(...this.writing.splice(0, alsoStored))
    this.writing = []
    this.grants = this.takenBack = 0
  }
}
