/**
 * Tasks of an A2A agent: store and buses in one, as both are the log of the task. What the SDK keeps in memory is durable here, and known
 * to every process.
 */

import type { ListTasksRequest, ListTasksResponse, StreamResponse, Task } from '@a2a-js/sdk'
import {
  type ExecutionEventBus,
  type ExecutionEventBusManager,
  InMemoryTaskStore,
  type OwnerResolver,
  resolveUserScope,
  ServerCallContext,
  type TaskStore,
} from '@a2a-js/sdk/server'
import { type Broker, isLitetopicError, type Json, type Session, type SessionOptions } from '../index.ts'
import { offsetOf, SNAPSHOT, segment } from './codec.ts'
import { isInterrupted, isLast, isTerminal, stateOf, taskIdOf } from './states.ts'
import { TaskBus } from './task-bus.ts'
import { appendSnapshot, eventOf, isWritten, RUN_PREFIX, readTask, snapshotOf, type TaskView } from './task-log.ts'
import { TaskRun } from './task-run.ts'

export interface TasksOptions {
  /** Topics are named `<prefix>/<tenant>/<owner>/<task id>`, each as one segment. Default `a2a`. */
  readonly prefix?: string
  /** How long a task lasts after its last use, in ms. Default `forever`. */
  readonly lingerMs?: SessionOptions<Json>['lingerMs']
  /** Whose a task is. Default: the SDK's `resolveUserScope`. */
  readonly ownerResolver?: OwnerResolver
  /** Told why an event that was published is not stored, and nobody gets it: FENCED, GONE and the like. */
  readonly onError?: (error: unknown, taskId: string) => void
}

const NOBODY = new ServerCallContext()
/** Tasks that are read at once for a list. */
const READ_AT_ONCE = 16

export class LitetopicTasks implements TaskStore, ExecutionEventBusManager {
  private readonly broker: Broker
  private readonly options: TasksOptions
  private readonly buses = new Map<string, TaskBus>()
  private readonly runs = new Map<string, Promise<TaskRun>>()
  /** Runs that leave their topics. */
  private readonly leaving = new Map<string, Promise<void>>()

  constructor(broker: Broker, options: TasksOptions = {}) {
    this.broker = broker
    this.options = options
  }

  /** Rejects with what keeps the task from being stored: FENCED while another process works on it, STORE_UNAVAILABLE, BAD_NAME. */
  async save(task: Task, context: ServerCallContext): Promise<void> {
    const topic = this.topicOf(task.id, context)
    const run = await this.runs.get(topic)
    if (run !== undefined) {
      await run.save(task).finally(() => this.buses.get(topic)?.look())
      return
    }
    await this.leaving.get(topic)
    const { lingerMs = 'forever' } = this.options
    await using session = await this.broker.session<Json>(topic, { exclusive: true, lingerMs })
    await appendSnapshot(session, task)
  }

  /** The task with all events that are durable; where it is worked on, with those that were stored with it. */
  async load(taskId: string, context: ServerCallContext): Promise<Task | undefined> {
    const topic = this.topicOf(taskId, context)
    const run = await this.runs.get(topic)
    if (run !== undefined) return run.load()
    return (await this.look(topic))?.task
  }

  /** Reads every task of the owner, as the SDK's store in memory does. */
  async list(params: ListTasksRequest, context: ServerCallContext): Promise<ListTasksResponse> {
    const found = new InMemoryTaskStore(() => '')
    const topics: string[] = []
    for await (const topic of this.topicsOf(context)) topics.push(topic)
    for (let at = 0; at < topics.length; at += READ_AT_ONCE) {
      const views = await Promise.all(topics.slice(at, at + READ_AT_ONCE).map((topic) => this.look(topic)))
      for (const view of views) if (view?.task !== undefined) await found.save(view.task, NOBODY)
    }
    return found.list(params, NOBODY)
  }

  /** Does a process work on the task, as far as the broker knows? False within seconds after one has died. */
  async isRunning(taskId: string, context: ServerCallContext): Promise<boolean> {
    const view = await this.look(this.topicOf(taskId, context))
    return view !== null && view.runs.size > 0
  }

  createOrGetByTaskId(taskId: string, context: ServerCallContext = NOBODY): ExecutionEventBus {
    const topic = this.topicOf(taskId, context)
    const there = this.buses.get(topic)
    if (there !== undefined && !there.signal.aborted) {
      there.resume()
      return there
    }
    const bus: TaskBus = new TaskBus({
      begin: () => this.begin(topic, taskId),
      end: (run) => this.end(topic, run),
      forget: () => {
        if (this.buses.get(topic) === bus) this.buses.delete(topic)
      },
      failed: (error) => this.options.onError?.(error, taskId),
    })
    this.buses.set(topic, bus)
    return bus
  }

