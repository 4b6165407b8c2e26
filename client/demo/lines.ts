/**
 * From bytes in any chunking to text, lines and words, holding no more than one line or word at a time. Recordings may be
 * larger than memory, and chunks end wherever the pipe likes: inside a character, a line ending or a word.
 */

import { LitetopicError } from '../../protocol/index.ts'

export interface Line {
  /** From 1, as editors count. */
  readonly number: number
  /** Without its line ending. */
  readonly text: string
}

/** The longest line read, in UTF-16 units; an event of a provider is far below it. */
export const LINE_MAX_LENGTH = 16 * 1024 * 1024

/** A word longer than this is cut; text without spaces becomes tokens of this length. */
const WORD_MAX_LENGTH = 16

/** Decodes UTF-8 and drops a byte order mark. Throws BAD_VALUE for bytes that are no UTF-8, with about where in its details. */
export async function* decodeText(input: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let bytes = 0
  const decode = (chunk?: Uint8Array): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined })
    } catch (cause) {
      throw new LitetopicError('BAD_VALUE', 'the input is not UTF-8 text', { afterByte: bytes }, cause)
    }
  }
  for await (const chunk of input) {
    const text = decode(chunk)
    bytes += chunk.length
    if (text !== '') yield text
  }
  const rest = decode()
  if (rest !== '') yield rest
}

/** Splits at LF and CRLF; a last line needs no ending. Throws BAD_VALUE with `line` for one beyond LINE_MAX_LENGTH. */
export async function* splitLines(input: AsyncIterable<string>): AsyncGenerator<Line> {
  let pending = ''
  let number = 1
  for await (const chunk of input) {
    let from = 0
    for (let end = chunk.indexOf('\n'); end !== -1; end = chunk.indexOf('\n', from)) {
      yield { number: number++, text: withoutReturn(pending + chunk.slice(from, end)) }
      pending = ''
      from = end + 1
    }
    pending += chunk.slice(from)
    if (pending.length > LINE_MAX_LENGTH) {
      const mib = LINE_MAX_LENGTH / 1024 / 1024
      throw new LitetopicError('BAD_VALUE', `line ${number} is longer than ${mib} Mi characters`, { line: number })
    }
  }
  if (pending !== '') yield { number, text: withoutReturn(pending) }
}

/** Splits text into tokens like a model's: a word with the space before it, at most 16 characters. Nothing is lost. */
export async function* splitWords(input: AsyncIterable<string>): AsyncGenerator<string> {
  const word = new RegExp(`\\s{1,${WORD_MAX_LENGTH}}(?=\\s)|\\s?\\S{1,${WORD_MAX_LENGTH}}|\\s`, 'gu')
  let pending = ''
  for await (const chunk of input) {
    const words = (pending + chunk).match(word) ?? []
    pending = words.pop() ?? ''
    yield* words
  }
  if (pending !== '') yield pending
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}
