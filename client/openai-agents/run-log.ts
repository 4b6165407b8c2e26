/**
 * Writes a run into its token stream. After a takeover the SDK begins the last turn anew, and what it says again is compared with what is
 * stored, not stored twice: the model's answer comes from the log if it was whole, and is void if it was not.
 */

import type { ResponseStreamEvent, RunStreamEvent } from '@openai/agents-core'
import { LitetopicError, type Session, type StreamWriter } from '../index.ts'
import {
  type BeginEntry,
  type FinalEntry,
  type StoredEvent,
  storedEvent,
  type TurnEntry,
  writeEntry,
} from './entries.ts'
import { sameJson } from './json.ts'
import { readEntries } from './read-run.ts'

/** What is stored of a run that was cut off. */
export interface Past {
  begin: BeginEntry | null
  /** The last turn that began. */
  turn: TurnEntry | null
  /** What came since. */
  events: StoredEvent[]
  final: FinalEntry | null
}

/** What is known of a turn as it begins. */
export type TurnStart = Omit<TurnEntry, 'attempt' | 'kept'>

/** What was stored before this writer. */
export async function readPast(session: Session<unknown>, stream: StreamWriter): Promise<Past> {
  const past: Past = { begin: null, turn: null, events: [], final: null }
  if (!stream.resumed) return past
  for await (const entry of readEntries(session, stream.id, {})) {
    if (entry.kind === 'state' && entry.offset === stream.fence) break
    if (entry.kind === 'begin') past.begin = entry.value
    if (entry.kind === 'final') past.final = entry.value
    if (entry.kind === 'event') past.events.push(entry.value)
    if (entry.kind === 'turn') {
      past.turn = entry.value
      past.events.length = entry.value.kept
    }
  }
  return past
}

export class RunLog {
  private readonly stream: StreamWriter
  /** Of the turn that was cut off; stored already as far as the SDK says the same again. */
  private readonly past: Past
  private said = 0
  private isReplayed = false
  /** The turn that begins with the next event of the model. */
  private next: TurnEntry | null = null
  private turn: TurnEntry | null
  /** Events of the model: given to the SDK, and written. */
  private given = 0
  private written = 0
  private waiting: (() => void)[] = []
  private over = false

  constructor(stream: StreamWriter, past: Past) {
    this.stream = stream
    this.past = past
    this.turn = past.turn
  }

  /** The answer of the model that was stored before the run was cut off, if it was whole; once. */
  storedAnswer(): ResponseStreamEvent[] | null {
    const { events, turn } = this.past
    if (turn === null || this.isReplayed) return null
    this.isReplayed = true
    const answer = events.flatMap((event) => (event.type === 'raw_model_stream_event' ? [event.data] : []))
    if (!answer.some(({ type }) => type === 'response_done')) {
      events.length = 0
      return null
    }
    return answer as unknown as ResponseStreamEvent[]
  }

  /** The model is asked. What it was asked before in the same turn is void. */
  begins(turn: TurnStart): void {
    const attempt = this.turn?.turn === turn.turn ? this.turn.attempt + 1 : 1
    this.next = { ...turn, attempt, kept: 0 }
  }

  /** Everything that the SDK says, in its order. Resolves when there is room for more. Rejects with BAD_REQUEST for a model of which it knows nothing. */
  async write(event: RunStreamEvent): Promise<void> {
    const isOfModel = event.type === 'raw_model_stream_event'
    if (isOfModel && this.written === this.given) throw unknownModel()
    if (isOfModel && this.next !== null) await this.beginTurn(this.next)
    await this.writeOrCompare(storedEvent(event))
    if (!isOfModel) return
    this.written++
    this.wake()
  }

  /** An event of the model is given to the SDK. */
  gives(): void {
    this.given++
  }

  /** Resolves when what was given has been written, all of it. False if there will be no more writing. */
  async caughtUp(): Promise<boolean> {
    while (this.written < this.given && !this.over) await new Promise<void>((resolve) => this.waiting.push(resolve))
    return !this.over
  }

  /** Nothing is written any more; who waits need not. */
  end(): void {
    this.over = true
    this.wake()
  }

  private async writeOrCompare(event: StoredEvent): Promise<void> {
    const before = this.past.events[this.said]
    if (before === undefined) await writeEntry(this.stream, { kind: 'event', value: event })
    else if (sameJson(event, before)) this.said++
    else await this.differs(event)
  }

  private async beginTurn(turn: TurnEntry): Promise<void> {
    this.next = null
    this.turn = turn
    await writeEntry(this.stream, { kind: 'turn', value: turn })
  }

  /** The SDK goes another way than before, as a tool that ran again may have had another output: what came from there on is void. */
  private async differs(event: StoredEvent): Promise<void> {
    const turn = this.turn as TurnEntry
    this.past.events.length = 0
    await this.beginTurn({ ...turn, attempt: turn.attempt + 1, kept: this.said })
    await writeEntry(this.stream, { kind: 'event', value: event })
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}

function unknownModel(): LitetopicError {
  const advice = 'name it by text, for the modelProvider of the config, or give it as the model of the config'
  return new LitetopicError('BAD_REQUEST', `an agent of a stored run has a model object of its own: ${advice}`)
}
