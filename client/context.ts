/** Named entries of a session, set, appended to or deleted by records in its log. */

import {
  type ContextInfo,
  checkId,
  LIMITS,
  LitetopicError,
  parseCursor,
  type RecordData,
  UP,
  writeContext,
} from '../protocol/index.ts'
import { appendRecords } from './append.ts'
import type { Attachment } from './attachment.ts'
import type { Stored } from './stream-writer.ts'
import { dataOf, decodeValue, encodeValue, type Value } from './values.ts'

export interface AsOf {
  /** As it was at this offset, or when this cursor was taken. Default: now. */
  readonly asOf?: number | string
}

export interface ContextPages extends AsOf {
  /** Names come after this one, in byte order. Default: from the first. */
  readonly after?: string
  /** At most so many entries. Default: all. */
  readonly limit?: number
}

/** One of several changes to the context. */
export type ContextChange =
  | { readonly op: 'set' | 'append'; readonly name: string; readonly value: unknown }
  | { readonly op: 'delete'; readonly name: string }

/** Everything rejects with what ends the session; names that are not 1–255 bytes without control characters throw BAD_NAME. */
export class Context {
  private readonly attachment: Attachment

  constructor(attachment: Attachment) {
    this.attachment = attachment
  }

  /** Replaces the entry. Throws BAD_VALUE unless it is JSON or bytes. */
  set(name: string, value: unknown): Promise<Stored> {
    return this.apply([{ op: 'set', name, value }])
  }

  /** Adds to the entry: text to text, bytes to bytes, and anything else as an item to a list. */
  append(name: string, value: unknown): Promise<Stored> {
    return this.apply([{ op: 'append', name, value }])
  }

  delete(name: string): Promise<Stored> {
    return this.apply([{ op: 'delete', name }])
  }

  /**
   * Makes several changes in one append, in their order: all or none. Resolves with the place of the first. Throws
   * LIMIT_EXCEEDED if they are more than 256 KiB together, and BAD_REQUEST if there are none.
   */
  apply(changes: readonly ContextChange[]): Promise<Stored> {
    if (changes.length === 0) throw new LitetopicError('BAD_REQUEST', 'an append of no records')
    const encoded = changes.map((change) => ({ ...change, data: encodeChange(change) }))
    return appendRecords(this.attachment, 'first', (records) => {
      for (const { op, name, data } of encoded) writeContext(records, op, name, data)
      return encoded.length
    })
  }

  /** The entry's value, undefined if there is none. */
  async get(name: string, { asOf }: AsOf = {}): Promise<Value | undefined> {
    checkId(name, 'context name')
    const at = offsetOf(asOf)
    const { attachment } = this
    const options = { name, asOf: at }
    const { entries } = await attachment.ask(UP.context, (request) => [UP.context, request, attachment.handle, options])
    const entry = entries.find((found) => found.name === name)
    return entry === undefined ? undefined : fold(entry)
  }

  /** All entries, by name. For more than memory should hold, see `pages`. */
  async entries(options: AsOf = {}): Promise<Map<string, Value>> {
    const all = new Map<string, Value>()
    for await (const [name, value] of this.pages(options)) all.set(name, value)
    return all
  }

  /** Entries in byte order of their names, asked for page by page. */
  async *pages(options: ContextPages = {}): AsyncGenerator<[name: string, value: Value]> {
    const { attachment } = this
    const asOf = offsetOf(options.asOf)
    let { after, limit: left = Number.POSITIVE_INFINITY } = options
    while (left > 0) {
      const limit = left < LIMITS.pageItems ? left : undefined
      const asked = { asOf, after, limit }
      const page = await attachment.ask(UP.context, (request) => [UP.context, request, attachment.handle, asked])
      for (const entry of page.entries) yield [entry.name, fold(entry)]
      left -= page.entries.length
      after = page.entries.at(-1)?.name
      if (!page.more || after === undefined) return
    }
  }
}

function encodeChange(change: ContextChange): RecordData {
  checkId(change.name, 'context name')
  return change.op === 'delete' ? { tag: 'bytes', value: new Uint8Array(0) } : encodeContext(change.value)
}

/** Strings are text here, so that appending to one makes a longer one. */
function encodeContext(value: unknown): RecordData {
  return typeof value === 'string' ? { tag: 'text', value } : encodeValue(value)
}

/**
 * The value of an entry from its pieces: text is joined, bytes are joined; otherwise a list, to which further pieces were added
 * if the first one is a list, and which begins with it if not.
 */
export function fold({ pieces }: Pick<ContextInfo, 'pieces'>): Value {
  const data = pieces.map(dataOf)
  const values = data.map(decodeValue)
  const [first, ...others] = values
  if (first === undefined) throw new LitetopicError('BAD_FRAME', 'a context entry without a value')
  if (data.every(({ tag }) => tag === 'text')) return values.join('')
  if (others.length === 0) return first
  if (values.every((value) => value instanceof Uint8Array)) return concat(values)
  return [...(Array.isArray(first) ? first : [first]), ...others] as Value
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

/** Records before this offset count. Throws BAD_CURSOR or BAD_REQUEST. */
function offsetOf(asOf: number | string | undefined): number | undefined {
  if (typeof asOf === 'string') return parseCursor(asOf).next
  if (asOf === undefined || (Number.isSafeInteger(asOf) && asOf >= 0)) return asOf
  throw new LitetopicError('BAD_REQUEST', `asOf must be a cursor or an offset from 0 on, not ${asOf}`)
}
