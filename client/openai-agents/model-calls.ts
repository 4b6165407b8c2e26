/**
 * Stands before the models of a run. There the SDK is between two steps: its state can be stored, what the model says is stored before
 * anything is done with it, and an answer that is stored already is given without asking again.
 */

import type { Model, ModelProvider, ModelRequest, ResponseStreamEvent, RunConfig } from '@openai/agents-core'
import type { StreamWriter } from '../index.ts'
import type { RunLog, TurnStart } from './run-log.ts'

/** How far the run is. */
export interface RunProgress {
  /** The number of the turn that has begun. */
  readonly turn: number
  /** What is to be stored as it begins. */
  start(): Promise<TurnStart>
}

export class ModelCalls {
  private readonly stream: StreamWriter
  private readonly log: RunLog
  /** Resolves when the SDK has begun: its models may be asked before it says so. */
  private readonly begun: Promise<RunProgress>
  private turn: number | null = null
  private isAnswering = false

  constructor(stream: StreamWriter, log: RunLog, begun: Promise<RunProgress>) {
    this.stream = stream
    this.log = log
    this.begun = begun
  }

  /** The configuration with its models behind this. */
  config(config: Partial<RunConfig>, defaults: ModelProvider): Partial<RunConfig> {
    const { model, modelProvider = defaults } = config
    return {
      ...config,
      ...(model === undefined || typeof model === 'string' ? {} : { model: this.before(model) }),
      modelProvider: { getModel: async (name) => this.before(await modelProvider.getModel(name)) },
    }
  }

  private before(model: Model): Model {
    return {
      supportsPromptModelSelection: model.supportsPromptModelSelection,
      getResponse: (request) => model.getResponse(request),
      getStreamedResponse: (request) => this.answer(model, request),
      getRetryAdvice: (asked) => model.getRetryAdvice?.(asked),
    }
  }

  private async *answer(model: Model, request: ModelRequest): AsyncGenerator<ResponseStreamEvent> {
    const progress = await this.begun
    // Agents that are tools of another one ask while no turn of the run has begun.
    if (!this.isAnswering && progress.turn === this.turn) {
      yield* model.getStreamedResponse(request)
      return
    }
    this.isAnswering = true
    this.turn = progress.turn
    const stored = this.log.storedAnswer()
    if (stored === null) this.log.begins(await progress.start())
    for await (const event of stored ?? model.getStreamedResponse(request)) {
      this.log.gives()
      yield event
      if (!(await this.log.caughtUp())) return
    }
    // Tools run now: the calls that they follow from must not be forgotten.
    await this.stream.flush()
    this.isAnswering = false
  }
}
