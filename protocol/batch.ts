/**
 * A batch covers one contiguous range of offsets. A raw batch is the envelope of one append and its records, verbatim;
 * it is what the journal and the chunks hold. A coalesced batch holds one run per (stream, part) instead.
 * See PROTOCOL.md, Batches.
 *
 *     batch := form:u8 base:varint count:varint time:u48 [extras] size:varint content
 *     form  := 1 raw, 2 coalesced; bit 7: extras follow (size:varint (tag:u8 size:varint bytes)*)
 *     run   := tag:u8 streamId part first:varint last:varint tokens:varint (size:varint){tokens} data
 */

import { ByteReader, type ByteWriter, varintSize } from './bytes.ts'
import { LitetopicError } from './errors.ts'
import { DEFAULT_PART, type TagNumber } from './record.ts'

export const FORM = { raw: 1, coalesced: 2 } as const
const HAS_EXTRAS = 0x80

/** Facts of one append that the broker adds, outside the record bytes. Unknown ones are skipped by readers. */
export interface Envelope {
  /** Who wrote it, once access is configured. */
  readonly principal?: string
}

const EXTRA_PRINCIPAL = 1

/** Largest size of a batch's header without extras. */
export const BATCH_HEADER_BYTES = 1 + 8 + 4 + 6 + 4

export function writeBatchHeader(
  out: ByteWriter,
  form: number,
  base: number,
  count: number,
  timeMs: number,
  size: number,
  envelope?: Envelope,
): void {
  const principal = envelope?.principal
  out.u8(principal === undefined ? form : form | HAS_EXTRAS)
  out.varint(base)
  out.varint(count)
  out.time(timeMs)
  if (principal !== undefined) writePrincipal(out, principal)
  out.varint(size)
}

function writePrincipal(out: ByteWriter, principal: string): void {
  const text = new TextEncoder().encode(principal)
  out.varint(1 + varintSize(text.length) + text.length)
  out.u8(EXTRA_PRINCIPAL)
  out.varint(text.length)
  out.raw(text)
}

/** Stands on one batch after another in the same bytes; one object for a whole chunk or frame. */
export class BatchReader {
  readonly reader: ByteReader
  form: number = FORM.raw
  /** Where the batch begins and ends, header included. */
  start = 0
  end = 0
  base = 0
  count = 0
  timeMs = 0
  extrasFrom = 0
  extrasTo = 0
  /** Where the records or runs lie. */
  contentFrom = 0

  constructor(reader: ByteReader) {
    this.reader = reader
  }

  /** The offset after the last of the batch. */
  get next(): number {
    return this.base + this.count
  }

  get bytes(): Uint8Array {
    return this.reader.bytes
  }

  /** Moves to the batch that begins at the reader's position; false at the end. Throws BAD_FRAME. */
  advance(): boolean {
    const reader = this.reader
    if (reader.done) return false
    this.start = reader.at
    const form = reader.u8()
    this.form = form & 0x7f
    if (this.form !== FORM.raw && this.form !== FORM.coalesced) {
      throw new LitetopicError('BAD_FRAME', 'a batch of an unknown form')
    }
    this.base = reader.varint()
    this.count = reader.varint()
    this.timeMs = reader.time()
    this.extrasFrom = this.extrasTo = 0
    if ((form & HAS_EXTRAS) !== 0) {
      const size = reader.varint()
      this.extrasFrom = reader.skip(size)
      this.extrasTo = this.extrasFrom + size
    }
    const size = reader.varint()
    this.contentFrom = reader.skip(size)
    this.end = reader.at
    return true
  }

  /** The records or runs as a reader of their own. */
  content(): ByteReader {
    return new ByteReader(this.bytes, this.contentFrom, this.end)
  }

  envelope(): Envelope {
    if (this.extrasTo === 0) return {}
    const reader = new ByteReader(this.bytes, this.extrasFrom, this.extrasTo)
    const found: { principal?: string } = {}
    while (!reader.done) {
      const tag = reader.u8()
      const value = reader.view(reader.varint())
      if (tag === EXTRA_PRINCIPAL) found.principal = new TextDecoder().decode(value)
    }
    return found
  }
}

/** One run of tokens of a (stream, part): a byte copy of their data, and their sizes. */
export interface Run {
  readonly tag: TagNumber
  readonly streamId: string
  readonly part: string
  /** Offsets of the first and last token of the run; tokens of other streams may lie between. */
  readonly first: number
  readonly last: number
  /** Bytes of each token. */
  readonly sizes: readonly number[]
  readonly data: Uint8Array
}

export function writeRun(out: ByteWriter, base: number, run: Run): void {
  out.u8(run.tag)
  out.shortText(run.streamId)
  out.shortText(run.part === DEFAULT_PART ? '' : run.part)
  out.varint(run.first - base)
  out.varint(run.last - base)
  out.varint(run.sizes.length)
  for (const size of run.sizes) out.varint(size)
  out.raw(run.data)
}

/** Throws BAD_FRAME at the end or on bytes that are not a run. */
export function readRun(reader: ByteReader, base: number): Run {
  const tag = reader.u8()
  if (tag > 2) throw new LitetopicError('BAD_FRAME', 'a run with an unknown data tag')
  const streamId = reader.shortText()
  const part = reader.shortText() || DEFAULT_PART
  const first = base + reader.varint()
  const last = base + reader.varint()
  const tokens = reader.varint()
  const sizes: number[] = []
  let total = 0
  for (let i = 0; i < tokens; i++) {
    const size = reader.varint()
    sizes.push(size)
    total += size
  }
  return { tag: tag as TagNumber, streamId, part, first, last, sizes, data: reader.view(total) }
}
