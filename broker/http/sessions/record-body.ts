/** What a request's body says is to be appended, as records in bytes. Nothing of it is trusted: what is wrong is told with its place. */

import {
  ByteReader,
  ByteWriter,
  type ContextOp,
  checkId,
  KIND,
  LIMITS,
  LitetopicError,
  NO_DATA,
  type RecordData,
  type RecordExtras,
  RecordWalker,
  writeCheckpoint,
  writeContext,
  writeMessage,
  writeStream,
  writeToken,
} from '../../../protocol/index.ts'
import { type DataFields, dataOfFields, jsonText } from './data-json.ts'

/** Records, one behind the other. */
export interface Records {
  readonly bytes: Uint8Array
  readonly count: number
}

export interface StreamEnding {
  readonly streamId: string
  readonly state: 'done' | 'failed'
  readonly detail?: unknown
}

interface RecordFields extends DataFields {
  readonly kind?: unknown
  readonly id?: unknown
  readonly trace?: unknown
  readonly name?: unknown
  readonly op?: unknown
}

const OPS: readonly unknown[] = ['set', 'append', 'delete']

/** A record, or a list of them. Throws BAD_REQUEST, BAD_VALUE, BAD_NAME or LIMIT_EXCEEDED. */
export function recordsOfJson(body: unknown): Records {
  const records = Array.isArray(body) ? body : [body]
  const out = new ByteWriter(1024)
  each(records, 'record', (record, index) => {
    const fields = fieldsOf(record, RECORD_FIELDS) as RecordFields
    writeFields(out, fields)
    if (index > 0 && fields.id !== undefined) throw bad(ONE_ID)
  })
  return { bytes: out.view(), count: records.length }
}

/**
 * Tokens of a stream, and its end behind them if there is one. A token is a string, or has `part` and data. Throws as `recordsOfJson`.
 */
export function recordsOfTokens(
  streamId: string,
  part: string,
  tokens: readonly unknown[],
  end: StreamEnding | null,
): Records {
  const out = new ByteWriter(1024)
  let lastPart: string | null = null
  each(tokens, 'token', (token) => {
    const own = typeof token === 'string' ? { text: token } : (fieldsOf(token, TOKEN_FIELDS) as TokenFields)
    const ofPart = own.part === undefined ? part : nameOf(own.part, 'part')
    const data = dataOfFields(checkData(own))
    if (data === null) throw bad('a token without json, text or base64')
    writeToken(out, streamId, ofPart, data, ofPart === lastPart)
    lastPart = ofPart
  })
  if (end !== null) writeEnd(out, end)
  return { bytes: out.view(), count: tokens.length + (end === null ? 0 : 1) }
}

/** The end of a stream. */
export function recordsOfEnd(end: StreamEnding): Records {
  const out = new ByteWriter(256)
  writeEnd(out, end)
  return { bytes: out.view(), count: 1 }
}

/** One message. */
export function recordsOfMessage(data: RecordData, extras: RecordExtras): Records {
  const out = new ByteWriter(data.value.length + 64)
  writeMessage(out, data, checkExtras(extras))
  return { bytes: out.view(), count: 1 }
}

/** One change of a context entry; `data` of a deletion is left out. */
export function recordsOfContext(op: ContextOp, name: string, data: RecordData | null, extras: RecordExtras): Records {
  const out = new ByteWriter(256)
  writeContext(out, op, nameOf(name, 'context entry'), data ?? NO_DATA, checkExtras(extras))
  return { bytes: out.view(), count: 1 }
}

/** One checkpoint. */
export function recordsOfCheckpoint(name: string, state: RecordData | null, extras: RecordExtras): Records {
  const out = new ByteWriter(256)
  writeCheckpoint(out, nameOf(name, 'checkpoint'), state ?? NO_DATA, checkExtras(extras))
  return { bytes: out.view(), count: 1 }
}

/**
 * Records as PROTOCOL.md lays them out. Throws BAD_FRAME, BAD_VALUE, BAD_NAME or BAD_REQUEST: what would be refused of any topic is
 * refused before there is one.
 */
