/**
 * The processes of the demo: started with the same runtime as itself, listened to, killed without mercy where the story
 * says so, and never left behind.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { extname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { AgentRole, ChildMessage, ParentMessage, ReaderRole, Role } from './messages.ts'

/** From source the children need the TypeScript loader as well; compiled they do not. */
const EXTENSION = extname(import.meta.url)
const RUNTIME = EXTENSION === '.ts' ? ['--import', import.meta.resolve('tsx')] : []

/** Lines of a child's error output that are kept for telling why it failed. */
const KEPT_LINES = 20

/** How a child ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

type Message<T extends ChildMessage['type']> = Extract<ChildMessage, { type: T }>
type Test<T extends ChildMessage['type']> = (message: Message<T>) => boolean

/** One running child. `exited` never rejects. */
export class Child {
  readonly name: string
  readonly process: ChildProcess
  readonly exited: Promise<Exit>
  /** The first line of its standard output; never settles if there is none. */
  readonly firstLine: Promise<string>
  /** The newest lines of its error output. */
  readonly errors: string[] = []
  /** Whether its end is part of the story. */
  leaving = false
  readonly #newest = new Map<ChildMessage['type'], ChildMessage>()
  readonly #listeners = new Set<(message: ChildMessage) => void>()

  constructor(name: string, process: ChildProcess) {
    this.name = name
    this.process = process
    this.exited = new Promise((resolve) => {
      process.once('exit', (code, signal) => resolve({ code, signal }))
      process.once('error', () => resolve({ code: null, signal: null }))
    })
    process.on('message', (message: ChildMessage) => {
      this.#newest.set(message.type, message)
      for (const listener of this.#listeners) listener(message)
    })
    const output = process.stdout
    this.firstLine = new Promise((resolve) => {
      if (output) createInterface({ input: output }).once('line', resolve)
    })
    if (process.stderr) {
      createInterface({ input: process.stderr }).on('line', (line) => {
        this.errors.push(line)
        if (this.errors.length > KEPT_LINES) this.errors.shift()
      })
    }
  }

  get pid(): number {
    return this.process.pid ?? 0
  }

  /** Calls `listener` with every message; returns how to stop that. */
  onMessage(listener: (message: ChildMessage) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The newest message of a type if it passes `test`, else the next one that does. */
  async message<T extends ChildMessage['type']>(type: T, test: Test<T> = () => true): Promise<Message<T>> {
    const newest = this.#newest.get(type) as Message<T> | undefined
    return newest !== undefined && test(newest) ? newest : this.next(type, test)
  }

  /** The next message of a type that passes `test`. */
  next<T extends ChildMessage['type']>(type: T, test: Test<T> = () => true): Promise<Message<T>> {
    return new Promise((resolve) => {
      const stop = this.onMessage((message) => {
        if (message.type !== type || !test(message as Message<T>)) return
        stop()
        resolve(message as Message<T>)
      })
    })
  }

  send(type: ParentMessage['type']): void {
    if (this.process.connected) this.process.send({ type } satisfies ParentMessage)
  }

  /** Sends the signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<Exit> {
    this.leaving = true
    this.process.kill(signal)
    return this.exited
  }
}

/** All children of one demo run. `failed` rejects when one of them ends, or fails, outside the story. */
export class Cast {
  readonly failed: Promise<never>
  readonly #children = new Set<Child>()
  #fail: (error: Error) => void = () => {}

  constructor() {
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  startAgent(role: AgentRole): Child {
    return this.#startRole('agent', role)
  }

  startReader(role: ReaderRole): Child {
    return this.#startRole('reader', role)
  }

  /** Starts the command line of litetopic with the arguments given; its standard output can be read. */
  startCommand(name: string, args: readonly string[]): Child {
    const script = fileURLToPath(new URL(`../../broker/cli/main${EXTENSION}`, import.meta.url))
    return this.#spawn(name, [script, ...args], ['ignore', 'pipe', 'pipe'])
  }

  /** Kills whatever still runs, and waits for it. */
  async dismiss(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.end('SIGKILL')))
  }

  /** The same for the last moment of this process, which cannot wait. */
  dismissNow(): void {
    for (const child of this.#children) child.process.kill('SIGKILL')
  }

  /** The program of a role lies beside this file. */
  #startRole(name: string, role: Role): Child {
    const script = fileURLToPath(new URL(`./${name}${EXTENSION}`, import.meta.url))
    return this.#spawn(name, [script, JSON.stringify(role)], ['ignore', 'ignore', 'pipe', 'ipc'])
  }

  #spawn(name: string, args: string[], stdio: ('ignore' | 'pipe' | 'ipc')[]): Child {
    const child = new Child(name, spawn(process.execPath, [...RUNTIME, ...args], { stdio }))
    this.#children.add(child)
    child.onMessage((message) => {
      if (message.type === 'failed') this.#fail(new Error(`the ${name} failed: ${message.message}`))
    })
    void child.exited.then(({ code, signal }) => {
      this.#children.delete(child)
      if (child.leaving) return
      const last = child.errors.join('\n  ')
      this.#fail(new Error(`the ${name} ended by itself (${signal ?? `exit code ${code}`})${last && `:\n  ${last}`}`))
    })
    return child
  }
}
