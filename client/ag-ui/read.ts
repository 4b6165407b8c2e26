/** Gives back the events of a run: from its start or a cursor, as they were written or joined, and on until it ends. */

import type { BaseEvent } from '@ag-ui/core'
import { LitetopicError, type Session, type StreamState } from '../index.ts'
import { OpenRun } from './closing.ts'
import { EventDecoder } from './events.ts'
import { runError } from './run-error.ts'

/** Code of the RUN_ERROR with which a run ends whose process is gone. */
export const RUN_LOST = 'RUN_LOST'
/** Code of the RUN_ERROR of a run that was stopped before it began. */
export const RUN_STOPPED = 'RUN_STOPPED'

export interface RunEvent {
  readonly event: BaseEvent
  /**
   * Where to read on after this event. Null where no place lies between it and the next one: where deltas overlap that were joined, and
   * for events that are not stored. Who keeps the last cursor that was not null, and drops what came after it, reads on without a
   * loss or a repeat.
   */
  readonly cursor: string | null
}

export interface ReadRunOptions {
  /** A cursor of one of its events. Default: from its start. */
  readonly from?: string
  /** Each delta as it was written, also while catching up. Default false: neighbours of one message or tool call are joined. */
  readonly raw?: boolean
  /** Ends the reading: it rejects with its reason. */
  readonly signal?: AbortSignal
}

/**
 * Ends when the run has ended. A run whose process is gone, and that no other has taken over, ends with a RUN_ERROR of code RUN_LOST; one
 * that was stopped with what closes what is open, and RUN_FINISHED with the outcome `cancelled`. A run that does not exist yet is
 * waited for. Rejects like `session.records`, with TRIMMED if its beginning is gone, and with BAD_VALUE if the stream is none of `storeRun`.
 */
export async function* readRun<T>(
  session: Session<T>,
  runId: string,
  options: ReadRunOptions = {},
): AsyncGenerator<RunEvent, void, undefined> {
  for await (const { event, cursor, state, offset } of steps(session, runId, options)) {
    if (event !== null) yield { event, cursor }
    else if (state === 'stopped') {
      for (const closing of await closingEvents(session, runId, offset)) yield { event: closing, cursor: null }
    } else if (state === 'lost' && (await session.stream(runId))?.state === 'lost') {
      yield { event: runError('the process that ran the agent is gone', RUN_LOST), cursor: null }
      return
    }
  }
}

/** The events that are stored before an offset. */
export async function* storedEvents<T>(session: Session<T>, runId: string, before: number): AsyncGenerator<BaseEvent> {
  for await (const { event } of steps(session, runId, { before })) if (event !== null) yield event
}

interface Step {
  /** Null for what happened to the stream. */
  readonly event: BaseEvent | null
  cursor: string | null
  readonly state: StreamState | null
  readonly offset: number
}

interface StepOptions extends ReadRunOptions {
  readonly before?: number
}

const ENDS: readonly (StreamState | null)[] = ['done', 'stopped', 'failed']

async function* steps<T>(session: Session<T>, runId: string, options: StepOptions): AsyncGenerator<Step> {
  const { from, raw, signal, before = Number.POSITIVE_INFINITY } = options
  const decoder = new EventDecoder()
  let last = from ?? null
  const place = from ?? (await beginning(session, runId))
  for await (const records of session.batches({ from: place, raw, signal })) {
    const found: Step[] = []
    let latest: Step | null = null
    for (const record of records) {
      const { kind, offset } = record
      // Of runs that overlap, all but the last have the cursor before them.
      const cursor: string | null = record.cursor === last ? null : record.cursor
      last = record.cursor
      if (offset >= before) {
        yield* found
        return
      }
      if ((kind !== 'token' && kind !== 'stream') || record.streamId !== runId) continue
      if (kind === 'stream') {
        found.push({ event: null, cursor, state: record.state, offset })
        latest = null
        continue
      }
      const event = decoder.decode(record)
      if (event === null) continue
      latest = { event, cursor, state: null, offset }
      found.push(latest)
    }
    // Nothing overlaps the end of a batch. What belongs to others is stepped over, but nothing of the stream itself.
    if (latest !== null && !decoder.isMidway) latest.cursor = last
    yield* found
    if (found.some(({ state }) => ENDS.includes(state))) return
  }
  throw new LitetopicError('CLOSED', `topic ${session.name} was closed before run ${runId} began`)
}

/** Where the run is, or will be. */
async function beginning<T>(session: Session<T>, runId: string): Promise<string | { readonly offset: number }> {
  const end = session.cursor
  const stream = await session.stream(runId)
  return stream === null ? end : { offset: stream.openOffset }
}

async function closingEvents<T>(session: Session<T>, runId: string, before: number): Promise<BaseEvent[]> {
  const run = new OpenRun()
  let isEmpty = true
  for await (const event of storedEvents(session, runId, before)) {
    run.see(event)
    isEmpty = false
  }
  return isEmpty ? [runError('the run was stopped before it began', RUN_STOPPED)] : run.cancelled()
}
