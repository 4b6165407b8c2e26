/**
 * How a UIMessageChunk lies in a stream, and back: a delta is a token of text in a part of its own, so that it costs a few bytes and is
 * readable without the AI SDK; every other chunk is JSON in the part `ui`.
 */

import type { UIMessageChunk } from 'ai'
import { LitetopicError, type StreamWriter, type TokenRecord } from '../index.ts'

/** A chunk that adds text to something that another chunk began. */
export type Delta = Extract<UIMessageChunk, { type: 'text-delta' | 'reasoning-delta' | 'tool-input-delta' }>

/** A token that is a delta. */
interface DeltaToken {
  readonly part: string
  readonly text: string
}

/**
 * The part of all chunks that are no plain delta: each is a JSON value. One that is too long for a token is its JSON text in tokens,
 * and null behind them.
 */
export const CHUNK_PART = 'ui'

/** More UTF-16 units of JSON text become several tokens, and a longer delta is no token of text: they are cut at the same place. */
const TOKEN_UNITS = 16_384

/** Ids that make a part's name; what has another one is stored as JSON. */
const PART_ID = /^[\x20-\x7e]{0,200}$/
const DELTA_PART = /^(text|reasoning|tool):(.*)$/s
const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * Writes the chunk as what its JSON is, as the AI SDK sends it itself. Resolves when more may be written. Rejects with BAD_VALUE for
 * what has no JSON, and with the reason of the stream's signal.
 */
export async function writeChunk(stream: StreamWriter, chunk: UIMessageChunk): Promise<void> {
  const token = deltaToken(chunk)
  if (token !== null) {
    if (!stream.write(token.text, { part: token.part })) await stream.ready
    return
  }
  const text = jsonOf(chunk)
  const isShort = text.length <= TOKEN_UNITS
  if (!isShort) await stream.pipe(pieces(text), { part: CHUNK_PART })
  if (!stream.writeJson(isShort ? JSON.parse(text) : null, { part: CHUNK_PART })) await stream.ready
}

/** What a token is: a delta, another chunk, or a piece of one. */
export type Stored =
  | { readonly delta: Delta; readonly chunk?: undefined }
  | { readonly delta?: undefined; readonly chunk: UIMessageChunk | null }

/** Puts chunks together again from the tokens of one stream, in their order. */
export class ChunkReader {
  private pieces = ''

  /** Throws BAD_VALUE for a token that `writeChunk` did not write. */
  read({ part, text, value, streamId }: TokenRecord): Stored {
    if (part !== CHUNK_PART) {
      const delta = text === undefined ? null : deltaOf(part, text)
      if (delta !== null) return { delta }
      throw new LitetopicError('BAD_VALUE', `part ${part} of stream ${streamId} has no UI message chunks`, { streamId })
    }
    if (text !== undefined) {
      this.pieces += text
      return { chunk: null }
    }
    if (value !== null) return { chunk: value as unknown as UIMessageChunk }
    const whole = this.pieces
    this.pieces = ''
    return { chunk: JSON.parse(whole) as UIMessageChunk }
  }
}

/** The delta with more text behind its own. */
export function extended(delta: Delta, more: Delta): Delta {
  if (delta.type === 'tool-input-delta') {
    return { ...delta, inputTextDelta: delta.inputTextDelta + (more as typeof delta).inputTextDelta }
  }
  return { ...delta, delta: delta.delta + (more as typeof delta).delta }
}

/** Do both add to the same thing? */
export function isSameDelta(one: Delta, other: Delta): boolean {
  return one.type === other.type && deltaId(one) === deltaId(other)
}

function deltaId(delta: Delta): string {
  return delta.type === 'tool-input-delta' ? delta.toolCallId : delta.id
}

/** Null if text alone would lose something: further properties, an empty text, half a character. */
function deltaToken(chunk: UIMessageChunk): DeltaToken | null {
  switch (chunk.type) {
    case 'text-delta':
      return plainToken(chunk, 'text', chunk.id, chunk.delta)
    case 'reasoning-delta':
      return plainToken(chunk, 'reasoning', chunk.id, chunk.delta)
    case 'tool-input-delta':
      return plainToken(chunk, 'tool', chunk.toolCallId, chunk.inputTextDelta)
    default:
      return null
  }
}

function plainToken(chunk: UIMessageChunk, kind: string, id: string, text: string): DeltaToken | null {
  let known = 0
  for (const value of Object.values(chunk)) if (value !== undefined) known++
  const isPlain = known === 3 && text !== '' && text.length <= TOKEN_UNITS
  return isPlain && PART_ID.test(id) && !LONE_SURROGATE.test(text) ? { part: `${kind}:${id}`, text } : null
}

function deltaOf(part: string, text: string): Delta | null {
  const [, kind, id] = DELTA_PART.exec(part) ?? []
  if (kind === undefined || id === undefined) return null
  if (kind === 'tool') return { type: 'tool-input-delta', toolCallId: id, inputTextDelta: text }
  return { type: kind === 'text' ? 'text-delta' : 'reasoning-delta', id, delta: text }
}

function jsonOf(chunk: UIMessageChunk): string {
  try {
    return JSON.stringify(chunk)
  } catch (cause) {
    throw new LitetopicError('BAD_VALUE', `a chunk of type ${chunk.type} that has no JSON`, {}, cause)
  }
}

function* pieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += TOKEN_UNITS) yield text.slice(at, at + TOKEN_UNITS)
}