export function recordsOfBytes(bytes: Uint8Array, isOfStream: boolean): Records {
  const walker = new RecordWalker(new ByteReader(bytes))
  let count = 0
  for (; walker.next(); count++) {
    walker.checkData()
    if (count > 0 && walker.extras()?.id !== undefined) throw bad(ONE_ID)
    const needsStream = walker.kind === KIND.token || walker.kind === KIND.stream
    if (needsStream && !isOfStream) throw bad('tokens and the end of a stream come with its fence')
  }
  if (count === 0) throw bad('a body without a record')
  return { bytes, count }
}

/** The JSON values of lines; empty ones are passed over. Throws BAD_VALUE with the line's number. */
export function linesOf(text: string): unknown[] {
  const values: unknown[] = []
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return
    try {
      values.push(JSON.parse(line))
    } catch (cause) {
      throw new LitetopicError('BAD_VALUE', `line ${i + 1} is not JSON`, { line: i + 1 }, cause)
    }
  })
  return values
}

type TokenFields = DataFields & { readonly part?: unknown }

const ONE_ID = 'only the first record of an append may carry an id'
const DATA_FIELDS = ['json', 'text', 'base64']
const RECORD_FIELDS: ReadonlySet<string> = new Set(['kind', 'id', 'trace', 'name', 'op', ...DATA_FIELDS])
const TOKEN_FIELDS: ReadonlySet<string> = new Set(['part', ...DATA_FIELDS])

/** Calls `write` with each, and says in what it throws which one it was. */
function each(items: readonly unknown[], what: string, write: (item: unknown, index: number) => void): void {
  if (items.length > LIMITS.appendRecords) {
    const details = { limit: 'appendRecords', value: items.length, bound: LIMITS.appendRecords }
    throw new LitetopicError('LIMIT_EXCEEDED', `${items.length} records are more than one append may have`, details)
  }
  items.forEach((item, index) => {
    try {
      write(item, index)
    } catch (error) {
      if (!(error instanceof LitetopicError)) throw error
      const details = { ...error.details, index }
      throw new LitetopicError(error.code, `${what} ${index}: ${error.message}`, details, error)
    }
  })
}

function writeFields(out: ByteWriter, record: RecordFields): void {
  const { kind = 'message', op } = record
  const data = dataOfFields(checkData(record))
  const extras = checkExtras({ id: optional(record.id, 'id'), trace: optional(record.trace, 'trace') })
  if (kind !== 'context' && op !== undefined) throw bad('op is of context only')
  if (kind === 'message') {
    if (record.name !== undefined) throw bad('a message has no name')
    if (data === null) throw bad('a message without json, text or base64')
    writeMessage(out, data, extras)
  } else if (kind === 'context') {
    if (!OPS.includes(op)) throw bad('op of context is set, append or delete')
    if ((data === null) !== (op === 'delete')) throw bad('set and append have data, delete has none')
    writeContext(out, op as ContextOp, nameOf(record.name, 'context entry'), data ?? NO_DATA, extras)
  } else if (kind === 'checkpoint') {
    writeCheckpoint(out, nameOf(record.name, 'checkpoint'), data ?? NO_DATA, extras)
  } else throw bad('kind is message, context or checkpoint: tokens are appended to their stream')
}

function writeEnd(out: ByteWriter, { streamId, state, detail }: StreamEnding): void {
  const data: RecordData = detail === undefined ? NO_DATA : { tag: 'json', value: jsonText(detail) }
  writeStream(out, state, streamId, data)
}

function fieldsOf(value: unknown, known: ReadonlySet<string>): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('not an object')
  for (const field of Object.keys(value)) if (!known.has(field)) throw bad(`an unknown field ${JSON.stringify(field)}`)
  return value
}

function checkData(fields: DataFields): DataFields {
  optional(fields.text, 'text')
  optional(fields.base64, 'base64')
  return fields
}

function checkExtras({ id, trace }: RecordExtras): RecordExtras | undefined {
  if (id !== undefined) checkId(id, 'record id')
  if (trace !== undefined) checkId(trace, 'trace')
  return id === undefined && trace === undefined ? undefined : { id, trace }
}

function nameOf(value: unknown, what: string): string {
  if (typeof value !== 'string') throw bad(`a ${what} has a name, which is a string`)
  return checkId(value, what)
}

function optional(value: unknown, field: string): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  throw bad(`${field} is a string`)
}

function bad(message: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', message)
}
