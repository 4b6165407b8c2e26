/** Many readers of one topic, in processes of their own. */

import type { ChildProcess } from 'node:child_process'
import { startChild } from './child.ts'
import { cpuMs } from './cpu.ts'
import { Histogram, type Percentiles } from './histogram.ts'
import { Asker } from './requests.ts'

const MAIN = 'crowd-main'

/**
 * Thousands of readers in one process keep so much alive that V8, as it is set by default, spends a third of the time on copying it
 * from one small young generation to the next. Readers elsewhere are one to a process.
 */
const NODE_OPTIONS = ['--max-semi-space-size=128']

/** Of each process. */
export interface CrowdSettings {
  readonly url: string
  readonly topic: string
  readonly readers: number
}

/** Of one process. */
interface CrowdFigures {
  /** When its last reader had the last token, in milliseconds since 1970. */
  readonly endedMs: number
  /** WebSocket messages that its readers got. */
  readonly frames: number
  /** Of a histogram of the times from when a token was meant to be sent. */
  readonly buckets: readonly number[]
}

export type CrowdRequests = {
  /** Counts and times from now on. The first token is meant to be sent at `beganMs` since 1970, each later one so much after it. */
  time(order: { beganMs: number; everyMs: number }): void
  /** Rejects if a reader gets anything but that many tokens, each once and in order. */
  done(tokensEach: number): Promise<CrowdFigures>
  close(): Promise<void>
}

export class Crowd {
  private readonly processes: readonly { readonly asker: Asker<CrowdRequests>; readonly child: ChildProcess }[]

  private constructor(processes: Crowd['processes']) {
    this.processes = processes
  }

  /** Resolves when all readers, the same number in each process, are attached. */
  static async start(settings: CrowdSettings, processes: number): Promise<Crowd> {
    const starting = Array.from({ length: processes }, async () => {
      const { child } = await startChild(MAIN, [JSON.stringify(settings)], NODE_OPTIONS)
      return { asker: new Asker<CrowdRequests>(child), child }
    })
    return new Crowd(await Promise.all(starting))
  }

  async time(beganMs: number, everyMs: number): Promise<void> {
    await Promise.all(this.processes.map(({ asker }) => asker.ask('time', { beganMs, everyMs })))
  }

  /** Rejects if anything was lost, repeated, out of order or wrong. */
  async done(tokensEach: number): Promise<{ endedMs: number; frames: number; deliveryMs: Percentiles }> {
    const figures = await Promise.all(this.processes.map(({ asker }) => asker.ask('done', tokensEach)))
    const delivery = new Histogram()
    for (const { buckets } of figures) delivery.merge(buckets)
    return {
      endedMs: Math.max(...figures.map(({ endedMs }) => endedMs)),
      frames: figures.reduce((sum, { frames }) => sum + frames, 0),
      deliveryMs: delivery.percentiles(),
    }
  }

  /** Processor time of all its processes. */
  get cpuMs(): number {
    return this.processes.reduce((sum, { child }) => sum + cpuMs(child.pid ?? 0), 0)
  }

  /** Closes the connections, and ends the processes. */
  async close(): Promise<void> {
    await Promise.all(
      this.processes.map(async ({ asker, child }) => {
        if (!child.connected) return
        await asker.ask('close')
        child.disconnect()
      }),
    )
  }
}
