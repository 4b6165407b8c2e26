/** Reads records where they lie, and checks them: the counterpart of record.ts. See PROTOCOL.md, Records. */

import { ByteReader, isUtf8, readText } from './bytes.ts'
import { LitetopicError } from './errors.ts'
import { LIMITS } from './limits.ts'
import {
  DEFAULT_PART,
  EXTRA_ID,
  EXTRA_PARTS,
  EXTRA_TRACE,
  HEAD_EXTRAS,
  HEAD_REPEAT,
  KIND,
  type KindNumber,
  type RecordData,
  type RecordExtras,
  type RecordParts,
  SHA256_BYTES,
  TAG,
  type TagNumber,
} from './record.ts'

/**
 * Walks the records of one append or batch without making an object per record: after `next()` the fields describe the
 * record stood on. Shapes are checked as it goes: it throws BAD_FRAME on bytes that are not records.
 */
export class RecordWalker {
  kind: KindNumber = KIND.message
  tag: TagNumber = TAG.text
  /** Context op or stream state, as its number. */
  code = 0
  /** Where the whole record begins, and where its extras, name and data lie in `bytes`. */
  start = 0
  nameFrom = 0
  nameTo = 0
  partFrom = 0
  partTo = 0
  extrasFrom = 0
  extrasTo = 0
  dataFrom = 0
  dataTo = 0
  /** True for a token whose stream and part are those of the one before. */
  repeat = false
  private readonly reader: ByteReader
  private tokenSeen = false
  /** Where the last written stream id lies, for the repeats that follow another named record. */
  private tokenNameFrom = 0
  private tokenNameTo = 0
  private nameMoved = false

  constructor(reader: ByteReader) {
    this.reader = reader
  }

  /** Begins anew with the records in `bytes[from, to)`: who walks one append after the other needs no walker for each. */
  restart(bytes: Uint8Array, from: number, to: number): void {
    this.reader.restart(bytes, from, to)
    this.tokenSeen = this.nameMoved = false
  }

  get bytes(): Uint8Array {
    return this.reader.bytes
  }

  /** Where the record stood on ends. */
  get end(): number {
    return this.reader.at
  }

  /** Moves to the next record; false at the end. */
  next(): boolean {
    const reader = this.reader
    if (reader.at >= reader.end) return false
    this.start = reader.at
    const size = reader.varint()
    const from = reader.skip(size)
    const to = from + size
    if (size === 0) throw bad('an empty record')
    const head = reader.bytes[from] as number
    if (head === (KIND.token | HEAD_REPEAT)) {
      if (!this.tokenSeen) throw bad('a repeating token without one before it')
      if (this.nameMoved) this.nameOfToken()
      this.kind = KIND.token
      this.tag = TAG.text
      this.repeat = true
      this.extrasFrom = this.extrasTo = 0
      this.dataFrom = from + 1
      this.dataTo = to
      return true
    }
    this.parse(head, from + 1, to)
    return true
  }

  private parse(head: number, from: number, to: number): void {
    const kind = head & 0x07
    const tag = (head >> 3) & 0x03
    const repeat = (head & HEAD_REPEAT) !== 0
    if (kind < 1 || kind > 5 || tag > 2 || head > 0x7f) throw bad('a record head that this version does not have')
    if (repeat && (kind !== KIND.token || !this.tokenSeen)) throw bad('a repeat without a token before it')
    this.kind = kind as KindNumber
    this.tag = tag as TagNumber
    this.repeat = repeat
    let at = from
    this.extrasFrom = this.extrasTo = 0
    if ((head & HEAD_EXTRAS) !== 0) at = this.parseExtras(at, to)
    if (kind === KIND.context || kind === KIND.stream) at = this.parseCode(kind, at, to)
    if (kind !== KIND.message && !repeat) {
      this.nameFrom = at + 1
      this.nameTo = at = this.endOfShortText(at, to)
      if (this.nameTo === this.nameFrom) throw bad('an empty name')
      this.nameMoved = kind !== KIND.token
    }
    if (repeat && this.nameMoved) this.nameOfToken()
    if (kind === KIND.token && !repeat) {
      this.partFrom = at + 1
      this.partTo = at = this.endOfShortText(at, to)
      this.tokenNameFrom = this.nameFrom
      this.tokenNameTo = this.nameTo
      this.tokenSeen = true
    }
    this.dataFrom = at
    this.dataTo = to
  }

  private nameOfToken(): void {
    this.nameFrom = this.tokenNameFrom
    this.nameTo = this.tokenNameTo
    this.nameMoved = false
  }

  private parseCode(kind: number, at: number, to: number): number {
    if (at >= to) throw bad('a record that ends in its fields')
    this.code = this.bytes[at] as number
    if (this.code < 1 || this.code > (kind === KIND.context ? 3 : 6)) throw bad('an unknown context op or stream state')
    return at + 1
  }

  private parseExtras(at: number, to: number): number {
    if (at >= to) throw bad('a record that ends in its fields')
    const size = this.bytes[at] as number
    // A body's length is known, so its parts are read by hand: extras are small, and a longer varint is rare.
    let from = at + 1
    let length = size
    if (size >= 0x80) {
      length = (size & 0x7f) + (this.bytes[from] as number) * 0x80
      if ((this.bytes[from] as number) >= 0x80) throw bad('extras of more than 16 KiB')
      from++
    }
    // Negated, because a byte beyond the end makes it NaN.
    if (!(from + length <= to)) throw bad('extras that end beyond their record')
    this.extrasFrom = from
    this.extrasTo = from + length
    return this.extrasTo
  }

