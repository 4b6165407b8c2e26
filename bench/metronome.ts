/** Steady token streams from a process of their own, beside whatever a scenario does. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { startChild } from './child.ts'
import type { Percentiles } from './histogram.ts'

const MAIN = 'metronome-main'

/** Topics are `prefix/0` and so on; the last one is read back and timed. The rate is that of each. */
export interface MetronomeSettings {
  readonly url: string
  readonly prefix: string
  readonly topics: number
  readonly perSecond: number
}

/** `count`: tokens of each topic; without it, until `end`. */
export interface MetronomeOrder {
  readonly order: 'go' | 'beats' | 'done' | 'end'
  readonly count?: number
}

/** Of the timed topic. `written` counts from the beginning, the times from the answer before. */
export interface Beats {
  readonly written: number
  readonly deliveryMs: Percentiles
}

export class Metronome {
  private readonly child: ChildProcess

  private constructor(child: ChildProcess) {
    this.child = child
  }

  /** Resolves when its streams are open; nothing is written yet. */
  static async start(settings: MetronomeSettings): Promise<Metronome> {
    const { child } = await startChild(MAIN, [JSON.stringify(settings)])
    return new Metronome(child)
  }

  /**
   * Begins to write, so many tokens to each topic, or until `end`. Resolves with the time of the first token, in milliseconds
   * since 1970.
   */
  go(count?: number): Promise<number> {
    return this.ask({ order: 'go', count })
  }

  /** Resolves when what was written so far has been read, with the times since the answer before. */
  beats(): Promise<Beats> {
    return this.ask({ order: 'beats' })
  }

  /** Resolves when as many as `go` was told are written and have been read. Rejects as `end` does. */
  done(): Promise<Beats> {
    return this.ask({ order: 'done' })
  }

  /** Writes no more. Rejects, as all the others, if a token was lost, repeated or wrong. */
  end(): Promise<Beats> {
    return this.ask({ order: 'end' })
  }

  stop(): void {
    if (this.child.connected) this.child.disconnect()
  }

  private async ask<T>(order: MetronomeOrder): Promise<T> {
    this.child.send(order)
    const gone = new AbortController()
    const { signal } = gone
    const ended = once(this.child, 'exit', { signal }).then(() => {
      throw new Error('the metronome has failed; what it said is above')
    })
    ended.catch(() => undefined)
    try {
      const [answer] = await Promise.race([once(this.child, 'message', { signal }), ended])
      return answer as T
    } finally {
      gone.abort()
    }
  }
}
