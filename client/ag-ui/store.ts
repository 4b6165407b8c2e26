/** Stores the events of a run in a stream of its session, once, whoever asks for that run again. */

import { type BaseEvent, EventType } from '@ag-ui/core'
import { type Json, pipe, type Session, type StreamWriter } from '../index.ts'
import { writeEvent } from './events.ts'
import { storedEvents } from './read.ts'
import { isTerminal, runError, runErrorOf } from './run-error.ts'
import { type EventSource, iterable } from './source.ts'

/** Code of the RUN_ERROR between what a process wrote that is gone and what the one after it writes. */
export const RUN_INTERRUPTED = 'RUN_INTERRUPTED'

/** Runs the agent: returns what its `run(input)` returns, for example. `signal` is aborted when the run is stopped. */
export type AgentFunction = (signal: AbortSignal) => EventSource<BaseEvent>

export interface StoredRun {
  /** `failed`: the agent threw, or its last event was RUN_ERROR. */
  readonly end: 'done' | 'stopped' | 'failed'
  readonly detail: Json | undefined
  /** What the agent threw, if it ran here and threw. */
  readonly error?: unknown
}

/**
 * Runs the agent and stores its events in the stream `runId`, once: a run that has ended is not run again, one that runs elsewhere is
 * waited for. One whose process is gone runs again, behind a RUN_ERROR of code RUN_INTERRUPTED, which for readers ends the first
 * attempt; what must not happen twice in it belongs into `session.once`. What the agent throws becomes a RUN_ERROR too. Rejects when
 * the session is over; throws BAD_NAME.
 */
export async function storeRun<T>(session: Session<T>, runId: string, agent: AgentFunction): Promise<StoredRun> {
  const { end, detail, error } = await session.generate(runId, async (stream, signal) => {
    const before = stream.resumed ? await lastEvent(session, stream) : null
    const isOver = before !== null && isTerminal(before)
    if (before !== null && !isOver) await writeEvent(stream, runError('the run was cut off', RUN_INTERRUPTED))
    const last = isOver ? before : await run(stream, signal, agent)
    if (last?.type === EventType.RUN_ERROR) throw new AgentRunError(String(last.message))
  })
  return error === undefined || error instanceof AgentRunError ? { end, detail } : { end, detail, error }
}

/** A run that said itself that it failed. */
class AgentRunError extends Error {}

/** Resolves with the last event. */
async function run(stream: StreamWriter, signal: AbortSignal, agent: AgentFunction): Promise<BaseEvent | null> {
  const written: { last: BaseEvent | null } = { last: null }
  try {
    await pipe(iterable(agent(signal)), signal, async (event) => {
      await writeEvent(stream, event)
      written.last = event
    })
  } catch (error) {
    if (!signal.aborted && written.last?.type !== EventType.RUN_ERROR) await writeEvent(stream, runErrorOf(error))
    throw error
  }
  return written.last
}

/** What the writer before this one stored last. */
async function lastEvent<T>(session: Session<T>, { id, fence }: StreamWriter): Promise<BaseEvent | null> {
  let last: BaseEvent | null = null
  for await (const event of storedEvents(session, id, fence)) last = event
  return last
}
