/** How a run ends that cannot say itself why. */

import { type BaseEvent, EventType } from '@ag-ui/core'
import { isLitetopicError } from '../index.ts'

export function runError(message: string, code?: string): BaseEvent {
  return { type: EventType.RUN_ERROR, message, ...(code !== undefined && { code }) }
}

/** What was thrown, as an event. */
export function runErrorOf(error: unknown): BaseEvent {
  const message = error instanceof Error ? error.message : String(error)
  return runError(message, isLitetopicError(error) ? error.code : undefined)
}

export function isTerminal({ type }: BaseEvent): boolean {
  return type === EventType.RUN_FINISHED || type === EventType.RUN_ERROR
}
