/** Reads the events of a run back, from its beginning or from where somebody was, until it ends. */

import {
  type Json,
  LitetopicError,
  type Session,
  type SessionRecord,
  type StreamEnd,
  type TokenRecord,
} from '../index.ts'
import {
  EVENT_PART,
  headName,
  PIECES_PARTS,
  type PlainEvent,
  type RunEvent,
  revived,
  TEXT_PARTS,
  withText,
} from './run-events.ts'

/** An event, and where to read on after it. */
export interface StoredEvent extends RunEvent {
  readonly cursor: string
}

/** How a run ended. */
export interface RunEnd {
  readonly state: StreamEnd
  /** `{ message }` of a run that failed, `{ reason }` of one that was stopped. */
  readonly detail?: Json
}

export interface ReadRunOptions {
  /** Of the event behind which to go on. Default: from the beginning. */
  readonly cursor?: string
  /** Ends the reading, which rejects with its reason. */
  readonly signal?: AbortSignal
}

/**
 * Yields each event once, in order; while catching up, the text of chunks that follow one another comes as one chunk. Returns how the run ended.
 * Waits for a run that was cut off to go on. Rejects with STREAM_UNKNOWN if there is no such run, and as `session.records` does.
 */
export async function* readRun(
  session: Session,
  runId: string,
  options: ReadRunOptions = {},
): AsyncGenerator<StoredEvent, RunEnd> {
  const stream = await session.stream(runId)
  if (stream === null)
    throw new LitetopicError('STREAM_UNKNOWN', `topic ${session.name} has no run ${runId}`, { runId })
  const { cursor, signal } = options
  const from = cursor === undefined ? { offset: stream.openOffset } : { cursor }
  const run = new RunReader(session, runId)
  for await (const records of session.batches({ from, raw: true, signal })) {
    for (const record of gathered(records, runId)) {
      if (record.kind === 'token') {
        const event = await run.take(record)
        if (event !== null) yield { event: event.event, data: await revived(event.data), cursor: record.cursor }
      } else if (record.kind === 'stream') {
        const { state, detail } = record
        if (state === 'done' || state === 'stopped' || state === 'failed') return { state, detail }
      }
    }
  }
  throw new LitetopicError('CLOSED', `topic ${session.name} was closed before run ${runId} ended`, { runId })
}

/** Makes events of tokens. */
class RunReader {
  private readonly session: Session
  private readonly runId: string
  private readonly heads = new Map<string, PlainEvent>()
  /** By part. */
  private readonly pieces = new Map<string, string>()

  constructor(session: Session, runId: string) {
    this.session = session
    this.runId = runId
  }

  /** Null if there is more to it. */
  async take({ part, text = '', value }: TokenRecord): Promise<PlainEvent | null> {
    if (part.startsWith(TEXT_PARTS)) return withText(await this.head(part), text)
    if (part.startsWith(PIECES_PARTS)) this.pieces.set(part, (this.pieces.get(part) ?? '') + text)
    if (part !== EVENT_PART || value === null || typeof value !== 'object') return null
    if (!('pieces' in value)) return value as unknown as PlainEvent
    const from = String(value.pieces)
    const json = this.pieces.get(from) ?? ''
    this.pieces.delete(from)
    return JSON.parse(json) as PlainEvent
  }

  private async head(part: string): Promise<PlainEvent> {
    const known = this.heads.get(part)
    if (known !== undefined) return known
    const json = await this.session.context.get(headName(this.runId, part))
    if (typeof json !== 'string') {
      const what = `part ${part} of stream ${this.runId}`
      throw new LitetopicError('BAD_VALUE', `${what} in topic ${this.session.name} was not written by streamRun`)
    }
    const head = JSON.parse(json) as PlainEvent
    this.heads.set(part, head)
    return head
  }
}

/** The records of the stream; text of one part that came before the reader did as one. */
function* gathered(records: readonly SessionRecord[], streamId: string): Generator<SessionRecord> {
  let run: TokenRecord | null = null
  for (const record of records) {
    if ((record.kind !== 'token' && record.kind !== 'stream') || record.streamId !== streamId) continue
    if (run !== null && canJoin(run, record)) {
      run = { ...record, text: (run.text ?? '') + (record.text ?? '') }
      continue
    }
    if (run !== null) yield run
    run = null
    if (record.kind === 'token') run = record
    else yield record
  }
  if (run !== null) yield run
}

function canJoin(run: TokenRecord, record: SessionRecord): record is TokenRecord {
  return record.kind === 'token' && !record.live && record.part === run.part && run.part.startsWith(TEXT_PARTS)
}
