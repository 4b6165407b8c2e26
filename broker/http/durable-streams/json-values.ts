/**
 * The messages of a JSON body: the value itself or, of an array, its elements. They are cut out of the body byte for byte, so
 * that numbers, escapes and white space within are stored as they were sent.
 */

import { isUtf8, LitetopicError } from '../../../protocol/index.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** Views of the body; none for an empty array. Throws BAD_VALUE unless the body is JSON in UTF-8. */
export function jsonValues(body: Buffer): Buffer[] {
  checkJson(body)
  const from = skipSpace(body, 0, 1)
  const to = skipSpace(body, body.length - 1, -1) + 1
  if (body[from] !== OPEN_ARRAY) return [body.subarray(from, to)]
  return elements(body, from + 1, to - 1)
}

function checkJson(body: Buffer): void {
  if (!isUtf8(body, 0, body.length)) throw new LitetopicError('BAD_VALUE', 'the body is not UTF-8, so it is not JSON')
  try {
    JSON.parse(body.toString('utf8'))
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 200) : String(error)
    throw new LitetopicError('BAD_VALUE', `the body is not JSON: ${why}`)
  }
}

/** What lies between the brackets of a JSON array that is known to be one. */
function elements(body: Buffer, from: number, to: number): Buffer[] {
  const found: Buffer[] = []
  let start = from
  let depth = 0
  for (let at = from; at < to; at++) {
    const byte = body[at]
    if (byte === QUOTE) at = endOfString(body, at)
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) depth++
    else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth--
    else if (byte === COMMA && depth === 0) {
      found.push(trimmed(body, start, at))
      start = at + 1
    }
  }
  const last = trimmed(body, start, to)
  if (last.length > 0) found.push(last)
  return found
}

/** Where the closing quote of the string lies that begins at `at`. */
function endOfString(body: Buffer, at: number): number {
  for (let i = at + 1; ; i++) {
    const byte = body[i]
    if (byte === QUOTE) return i
    if (byte === BACKSLASH) i++
  }
}

function trimmed(body: Buffer, from: number, to: number): Buffer {
  const start = skipSpace(body, from, 1)
  if (start >= to) return body.subarray(to, to)
  return body.subarray(start, skipSpace(body, to - 1, -1) + 1)
}

function skipSpace(body: Buffer, at: number, step: 1 | -1): number {
  while (isSpace(body[at])) at += step
  return at
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
