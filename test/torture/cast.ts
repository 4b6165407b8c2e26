/** The processes of the torture: started, killed without mercy, started again, and never left behind. */

import { type ChildProcess, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AgentsRole, Progress, ReadersRole } from './messages.ts'

/** From source the processes need the TypeScript loader as well; compiled they do not. */
const EXTENSION = extname(import.meta.url)
const RUNTIME = EXTENSION === '.ts' ? ['--import', import.meta.resolve('tsx')] : []
const COMMAND = fileURLToPath(new URL(`../../broker/cli/main${EXTENSION}`, import.meta.url))

/** Lines of a process's error output that are kept for telling why it failed. */
const KEPT_LINES = 20

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** One process, until it ends. */
export class Player {
  readonly name: string
  readonly ended: Promise<Ending>
  /** Resolves when it is at work: it has printed its first line, or told of its first records. */
  readonly started: Promise<void>
  /** Records that were acknowledged or read. */
  records = 0
  /** May it end now? */
  leaving = false
  private readonly process: ChildProcess
  private readonly errors: string[] = []

  constructor(name: string, args: readonly string[]) {
    this.name = name
    this.process = spawn(process.execPath, [...RUNTIME, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    this.started = new Promise((resolve) => {
      this.process.stdout?.once('data', () => resolve())
      this.process.on('message', ({ records }: Progress) => {
        if (records > 0) resolve()
      })
    })
    this.ended = new Promise((resolve) => {
      this.process.once('close', (code, signal) => resolve({ code, signal }))
    })
    this.process.stdout?.resume()
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors.push(...text.trimEnd().split('\n'))
      this.errors.splice(0, this.errors.length - KEPT_LINES)
    })
    this.process.on('message', (message: Progress) => {
      this.records = message.records
    })
    this.process.on('error', () => undefined)
  }

  get pid(): number {
    return this.process.pid ?? 0
  }

  get stderr(): string {
    return this.errors.join('\n')
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Ending> {
    this.leaving = true
    this.process.kill(signal)
    return this.ended
  }

  finish(): void {
    this.leaving = true
    if (this.process.connected) this.process.send('finish')
  }
}

export function startBrokerProcess(config: string): Player {
  return new Player('broker', [COMMAND, 'serve', '--config', config])
}

/** Checks what a broker that has stopped left behind. */
export function startVerify(dataDirectory: string): Player {
  return new Player('verify', [COMMAND, 'verify', dataDirectory])
}

export function startAgents(name: string, role: AgentsRole): Player {
  return startRole(name, 'agent', role)
}

export function startReaders(name: string, role: ReadersRole): Player {
  return startRole(name, 'reader', role)
}

function startRole(name: string, program: 'agent' | 'reader', role: AgentsRole | ReadersRole): Player {
  return new Player(name, [fileURLToPath(new URL(`${program}${EXTENSION}`, import.meta.url)), JSON.stringify(role)])
}

/** A port that is free now, and that a broker can come back to. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
