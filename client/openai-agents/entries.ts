/**
 * How a run is stored in its token stream: entries, one behind the other. Text of the answer is text of the part `text`, as it comes, so that
 * whoever knows nothing of agents can read it; everything else is JSON of the part `event`. An entry that is large comes in pieces.
 */

import type { AgentInputItem, RunItemStreamEvent, RunStreamEvent } from '@openai/agents-core'
import { type Json, LitetopicError, type StreamWriter, type TokenRecord } from '../index.ts'
import { sameJson } from './json.ts'

/** An event of the SDK as it is stored and read: as JSON, with items and agents as they describe themselves. */
export type StoredEvent =
  | { readonly type: 'raw_model_stream_event'; readonly data: ModelEvent; readonly source?: string }
  | { readonly type: 'run_item_stream_event'; readonly name: RunItemStreamEvent['name']; readonly item: StoredItem }
  | { readonly type: 'agent_updated_stream_event'; readonly agent: { readonly name: string } }

/** What the model said, as it says it. `response_done` has all of its answer. */
export interface ModelEvent {
  readonly type: string
  readonly [key: string]: unknown
}

/** An item of a run: `rawItem` is the item of the SDK's protocol. */
export interface StoredItem {
  readonly type: string
  readonly rawItem?: unknown
  readonly agent?: { readonly name: string }
  readonly [key: string]: unknown
}

/** What was there when a run, or a turn of it, began. */
export interface TurnEntry {
  /** From 1 on: calls of the model. */
  readonly turn: number
  /** From 1 on: beyond that the turn is done again, or some of it. */
  readonly attempt: number
  /** So many events of the attempt before stand; what else came of the turn is void. */
  readonly kept: number
  /** The RunState; not there in the first turn, which begins with the input. */
  readonly state?: string
  /** How often items had been stored in the memory. */
  readonly stored: number
}

/** How a run began. */
export type BeginEntry = { readonly input: readonly AgentInputItem[] } | { readonly state: string }

/** What a run came to. */
export interface FinalEntry {
  readonly output: Json
  /** Tool calls that wait for approval; `state` is there to go on from. */
  readonly interruptions: readonly Json[]
  readonly state?: string
}

export type Entry =
  | { readonly kind: 'begin'; readonly value: BeginEntry }
  /** Another process writes on from here; what was stored of an entry before is void. */
  | { readonly kind: 'takeover'; readonly value: null }
  | { readonly kind: 'turn'; readonly value: TurnEntry }
  | { readonly kind: 'event'; readonly value: StoredEvent }
  | { readonly kind: 'final'; readonly value: FinalEntry }

/** The token behind it is the text that is missing in this event. */
interface BeforeText {
  readonly kind: 'delta'
  readonly value: DeltaEvent
}

/** The value is the JSON in the bytes of so many tokens before it. */
interface InPieces {
  readonly kind: Entry['kind'] | 'delta'
  readonly pieces: number
}

type DeltaEvent = Extract<StoredEvent, { type: 'raw_model_stream_event' }>

export const ENTRY_PART = 'event'

/** So many UTF-16 units of JSON, or of an answer, make one token. */
const WHOLE_UNITS = 16_384
const PIECE_BYTES = 32_768
const LONE_SURROGATE = /\p{Surrogate}/u

export function storedEvent(event: RunStreamEvent): StoredEvent {
  if (event.type === 'raw_model_stream_event') {
    const { type, source } = event
    const data = event.data as ModelEvent
    // What a provider says by itself nobody goes on from, so its dates and the like may become what their JSON is.
    const stored = data.type === 'model' ? (JSON.parse(JSON.stringify(data)) as ModelEvent) : data
    return { type, data: stored, ...(source === undefined ? {} : { source }) }
  }
  if (event.type === 'agent_updated_stream_event') return { type: event.type, agent: { name: event.agent.name } }
  return { type: event.type, name: event.name, item: event.item.toJSON() as StoredItem }
}

