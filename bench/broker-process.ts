/** A broker in a process of its own, on a temporary directory, for the time of a run. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('./broker-main.ts', import.meta.url))
const RUNTIME = ['--import', import.meta.resolve('tsx')]

export interface BrokerSettings {
  readonly dataDir: string
  readonly port: number
}

/** What the broker has given to LevelDB since it started. Commits are synced writes of the journal. */
export interface BrokerCounts {
  commits: number
  commitBytes: number
  writes: number
  writtenBytes: number
}

export class BrokerProcess {
  readonly dataDir: string
  /** For `connect`; the same after a restart. */
  url = ''
  private port = 0
  private child: ChildProcess | null = null

  private constructor(dataDir: string) {
    this.dataDir = dataDir
  }

  static async start(): Promise<BrokerProcess> {
    const broker = new BrokerProcess(await mkdtemp(join(tmpdir(), 'litetopic-bench-')))
    try {
      await broker.spawn()
    } catch (error) {
      await broker.stop()
      throw error
    }
    return broker
  }

  async counts(): Promise<BrokerCounts> {
    this.running.send('counts')
    const [counts] = await once(this.running, 'message')
    return counts as BrokerCounts
  }

  /** Memory that no file backs: heaps, buffers and stacks. */
  anonBytes(): number {
    return anonBytes(this.running.pid ?? 0)
  }

  /** Kills the broker. Resolves when the process is gone. */
  async kill(): Promise<void> {
    const { running } = this
    running.kill('SIGKILL')
    if (running.exitCode === null && running.signalCode === null) await once(running, 'exit')
  }

  /** Starts it again on the same data and port. Resolves when it listens. */
  restart(): Promise<void> {
    return this.spawn()
  }

  /** Stops it and removes its data. */
  async stop(): Promise<void> {
    const { child } = this
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    await rm(this.dataDir, { recursive: true, force: true })
  }

  private get running(): ChildProcess {
    if (this.child === null) throw new Error('the broker has not been started')
    return this.child
  }

  private async spawn(): Promise<void> {
    const settings: BrokerSettings = { dataDir: this.dataDir, port: this.port }
    const { child, first } = await startChild<{ url: string; port: number }>(MAIN, JSON.stringify(settings))
    this.child = child
    this.url = first.url
    this.port = first.port
  }
}

/** Starts a program of the suite in a process of its own. Resolves with the first message it sends; rejects if it ends before. */
export async function startChild<T>(file: string, ...args: string[]): Promise<{ child: ChildProcess; first: T }> {
  const child = fork(file, args, { execArgv: RUNTIME })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${file} ended with code ${code} before it was ready`)
  })
  const [first] = await Promise.race([once(child, 'message'), ended])
  ended.catch(() => undefined)
  return { child, first: first as T }
}

/** RssAnon of a process on Linux; 0 elsewhere. */
function anonBytes(pid: number): number {
  try {
    const found = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return Number(found?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
