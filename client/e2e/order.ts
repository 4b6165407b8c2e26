/** Holds what a reader is given to the order in which it was sealed: nothing twice, nothing left out in a stream, nothing moved. */

import { notAuthentic, type Opened, type Place } from './seal.ts'

interface Stream {
  /** Has its present writer been seen from its beginning? */
  readonly fromStart: boolean
  /** By part. */
  readonly parts: Map<string, { readonly writer: string; readonly next: number }>
  /** Writers before the present one: none of them comes back. */
  readonly past: Set<string>
  /** After its end nothing comes. */
  readonly over: boolean
}

/** How many tokens of each part a stream has from the writer that ended it. */
export type Counts = Readonly<Record<string, number>>

export class SealOrder {
  private readonly topic: string
  private readonly streams = new Map<string, Stream>()
  /** The last sequence of each session that wrote messages. */
  private readonly writers = new Map<string, number>()

  constructor(topic: string) {
    this.topic = topic
  }

  /** A writer has opened the stream, or taken it over. */
  begun(streamId: string, state: string): void {
    const before = this.stream(streamId)
    if (before.over) throw this.misplaced(['end', streamId, state])
    for (const { writer } of before.parts.values()) before.past.add(writer)
    this.streams.set(streamId, { ...before, fromStart: true, parts: new Map() })
  }

  /** Throws NOT_AUTHENTIC unless it is the next token of its part. A reader that comes into the middle begins anywhere. */
  token(streamId: string, part: string, { writer, sequence }: Opened): void {
    const stream = this.stream(streamId)
    const before = stream.parts.get(part)
    const isFirst = (!stream.fromStart || sequence === 0) && !stream.past.has(writer)
    const isNext = before === undefined ? isFirst : before.writer === writer && before.next === sequence
    if (!isNext || stream.over) throw this.misplaced(['token', streamId, part])
    stream.parts.set(part, { writer, next: sequence + 1 })
  }

  /** Throws NOT_AUTHENTIC if some of its tokens were left out. `counts` is null where its writer could not say. */
  ended(streamId: string, state: string, counts: Counts | null): void {
    const stream = this.stream(streamId)
    const parts = counts === null ? [] : new Set([...Object.keys(counts), ...stream.parts.keys()])
    for (const part of parts) {
      const count = counts?.[part] ?? 0
      const seen = stream.parts.get(part)?.next ?? (stream.fromStart ? 0 : count)
      if (seen !== count) throw this.misplaced(['end', streamId, state])
    }
    if (stream.over) throw this.misplaced(['end', streamId, state])
    this.streams.set(streamId, { ...stream, parts: new Map(), past: new Set(), over: true })
  }

  /** Throws NOT_AUTHENTIC for what was given before, or out of its session's order. */
  message(place: Place, { writer, sequence }: Opened): void {
    if (sequence <= (this.writers.get(writer) ?? -1)) throw this.misplaced(place)
    this.writers.set(writer, sequence)
  }

  private stream(streamId: string): Stream {
    const known = this.streams.get(streamId)
    if (known !== undefined) return known
    const stream: Stream = { fromStart: false, parts: new Map(), past: new Set(), over: false }
    this.streams.set(streamId, stream)
    return stream
  }

  private misplaced(place: Place): Error {
    return notAuthentic(this.topic, place, 'it comes a second time, or in another order, or something is left out')
  }
}
