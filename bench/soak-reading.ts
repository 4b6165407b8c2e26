/** What the readers of one session of `soak` were given, held against what its writer wrote: nothing lost, repeated or reordered. */

import type { SessionRecord, StreamRecord } from '../client/index.ts'
import { TOKEN_BYTES, tokenText } from './token-load.ts'

/** Messages, context entries and checkpoints of a session carry a mark, from 0 up in the order in which they are written. */
export interface Marked {
  readonly mark: number
  readonly text: string
}

/** Goes on over several readers, each of which begins where the one before it had come to. */
export class Reading {
  tokens = 0
  marks = 0
  /** Where to read on; null before the first record. */
  cursor: string | null = null
  readonly states: StreamRecord['state'][] = []
  private nextOffset = 0
  private wantedMarks = Number.POSITIVE_INFINITY
  private reached: () => void = () => undefined
  private failed: (error: unknown) => void = () => undefined
  private failure: { readonly error: unknown } | null = null

  /** Takes one record, with its content if that is large. Throws unless it is the one that must come next. */
  take(record: SessionRecord<unknown>, large: unknown): void {
    if (record.offset !== this.nextOffset)
      throw new Error(`offset ${record.offset} came in place of ${this.nextOffset}`)
    if (record.kind === 'token') this.takeTokens(record.text ?? '', record.count)
    else if (record.kind === 'stream') this.states.push(record.state)
    else if (record.kind === 'checkpoint') this.takeMark(record.state)
    else if (record.kind === 'context') this.takeMark(record.value)
    else this.takeMark(large ?? record.value)
    this.nextOffset = record.lastOffset + 1
    this.cursor = record.cursor
    if (this.marks >= this.wantedMarks) this.reached()
  }

  /** Resolves when so many marks have come; rejects if something wrong did. */
  until(marks: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.failure !== null) return reject(this.failure.error)
      this.wantedMarks = marks
      this.reached = resolve
      this.failed = reject
      if (this.marks >= marks) resolve()
    })
  }

  fail(error: unknown): void {
    this.failure ??= { error }
    this.failed(error)
  }

  private takeTokens(text: string, count: number): void {
    if (text.length !== count * TOKEN_BYTES) throw new Error(`${count} tokens came with ${text.length} characters`)
    for (let at = 0; at < text.length; at += TOKEN_BYTES) {
      const token = text.slice(at, at + TOKEN_BYTES)
      if (token !== tokenText(this.tokens)) throw new Error(`token ${token} came in place of ${tokenText(this.tokens)}`)
      this.tokens++
    }
  }

  private takeMark(value: unknown): void {
    const mark = (value as Marked | undefined)?.mark
    if (mark !== this.marks) throw new Error(`mark ${mark} came in place of ${this.marks}`)
    this.marks++
  }
}
