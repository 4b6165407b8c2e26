/** The churn of `soak`, from a process of its own, so that its memory is that of the clients and nothing else. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { startChild } from './child.ts'
import type { Heap } from './memory.ts'
import { Asker } from './requests.ts'
import type { SoakCounts, SoakTimes } from './soak-session.ts'

const MAIN = 'soak-load-main'

export interface SoakLoadSettings {
  readonly url: string
  /** Clients that live as long as the churn. */
  readonly agents: number
  /** At any time. When one is over the next begins. */
  readonly sessions: number
  /** The connection of one agent after another is cut, one each time. */
  readonly dropEveryMs: number
  readonly times: SoakTimes
}

export type SoakLoadRequests = {
  /** Begins the churn. */
  start(): void
  /** What has happened so far. Rejects if a reader got anything wrong, or a session hangs. */
  counts(): SoakCounts
  /** Ends it when the sessions that are under way are over. Resolves when all connections are closed. */
  finish(): Promise<void>
  collect(): Heap
}

export class SoakLoad {
  readonly pid: number
  private readonly child: ChildProcess
  private readonly asker: Asker<SoakLoadRequests>

  private constructor(child: ChildProcess) {
    this.child = child
    this.pid = child.pid ?? 0
    this.asker = new Asker(child)
  }

  static async start(settings: SoakLoadSettings): Promise<SoakLoad> {
    const { child } = await startChild(MAIN, [JSON.stringify(settings)], ['--expose-gc'])
    return new SoakLoad(child)
  }

  ask<N extends keyof SoakLoadRequests>(name: N): Promise<Awaited<ReturnType<SoakLoadRequests[N]>>> {
    return this.asker.ask(name)
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill('SIGTERM')
    await once(this.child, 'exit')
  }
}