/** Resolves when there is room for more. Throws BAD_VALUE for what is not JSON, and rejects with what ends the stream. */
export async function writeEntry(stream: StreamWriter, entry: Entry): Promise<void> {
  const delta = entry.kind === 'event' ? deltaOf(entry.value) : null
  if (delta !== null) {
    if (delta.rest !== null) await writeValue(stream, { kind: 'delta', value: delta.rest })
    if (!stream.write(delta.text)) await stream.ready
    return
  }
  await writeValue(stream, entry)
}

async function writeValue(stream: StreamWriter, entry: Entry | BeforeText): Promise<void> {
  const json = JSON.stringify(entry.value)
  const isSmall = json.length <= WHOLE_UNITS
  const value = isSmall ? entry : { kind: entry.kind, pieces: await writePieces(stream, json, entry) }
  if (!stream.writeJson(value as unknown as Json, { part: ENTRY_PART })) await stream.ready
}

/** Resolves with their number. */
async function writePieces(stream: StreamWriter, json: string, { kind, value }: Entry | BeforeText): Promise<number> {
  if (!sameJson(JSON.parse(json), value)) throw new LitetopicError('BAD_VALUE', `the ${kind} of a run that is not JSON`)
  const bytes = new TextEncoder().encode(json)
  let pieces = 0
  for (let at = 0; at < bytes.length; at += PIECE_BYTES, pieces++) {
    if (!stream.write(bytes.subarray(at, at + PIECE_BYTES), { part: ENTRY_PART })) await stream.ready
  }
  return pieces
}

/** The text of an event that can be a token, and what the event says beside it; `rest` is null if that is nothing. */
function deltaOf(event: StoredEvent): { readonly text: string; readonly rest: DeltaEvent | null } | null {
  if (event.type !== 'raw_model_stream_event' || event.data.type !== 'output_text_delta') return null
  const { delta: text, ...data } = event.data
  if (typeof text !== 'string' || text === '' || text.length > WHOLE_UNITS || LONE_SURROGATE.test(text)) return null
  const isBare = Object.keys(data).length === 1 && event.source === undefined
  return { text, rest: isBare ? null : ({ ...event, data } as DeltaEvent) }
}

/** Entries out of the tokens of a run, which it is given in their order. */
export class EntryReader {
  private before: DeltaEvent | null = null
  private pieces: Uint8Array[] = []

  /** For each token of the record the entry that it completes, or null. */
  take(token: TokenRecord): (Entry | null)[] {
    if (token.text !== undefined) return textsOf(token).map((text) => this.text(text))
    if (token.bytes !== undefined) return cut(token.bytes, token).map((piece) => this.piece(piece))
    return [this.value(token.value as unknown as Entry | BeforeText | InPieces)]
  }

  private piece(piece: Uint8Array): null {
    this.pieces.push(piece)
    return null
  }

  private text(delta: string): Entry {
    const event = this.before ?? { type: 'raw_model_stream_event', data: { type: 'output_text_delta' } }
    this.before = null
    return { kind: 'event', value: { ...event, data: { ...event.data, delta } } }
  }

  private value(token: Entry | BeforeText | InPieces): Entry | null {
    // Pieces that no value follows were written by who did not live to write it.
    const pieces = 'pieces' in token ? this.pieces.slice(-token.pieces) : []
    this.pieces = []
    const whole =
      'pieces' in token ? ({ kind: token.kind, value: JSON.parse(textOf(pieces)) } as Entry | BeforeText) : token
    this.before = whole.kind === 'delta' ? whole.value : null
    return whole.kind === 'delta' ? null : whole
  }
}

function textsOf(token: TokenRecord): string[] {
  if (token.sizes === undefined) return token.text === undefined ? [] : [token.text]
  return cut(new TextEncoder().encode(token.text), token).map((bytes) => new TextDecoder().decode(bytes))
}

/** What each token of a run had. */
function cut(bytes: Uint8Array, { sizes = [bytes.length] }: TokenRecord): Uint8Array[] {
  let at = 0
  return sizes.map((size) => {
    at += size
    return bytes.subarray(at - size, at)
  })
}

function textOf(pieces: readonly Uint8Array[]): string {
  const decoder = new TextDecoder()
  return pieces.map((piece) => decoder.decode(piece, { stream: true })).join('') + decoder.decode()
}
