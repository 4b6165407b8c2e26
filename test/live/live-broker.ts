/** A broker in a process of its own, for tests of what clients can do to it: its memory, its life, and what it logged. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Broker, BrokerOptions } from '../../broker/index.ts'
import { programArgs } from '../programs.ts'

export type LiveQuestion = 'memory' | 'stats' | 'close'
export interface LiveAnswer {
  readonly url?: string
  /** After everything that is not used was collected. */
  readonly memory?: NodeJS.MemoryUsage
  readonly stats?: ReturnType<Broker['stats']>
}

export class LiveBroker {
  readonly url: string
  /** What it logged. */
  readonly log: string[]
  private readonly process: ChildProcess
  private readonly directory: string

  private constructor(url: string, log: string[], process: ChildProcess, directory: string) {
    this.url = url
    this.log = log
    this.process = process
    this.directory = directory
  }

  /** On a temporary directory. */
  static async start(options: Omit<BrokerOptions, 'clock' | 'store' | 'log'> = {}): Promise<LiveBroker> {
    const directory = await mkdtemp(join(tmpdir(), 'litetopic-live-'))
    const args = ['--expose-gc', ...programArgs('test/live/broker-main.ts')]
    const child = spawn(process.execPath, [...args, JSON.stringify({ dataDir: directory, ...options })], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    const log: string[] = []
    child.stderr?.setEncoding('utf8').on('data', (text: string) => log.push(text))
    const url = await new Promise<string>((resolve, reject) => {
      child.once('message', (answer: LiveAnswer) => resolve(String(answer.url)))
      child.once('exit', () => reject(new Error(`the broker did not start: ${log.join('')}`)))
    })
    return new LiveBroker(url, log, child, directory)
  }

  get alive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  memory(): Promise<NodeJS.MemoryUsage> {
    return this.ask('memory').then(({ memory }) => memory as NodeJS.MemoryUsage)
  }

  stats(): Promise<ReturnType<Broker['stats']>> {
    return this.ask('stats').then(({ stats }) => stats as ReturnType<Broker['stats']>)
  }

  /** Stops it and removes its data. Resolves with its exit code. */
  async stop(): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => {
      if (!this.alive) resolve(this.process.exitCode)
      this.process.once('exit', (code) => resolve(code))
    })
    if (this.process.connected) this.process.send('close' satisfies LiveQuestion)
    const code = await ended
    await rm(this.directory, { recursive: true, force: true })
    return code
  }

  kill(): void {
    this.process.kill('SIGKILL')
  }

  private ask(question: LiveQuestion): Promise<LiveAnswer> {
    return new Promise((resolve, reject) => {
      const gone = (): void => reject(new Error(`the broker is gone: ${this.log.join('')}`))
      if (!this.alive) return gone()
      this.process.once('exit', gone)
      this.process.once('message', (answer: LiveAnswer) => {
        this.process.off('exit', gone)
        resolve(answer)
      })
      this.process.send(question)
    })
  }
}
