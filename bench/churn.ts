/** Sessions that come and go, from a process of their own. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { startChild } from './child.ts'

export interface ChurnSettings {
  readonly url: string
  /** Sessions begun per second. */
  readonly perSecond: number
  /** Of each. */
  readonly tokens: number
}

export class Churn {
  private readonly child: ChildProcess

  private constructor(child: ChildProcess) {
    this.child = child
  }

  /** Sessions come and go from now on. */
  static async start(settings: ChurnSettings): Promise<Churn> {
    const { child } = await startChild('churn-main', [JSON.stringify(settings)])
    return new Churn(child)
  }

  /** Begins no more. Resolves when all have come to their end, with how many there were per second. */
  async end(): Promise<number> {
    this.child.send('end')
    const [{ sessions, seconds }] = await once(this.child, 'message')
    this.stop()
    return sessions / seconds
  }

  stop(): void {
    if (this.child.connected) this.child.disconnect()
  }
}
