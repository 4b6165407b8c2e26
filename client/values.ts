/** Values of users to tagged data and back: JSON values and bytes, and nothing that JSON would change silently. */

import { type DataInfo, LIMITS, LitetopicError, type RecordData } from '../protocol/index.ts'

/** What JSON can hold. A property that is undefined is left out, as in JSON.stringify. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** What a record, a context entry or a state may hold. */
export type Value = Json | Uint8Array

/** Deeper than any real value, and how a value that contains itself is found. */
const JSON_DEPTH = 200

/**
 * JSON values become JSON text, a Uint8Array is copied as bytes. Throws BAD_VALUE for anything else, naming where: undefined,
 * functions, NaN, Date, Map, class instances; LIMIT_EXCEEDED beyond what one append holds.
 */
export function encodeValue(value: unknown): RecordData {
  const data = encodeAny(value)
  checkAppendSize(data.value.length)
  return data
}

/** The same, of any size. */
export function encodeAny(value: unknown): RecordData {
  return value instanceof Uint8Array ? { tag: 'bytes', value } : { tag: 'json', value: encodeJson(value) }
}

/** The JSON text of a JSON value. Throws BAD_VALUE for anything else, bytes too. */
export function encodeJson(value: unknown): string {
  checkJson(value, '', 0)
  return JSON.stringify(value)
}

/** The value of tagged data: text as a string, JSON parsed, bytes as their own copy. Throws BAD_VALUE. */
export function decodeValue(data: RecordData): Value {
  if (data.tag === 'bytes') return new Uint8Array(data.value)
  return data.tag === 'text' ? data.value : decodeJson(data.value)
}

/** Throws BAD_VALUE for what is not JSON, which a broker lets through only in bytes and in large messages. */
export function decodeJson(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch (cause) {
    throw new LitetopicError('BAD_VALUE', 'data read as JSON that is not JSON', {}, cause)
  }
}

/** Data as it travels in answers. */
export function dataOf(info: DataInfo): RecordData {
  if (info.value instanceof Uint8Array) return { tag: 'bytes', value: info.value }
  return { tag: info.tag === 'text' ? 'text' : 'json', value: info.value }
}

/** Throws LIMIT_EXCEEDED for records beyond what one append may hold. */
export function checkAppendSize(size: number): void {
  if (size <= LIMITS.appendBytes) return
  throw new LitetopicError('LIMIT_EXCEEDED', `a value of ${size} bytes exceeds appendBytes (${LIMITS.appendBytes})`, {
    limit: 'appendBytes',
    value: size,
    bound: LIMITS.appendBytes,
  })
}

function checkJson(value: unknown, path: string, depth: number): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return
    case 'number':
      if (!Number.isFinite(value)) throw notJson(String(value), path)
      return
    case 'object':
      if (value === null) return
      if (depth > JSON_DEPTH) throw notJson('nested too deeply, or within itself', path)
      if (Array.isArray(value)) {
        checkArray(value, path, depth)
        return
      }
      checkObject(value, path, depth)
      return
    default:
      throw notJson(typeof value, path)
  }
}

function checkArray(value: readonly unknown[], path: string, depth: number): void {
  for (let i = 0; i < value.length; i++) checkJson(value[i], `${path}[${i}]`, depth + 1)
}

function checkObject(value: object, path: string, depth: number): void {
  const prototype: unknown = Object.getPrototypeOf(value)
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
  if (!isPlain) throw notJson(`a ${value.constructor?.name ?? 'class instance'}`, path)
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) checkJson(item, `${path}.${key}`, depth + 1)
  }
}

function notJson(what: string, path: string): LitetopicError {
  const where = path === '' ? 'the value' : `the value at ${path}`
  return new LitetopicError('BAD_VALUE', `${where} is neither JSON nor bytes: ${what}`, { path })
}
