/** Reading a stored run: from its beginning or from any of its entries on, through lost connections, to its end. */

import { type Json, LitetopicError, type Session, type SessionRecord, type StreamState } from '../index.ts'
import { type Entry, EntryReader, type StoredEvent } from './entries.ts'

export interface ReadRunOptions {
  /** The position of the last entry that was read. Default: from the beginning. */
  readonly from?: string
  /** Ends the reading: the iterator rejects with its reason. */
  readonly signal?: AbortSignal
}

/** What is told of a run. `position` is where to read on behind it: text that is to be kept as it is. */
export type RunEntry = { readonly position: string } & (
  | { readonly kind: 'event'; readonly event: StoredEvent }
  /**
   * A turn begins: the model is asked. With an `attempt` beyond 1 it is done again after an interruption: of the events that came of it
   * before, the first `kept` stand, and the others are void. Mostly that is all of them: the answer was cut off.
   */
  | { readonly kind: 'turn'; readonly turn: number; readonly attempt: number; readonly kept: number }
  /** What the run came to. `interruptions` are tool calls that wait for approval. */
  | { readonly kind: 'final'; readonly output: Json; readonly interruptions: readonly Json[] }
  /** `lost`: who runs it is gone; `resumed`: it, or another, goes on. `done`, `stopped` and `failed` are ends. */
  | { readonly kind: 'state'; readonly state: StreamState; readonly detail?: Json }
)

/** The same with what is not for readers. */
export type PlacedEntry = { readonly position: string } & (
  | Entry
  | { readonly kind: 'state'; readonly state: StreamState; readonly detail?: Json; readonly offset: number }
)

const END = 'end'
const SKIPPED = '+'

/**
 * The entries of a run, those that are there and those to come, each once and in order, to its end; a run that has not begun is waited for. Rejects
 * with TRIMMED if the beginning is gone, with BAD_CURSOR for a position that is none, and like `records` of the session.
 */
export async function* readRun(
  session: Session<unknown>,
  id: string,
  options: ReadRunOptions = {},
): AsyncGenerator<RunEntry, undefined> {
  for await (const entry of readEntries(session, id, options)) {
    const { position } = entry
    if (entry.kind === 'event') yield { kind: 'event', event: entry.value, position }
    else if (entry.kind === 'turn') {
      const { turn, attempt, kept } = entry.value
      yield { kind: 'turn', turn, attempt, kept, position }
    } else if (entry.kind === 'final') {
      const { output, interruptions } = entry.value
      yield { kind: 'final', output, interruptions, position }
    } else if (entry.kind === 'state') {
      const { state, detail } = entry
      yield { kind: 'state', state, ...(detail === undefined ? {} : { detail }), position }
    }
  }
}

/** All entries of a run, those for its successor too. */
export async function* readEntries(
  session: Session<unknown>,
  id: string,
  { from, signal }: ReadRunOptions,
): AsyncGenerator<PlacedEntry, undefined> {
  if (from === END) return
  const place = from === undefined ? await beginning(session, id) : placeOf(from)
  const reader = new PlacedReader(id, place)
  for await (const record of session.records({ from: place.from, signal })) {
    for (const entry of reader.take(record)) {
      yield entry
      if (entry.position === END) return
    }
  }
}

/** Where to read from, and how many tokens of the run to leave out there. */
interface Place {
  readonly from: string | { readonly offset: number }
  readonly skip: number
}

/**
 * Positions are cursors of the session; where records of parallel streams overlap, or several tokens came as one, no cursor stands
 * between two entries: then it is the cursor before them, and how many tokens of the run have come since.
 */
class PlacedReader {
  private readonly id: string
  private readonly entries = new EntryReader()
  private cursor: string | null
  private tokens = 0
  private skip: number

  constructor(id: string, place: Place) {
    this.id = id
    this.cursor = typeof place.from === 'string' ? place.from : null
    this.skip = place.skip
  }

  *take(record: SessionRecord<unknown>): Generator<PlacedEntry> {
    if (record.kind === 'token' && record.streamId === this.id) {
      let left = record.count
      for (const entry of this.entries.take(record)) {
        left--
        this.tokens++
        if (this.skip > 0) this.skip--
        else if (entry !== null) yield { ...entry, position: left === 0 ? this.behind(record) : this.position }
      }
    } else if (record.kind === 'stream' && record.streamId === this.id) {
      const { state, detail, offset } = record
      const isEnd = state === 'done' || state === 'stopped' || state === 'failed'
      yield { kind: 'state', state, detail, offset, position: isEnd ? END : this.behind(record) }
    }
    this.behind(record)
  }

  /** The position behind the whole record, where the next one begins. */
  private behind({ cursor }: SessionRecord<unknown>): string {
    if (cursor !== this.cursor) this.tokens = 0
    this.cursor = cursor
    return this.position
  }

  private get position(): string {
    return this.tokens === 0 ? `${this.cursor}` : `${this.cursor}${SKIPPED}${this.tokens}`
  }
}

async function beginning(session: Session<unknown>, id: string): Promise<Place> {
  const { cursor } = session
  const stream = await session.stream(id)
  return { from: stream === null ? cursor : { offset: stream.openOffset }, skip: 0 }
}

/** Throws BAD_CURSOR. The cursor itself is judged where it is used. */
function placeOf(position: string): Place {
  const [cursor = '', skip = '0', ...rest] = position.split(SKIPPED)
  if (rest.length === 0 && /^\d{1,15}$/.test(skip)) return { from: cursor, skip: Number(skip) }
  throw new LitetopicError('BAD_CURSOR', 'the position is not one of a run')
}
