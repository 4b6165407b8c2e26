/** How a run ends that was stopped: what it has open is closed, in the protocol's own words, and then it is cancelled. */

import { type BaseEvent, EventType } from '@ag-ui/core'

interface Closing {
  readonly type: EventType
  /** The field that names what is opened and closed. */
  readonly id: string
  readonly closes: EventType
}

const CLOSINGS: readonly Closing[] = [
  { type: EventType.TEXT_MESSAGE_START, id: 'messageId', closes: EventType.TEXT_MESSAGE_END },
  { type: EventType.TOOL_CALL_START, id: 'toolCallId', closes: EventType.TOOL_CALL_END },
  { type: EventType.REASONING_START, id: 'messageId', closes: EventType.REASONING_END },
  { type: EventType.REASONING_MESSAGE_START, id: 'messageId', closes: EventType.REASONING_MESSAGE_END },
  { type: EventType.STEP_STARTED, id: 'stepName', closes: EventType.STEP_FINISHED },
  { type: EventType.SUBAGENT_STARTED, id: 'subagentRunId', closes: EventType.SUBAGENT_FINISHED },
]

export class OpenRun {
  private started: BaseEvent | null = null
  /** By what closes it. */
  private readonly open = new Map<string, BaseEvent>()

  see(event: BaseEvent): void {
    const { type } = event
    if (type === EventType.RUN_STARTED) {
      this.started = event
      this.open.clear()
    } else if (type === EventType.RUN_FINISHED || type === EventType.RUN_ERROR) {
      this.started = null
    } else if (type === EventType.SUBAGENT_ERROR) {
      this.open.delete(keyOf(EventType.SUBAGENT_FINISHED, 'subagentRunId', event))
    } else {
      const opened = CLOSINGS.find((closing) => closing.type === type)
      if (opened !== undefined) this.open.set(keyOf(opened.closes, opened.id, event), closingOf(opened, event))
      const closed = CLOSINGS.find((closing) => closing.closes === type)
      if (closed !== undefined) this.open.delete(keyOf(closed.closes, closed.id, event))
    }
  }

  /** What is to follow if the run is stopped here; nothing if it has not begun, or is over. */
  cancelled(): BaseEvent[] {
    if (this.started === null) return []
    const { threadId, runId } = this.started
    const finished = { type: EventType.RUN_FINISHED, threadId, runId, outcome: { type: 'cancelled' } }
    return [...[...this.open.values()].reverse(), finished]
  }
}

/** A step has its name within its subagent only. */
function keyOf(closes: EventType, id: string, event: BaseEvent): string {
  const within = closes === EventType.STEP_FINISHED ? event.subagentRunId : undefined
  return JSON.stringify([closes, event[id], within])
}

function closingOf({ closes, id }: Closing, event: BaseEvent): BaseEvent {
  const { subagentRunId } = event
  return { type: closes, [id]: event[id], ...(subagentRunId !== undefined && { subagentRunId }) }
}
