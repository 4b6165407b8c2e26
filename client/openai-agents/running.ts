/** One process at work on a stored run: from what is stored of it to what it comes to. */

import {
  type AgentInputItem,
  type RunConfig,
  RunContext,
  Runner,
  RunState,
  type RunStreamEvent,
  type StreamedRunResult,
  type StreamRunOptions,
  ToolCallError,
} from '@openai/agents-core'
import { isLitetopicError, type Json, type Session, type StreamWriter } from '../index.ts'
import type { AgentSession } from './agent-session.ts'
import { type BeginEntry, type FinalEntry, type TurnEntry, writeEntry } from './entries.ts'
import { ModelCalls, type RunProgress } from './model-calls.ts'
import { runsIn } from './once-tool.ts'
import { RunLog, readPast } from './run-log.ts'
import { RunMemory } from './run-memory.ts'

/** An agent of any context and output, as the SDK's `run` takes it. */
export type AnyAgent = Parameters<Runner['run']>[0]

/** How a run begins: with text, with items, or with the state of another run, to go on from. */
export type RunInput<C> = string | AgentInputItem[] | RunState<C, AnyAgent>

/** Options of the SDK's `run`, and some of the run as a stored one. */
export interface StoredRunOptions<C> extends Omit<StreamRunOptions<C, AnyAgent>, 'stream' | 'session'> {
  /** The memory: what the run adds to it is added once, whoever takes the run over. */
  readonly session?: AgentSession
  /** Of the SDK's `Runner`: models, guardrails, tracing. A model that is an object, not a name, is given here. */
  readonly config?: Partial<RunConfig>
  /** Told of each event where it runs. What is stored is for `readRun`. */
  readonly onEvent?: (event: RunStreamEvent) => void
}

type Result<C> = StreamedRunResult<C, AnyAgent>

export class Running<C> {
  private readonly session: Session<unknown>
  private readonly stream: StreamWriter
  private readonly agent: AnyAgent
  private readonly options: StoredRunOptions<C>
  private memory: RunMemory | undefined

  constructor(session: Session<unknown>, stream: StreamWriter, agent: AnyAgent, options: StoredRunOptions<C>) {
    this.session = session
    this.stream = stream
    this.agent = agent
    this.options = options
  }

  /** Rejects with what the run throws, and with what ends the stream. */
  async run(input: RunInput<C>, signal: AbortSignal): Promise<FinalEntry> {
    const { stream } = this
    const past = await readPast(this.session, stream)
    if (past.final !== null) return past.final
    if (stream.resumed) await writeEntry(stream, { kind: 'takeover', value: null })
    const isNew = past.begin === null
    const begin = past.begin ?? beginOf(input)
    if (isNew) await writeEntry(stream, { kind: 'begin', value: begin })
    const log = new RunLog(stream, past)
    try {
      const from = isNew && input instanceof RunState ? input : await this.resumed(begin, past.turn)
      this.memory = this.memoryFrom(begin, past.turn)
      const result = await this.start(from, log, signal)
      for await (const event of result) {
        this.options.onEvent?.(event)
        await log.write(event)
      }
      await result.completed
      signal.throwIfAborted()
      const final = finalOf(result)
      await this.memory?.store()
      await writeEntry(stream, { kind: 'final', value: final })
      return final
    } catch (error) {
      throw error instanceof ToolCallError && isLitetopicError(error.error) ? error.error : error
    } finally {
      log.end()
    }
  }

  /** The run has failed or was stopped: what the SDK added to the memory, such as the input, is stored. */
  async gaveUp(): Promise<void> {
    await this.memory?.store()
  }

  private async start(
    from: AgentInputItem[] | RunState<C, AnyAgent>,
    log: RunLog,
    signal: AbortSignal,
  ): Promise<Result<C>> {
    const { memory } = this
    const { config = {}, onEvent: _, ...options } = this.options
    const context = from instanceof RunState ? from._context : contextOf(options.context)
    runsIn(context, { session: this.session, id: this.stream.id })
    let begin: (progress: RunProgress) => void = () => {}
    const begun = new Promise<RunProgress>((resolve) => {
      begin = resolve
    })
    const calls = new ModelCalls(this.stream, log, begun)
    const runner = new Runner(calls.config(config, new Runner(config).config.modelProvider))
    const result = await runner.run(this.agent, from, { ...options, session: memory, context, signal, stream: true })
    begin({
      get turn() {
        return result.currentTurn
      },
      async start() {
        // The state says that it is stored.
        await memory?.store()
        const start = { turn: result.currentTurn, stored: memory?.stored ?? 0 }
        // The first turn of an input is begun again from the input: guardrails may be at work on it still.
        const isFirst = start.turn === 1 && !(from instanceof RunState)
        return isFirst ? start : { ...start, state: stateOf(result.state) }
      },
    })
    return result
  }

  private memoryFrom(begin: BeginEntry, turn: TurnEntry | null): RunMemory | undefined {
    const { session: memory } = this.options
    if (memory === undefined) return undefined
    // Without a state the run begins anew, and the SDK adds the input.
    if (turn?.state === undefined) return new RunMemory(memory, this.stream.id, 0, [])
    const input = turn.stored === 0 && 'input' in begin ? begin.input : []
    return new RunMemory(memory, this.stream.id, turn.stored, input)
  }

  /** As it was stored, with the context of now if there is one. */
  private resumed(begin: BeginEntry, turn: TurnEntry | null): AgentInputItem[] | Promise<RunState<C, AnyAgent>> {
    const state = turn?.state ?? ('state' in begin ? begin.state : null)
    if (state === null) return 'input' in begin ? [...begin.input] : []
    const { context } = this.options
    if (context === undefined) return RunState.fromString<C, AnyAgent>(this.agent, state)
    return RunState.fromStringWithContext<C, AnyAgent>(this.agent, state, contextOf(context))
  }
}

function contextOf<C>(context: C | RunContext<C> | undefined): RunContext<C> {
  return context instanceof RunContext ? context : new RunContext(context)
}

/**
 * The state between two turns. Behind a handoff it must not name what the agent before had to do, which is done: the SDK would look for
 * it in the agent of now. It leaves that out itself where it goes on from an approval.
 */
function stateOf<C>(state: RunState<C, AnyAgent>): string {
  const { lastProcessedResponse, ...rest } = state.toJSON()
  const isHandoff = lastProcessedResponse !== undefined && lastProcessedResponse.handoffs.length > 0
  return JSON.stringify(isHandoff ? rest : { ...rest, lastProcessedResponse })
}

/** Text is stored as the item that it is, so that it is added to the memory as that, whoever does it. */
function beginOf<C>(input: RunInput<C>): BeginEntry {
  if (input instanceof RunState) return { state: input.toString() }
  return { input: typeof input === 'string' ? [{ type: 'message', role: 'user', content: input }] : input }
}

function finalOf<C>(result: Result<C>): FinalEntry {
  const interruptions = result.interruptions.map((item) => item.toJSON() as unknown as Json)
  if (interruptions.length > 0) return { output: null, interruptions, state: result.state.toString() }
  return { output: (result.finalOutput ?? null) as unknown as Json, interruptions }
}
