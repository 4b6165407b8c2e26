/** What lies in the log of a task, and back: events and tasks as the JSON of the A2A protocol. */

import { StreamResponse, Task } from '@a2a-js/sdk'
import type { AgentExecutionEvent } from '@a2a-js/sdk/server'
import type { Json } from '../index.ts'

/** In the metadata of events and tasks: the offset of the event in its topic; of a task, that of the last event that it includes. */
export const OFFSET_KEY = 'litetopic/offset'

/** The name of the checkpoints that hold a whole task. */
export const SNAPSHOT = 'task'

export function encodeEvent({ kind, data }: AgentExecutionEvent): Json {
  return StreamResponse.toJSON({ payload: { $case: kind, value: data } } as StreamResponse) as Json
}

/** The event with its place, or null for what is none. */
export function decodeEvent(json: Json, offset: number): AgentExecutionEvent | null {
  const { payload } = StreamResponse.fromJSON(json)
  if (payload === undefined) return null
  return placed({ kind: payload.$case, data: payload.value } as AgentExecutionEvent, offset)
}

/** A copy that knows its place. */
export function placed(event: AgentExecutionEvent, offset: number): AgentExecutionEvent {
  const metadata = { ...event.data.metadata, [OFFSET_KEY]: offset }
  return { kind: event.kind, data: { ...event.data, metadata } } as AgentExecutionEvent
}

export function encodeTask(task: Task): Json {
  return Task.toJSON(task) as Json
}

export function decodeTask(json: Json): Task {
  return Task.fromJSON(json)
}

/** The offset of the last event that the task includes, -1 if there is none. */
export function offsetOf(task: Task | undefined): number {
  const offset: unknown = task?.metadata?.[OFFSET_KEY]
  return Number.isSafeInteger(offset) ? (offset as number) : -1
}

/** Any text as one segment of a topic's name, each as one of its own. */
export function segment(text: string): string {
  const escaped = (character: string): string =>
    [...new TextEncoder().encode(character)].map((byte) => `~${byte.toString(16).padStart(2, '0')}`).join('')
  return text === '' ? '~' : text.replace(/[^A-Za-z0-9_-]/gu, escaped)
}
