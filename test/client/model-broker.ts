/** How a broker judges the sequences of one producer on one topic, as PROTOCOL.md says, and the log that comes of it. */

import { type ErrorCode, LIMITS, LitetopicError } from '../../protocol/index.ts'

export interface SentOperation {
  readonly producerEpoch: number
  readonly sequence: number
  /** What is stored: each operation of a test has another one. */
  readonly content: string
}

export type Answer =
  | { readonly kind: 'ack'; readonly base: number }
  | { readonly kind: 'refuse'; readonly error: LitetopicError }

export class ModelBroker {
  readonly log: string[] = []
  private producerEpoch = -1
  private sequence = -1
  private bases: number[] = []

  /** As told in the answer to attach. */
  get known(): { producerEpoch: number; sequence: number } | null {
    return this.producerEpoch < 0 ? null : { producerEpoch: this.producerEpoch, sequence: this.sequence }
  }

  /** `refusal`: what the topic says to the operation if its sequence is the next. */
  receive(sent: SentOperation, refusal: ErrorCode | null): Answer {
    const { producerEpoch, sequence, content } = sent
    if (producerEpoch < this.producerEpoch) return refuse('PRODUCER_STALE')
    if (producerEpoch === this.producerEpoch && sequence <= this.sequence) {
      const base = this.bases[this.bases.length - 1 - (this.sequence - sequence)]
      return base === undefined ? refuse('SEQUENCE_GAP') : { kind: 'ack', base }
    }
    const next = producerEpoch > this.producerEpoch ? 0 : this.sequence + 1
    if (sequence !== next) return refuse(this.producerEpoch < 0 ? 'PRODUCER_UNKNOWN' : 'SEQUENCE_GAP')
    if (refusal !== null) return refuse(refusal)
    if (producerEpoch > this.producerEpoch) this.bases = []
    this.producerEpoch = producerEpoch
    this.sequence = sequence
    this.bases = [...this.bases, this.log.length].slice(-LIMITS.appendsInFlight)
    this.log.push(content)
    return { kind: 'ack', base: this.log.length - 1 }
  }

  /** The producer is evicted; the log stays. */
  forget(): void {
    this.producerEpoch = this.sequence = -1
    this.bases = []
  }

  /** Goes back to a moment when the log was so long and the producer stood there: what a power cut does without fsync. */
  loseBackTo(length: number, known: { producerEpoch: number; sequence: number }): void {
    this.log.length = length
    this.producerEpoch = known.producerEpoch
    this.sequence = known.sequence
    this.bases = Array.from({ length: known.sequence + 1 }, (_, i) => i)
  }
}

function refuse(code: ErrorCode): Answer {
  return { kind: 'refuse', error: new LitetopicError(code, code) }
}
