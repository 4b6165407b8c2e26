/** What the states of a task mean for whoever reads its events, as the SDK's own queue has it. */

import { TaskState } from '@a2a-js/sdk'
import type { AgentExecutionEvent } from '@a2a-js/sdk/server'

const TERMINAL: readonly (TaskState | undefined)[] = [
  TaskState.TASK_STATE_COMPLETED,
  TaskState.TASK_STATE_FAILED,
  TaskState.TASK_STATE_CANCELED,
  TaskState.TASK_STATE_REJECTED,
]

export function isTerminal(state: TaskState | undefined): boolean {
  return TERMINAL.includes(state)
}

/** Does it wait for somebody, though nobody works on it? */
export function isInterrupted(state: TaskState | undefined): boolean {
  return state === TaskState.TASK_STATE_INPUT_REQUIRED || state === TaskState.TASK_STATE_AUTH_REQUIRED
}

/** The state that the event says, if it says one. */
export function stateOf(event: AgentExecutionEvent): TaskState | undefined {
  return event.kind === 'task' || event.kind === 'statusUpdate' ? event.data.status?.state : undefined
}

/** Is it the last one that a reader of the task gets? */
export function isLast(event: AgentExecutionEvent): boolean {
  if (event.kind === 'message') return true
  if (event.kind !== 'statusUpdate') return false
  const state = event.data.status?.state
  return isTerminal(state) || state === TaskState.TASK_STATE_INPUT_REQUIRED
}

/** The task that it is about, or undefined for a message. */
export function taskIdOf(event: AgentExecutionEvent): string | undefined {
  if (event.kind === 'message') return undefined
  return event.kind === 'task' ? event.data.id : event.data.taskId
}
