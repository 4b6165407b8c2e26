/** A few events of each provider, as they came, and ways to feed them in. */

import { type Recording, readRecording, type Token } from '../../client/demo/index.ts'

export const CHAT = [
  '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
  '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":null,"reasoning_content":"Hm"}}]}',
  '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Grüße"}}]}',
  '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" 👋"}}]}',
  '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"refusal":"No."}}]}',
  '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"f","arguments":""}}]}}]}',
  '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"x\\""}}]}}]}',
  '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"[]"}}]}}]}',
  '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}',
  '{"choices":[{"index":1,"delta":{"content":"other"}}]}',
  '{"choices":[],"usage":{"total_tokens":9}}',
]

export const CHAT_TOKENS: Token[] = [
  { part: 'reasoning', text: 'Hm' },
  { part: 'text', text: 'Grüße' },
  { part: 'text', text: ' 👋' },
  { part: 'refusal', text: 'No.' },
  { part: 'tool:call_a', text: '{"x"' },
  { part: 'tool:1', text: '[]' },
  { part: 'tool:call_a', text: ':1}' },
  { part: 'text:1', text: 'other' },
]

export const RESPONSES = [
  '{"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}',
  '{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"delta":"Thinking"}',
  '{"type":"response.reasoning_text.delta","item_id":"rs_1","output_index":0,"delta":" hard"}',
  '{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{}"}',
  '{"type":"response.mcp_call_arguments.delta","item_id":"mcp_1","output_index":2,"delta":"{\\"q\\":1}"}',
  '{"type":"response.output_text.delta","item_id":"msg_1","output_index":3,"delta":"Done"}',
  '{"type":"response.refusal.delta","item_id":"msg_1","output_index":3,"delta":"Sorry"}',
  '{"type":"response.output_text.done","item_id":"msg_1","output_index":3,"text":"Done"}',
  '{"type":"response.completed","response":{}}',
]

export const RESPONSES_TOKENS: Token[] = [
  { part: 'reasoning', text: 'Thinking' },
  { part: 'reasoning', text: ' hard' },
  { part: 'tool:fc_1', text: '{}' },
  { part: 'tool:mcp_1', text: '{"q":1}' },
  { part: 'text', text: 'Done' },
  { part: 'refusal', text: 'Sorry' },
]

export const ANTHROPIC = [
  '{"type":"message_start","message":{"id":"msg_1","content":[]}}',
  '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}',
  '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see"}}',
  '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"abc"}}',
  '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
  '{"type":"ping"}',
  '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I look it up."}}',
  '{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}',
  '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}',
  '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"a\\": 1"}}',
  '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"}"}}',
  '{"type":"content_block_stop","index":2}',
  '{"type":"message_delta","delta":{"stop_reason":"tool_use"}}',
  '{"type":"message_stop"}',
]

export const ANTHROPIC_TOKENS: Token[] = [
  { part: 'reasoning', text: 'Let me see' },
  { part: 'text', text: 'I look it up.' },
  { part: 'tool:toolu_1', text: '{"a": 1' },
  { part: 'tool:toolu_1', text: '}' },
]

/** A text in chunks of so many bytes. */
export async function* chunks(text: string | Uint8Array, size = Number.MAX_SAFE_INTEGER): AsyncGenerator<Uint8Array> {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** The recording in a text, read to its end. */
export async function read(
  text: string | Uint8Array,
  size?: number,
): Promise<{ tokens: Token[]; recording: Recording }> {
  const recording = readRecording(chunks(text, size))
  const tokens: Token[] = []
  for await (const token of recording) tokens.push(token)
  return { tokens, recording }
}

/** The text of each part. */
export function byPart(tokens: readonly Token[]): Record<string, string> {
  const parts: Record<string, string> = {}
  for (const { part, text } of tokens) parts[part] = (parts[part] ?? '') + text
  return parts
}
