/**
 * Events of AG-UI as tokens of a stream, and back. A delta that has nothing but its text is a token of text, in a part of its own for
 * each message and tool call, so that runs of them travel as one; every other event is a token of JSON, as it is.
 */

import { type BaseEvent, EventType } from '@ag-ui/core'
import { isLitetopicError, type Json, LitetopicError, type StreamWriter, type TokenRecord } from '../index.ts'

interface DeltaKind {
  readonly type: string
  /** Of the part; what follows is the id. */
  readonly prefix: string
  /** The field that says what the delta belongs to. */
  readonly id: string
}

const DELTAS: readonly DeltaKind[] = [
  { type: EventType.TEXT_MESSAGE_CONTENT, prefix: 'text:', id: 'messageId' },
  { type: EventType.TOOL_CALL_ARGS, prefix: 'tool:', id: 'toolCallId' },
  { type: EventType.REASONING_MESSAGE_CONTENT, prefix: 'reasoning:', id: 'messageId' },
]
const BY_TYPE = new Map(DELTAS.map((kind) => [kind.type, kind]))

/** The part of all other events. A JSON null in it says that the text before it is one event. */
const EVENT_PART = 'event'

/** A text of more UTF-16 units may become several tokens. */
const TOKEN_UNITS = 16_384
/** So that it fits a part, with its prefix, whatever its characters. */
const ID_UNITS = 80

/** Half a surrogate pair, which no token of text can hold. */
const LONE_SURROGATE = /\p{Surrogate}/u
// biome-ignore lint/suspicious/noControlCharactersInRegex: names of parts have none.
const CONTROL = /[\u0000-\u001f]/

/** Writes one event, waiting while there is no room. Rejects with BAD_VALUE for what JSON would change, and like `write`. */
export async function writeEvent(stream: StreamWriter, event: BaseEvent): Promise<void> {
  if (typeof event?.type !== 'string') throw new LitetopicError('BAD_VALUE', 'an AG-UI event without a type')
  const delta = textOf(event)
  if (delta !== null) {
    if (!stream.write(delta.text, { part: delta.part })) await stream.ready
    return
  }
  try {
    if (!stream.writeJson(event as Json, { part: EVENT_PART })) await stream.ready
  } catch (error) {
    // More than an append, or a whole buffer, holds. What is not JSON was refused before that.
    if (!isLitetopicError(error, 'LIMIT_EXCEEDED', 'BUFFER_FULL')) throw error
    await stream.pipe(pieces(JSON.stringify(event)), { part: EVENT_PART })
    stream.writeJson(null, { part: EVENT_PART })
  }
}

/** The text of a delta and its part; null if the event has more to it. */
function textOf(event: BaseEvent): { readonly part: string; readonly text: string } | null {
  const kind = BY_TYPE.get(event.type)
  if (kind === undefined) return null
  const { delta, [kind.id]: id } = event
  if (typeof delta !== 'string' || delta === '' || delta.length > TOKEN_UNITS || LONE_SURROGATE.test(delta)) return null
  if (typeof id !== 'string' || id.length > ID_UNITS || LONE_SURROGATE.test(id) || CONTROL.test(id)) return null
  for (const key in event) {
    if (event[key] !== undefined && key !== 'type' && key !== 'delta' && key !== kind.id) return null
  }
  return { part: kind.prefix + id, text: delta }
}

function* pieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += TOKEN_UNITS) yield text.slice(at, at + TOKEN_UNITS)
}

/** Makes events of the tokens of one stream. */
export class EventDecoder {
  private begun = ''

  /** Has it part of an event? */
  get isMidway(): boolean {
    return this.begun !== ''
  }

  /** The event that the record is, or completes. Throws BAD_VALUE for a token that no event became. */
  decode({ streamId, part, text, value }: TokenRecord): BaseEvent | null {
    if (part === EVENT_PART) {
      if (text !== undefined) {
        this.begun += text
        return null
      }
      if (value !== null) return value as unknown as BaseEvent
      const whole = this.begun
      this.begun = ''
      return JSON.parse(whole) as BaseEvent
    }
    const kind = DELTAS.find(({ prefix }) => part.startsWith(prefix))
    if (kind === undefined || text === undefined) {
      throw new LitetopicError('BAD_VALUE', `stream ${streamId} holds a token of part ${part}, which is no AG-UI event`)
    }
    return { type: kind.type as EventType, [kind.id]: part.slice(kind.prefix.length), delta: text }
  }
}
