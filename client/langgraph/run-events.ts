/**
 * Events of a run as tokens of a stream. What a model writes is text, as any reader of the session sees it, and all that its chunks have in
 * common stands once in the context; every other event is JSON.
 */

import { isBaseMessage } from '@langchain/core/messages'
import { MemorySaver, type SerializerProtocol } from '@langchain/langgraph-checkpoint'
import { LitetopicError } from '../index.ts'

/** What LangGraph's `stream` yields, in one form. */
export interface RunEvent {
  /** The mode: `messages`, `values`, `updates`, `custom` …; of a subgraph with its namespace behind it: `messages|ns|inner`. */
  readonly event: string
  /** Of `messages`: `[chunk, metadata]`. */
  readonly data: unknown
}

/** An event as JSON. */
export interface PlainEvent {
  readonly event: string
  readonly data: unknown
}

/**
 * Parts of a run's stream. Events that are JSON; the JSON of a large one in pieces, before an event that names their part; and text. Parts
 * that begin so go on with the fence of their writer: one that was cut off leaves nothing that the next one could be taken for.
 */
export const EVENT_PART = 'event'
export const PIECES_PARTS = 'pieces:'
export const TEXT_PARTS = 'text:'

/** Text of more UTF-16 units could become several tokens. */
const TEXT_UNITS = 16_384

/** LangGraph's own: messages come back as what they were. */
const serde: SerializerProtocol = new MemorySaver().serde

/** The context entry that has what the tokens of a text part have in common. */
export function headName(runId: string, part: string): string {
  return `run/${runId}/${part}`
}

/**
 * Of what `stream` yields in each of its forms: `[chunk, metadata]` of the mode `messages`, `[mode, data]` of several modes, and both behind a
 * namespace with `subgraphs`. Throws BAD_VALUE for anything else, such as the values of a single other mode.
 */
export function runEvent(item: unknown): RunEvent {
  if (Array.isArray(item)) {
    const [first, ...others] = item
    if (isNamespace(first) && others.length > 0) {
      const { event, data } = runEvent(others.length === 1 ? others[0] : others)
      return { event: [event, ...first].join('|'), data }
    }
    if (typeof first === 'string' && others.length === 1) return { event: first, data: others[0] }
    if (isBaseMessage(first) && others.length === 1) return { event: 'messages', data: item }
  }
  const advice = 'stream with streamMode "messages", or a list of modes'
  throw new LitetopicError('BAD_VALUE', `an event of a run is none of LangGraph's streams with a mode: ${advice}`)
}

/** The event as JSON, from which `revived` makes it again. */
export async function plainEvent({ event, data }: RunEvent): Promise<PlainEvent> {
  const [, bytes] = await serde.dumpsTyped({ data })
  return { event, data: JSON.parse(new TextDecoder().decode(bytes)).data }
}

export async function revived(data: unknown): Promise<unknown> {
  return serde.loadsTyped('json', JSON.stringify(data))
}

/** The text of a chunk, and the event without it; null for everything else. */
export function splitText(plain: PlainEvent): { readonly head: PlainEvent; readonly text: string } | null {
  if (plain.event.split('|')[0] !== 'messages' || !Array.isArray(plain.data)) return null
  const [message, metadata] = plain.data
  if (!isChunk(message)) return null
  const { content } = message.kwargs
  if (typeof content !== 'string' || content === '' || content.length > TEXT_UNITS) return null
  return { head: withText({ event: plain.event, data: [message, metadata] }, ''), text: content }
}

/** The event of a chunk with this text. */
export function withText({ event, data }: PlainEvent, text: string): PlainEvent {
  const [message, ...others] = data as [Chunk, ...unknown[]]
  return { event, data: [{ ...message, kwargs: { ...message.kwargs, content: text } }, ...others] }
}

interface Chunk {
  readonly kwargs: Readonly<Record<string, unknown>>
}

function isChunk(value: unknown): value is Chunk {
  if (value === null || typeof value !== 'object' || !('id' in value) || !('kwargs' in value)) return false
  return Array.isArray(value.id) && String(value.id.at(-1)).endsWith('Chunk')
}

function isNamespace(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((part) => typeof part === 'string')
}
