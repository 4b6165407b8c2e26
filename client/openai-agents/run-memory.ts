/**
 * The memory as one run has it: what the run adds is added once, also when it is taken over between adding and going on. It has none of the SDK's
 * transactions: the SDK refuses to go on with a stored state of a run that had them.
 */

import type { AgentInputItem, Session as SdkSession } from '@openai/agents-core'
import type { AgentSession } from './agent-session.ts'

export class RunMemory implements SdkSession {
  /** How often items were added; a run that goes on from here counts on. */
  added: number
  private readonly memory: AgentSession
  private readonly runId: string
  /** Of a run that goes on from a stored state: its input, which the SDK then does not add. */
  private input: readonly AgentInputItem[]

  constructor(memory: AgentSession, runId: string, added: number, input: readonly AgentInputItem[]) {
    this.memory = memory
    this.runId = runId
    this.added = added
    this.input = input
  }

  addItems(items: AgentInputItem[]): Promise<void> {
    const { input } = this
    this.input = []
    return this.memory.addOnce([...input, ...items], `${this.runId}/${this.added++}`)
  }

  getSessionId(): Promise<string> {
    return this.memory.getSessionId()
  }

  getItems(limit?: number): Promise<AgentInputItem[]> {
    return this.memory.getItems(limit)
  }

  popItem(): Promise<AgentInputItem | undefined> {
    return this.memory.popItem()
  }

  clearSession(): Promise<void> {
    return this.memory.clearSession()
  }

  replaceHistoryWithCompaction(items: AgentInputItem[]): Promise<void> {
    return this.memory.replaceHistoryWithCompaction(items)
  }
}
