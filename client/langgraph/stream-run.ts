/** Stores what a run streams, as it comes, so that whoever wants it reads it from where it likes, now or later. */

import type { Session, StreamResult, StreamWriter } from '../index.ts'
import {
  EVENT_PART,
  headName,
  PIECES_PARTS,
  type PlainEvent,
  plainEvent,
  runEvent,
  splitText,
  TEXT_PARTS,
} from './run-events.ts'

/** How a run begins. */
export interface RunStart {
  /** Aborted when the run is stopped: give it to the graph. */
  readonly signal: AbortSignal
  /** Was the run begun before, and cut off? Then the graph goes on with the input null. */
  readonly resumed: boolean
}

/** JSON text of more UTF-16 units is written in pieces. */
const EVENT_UNITS = 32_768

/**
 * Runs a graph and stores what its `stream` yields in the session, under the id of the run; once, as `session.generate` does: for a run that has ended its
 * outcome comes back, one that runs elsewhere is followed, one that was cut off is started again, `resumed`. `streamMode` must be `messages`,
 * or a list. Resolves with how it ended: what the graph throws is `error`, and the run has `failed`.
 */
export function streamRun(
  session: Session,
  runId: string,
  start: (run: RunStart) => AsyncIterable<unknown> | Promise<AsyncIterable<unknown>>,
): Promise<StreamResult> {
  return session.generate(runId, async (stream, signal) => {
    const run = new RunWriter(session, stream)
    for await (const item of await start({ signal, resumed: stream.resumed })) {
      signal.throwIfAborted()
      await run.write(await plainEvent(runEvent(item)))
    }
  })
}

class RunWriter {
  private readonly session: Session
  private readonly stream: StreamWriter
  /** By what the chunks of it have in common, as JSON text. */
  private readonly parts = new Map<string, string>()

  constructor(session: Session, stream: StreamWriter) {
    this.session = session
    this.stream = stream
  }

  /** Resolves when there is room for more. */
  async write(plain: PlainEvent): Promise<void> {
    const chunk = splitText(plain)
    if (chunk === null) return this.writeJson(plain)
    const part = await this.partOf(chunk.head)
    if (!this.stream.write(chunk.text, { part })) await this.stream.ready
  }

  /** The part for the text of such chunks. What they have in common is on its way before any text of them. */
  private async partOf(head: PlainEvent): Promise<string> {
    const json = JSON.stringify(head)
    const known = this.parts.get(json)
    if (known !== undefined) return known
    const part = `${TEXT_PARTS}${this.stream.fence}:${this.parts.size}`
    this.parts.set(json, part)
    await this.session.context.set(headName(this.stream.id, part), json)
    return part
  }

  private async writeJson(plain: PlainEvent): Promise<void> {
    const json = JSON.stringify(plain)
    if (json.length <= EVENT_UNITS) {
      if (!this.stream.writeJson(JSON.parse(json), { part: EVENT_PART })) await this.stream.ready
      return
    }
    const part = `${PIECES_PARTS}${this.stream.fence}`
    await this.stream.pipe(cut(json), { part })
    this.stream.writeJson({ pieces: part }, { part: EVENT_PART })
  }
}

function* cut(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += EVENT_UNITS) yield text.slice(at, at + EVENT_UNITS)
}
