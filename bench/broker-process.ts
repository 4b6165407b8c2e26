/** A broker in a process of its own, on a temporary directory, for the time of a run. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerOptions } from '../broker/index.ts'
import { failSuite, removeDirectory, startChild, temporaryDirectory } from './child.ts'
import { type Heap, resident } from './memory.ts'
import { Asker } from './requests.ts'

const MAIN = 'broker-main'
const POLL_MS = 20

/** Of the product's own configuration. */
export type BrokerConfig = Pick<
  BrokerOptions,
  'lingerMs' | 'policies' | 'streamGraceMs' | 'residencyIdleMs' | 'quietMs'
>

export interface BrokerSettings extends BrokerConfig {
  readonly dataDir: string
  readonly port: number
}

/** What it says when it listens. */
export interface BrokerReady {
  readonly url: string
  readonly port: number
  /** From calling the broker's start until it listened, without what the process and its modules take. */
  readonly startMs: number
}

export interface BrokerStats {
  readonly residentTopics: number
  readonly attachments: number
  readonly connections: number
  readonly reclaimed: number
}

export type BrokerRequests = {
  counts(): BrokerCounts
  stats(): BrokerStats
  /** Has V8 collect all it can, which takes milliseconds to seconds. */
  collect(): Heap
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
  /** Of the last start; see BrokerReady. */
  startMs = 0
  /** Of the last start: from starting the process until it listened. */
  processStartMs = 0
  private port = 0
  private child: ChildProcess | null = null
  private asker: Asker<BrokerRequests> | null = null

  private constructor(dataDir: string) {
    this.dataDir = dataDir
  }

  static async start(config: BrokerConfig = {}): Promise<BrokerProcess> {
    const broker = new BrokerProcess(await temporaryDirectory())
    try {
      await broker.spawn(config)
    } catch (error) {
      await broker.stop()
      throw error
    }
    return broker
  }

  get pid(): number {
    return this.running.pid ?? 0
  }

  counts(): Promise<BrokerCounts> {
    return this.ask('counts')
  }

  ask<N extends keyof BrokerRequests>(name: N): Promise<Awaited<ReturnType<BrokerRequests[N]>>> {
    if (this.asker === null) throw new Error('the broker has not been started')
    return this.asker.ask(name)
  }

  /** Memory that no file backs: heaps, buffers and stacks. */
  anonBytes(): number {
    return resident(this.pid).anonBytes
  }

  /** Bytes that it has caused to be written to disk since it started, as Linux counts them; 0 elsewhere. */
  diskWrittenBytes(): number {
    return found(`/proc/${this.running.pid}/io`, /^write_bytes: (\d+)$/m)
  }

  /** Of all files of its data. */
  async diskBytes(): Promise<number> {
    const entries = await readdir(this.dataDir, { recursive: true, withFileTypes: true })
    const sizes = entries.map(async (entry) => {
      if (!entry.isFile()) return 0
      // LevelDB may delete it meanwhile.
      const stats = await stat(join(entry.parentPath, entry.name)).catch(() => null)
      return stats?.size ?? 0
    })
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
  }

  /** Kills the broker. Resolves when the process is gone. */
  async kill(): Promise<void> {
    const { running } = this
    running.kill('SIGKILL')
    if (running.exitCode === null && running.signalCode === null) await once(running, 'exit')
  }

  /** Starts it again on the same data and port. Resolves when it listens. */
  restart(config: BrokerConfig = {}): Promise<void> {
    return this.spawn(config)
  }

  /** Has it close. Resolves when the process is gone. */
  async shutDown(): Promise<void> {
    const { child } = this
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    await once(child, 'exit')
  }

  /** Stops it and removes its data. */
  async stop(): Promise<void> {
    await this.shutDown()
    await removeDirectory(this.dataDir)
  }

  /** Resolves when the broker's figures are so. */
  async until(isSo: (stats: BrokerStats) => boolean): Promise<void> {
    while (!isSo(await this.ask('stats'))) await sleep(POLL_MS)
  }

  private get running(): ChildProcess {
    if (this.child === null) throw new Error('the broker has not been started')
    return this.child
  }

  private async spawn(config: BrokerConfig): Promise<void> {
    const settings: BrokerSettings = { ...config, dataDir: this.dataDir, port: this.port }
    const startedMs = performance.now()
    const { child, first } = await startChild<BrokerReady>(MAIN, [JSON.stringify(settings)], ['--expose-gc'])
    this.child = child
    child.once('exit', (code, signal) => {
      // Most loads would wait for it to come back. An interrupt of the terminal goes to all processes, and has its own way.
      if (!child.killed && signal !== 'SIGINT')
        failSuite(`the broker ended in the middle of the run, with ${signal ?? `code ${code}`}`)
    })
    this.asker = new Asker(child)
    this.url = first.url
    this.port = first.port
    this.startMs = first.startMs
    this.processStartMs = performance.now() - startedMs
  }
}

/** The number in a file; 0 if it is not there. */
function found(path: string, pattern: RegExp): number {
  try {
    return Number(pattern.exec(readFileSync(path, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
