/**
 * The body of a read: data of the messages and tokens in a run of batches, as the content type has it. Other kinds of records
 * are stepped over; their offsets stay. A large message has a page of its own, which names it: its content is fetched as it is sent.
 */

import {
  BatchReader,
  ByteReader,
  ByteWriter,
  type DataTag,
  KIND,
  RecordWalker,
  TAG,
  tagName,
} from '../../../protocol/index.ts'
import type { Form } from './media-type.ts'

/** A large message: where it is, and what its content is. */
export interface LargeContent {
  readonly offset: number
  readonly tag: DataTag
  /** Bytes of the content. */
  readonly size: number
}

const COMMA = 0x2c
const OPEN = 0x5b
const CLOSE = 0x5d

export class PageWriter {
  private readonly form: Form
  private readonly maxBytes: number
  private readonly out: ByteWriter
  /** The offset to read next: behind all that is in the page, or was stepped over. */
  next: number
  /** It takes no more. */
  isFull = false
  large: LargeContent | null = null
  private count = 0
  /** Of text: where it was when it last ended between two characters, not within one. */
  private whole: { readonly length: number; readonly next: number; readonly count: number }

  /** `out` is where the body is written; it is empty, and the page's own until that is sent. */
  constructor(form: Form, from: number, maxBytes: number, out: ByteWriter = new ByteWriter(1024)) {
    this.form = form
    this.out = out
    this.next = from
    this.maxBytes = maxBytes
    this.whole = { length: 0, next: from, count: 0 }
    if (form === 'json') this.out.u8(OPEN)
  }

  /** Has it no data? */
  get isEmpty(): boolean {
    return this.count === 0
  }

  /** Takes records from `next` on to before `to`, until it is full. Stops at a gap. Throws BAD_FRAME. */
  add(batches: Uint8Array, to: number): void {
    const batch = new BatchReader(new ByteReader(batches))
    while (!this.isFull && batch.advance() && batch.base < to) {
      if (batch.next <= this.next) continue
      if (batch.base > this.next) return
      const walker = new RecordWalker(batch.content())
      for (let offset = batch.base; !this.isFull && walker.next(); offset++) {
        if (offset >= this.next) this.addRecord(walker, offset)
      }
    }
  }

  /**
   * Leaves out of text the records behind the last one that ended between two characters, and says if there were any. If nothing is left
   * then, it does so only where the rest of the character is yet to come.
   */
  leaveOutCut(isEnd: boolean): boolean {
    const { length, next, count } = this.whole
    if (this.form !== 'text' || this.large !== null || this.out.length === length) return false
    if (count === 0 && !isEnd) return false
    this.out.length = length
    this.next = next
    this.count = count
    return true
  }

  /** The whole body; of a page with a large message, nothing. */
  body(): Buffer {
    if (this.form === 'json') this.out.u8(CLOSE)
    const { bytes, length } = this.out
    return Buffer.from(bytes.buffer, bytes.byteOffset, this.large === null ? length : 0)
  }

  private addRecord(walker: RecordWalker, offset: number): void {
    if (walker.kind === KIND.message || walker.kind === KIND.token) {
      const parts = walker.extrasTo === 0 ? undefined : walker.parts()
      if (parts !== undefined) {
        this.isFull = true
        // What is here already goes first, without it.
        if (this.count > 0) return
        this.large = { offset, tag: tagName(walker.tag), size: parts.size }
      } else this.addData(walker)
      this.count++
    }
    this.next = offset + 1
    const { next, count, out } = this
    if (this.form === 'text' && endsCharacter(out.bytes, out.length)) this.whole = { length: out.length, next, count }
    if (out.length >= this.maxBytes) this.isFull = true
  }

  private addData(walker: RecordWalker): void {
    const { out } = this
    if (this.form === 'json' && this.count > 0) out.u8(COMMA)
    if (this.form !== 'json' || walker.tag === TAG.json) out.slice(walker.bytes, walker.dataFrom, walker.dataTo)
    else out.text(asJson(walker))
  }
}

/** Do the first bytes of UTF-8 end between two characters, as far as can be told? */
function endsCharacter(bytes: Uint8Array, length: number): boolean {
  for (let back = 1; back <= Math.min(3, length); back++) {
    const byte = bytes[length - back] as number
    if (byte < 0x80) return true
    if (byte >= 0xc0) return back >= (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2)
  }
  return true
}

/** Text as a JSON string, bytes as one in base64. */
function asJson(walker: RecordWalker): string {
  if (walker.tag === TAG.text) return JSON.stringify(walker.text())
  return `"${Buffer.from(walker.data()).toString('base64')}"`
}
