/** The SDK's own client in the loop of the guide: it looks that what it is shown fits what it has. */

import { setTimeout } from 'node:timers/promises'
import { Role, type StreamResponse, type Task, TaskState } from '@a2a-js/sdk'
import { type Client, ClientFactory } from '@a2a-js/sdk/client'
import { runSample, sampleOf } from '../guides.ts'
import { cardOf, countedIn, GUIDE, partOf, textOf } from './guide-server.ts'

const TERMINAL = [TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_CANCELED]

export class CountingClient {
  /** The steps that are shown. */
  shown: number[] = []
  /** Steps that came as events, and tasks that came whole. */
  events = 0
  tasks = 0
  state: TaskState | undefined
  taskId = ''
  readonly client: Client

  constructor(client: Client) {
    this.client = client
  }

  static async at(url: string): Promise<CountingClient> {
    return new CountingClient(await new ClientFactory().createFromAgentCard(cardOf(url)))
  }

  /** Until the task has ended. */
  async count(steps: number, goesOn: (task: Task) => Promise<boolean> = async () => true): Promise<void> {
    const given = {
      client: this.client,
      request: this.request(steps),
      isTerminal: (state: TaskState) => TERMINAL.includes(state),
      show: (payload: StreamResponse['payload']) => this.show(payload),
      goesOn,
      setTimeout: () => setTimeout(5),
    }
    await runSample(sampleOf(GUIDE, 'Come back'), given)
  }

  request(steps: number, taskId = '') {
    return {
      tenant: '',
      message: {
        messageId: crypto.randomUUID(),
        role: Role.ROLE_USER,
        contextId: '',
        taskId,
        parts: [partOf(`${steps}`)],
        metadata: undefined,
        extensions: [],
        referenceTaskIds: [],
      },
      configuration: undefined,
      metadata: undefined,
    }
  }

  show(payload: StreamResponse['payload']): void {
    if (payload?.$case === 'task') {
      this.tasks++
      this.taskId = payload.value.id
      const counted = countedIn(payload.value)
      if (counted.length < this.shown.length) throw new Error(`the task has ${counted.length} of ${this.shown.length}`)
      this.shown = counted
      this.state = payload.value.status?.state
    }
    if (payload?.$case === 'artifactUpdate') {
      this.events++
      this.shown.push(...(payload.value.artifact?.parts ?? []).map((part) => Number(textOf(part))))
    }
    if (payload?.$case === 'statusUpdate') this.state = payload.value.status?.state
  }
}
