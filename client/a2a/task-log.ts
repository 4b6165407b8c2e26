/**
 * The log of a task: its events as messages, and now and then the whole task as a checkpoint. A task is what the newest checkpoint says,
 * and the events behind the last one that it includes; the SDK's own rules say what an event changes.
 */

import type { Task } from '@a2a-js/sdk'
import { type AgentExecutionEvent, ResultManager, ServerCallContext, type TaskStore } from '@a2a-js/sdk/server'
import type { Json, Session, SessionRecord } from '../index.ts'
import { decodeEvent, decodeTask, encodeEvent, encodeTask, offsetOf, SNAPSHOT } from './codec.ts'

/** The streams that say that somebody works on a task: open while it does, lost when its process is. */
export const RUN_PREFIX = 'run/'

/** UTF-16 units of JSON that surely fit into one append, three bytes each. */
const INLINE_UNITS = 64 * 1024

export interface TaskView {
  readonly task: Task | undefined
  /** Streams of those who work on it now. */
  readonly runs: ReadonlySet<string>
  /** The end of the log when it was looked at. */
  readonly nextOffset: number
}

/** Appends an event. Resolves with its offset and about how much it takes. */
export async function appendEvent(
  session: Session<Json>,
  event: AgentExecutionEvent,
): Promise<{ readonly offset: number; readonly units: number }> {
  const json = encodeEvent(event)
  const { offset } = await session.append({ event: json })
  return { offset, units: JSON.stringify(json).length }
}

/** Stores the whole task. Resolves with about how much it takes. */
export async function appendSnapshot(session: Session<Json>, task: Task): Promise<number> {
  const json = encodeTask(task)
  const units = JSON.stringify(json).length
  if (units <= INLINE_UNITS) {
    await session.checkpoint(SNAPSHOT, { task: json })
  } else {
    const { offset } = await session.append({ task: json })
    await session.checkpoint(SNAPSHOT, { at: offset })
  }
  return units
}

/** The task as of now, every durable event included. */
export async function readTask(session: Session<Json>): Promise<TaskView> {
  const [{ nextOffset, streams = [] }, [checkpoint]] = await Promise.all([
    session.describe(),
    session.checkpoints({ limit: 1 }),
  ])
  const runs = streams.filter(({ streamId, state }) => streamId.startsWith(RUN_PREFIX) && isWritten(state))
  const folding = new Folding(checkpoint === undefined ? undefined : await snapshotOf(session, checkpoint.state))
  const from = offsetOf(folding.task) + 1
  if (from < nextOffset) {
    for await (const record of session.records({ from: { offset: from } })) {
      const event = await eventOf(record)
      if (event !== null) await folding.apply(event)
      if (record.lastOffset >= nextOffset - 1) break
    }
  }
  return { task: folding.task, runs: new Set(runs.map(({ streamId }) => streamId)), nextOffset }
}

export async function eventOf(record: SessionRecord<Json>): Promise<AgentExecutionEvent | null> {
  if (record.kind !== 'message') return null
  const { event } = ((record.large ? await record.large.json() : record.value) ?? {}) as { event?: Json }
  return event === undefined ? null : decodeEvent(event, record.offset)
}

/** Does a stream in this state have a writer, as far as anybody knows? */
export function isWritten(state: string): boolean {
  return state === 'open' || state === 'resumed'
}

/** What a checkpoint's state holds, or where it says that it is. */
export async function snapshotOf(session: Session<Json>, state: unknown): Promise<Task | undefined> {
  const { task, at } = (state ?? {}) as { task?: Json; at?: number }
  if (task !== undefined) return decodeTask(task)
  if (at === undefined) return undefined
  for await (const record of session.records({ from: { offset: at } })) {
    if (record.kind !== 'message') return undefined
    const value = (record.large ? await record.large.json() : record.value) as { task?: Json }
    return value.task === undefined ? undefined : decodeTask(value.task)
  }
  return undefined
}

/** Applies events as the SDK does, to a task that only it sees. */
class Folding implements TaskStore {
  task: Task | undefined
  private readonly manager: ResultManager

  constructor(task: Task | undefined) {
    this.task = task
    // Not that of a call: the SDK locks by tenant and task, and asks for the task while it holds the lock.
    this.manager = new ResultManager(this, new ServerCallContext({ tenant: 'litetopic/folding' }))
  }

  async apply(event: AgentExecutionEvent): Promise<void> {
    if (event.kind === 'message' || (this.task === undefined && event.kind !== 'task')) return
    await this.manager.processEvent(event)
  }

  async load(): Promise<Task | undefined> {
    return this.task
  }

  async save(task: Task): Promise<void> {
    this.task = task
  }

  list(): never {
    throw new Error('a task that is put together has no list')
  }
}
