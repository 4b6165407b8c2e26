/**
 * What a subscription delivers, as events: one for neighbouring records of a kind, named after it, with a list of them. Its id is the
 * cursor behind it, so that a reader who comes back with it misses nothing and gets nothing twice. See HTTP.md, Events.
 */

import {
  BatchReader,
  ByteReader,
  DELIVER_LIVE,
  FORM,
  formatCursor,
  type LitetopicError,
} from '../../../protocol/index.ts'
import type { SharedBatches } from '../../client.ts'
import { coalesce } from '../../coalesce.ts'
import type { Reading } from '../caller.ts'
import { eventText } from '../event-text.ts'
import { batchEnd, type LiveTexts, messageOf, sharedText } from '../live-texts.ts'
import type { EventStream } from '../sse.ts'
import { eachRecord, type Wanted } from './record-json.ts'

/** Which incarnation is read: what cursors are made of. */
export interface Origin {
  readonly incarnation: string
  readonly epoch: number
}

export interface EventOptions extends Wanted {
  /** Every token by itself; else neighbouring tokens of one stream and part are one run. */
  readonly raw: boolean
}

/** Gathers events as text. */
class EventWriter {
  text = ''
  private readonly origin: Origin
  private readonly wanted: Wanted
  private kind = ''
  private records: string[] = []

  constructor(origin: Origin, wanted: Wanted) {
    this.origin = origin
    this.wanted = wanted
  }

  /** All batches from the next one on, but for what lies below an offset. */
  add(batch: BatchReader, from: number): void {
    while (batch.advance()) {
      if (batch.next <= from) continue
      eachRecord(batch, from, batch.next, this.wanted, ({ kind, offset, json }) => {
        if (kind !== this.kind) this.end(offset)
        this.kind = kind
        this.records.push(json)
      })
      this.end(batch.next)
    }
  }

  /** Reading goes on at `next` behind the event. */
  private end(next: number): void {
    if (this.records.length === 0) return
    this.text += eventText(`[${this.records.join(',')}]`, {
      event: this.kind,
      id: formatCursor({ ...this.origin, next }),
    })
    this.records = []
  }
}

/**
 * The events of raw batches that lie back to back in `bytes[from, to)`, or of one coalesced batch, for a reader that stands at
 * `position`.
 */
export function eventsOf(
  bytes: Uint8Array,
  from: number,
  to: number,
  position: number,
  origin: Origin,
  options: EventOptions,
): string {
  const writer = new EventWriter(origin, options)
  if (options.raw || bytes[from] === FORM.coalesced) {
    writer.add(new BatchReader(new ByteReader(bytes, from, to)), position)
  } else {
    coalesce(bytes.subarray(from, to), position, Number.POSITIVE_INFINITY, (found, start, end) => {
      writer.add(new BatchReader(new ByteReader(found, start, end)), position)
      return true
    })
  }
  return writer.text
}

/** Reads a topic out as events. */
export class RecordEvents implements Reading {
  private readonly stream: EventStream
  private readonly texts: LiveTexts
  private readonly origin: Origin
  private readonly options: EventOptions
  /** What is sent to all readers with the same options alike. */
  private readonly key: string
  private position = 0
  /** The reader is told when it has got there. */
  private target = 0
  private isLive = false
  /** Nothing more comes. */
  readonly ended: (error: LitetopicError) => void

  constructor(
    stream: EventStream,
    texts: LiveTexts,
    origin: Origin,
    options: EventOptions,
    ended: (error: LitetopicError) => void,
  ) {
    this.stream = stream
    this.texts = texts
    this.origin = origin
    this.options = options
    this.key = JSON.stringify(['events', options.raw, options.stream, options.part])
    this.ended = ended
  }

  /** Deliveries begin with `next`. The reader is told when it has all that there is now, up to `target`. */
  begin(next: number, target: number): void {
    this.position = next
    this.target = target
    this.tellLive()
  }

  deliver(bytes: Uint8Array, from: number, to: number, flags: number): void {
    const text = (): string => this.text(bytes, from, to)
    if ((flags & DELIVER_LIVE) === 0) this.stream.send(text())
    else this.stream.share(this.texts.of(bytes, from, this.key, () => messageOf(text())))
    this.position = batchEnd(bytes, from, to)
    this.tellLive()
  }

  share(batches: SharedBatches): void {
    const { bytes, size, next } = batches
    this.stream.share(sharedText(batches, this.key, () => messageOf(this.text(bytes, 0, size))))
    this.position = next
  }

  private text(bytes: Uint8Array, from: number, to: number): string {
    return eventsOf(bytes, from, to, this.position, this.origin, this.options)
  }

  private tellLive(): void {
    if (this.isLive || this.position < this.target) return
    this.isLive = true
    const id = formatCursor({ ...this.origin, next: this.position })
    this.stream.send(eventText(JSON.stringify({ nextOffset: this.position }), { event: 'live', id }))
  }
}
