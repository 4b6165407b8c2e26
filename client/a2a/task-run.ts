/**
 * The work on a task in this process: it has the task's topic for itself, and knows the task as those who store it here know it, who are
 * a few events behind the log.
 */

import type { Task } from '@a2a-js/sdk'
import type { AgentExecutionEvent } from '@a2a-js/sdk/server'
import type { Broker, Json, Session, SessionOptions, StreamWriter } from '../index.ts'
import { offsetOf, placed } from './codec.ts'
import { isLast, isTerminal, stateOf, taskIdOf } from './states.ts'
import { appendEvent, appendSnapshot, RUN_PREFIX, readTask } from './task-log.ts'

/** What lies behind the newest snapshot, in UTF-16 units of JSON, before there is a new one; or as much as that one has. */
const SNAPSHOT_UNITS = 256 * 1024

export class TaskRun {
  /** Why nothing can be stored any more, or null. */
  failure: unknown = null
  private readonly taskId: string
  private readonly session: Session<Json>
  private readonly stream: StreamWriter
  private task: Task | undefined
  /** Delivered events that will be stored with the task, by their offsets: does the log alone tell what the task is then? */
  private readonly outstanding = new Map<number, boolean>()
  private snapshotUnits = 0
  private unitsSince = 0
  /** Nobody who listens now takes more: the last event has been delivered. */
  private over = false
  private terminal = false

  private constructor(taskId: string, session: Session<Json>, stream: StreamWriter, task: Task | undefined) {
    this.taskId = taskId
    this.session = session
    this.stream = stream
    this.task = task
    this.terminal = isTerminal(task?.status?.state)
  }

  /** Takes the task over from whoever worked on it. */
  static async begin(
    broker: Broker,
    topic: string,
    taskId: string,
    lingerMs: SessionOptions<Json>['lingerMs'],
  ): Promise<TaskRun> {
    const session = await broker.session<Json>(topic, { exclusive: true, lingerMs })
    try {
      const { task } = await readTask(session)
      const stream = await session.openStream(RUN_PREFIX + crypto.randomUUID())
      return new TaskRun(taskId, session, stream, task)
    } catch (error) {
      await session.close().catch(() => undefined)
      throw error
    }
  }

  /** Stores an event. Resolves, when it is durable, with what is to be delivered. */
  async append(event: AgentExecutionEvent): Promise<AgentExecutionEvent> {
    if (this.failure !== null) throw this.failure
    const { offset, units } = await appendEvent(this.session, event)
    this.unitsSince += units
    const delivered = placed(event, offset)
    if (this.isStored(delivered)) this.outstanding.set(offset, delivered.kind !== 'task')
    this.over ||= isLast(delivered)
    this.terminal ||= isTerminal(stateOf(delivered))
    return delivered
  }

  /** Somebody begins to listen: what comes now is for them. */
  listened(): void {
    this.over = false
  }

  /** The task as it was last stored here; a copy. */
  load(): Task | undefined {
    return structuredClone(this.task)
  }

  /** Writes the task if the log does not tell as much, or has grown too long. Rejects with the failure of the run. */
  async save(task: Task): Promise<void> {
    if (this.failure !== null) {
      this.outstanding.clear()
      throw this.failure
    }
    const offset = offsetOf(task)
    const isTold = offset > offsetOf(this.task) && this.outstanding.get(offset) === true
    this.task = structuredClone(task)
    if (!isTold || this.unitsSince > Math.max(SNAPSHOT_UNITS, this.snapshotUnits)) {
      this.unitsSince = 0
      this.snapshotUnits = await appendSnapshot(this.session, this.task)
    }
    for (const delivered of this.outstanding.keys()) if (delivered <= offset) this.outstanding.delete(delivered)
  }

  /** Has all that was delivered been stored by those who listen? */
  get caughtUp(): boolean {
    return this.outstanding.size === 0
  }

  /** Leaves the topic to others. */
  async end(): Promise<void> {
    // After a failure both are somebody else's.
    await this.stream.end().catch(() => undefined)
    await this.session.close().catch(() => undefined)
  }

  /** Will the SDK store the task when it gets this event? */
  private isStored(event: AgentExecutionEvent): boolean {
    if (this.over || taskIdOf(event) !== this.taskId) return false
    if (event.kind === 'task') return true
    if (event.kind === 'artifactUpdate' && event.data.artifact === undefined) return false
    if (this.terminal && event.kind === 'statusUpdate') return false
    return this.task !== undefined || [...this.outstanding.values()].includes(false)
  }
}
