/** The SDK's request handler, whose `resubscribe` also follows what other processes do, and leaves nothing out in between. */

import type { StreamResponse, SubscribeToTaskRequest } from '@a2a-js/sdk'
import {
  type AgentExecutor,
  DefaultRequestHandler,
  type DefaultRequestHandlerOptions,
  type ServerCallContext,
} from '@a2a-js/sdk/server'
import type { LitetopicTasks } from './tasks.ts'

type Parameters = ConstructorParameters<typeof DefaultRequestHandler>

/** All that a DefaultRequestHandler takes beyond what must be there. */
export interface HandlerOptions extends DefaultRequestHandlerOptions {
  readonly pushNotificationStore?: Parameters[4]
  readonly pushNotificationSender?: Parameters[5]
  readonly extendedAgentCardProvider?: Parameters[6]
  readonly agentCardSignatureGenerator?: Parameters[7]
}

export class LitetopicRequestHandler extends DefaultRequestHandler {
  private readonly tasks: LitetopicTasks

  constructor(agentCard: Parameters[0], tasks: LitetopicTasks, executor: AgentExecutor, options: HandlerOptions = {}) {
    const { pushNotificationStore, pushNotificationSender } = options
    const { extendedAgentCardProvider, agentCardSignatureGenerator, ...rest } = options
    super(
      agentCard,
      tasks,
      executor,
      tasks,
      pushNotificationStore,
      pushNotificationSender,
      extendedAgentCardProvider,
      agentCardSignatureGenerator,
      rest,
    )
    this.tasks = tasks
  }

  /** The task, and then every event that it does not include yet, each once and in order. */
  override async *resubscribe(
    params: SubscribeToTaskRequest,
    context: ServerCallContext,
  ): AsyncGenerator<StreamResponse, void, undefined> {
    // The SDK's own part: what may be asked for, and the task.
    const before = super.resubscribe(params, context)
    const { value: first } = await before.next()
    await before.return()
    if (first === undefined) return
    yield first
    if (first.payload?.$case === 'task') yield* this.tasks.follow(first.payload.value, context)
  }
}
