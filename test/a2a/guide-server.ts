/** The A2A server of the guide, run as it stands there, with an agent whose steps a test lets go on. */

import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AgentCard, type Artifact, type Part, type Task, TaskState } from '@a2a-js/sdk'
import { AgentEvent, type AgentExecutor, type ExecutionEventBus, type RequestContext } from '@a2a-js/sdk/server'
import { jsonRpcHandler, UserBuilder } from '@a2a-js/sdk/server/express'
import { LitetopicRequestHandler, LitetopicTasks, type TasksOptions } from '../../client/a2a/index.ts'
import type { Broker } from '../../client/index.ts'
import { runSample } from '../guides.ts'
import type { Permit } from '../permits.ts'

export const GUIDE = new URL('../../client/a2a/README.md', import.meta.url)
/** That of the SDK's own dependencies: its name is not known to the compiler. */
const EXPRESS: string = 'express'

export interface GuideServer {
  readonly port: number
  readonly server: Server
  readonly tasks: LitetopicTasks
  /** What was not stored. */
  readonly errors: unknown[]
  readonly executor: CountingAgent
}

export async function serveGuide(sample: string, broker: Broker, permit: Permit, port = 0): Promise<GuideServer> {
  const { default: express } = (await import(EXPRESS)) as { default: () => { listen: unknown } & RequestListener }
  let tasks: LitetopicTasks | undefined
  let listener: RequestListener | undefined
  const errors: unknown[] = []
  const executor = new CountingAgent(permit)
  class Tasks extends LitetopicTasks {
    constructor(to: Broker, options: TasksOptions) {
      super(to, { ...options, onError: (error) => errors.push(error) })
      tasks = this
    }
  }
  const app = (): unknown => {
    const made = express()
    made.listen = () => {
      listener = made
    }
    return made
  }
  const given = {
    jsonRpcHandler,
    UserBuilder,
    express: app,
    connect: () => broker,
    LitetopicRequestHandler,
    LitetopicTasks: Tasks,
    agentCard: cardOf(''),
    executor,
  }
  await runSample(sample, given)
  if (tasks === undefined || listener === undefined) throw new Error('the sample makes no server')
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, server, tasks, errors, executor }
}

/** The card of the agent at that address. */
export function cardOf(url: string): AgentCard {
  return AgentCard.fromJSON({
    name: 'counting',
    description: 'counts',
    version: '1',
    capabilities: { streaming: true },
    defaultInputModes: ['text'],
    defaultOutputModes: ['text'],
    supportedInterfaces: [{ url: `${url}/a2a`, protocolBinding: 'JSONRPC', protocolVersion: '1.0' }],
  })
}

/** Adds a part to its artifact for each step up to the number that it is told, from behind those that the task has. */
export class CountingAgent implements AgentExecutor {
  /** Of what was executed last. */
  bus: ExecutionEventBus | undefined
  private readonly permit: Permit
  private readonly canceled = new Set<string>()

  constructor(permit: Permit) {
    this.permit = permit
  }

  async execute(context: RequestContext, bus: ExecutionEventBus): Promise<void> {
    this.bus = bus
    const { taskId, contextId, task, userMessage } = context
    const steps = Number(textOf(userMessage.parts[0]))
    const begun: Task = task ?? {
      id: taskId,
      contextId,
      history: [userMessage],
      artifacts: [],
      metadata: {},
      status: undefined,
    }
    const status = { state: TaskState.TASK_STATE_WORKING, message: undefined, timestamp: new Date().toISOString() }
    bus.publish(AgentEvent.task({ ...begun, status }))
    for (let step = countedIn(task).length + 1; step <= steps; step++) {
      await this.permit(step)
      if (this.canceled.has(taskId)) break
      const artifact = artifactOf(`${step}`)
      const append = step > 1
      bus.publish(
        AgentEvent.artifactUpdate({ taskId, contextId, artifact, append, lastChunk: step === steps, metadata: {} }),
      )
    }
    const state = this.canceled.has(taskId) ? TaskState.TASK_STATE_CANCELED : TaskState.TASK_STATE_COMPLETED
    bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: { ...status, state }, metadata: {} }))
  }

  async cancelTask(taskId: string): Promise<void> {
    this.canceled.add(taskId)
  }
}

/** The steps that the task has. */
export function countedIn(task: Task | undefined): number[] {
  return (task?.artifacts[0]?.parts ?? []).map((part) => Number(textOf(part)))
}

export function textOf(part: Part | undefined): string {
  return part?.content?.$case === 'text' ? part.content.value : ''
}

export function partOf(value: string): Part {
  return { content: { $case: 'text', value }, metadata: undefined, filename: '', mediaType: 'text/plain' }
}

export function artifactOf(text: string): Artifact {
  return { artifactId: 'out', name: '', description: '', parts: [partOf(text)], metadata: undefined, extensions: [] }
}
