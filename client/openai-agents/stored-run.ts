/**
 * A run of the SDK that is stored as it goes, in one token stream of a session. Who starts it again, anywhere, gets what it came to,
 * follows it while it runs elsewhere, or takes it over where its process was lost.
 */

import type { Json, Session, StreamEnd } from '../index.ts'
import type { FinalEntry } from './entries.ts'
import { readEntries } from './read-run.ts'
import { type AnyAgent, type RunInput, Running, type StoredRunOptions } from './running.ts'

/** What a run came to. */
export interface StoredRun {
  readonly end: StreamEnd
  /** The final output of a run that is `done`; null if there is none, as tool calls wait for approval. */
  readonly output: Json | undefined
  /** Tool calls that wait for approval: approve them in `state`, and run that, under another id. */
  readonly interruptions: readonly Json[]
  /** For `RunState.fromString`, if there are interruptions. */
  readonly state: string | undefined
  /** `{ message }` of a failure, `{ reason }` of a stop. */
  readonly detail: Json | undefined
  /** What the run threw, if it ran here and failed. */
  readonly error?: unknown
}

/**
 * Runs the agent, once, and stores the events as they come, for `readRun`. An interrupted run is taken over in the turn where it was: an
 * answer of the model that is stored is not asked for again, half of one is void, and calls of tools made by `onceTool` that have an
 * output do not run again. What the run throws makes it one that has `failed`, with `error`. `agent` and `config` must be what they
 * were; `input` counts where the run begins. Rejects, like `generate`, with what ends the session.
 */
export async function storedRun<C = undefined>(
  session: Session<unknown>,
  id: string,
  agent: AnyAgent,
  input: RunInput<C>,
  options: StoredRunOptions<C> = {},
): Promise<StoredRun> {
  const ran: { final: FinalEntry | null; here: Running<C> | null } = { final: null, here: null }
  const { end, detail, error } = await session.generate(
    id,
    async (stream, signal) => {
      ran.here = new Running(session, stream, agent, options)
      ran.final = await ran.here.run(input, signal)
    },
    { signal: options.signal },
  )
  if (end !== 'done') await ran.here?.gaveUp()
  const final = end === 'done' ? (ran.final ?? (await storedFinal(session, id))) : null
  return {
    end,
    detail,
    output: final?.output,
    interruptions: final?.interruptions ?? [],
    state: final?.state,
    ...(error === undefined ? {} : { error }),
  }
}

async function storedFinal(session: Session<unknown>, id: string): Promise<FinalEntry | null> {
  let final: FinalEntry | null = null
  for await (const entry of readEntries(session, id, {})) if (entry.kind === 'final') final = entry.value
  return final
}