  getByTaskId(taskId: string, context: ServerCallContext = NOBODY): ExecutionEventBus | undefined {
    return this.buses.get(this.topicOf(taskId, context))
  }

  cleanupByTaskId(taskId: string, context: ServerCallContext = NOBODY): void {
    this.getByTaskId(taskId, context)?.finished()
  }

  /** Takes every bus of its own: what was published is delivered when it is durable, and the bus is settled behind that. */
  settleByTaskId(_taskId: string, bus: ExecutionEventBus): boolean {
    if (!(bus instanceof TaskBus)) return false
    bus.settle()
    return true
  }

  /**
   * What comes behind `task`, whoever publishes it, to the last event, or until nobody works on the task any more. Rejects with GONE when
   * it is deleted.
   */
  async *follow(task: Task, context: ServerCallContext): AsyncGenerator<StreamResponse, void, undefined> {
    const topic = this.topicOf(task.id, context)
    await using session = await this.broker.session<Json>(topic, { observe: true, create: false })
    const { nextOffset, streams = [] } = await session.describe()
    const runs = new Set(streams.filter(({ state }) => isWritten(state)).map(({ streamId }) => streamId))
    let state = task.status?.state
    const from = offsetOf(task) + 1
    const isOver = (at: number): boolean => at >= nextOffset && runs.size === 0 && !isInterrupted(state)
    if (isOver(from)) return
    for await (const record of session.records({ from: { offset: from } })) {
      const event = await eventOf(record)
      if (event !== null) {
        if (taskIdOf(event) === task.id) yield { payload: { $case: event.kind, value: event.data } } as StreamResponse
        if (isLast(event)) return
        state = stateOf(event) ?? state
      }
      if (record.kind === 'stream' && record.streamId.startsWith(RUN_PREFIX)) {
        if (isWritten(record.state)) runs.add(record.streamId)
        else runs.delete(record.streamId)
      }
      if (record.kind === 'checkpoint' && record.name === SNAPSHOT) {
        // Somebody has ended it without an event, such as one who cancels it where nobody works on it.
        const stored = await snapshotOf(session, record.state)
        if (stored !== undefined && isTerminal(stored.status?.state)) {
          const { id: taskId, contextId, status, metadata } = stored
          yield { payload: { $case: 'statusUpdate', value: { taskId, contextId, status, metadata } } }
          return
        }
      }
      if (isOver(record.lastOffset + 1)) return
    }
  }

  private begin(topic: string, taskId: string): Promise<TaskRun> {
    const { lingerMs = 'forever' } = this.options
    const beginning = (this.leaving.get(topic) ?? Promise.resolve()).then(() =>
      TaskRun.begin(this.broker, topic, taskId, lingerMs),
    )
    this.runs.set(topic, beginning)
    beginning.catch(() => this.runs.delete(topic))
    return beginning
  }

  private end(topic: string, run: TaskRun): Promise<void> {
    this.runs.delete(topic)
    const left = run.end().finally(() => {
      if (this.leaving.get(topic) === left) this.leaving.delete(topic)
    })
    this.leaving.set(topic, left)
    return left
  }

  private async look(topic: string): Promise<TaskView | null> {
    try {
      await using session: Session<Json> = await this.broker.session<Json>(topic, { observe: true, create: false })
      return await readTask(session)
    } catch (error) {
      if (isLitetopicError(error, 'NOT_FOUND', 'BAD_NAME')) return null
      throw error
    }
  }

  private async *topicsOf(context: ServerCallContext): AsyncGenerator<string> {
    const prefix = this.scopeOf(context)
    for (let after: string | undefined; ; ) {
      const { topics, more } = await this.broker.list({ prefix, after })
      for (const { name } of topics) yield name
      after = topics.at(-1)?.name
      if (!more) return
    }
  }

  private scopeOf(context: ServerCallContext): string {
    const { prefix = 'a2a', ownerResolver = resolveUserScope } = this.options
    return `${prefix}/${segment(context.tenant ?? '')}/${segment(ownerResolver(context))}`
  }

  private topicOf(taskId: string, context: ServerCallContext): string {
    return `${this.scopeOf(context)}/${segment(taskId)}`
  }
}