  private endOfShortText(at: number, to: number): number {
    const end = at + 1 + (this.bytes[at] as number)
    if (at >= to || end > to) throw bad('a name that ends beyond its record')
    return end
  }

  /** Record id, trace and parts, or undefined when there are none. Unknown extras are skipped. Throws BAD_FRAME. */
  extras(): RecordExtras | undefined {
    if (this.extrasTo === 0) return undefined
    const found: { id?: string; trace?: string; parts?: RecordParts } = {}
    this.eachExtra((tag, from, to) => {
      if (tag === EXTRA_ID) found.id = readText(this.bytes, from, to)
      if (tag === EXTRA_TRACE) found.trace = readText(this.bytes, from, to)
      if (tag === EXTRA_PARTS) found.parts = this.readParts(from, to)
    })
    return found
  }

  /** Of a large message: where its content lies. Undefined for any other record. Throws BAD_FRAME. */
  parts(): RecordParts | undefined {
    return this.extras()?.parts
  }

  private readParts(from: number, to: number): RecordParts {
    const reader = new ByteReader(this.bytes, from, to)
    const size = reader.varint()
    const sha256 = reader.view(SHA256_BYTES).slice()
    return { size, sha256, uploadId: readText(this.bytes, reader.at, to) }
  }

  /** Checks the extras known here, and says whether the content lies in parts. */
  private checkExtras(): boolean {
    let inParts = false
    this.eachExtra((tag, from, to) => {
      if (tag === EXTRA_ID) this.checkName(from, to, 'a record id')
      if (tag === EXTRA_TRACE && !isNameText(this.bytes, from, to)) {
        throw new LitetopicError('BAD_NAME', 'a trace that is not UTF-8 without control characters')
      }
      if (tag !== EXTRA_PARTS) return
      this.checkParts(from, to)
      inParts = true
    })
    return inParts
  }

  private checkName(from: number, to: number, what: string): void {
    if (to > from && to - from <= LIMITS.nameBytes && isNameText(this.bytes, from, to)) return
    throw new LitetopicError(
      'BAD_NAME',
      `${what} must be 1–${LIMITS.nameBytes} bytes of UTF-8 without control characters`,
    )
  }

  private checkParts(from: number, to: number): void {
    const reader = new ByteReader(this.bytes, from, to)
    if (reader.varint() === 0 || this.dataFrom !== this.dataTo) {
      throw new LitetopicError('BAD_VALUE', 'a large message has at least one byte, and all of its content in parts')
    }
    reader.skip(SHA256_BYTES)
    this.checkName(reader.at, to, 'an upload id')
  }

  private eachExtra(visit: (tag: number, from: number, to: number) => void): void {
    let at = this.extrasFrom
    while (at < this.extrasTo) {
      const tag = this.bytes[at] as number
      let size = this.bytes[at + 1] as number
      let from = at + 2
      if (size >= 0x80) size = (size & 0x7f) + (this.bytes[from++] as number) * 0x80
      const to = from + size
      if (!(to <= this.extrasTo)) throw bad('an extra that ends beyond its record')
      visit(tag, from, to)
      at = to
    }
  }

  /** The name of a context entry or checkpoint, or the id of a stream. */
  name(): string {
    return readText(this.bytes, this.nameFrom, this.nameTo)
  }

  part(): string {
    return this.partFrom === this.partTo ? DEFAULT_PART : readText(this.bytes, this.partFrom, this.partTo)
  }

  text(): string {
    return readText(this.bytes, this.dataFrom, this.dataTo)
  }

  data(): Uint8Array {
    return this.bytes.subarray(this.dataFrom, this.dataTo)
  }

  recordData(): RecordData {
    if (this.tag === TAG.bytes) return { tag: 'bytes', value: this.data() }
    return { tag: this.tag === TAG.text ? 'text' : 'json', value: this.text() }
  }

  /**
   * Throws BAD_VALUE unless the data is what its tag says, BAD_NAME unless name, part and extras are UTF-8 and an id has
   * 1–255 bytes, BAD_FRAME for extras that overlap. Content that lies in parts is not here to be checked. The broker calls it once, on the way in.
   */
  checkData(): void {
    const bytes = this.bytes
    const inParts = this.extrasTo !== 0 && this.checkExtras()
    if (!this.repeat && this.kind !== KIND.message) {
      const nameOk = isNameText(bytes, this.nameFrom, this.nameTo)
      const partOk = this.kind !== KIND.token || isNameText(bytes, this.partFrom, this.partTo)
      if (!nameOk || !partOk)
        throw new LitetopicError('BAD_NAME', 'a name that is not UTF-8 without control characters')
    }
    if (this.tag === TAG.bytes || inParts) return
    if (!isUtf8(bytes, this.dataFrom, this.dataTo)) {
      throw new LitetopicError('BAD_VALUE', 'data tagged as text that is not UTF-8')
    }
    if (this.tag === TAG.json && !isJson(this.text())) {
      throw new LitetopicError('BAD_VALUE', 'data tagged as JSON that is not JSON')
    }
  }
}

function isNameText(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if ((bytes[i] as number) < 0x20) return false
  return isUtf8(bytes, from, to)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function bad(what: string): LitetopicError {
  return new LitetopicError('BAD_FRAME', `not a record: ${what}`)
}
