/**
 * A reader for each of a million topics: checks that it gets the first record and then every token, once and in order. A
 * reader is its iterator and one callback, so that those who check do not weigh more than what is checked.
 */

import type { Session, SessionRecord } from '../client/index.ts'
import { isStreamEnd } from '../protocol/index.ts'
import { Histogram } from './histogram.ts'
import { firstValue } from './million-topics.ts'
import { tokenText } from './token-load.ts'

/** Checks the records of one topic, from the first one on; a run of tokens counts as its tokens. */
export class TopicCheck {
  private readonly topic: number
  private hasFirst = false
  private text = ''
  ended = false

  constructor(topic: number) {
    this.topic = topic
  }

  /** Throws if a record is not the one that must come next. */
  see(record: SessionRecord): void {
    if (record.kind === 'message') {
      if (this.hasFirst || record.value !== firstValue(this.topic)) throw wrong(this.topic, 'its first', record)
      this.hasFirst = true
    } else if (record.kind === 'token') this.text += record.text
    else if (record.kind === 'stream' && isStreamEnd(record.state)) this.ended = true
  }

  /** Throws unless all has come. */
  check(tokens: number): void {
    const expected = Array.from({ length: tokens }, (_, index) => tokenText(index)).join('')
    if (!this.hasFirst || this.text !== expected)
      throw new Error(`topic ${this.topic}: got ${JSON.stringify(this.text)}`)
  }
}

export class MillionReaders {
  /** Topics whose first record has come, tokens, and streams that have ended. */
  first = 0
  tokens = 0
  ended = 0
  private readonly next: Uint32Array
  private delivery: Histogram | null = null
  private sentMs: (topic: number, index: number) => number = () => Number.NaN
  private failure: Error | null = null
  private look: () => void = () => undefined

  constructor(topics: number) {
    this.next = new Uint32Array(topics)
  }

  add(session: Session, topic: number): void {
    const reader = session.batches({ from: 'start', raw: true })
    const failed = (error: unknown): void => this.fail(error)
    const seen = ({ value }: { readonly value?: SessionRecord[] | undefined }): void => {
      if (value === undefined) return
      this.see(value, topic)
      reader.next().then(seen).catch(failed)
    }
    reader.next().then(seen).catch(failed)
  }

  /** Times every token from now on. */
  time(sentMs: (topic: number, index: number) => number): Histogram {
    this.sentMs = sentMs
    this.delivery = new Histogram()
    return this.delivery
  }

  timeNoMore(): void {
    this.delivery = null
  }

  /** Resolves when it is so; rejects if a record was lost, repeated, out of order or wrong. */
  until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.look = () => {
        if (this.failure !== null) reject(this.failure)
        else if (isSo()) resolve()
      }
      this.look()
    })
  }

  /** Throws unless each has got exactly so many tokens. */
  check(tokensEach: number): void {
    const found = this.next.findIndex((count) => count !== tokensEach)
    if (found >= 0) throw new Error(`topic ${found}: got ${this.next[found]} of ${tokensEach} tokens`)
  }

  private see(records: readonly SessionRecord[], topic: number): void {
    let next = this.next[topic] as number
    const nowMs = performance.now()
    for (const record of records) {
      if (record.kind === 'token') {
        if (record.text !== tokenText(next)) throw wrong(topic, tokenText(next), record)
        this.delivery?.add(nowMs - this.sentMs(topic, next))
        next++
        this.tokens++
      } else if (record.kind === 'message') {
        if (record.value !== firstValue(topic) || record.offset !== 0) throw wrong(topic, 'its first', record)
        this.first++
      } else if (record.kind === 'stream' && isStreamEnd(record.state)) this.ended++
    }
    this.next[topic] = next
    this.look()
  }

  private fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error(String(error))
    this.look()
  }
}

function wrong(topic: number, expected: string, record: SessionRecord): Error {
  return new Error(`topic ${topic}: expected ${expected}, got ${JSON.stringify(record)}`)
}
