/**
 * The deltas inside one event of a provider: OpenAI chat completions chunks (and the many services that speak the same),
 * OpenAI Responses events, Anthropic messages events. An event is recognised by its own shape; events that carry no
 * delta, and kinds that a provider adds later, give no token.
 */

import { checkId, isLitetopicError } from '../../protocol/index.ts'
import type { Token } from './tokens.ts'

export type Provider = 'OpenAI chat completions' | 'OpenAI Responses' | 'Anthropic messages'

/** Any JSON object. */
export type Event = Readonly<Record<string, unknown>>

const RESPONSES_TEXT = 'response.output_text.delta'
const RESPONSES_REFUSAL = 'response.refusal.delta'
const RESPONSES_REASONING = /^response\.reasoning(?:_summary)?(?:_text)?\.delta$/
const RESPONSES_TOOL =
  /^response\.(?:function_call_arguments|mcp_call_arguments|custom_tool_call_input|code_interpreter_call_code)\.delta$/

/** Reads the events of one recording in order; remembers which tool call the later deltas of an index belong to. */
export class EventReader {
  /** The provider of the first event recognised. */
  provider: Provider | undefined
  /** Ids of tool calls by choice and index (chat), or by index of the content block (Anthropic). */
  readonly #tools = new Map<string, string>()
  /** Parts for ids that are no valid names. */
  readonly #substitutes = new Map<string, string>()

  /** The tokens of one event, in order; none has empty text. */
  tokens(event: Event): Token[] {
    const found: Token[] = []
    const type = text(event.type)
    if (Array.isArray(event.choices)) this.#chat(event.choices, found)
    else if (type.startsWith('response.')) this.#responses(type, event, found)
    else if (type.startsWith('content_block_') || type === 'message_start') this.#anthropic(type, event, found)
    return found
  }

  #chat(choices: readonly unknown[], found: Token[]): void {
    this.provider ??= 'OpenAI chat completions'
    for (const item of choices) {
      const choice = object(item)
      const delta = object(choice.delta)
      const index = typeof choice.index === 'number' ? choice.index : 0
      const suffix = index === 0 ? '' : `:${index}`
      add(found, `reasoning${suffix}`, delta.reasoning_content ?? delta.reasoning)
      add(found, `text${suffix}`, delta.content)
      add(found, `refusal${suffix}`, delta.refusal)
      for (const call of list(delta.tool_calls)) this.#chatTool(index, object(call), found)
    }
  }

  #chatTool(choice: number, call: Event, found: Token[]): void {
    const position = typeof call.index === 'number' ? call.index : 0
    const key = `${choice}/${position}`
    const fallback = choice === 0 ? `${position}` : `${choice}.${position}`
    if (text(call.id) !== '') this.#tools.set(key, text(call.id))
    add(found, this.#toolPart(this.#tools.get(key) ?? fallback), object(call.function).arguments)
  }

  #responses(type: string, event: Event, found: Token[]): void {
    this.provider ??= 'OpenAI Responses'
    if (type === RESPONSES_TEXT) add(found, 'text', event.delta)
    else if (type === RESPONSES_REFUSAL) add(found, 'refusal', event.delta)
    else if (RESPONSES_REASONING.test(type)) add(found, 'reasoning', event.delta)
    else if (RESPONSES_TOOL.test(type)) {
      const id = text(event.item_id) || String(event.output_index ?? 0)
      add(found, this.#toolPart(id), event.delta)
    }
  }

  #anthropic(type: string, event: Event, found: Token[]): void {
    this.provider ??= 'Anthropic messages'
    const index = String(event.index ?? 0)
    if (type === 'message_start') this.#tools.clear()
    if (type === 'content_block_start') {
      const block = object(event.content_block)
      if (text(block.id) === '') this.#tools.delete(index)
      else this.#tools.set(index, text(block.id))
      if (block.type === 'text') add(found, 'text', block.text)
      if (block.type === 'thinking') add(found, 'reasoning', block.thinking)
    }
    if (type === 'content_block_delta') {
      const delta = object(event.delta)
      if (delta.type === 'text_delta') add(found, 'text', delta.text)
      if (delta.type === 'thinking_delta') add(found, 'reasoning', delta.thinking)
      if (delta.type === 'input_json_delta')
        add(found, this.#toolPart(this.#tools.get(index) ?? index), delta.partial_json)
    }
  }

  /** A part is a name of at most 255 bytes; an id that makes none gets a number instead. */
  #toolPart(id: string): string {
    const part = `tool:${id}`
    if (isName(part)) return part
    const known = this.#substitutes.get(id) ?? `tool:~${this.#substitutes.size + 1}`
    this.#substitutes.set(id, known)
    return known
  }
}

function add(found: Token[], part: string, value: unknown): void {
  if (typeof value === 'string' && value !== '') found.push({ part, text: value })
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function object(value: unknown): Event {
  return typeof value === 'object' && value !== null ? (value as Event) : {}
}

function isName(part: string): boolean {
  try {
    checkId(part, 'part')
    return true
  } catch (error) {
    if (isLitetopicError(error, 'BAD_NAME')) return false
    throw error
  }
}
