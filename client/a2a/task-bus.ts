/** The bus of a task: what is published on it is durable before anybody gets it, in the order in which it was published. */

import {
  type AgentExecutionEvent,
  DefaultExecutionEventBus,
  type EventListener,
  type ExecutionEventName,
  type FinishedListener,
} from '@a2a-js/sdk/server'
import { isInterrupted, stateOf } from './states.ts'
import type { TaskRun } from './task-run.ts'

/** What a bus needs of its manager. */
export interface BusHost {
  /** Takes the task over. */
  begin(): Promise<TaskRun>
  /** The work is done, or goes on elsewhere. Resolves when the topic is free. */
  end(run: TaskRun): Promise<void>
  /** The bus is not used any more. */
  forget(): void
  /** Why what was published is not stored. */
  failed(error: unknown): void
}

export class TaskBus extends DefaultExecutionEventBus {
  private readonly host: BusHost
  private readonly controller = new AbortController()
  private readonly listening = new Set<EventListener>()
  private run: TaskRun | null = null
  private chain: Promise<void> = Promise.resolve()
  private pending = 0
  private returned = false
  private finishing = false
  private interrupted = false
  /** Those who listened have been told that it is finished. */
  private over = false

  constructor(host: BusHost) {
    super()
    this.host = host
  }

  /** Aborted when nothing more can be stored: another process has taken the task over (FENCED), or it is deleted (GONE). */
  get signal(): AbortSignal {
    return this.controller.signal
  }

  override publish(event: AgentExecutionEvent): void {
    this.pending++
    this.chain = this.chain.then(() => this.deliver(event))
  }

  /** Ends the queues that listen, when they have got all that was published. */
  override finished(): void {
    this.finishing = true
    this.look()
  }

  /** The executor has returned. */
  settle(): void {
    this.returned = true
    this.look()
  }

  /** An executor begins, or begins again. */
  resume(): void {
    this.returned = false
  }

  /** Those who store the task have done so. */
  look(): void {
    if (this.pending > 0 || !(this.returned || this.finishing)) return
    const { run } = this
    if (run !== null && !run.caughtUp && (this.listening.size > 0 || run.failure !== null)) return
    // What is still to be stored is refused until then, and does not take the task back from others.
    if (run !== null && run.failure !== null && !this.returned) return
    this.run = null
    if (run !== null) void this.host.end(run)
    // A task that waits for somebody goes on here, with a run of its own.
    if (this.over || (this.interrupted && !this.finishing)) return
    this.over = true
    this.host.forget()
    super.finished()
  }

  override on(name: 'event', listener: EventListener): this
  override on(name: 'finished', listener: FinishedListener): this
  override on(name: ExecutionEventName, listener: EventListener | FinishedListener): this {
    if (name !== 'event') return super.on(name, listener as FinishedListener)
    this.listening.add(listener as EventListener)
    this.run?.listened()
    return super.on(name, listener as EventListener)
  }

  override off(name: 'event', listener: EventListener): this
  override off(name: 'finished', listener: FinishedListener): this
  override off(name: ExecutionEventName, listener: EventListener | FinishedListener): this {
    if (name !== 'event') return super.off(name, listener as FinishedListener)
    this.listening.delete(listener as EventListener)
    super.off(name, listener as EventListener)
    this.look()
    return this
  }

  override removeAllListeners(name?: ExecutionEventName): this {
    if (name !== 'finished') this.listening.clear()
    return super.removeAllListeners(name)
  }

  private async deliver(event: AgentExecutionEvent): Promise<void> {
    try {
      if (this.signal.aborted) return
      if (this.run === null && event.kind === 'message') {
        // An answer without a task: nobody can ask for it again.
        super.publish(event)
        return
      }
      this.run ??= await this.host.begin()
      const delivered = await this.run.append(event)
      const state = stateOf(delivered)
      if (state !== undefined) this.interrupted = isInterrupted(state)
      super.publish(delivered)
    } catch (error) {
      this.fail(error)
    } finally {
      this.pending--
      this.look()
    }
  }

  private fail(error: unknown): void {
    if (this.run !== null) this.run.failure = error
    this.controller.abort(error)
    this.host.failed(error)
    this.finishing = true
    super.finished()
  }
}
