/**
 * The memory as one run has it. What the SDK adds waits here until it is known that it counts: also a process that was shut out adds the input
 * of its run as it gives up. It has none of the SDK's transactions: the SDK refuses to go on with a stored state of a run that had them.
 */

import type { AgentInputItem, Session as SdkSession } from '@openai/agents-core'
import type { AgentSession } from './agent-session.ts'

export class RunMemory implements SdkSession {
  /** How often items were stored; a run that goes on from here counts on. */
  stored: number
  private readonly memory: AgentSession
  private readonly runId: string
  /** Of a run that goes on from a stored state: its input, which the SDK then does not add. */
  private input: readonly AgentInputItem[]
  private waiting: AgentInputItem[] = []

  constructor(memory: AgentSession, runId: string, stored: number, input: readonly AgentInputItem[]) {
    this.memory = memory
    this.runId = runId
    this.stored = stored
    this.input = input
  }

  /** Stores what was added since; once, also when the run is taken over between this and going on. */
  async store(): Promise<void> {
    const items = this.waiting
    if (items.length === 0) return
    this.waiting = []
    await this.memory.addOnce(items, `${this.runId}/${this.stored++}`)
  }

  async addItems(items: AgentInputItem[]): Promise<void> {
    this.waiting.push(...this.input, ...structuredClone(items))
    this.input = []
  }

  getSessionId(): Promise<string> {
    return this.memory.getSessionId()
  }

  async getItems(limit?: number): Promise<AgentInputItem[]> {
    const items = [...(await this.memory.getItems(limit)), ...structuredClone(this.waiting)]
    return limit === undefined ? items : items.slice(Math.max(items.length - Math.max(limit, 0), 0))
  }

  async popItem(): Promise<AgentInputItem | undefined> {
    await this.store()
    return this.memory.popItem()
  }

  async clearSession(): Promise<void> {
    await this.replaceHistoryWithCompaction([])
  }

  async replaceHistoryWithCompaction(items: AgentInputItem[]): Promise<void> {
    await this.store()
    await this.memory.replaceHistoryWithCompaction(items)
  }
}
