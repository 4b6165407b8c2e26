/** Runs of agents for tests: some made by hand, and arbitrary ones that AG-UI's own check accepts. */

import { type BaseEvent, enforceEvents, transformChunks, verifyEvents } from '@ag-ui/client'
import { EventType } from '@ag-ui/core'
import fc from 'fast-check'
import { from, lastValueFrom, toArray } from 'rxjs'
import type { RunEvent } from '../../client/ag-ui/index.ts'

export const started = (runId = 'run-1', threadId = 'thread-1'): BaseEvent => ({
  type: EventType.RUN_STARTED,
  threadId,
  runId,
})
export const finished = (runId = 'run-1', threadId = 'thread-1'): BaseEvent => ({
  type: EventType.RUN_FINISHED,
  threadId,
  runId,
})
export const textStart = (messageId: string): BaseEvent => ({
  type: EventType.TEXT_MESSAGE_START,
  messageId,
  role: 'assistant',
})
export const text = (messageId: string, delta: string): BaseEvent => ({
  type: EventType.TEXT_MESSAGE_CONTENT,
  messageId,
  delta,
})
export const textEnd = (messageId: string): BaseEvent => ({ type: EventType.TEXT_MESSAGE_END, messageId })

/** An answer with a tool call in the middle of it. */
export function answer(runId = 'run-1', threadId = 'thread-1'): BaseEvent[] {
  const toolCallId = 'call-1'
  return [
    started(runId, threadId),
    { type: EventType.STEP_STARTED, stepName: 'think' },
    { type: EventType.REASONING_START, messageId: 'r' },
    { type: EventType.REASONING_MESSAGE_START, messageId: 'r', role: 'reasoning' },
    ...['It ', 'rains.'].map((delta) => ({ type: EventType.REASONING_MESSAGE_CONTENT, messageId: 'r', delta })),
    { type: EventType.REASONING_MESSAGE_END, messageId: 'r' },
    { type: EventType.REASONING_END, messageId: 'r' },
    { type: EventType.STEP_FINISHED, stepName: 'think' },
    textStart('m'),
    ...['Hel', 'lo', ', wö', 'rld 😀'].map((delta) => text('m', delta)),
    { type: EventType.TOOL_CALL_START, toolCallId, toolCallName: 'weather', parentMessageId: 'm' },
    ...['{"city"', ':"Rome"}'].map((delta) => ({ type: EventType.TOOL_CALL_ARGS, toolCallId, delta })),
    text('m', '!'),
    { type: EventType.TOOL_CALL_END, toolCallId },
    textEnd('m'),
    { type: EventType.TOOL_CALL_RESULT, messageId: 't', toolCallId, content: 'sunny', role: 'tool' },
    { type: EventType.STATE_SNAPSHOT, snapshot: { step: 3, nothing: null } },
    finished(runId, threadId),
  ]
}

/** Rejects if AG-UI's own checks refuse it; else what they make of it. */
export function verified(events: Iterable<BaseEvent>): Promise<BaseEvent[]> {
  return lastValueFrom(from(events).pipe(enforceEvents(), transformChunks(), verifyEvents(), toArray()))
}

export async function collect(events: AsyncIterable<RunEvent>): Promise<RunEvent[]> {
  const all: RunEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

export async function eventsOf(events: AsyncIterable<RunEvent>): Promise<BaseEvent[]> {
  return (await collect(events)).map(({ event }) => event)
}

/** All deltas of each message and tool call in one, at the place of its first; the rest as it is. */
export function joined(events: readonly BaseEvent[]): BaseEvent[] {
  const all: BaseEvent[] = []
  const open = new Map<string, BaseEvent>()
  for (const event of events) {
    const { delta, ...others } = event
    const isPlain = typeof delta === 'string' && Object.keys(others).length === 2
    const key = JSON.stringify([event.type, event.messageId, event.toolCallId])
    const before = isPlain ? open.get(key) : undefined
    if (before !== undefined) before.delta = `${before.delta}${delta}`
    else {
      const copy = { ...event }
      all.push(copy)
      if (isPlain) open.set(key, copy)
    }
  }
  return all
}

const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 4 }),
  // Halves of characters, alone.
  fc.constantFrom('\ud83d', '\ude00', 'a\ud83d', '\u0000\n\n', 'data: x\n\n', ''),
)
const anyId = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
  fc.constantFrom('m', 'text:', 'x'.repeat(100), 'é'.repeat(80), 'line\nbreak', '\ud83d'),
)
const anyExtras = fc.oneof(
  { weight: 4, arbitrary: fc.constant({}) },
  fc.record({ timestamp: fc.nat(), metadata: fc.dictionary(fc.string(), fc.jsonValue()) }, { requiredKeys: [] }),
)
const anyOther = fc.oneof(
  fc.jsonValue().map((value) => ({ type: EventType.CUSTOM, name: 'custom', value })),
  fc.jsonValue().map((event) => ({ type: EventType.RAW, event })),
  fc.jsonValue().map((snapshot) => ({ type: EventType.STATE_SNAPSHOT, snapshot })),
)

