/**
 * Reads what a model sent, recorded as JSON lines or raw server-sent events, or any plain text, as tokens. Which of them
 * it is shows in the first lines. Reading is incremental and bounded by the longest line, so a pipe works as a file does.
 */

import { LitetopicError } from '../../protocol/index.ts'
import { type Event, EventReader, type Provider } from './events.ts'
import { decodeText, type Line, splitLines, splitWords } from './lines.ts'
import { type Token, TokenShaper } from './tokens.ts'

/** How the input is laid out. */
export type Framing = 'plain text' | 'JSON lines' | 'server-sent events'

/** The tokens of one input, to be read once, and what has been found out about it on the way. */
export interface Recording extends AsyncIterable<Token> {
  /** Undefined until the first lines have been read. */
  readonly framing: Framing | undefined
  /** Undefined for plain text, and until an event of a known provider has been read. */
  readonly provider: Provider | undefined
  /** Events read so far; 0 for plain text. */
  readonly events: number
}

/** Lines of server-sent events that may stand before the first data, and in plain text as well. */
const SSE_PREAMBLE = /^(?::|event:|id:|retry:)/
const SSE_DATA = /^data: ?(?:\{\s*"|\{\}|\[DONE\])/
const JSON_EVENT = /^\s*(?:\{\s*"|\{\})/
const DONE = '[DONE]'
/** Lines of data that one server-sent event may have. */
const DATA_MAX_LINES = 256

/** Input that has not shown what it is after this much is plain text. In UTF-16 units. */
const HEAD_MAX_LENGTH = 64 * 1024
/** Enough of a line to tell what it is. */
const TELLING_LENGTH = 64

/**
 * Reads `input`. The iterator throws BAD_VALUE for bytes that are not UTF-8 (details: afterByte) and for a line of JSON lines or
 * server-sent events that is no JSON object (details: line).
 */
export function readRecording(input: AsyncIterable<Uint8Array>): Recording {
  return new RecordingReader(input)
}

/** What text that begins with `head` is, or undefined if more of it is needed. */
export function detectFraming(head: string, ended: boolean): Framing | undefined {
  let from = 0
  while (from < head.length) {
    const end = head.indexOf('\n', from)
    const line = head.slice(from, end === -1 ? undefined : end)
    const complete = end !== -1 || ended || line.length >= TELLING_LENGTH
    if (JSON_EVENT.test(line)) return 'JSON lines'
    if (SSE_DATA.test(line)) return 'server-sent events'
    if (!complete) return undefined
    if (line.trim() !== '' && !SSE_PREAMBLE.test(line)) return 'plain text'
    if (end === -1) break
    from = end + 1
  }
  return ended || head.length > HEAD_MAX_LENGTH ? 'plain text' : undefined
}

class RecordingReader implements Recording {
  framing: Framing | undefined
  readonly #input: AsyncIterable<Uint8Array>
  readonly #reader = new EventReader()
  #events = 0

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#input = input
  }

  get provider(): Provider | undefined {
    return this.#reader.provider
  }

  get events(): number {
    return this.#events
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Token> {
    const shaper = new TokenShaper()
    for await (const token of this.#tokens()) yield* shaper.shape(token)
    yield* shaper.end()
  }

  async *#tokens(): AsyncGenerator<Token> {
    const chunks = decodeText(this.#input)
    let head = ''
    let ended = false
    while (this.framing === undefined) {
      const next = await chunks.next()
      if (next.done) ended = true
      else head += next.value
      this.framing = detectFraming(head, ended)
    }
    const text = prepend(head, chunks)
    if (this.framing === 'plain text') {
      for await (const word of splitWords(text)) yield { part: 'text', text: word }
      return
    }
    const lines = splitLines(text)
    for await (const event of this.framing === 'JSON lines' ? jsonLines(lines) : serverSentEvents(lines)) {
      this.#events++
      yield* this.#reader.tokens(event)
    }
  }
}

async function* prepend(head: string, rest: AsyncIterable<string>): AsyncGenerator<string> {
  if (head !== '') yield head
  yield* rest
}

async function* jsonLines(lines: AsyncIterable<Line>): AsyncGenerator<Event> {
  for await (const line of lines) {
    const text = line.text.trim()
    if (text !== '' && text !== DONE) yield parseEvent(text, line.number)
  }
}

/** An event ends at an empty line, or where its data is complete; data of several lines is joined. */
async function* serverSentEvents(lines: AsyncIterable<Line>): AsyncGenerator<Event> {
  let data: string[] = []
  let first = 1
  for await (const line of lines) {
    const value = /^data: ?/.exec(line.text)
    if (line.text !== '' && value === null) continue
    const complete = data.length === 0 ? undefined : tryParse(data.join('\n'))
    if (complete !== undefined) yield complete
    else if (data.length > 0 && (value === null || data.length >= DATA_MAX_LINES)) parseEvent(data.join('\n'), first)
    if (complete !== undefined || value === null) data = []
    if (value === null) continue
    if (data.length === 0) first = line.number
    const text = line.text.slice(value[0].length)
    if (text !== '' && text !== DONE) data.push(text)
  }
  if (data.length > 0) yield parseEvent(data.join('\n'), first)
}

function parseEvent(text: string, line: number): Event {
  const event = tryParse(text)
  if (event !== undefined) return event
  const excerpt = text.length > 40 ? `${text.slice(0, 40)}…` : text
  throw new LitetopicError('BAD_VALUE', `line ${line} is not a JSON object: ${JSON.stringify(excerpt)}`, { line })
}

function tryParse(text: string): Event | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Event) : undefined
  } catch {
    return undefined
  }
}