interface Kind {
  readonly opens: readonly EventType[]
  readonly delta: EventType
  readonly closes: readonly EventType[]
  readonly id: string
  readonly more: object
}

const KINDS: readonly Kind[] = [
  {
    opens: [EventType.TEXT_MESSAGE_START],
    delta: EventType.TEXT_MESSAGE_CONTENT,
    closes: [EventType.TEXT_MESSAGE_END],
    id: 'messageId',
    more: { role: 'assistant' },
  },
  {
    opens: [EventType.TOOL_CALL_START],
    delta: EventType.TOOL_CALL_ARGS,
    closes: [EventType.TOOL_CALL_END],
    id: 'toolCallId',
    more: { toolCallName: 'tool' },
  },
  {
    opens: [EventType.REASONING_START, EventType.REASONING_MESSAGE_START],
    delta: EventType.REASONING_MESSAGE_CONTENT,
    closes: [EventType.REASONING_MESSAGE_END, EventType.REASONING_END],
    id: 'messageId',
    more: {},
  },
]

interface Action {
  readonly kind: number
  readonly id: string
  readonly delta: string
  readonly extras: object
  readonly closes: boolean
  readonly other: BaseEvent | null
}

/** Messages, tool calls and reasoning that overlap in any way, with anything between them; `cut` leaves them open, without an end. */
export function anyRun(cut: boolean): fc.Arbitrary<BaseEvent[]> {
  const action: fc.Arbitrary<Action> = fc.record({
    kind: fc.nat(KINDS.length - 1),
    id: anyId,
    delta: anyText,
    extras: anyExtras,
    closes: fc.boolean(),
    other: fc.option(anyOther as fc.Arbitrary<BaseEvent>, { freq: 4 }),
  })
  const ids = fc.array(anyId, { minLength: 1, maxLength: 3 })
  return fc.tuple(fc.array(action, { maxLength: 30 }), ids).map(([actions, few]) => runOf(actions, few, cut))
}

function runOf(actions: readonly Action[], ids: readonly string[], cut: boolean): BaseEvent[] {
  const events: BaseEvent[] = [started()]
  const open = new Map<string, () => BaseEvent[]>()
  for (const [i, { kind: which, delta, extras, closes, other }] of actions.entries()) {
    if (other !== null) {
      events.push(other)
      continue
    }
    const kind = KINDS[which] as Kind
    // Few of them, so that there is more than one delta each.
    const id = `${ids[i % ids.length]}${which}`
    const named = { [kind.id]: id }
    const key = JSON.stringify([which, id])
    if (!open.has(key)) {
      const role = kind.opens.length > 1 ? { role: 'reasoning' } : kind.more
      kind.opens.forEach((type, at) => {
        events.push({ type, ...named, ...(at === kind.opens.length - 1 ? role : {}) })
      })
      open.set(key, () => kind.closes.map((type) => ({ type, ...named })))
    }
    events.push({ type: kind.delta, ...named, delta, ...extras })
    if (!closes || i % 3 > 0) continue
    events.push(...(open.get(key)?.() ?? []))
    open.delete(key)
  }
  if (cut) return events
  return [...events, ...[...open.values()].flatMap((close) => close()), finished()]
}
