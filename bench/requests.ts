/** Requests to another process of the suite over its message channel: each a name and one argument, each answered once. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** What a process can be asked. Arguments and answers travel as JSON. */
export type Requests = { readonly [name: string]: (argument: never) => unknown }

interface Question {
  readonly id: number
  readonly name: string
  readonly argument: unknown
}

interface Answer {
  readonly id: number
  readonly value?: unknown
  /** Why it failed, with its stack. */
  readonly error?: string
}

/** Answers what the parent process asks from now on. */
export function answerParent(requests: Requests): void {
  process.on('message', async ({ id, name, argument }: Question) => {
    const tell = (answer: Answer): void => void process.send?.(answer)
    try {
      tell({ id, value: await requests[name]?.(argument as never) })
    } catch (error) {
      tell({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
}

/** Asks a child process that answers with `answerParent`. */
export class Asker<R extends Requests> {
  private readonly child: ChildProcess
  private last = 0

  constructor(child: ChildProcess) {
    this.child = child
  }

  /** Rejects with what the request rejects with, or if the process ends before it has answered. */
  async ask<N extends keyof R & string>(name: N, argument?: Parameters<R[N]>[0]): Promise<Awaited<ReturnType<R[N]>>> {
    const { child } = this
    const id = ++this.last
    const stop = new AbortController()
    const ended = once(child, 'exit', stop).then(() => {
      throw new Error(`the process ended before it answered ${name}`)
    })
    ended.catch(() => undefined)
    const answered = new Promise<Awaited<ReturnType<R[N]>>>((resolve, reject) => {
      const hear = (answer: Answer): void => {
        if (answer.id !== id) return
        if (answer.error === undefined) resolve(answer.value as Awaited<ReturnType<R[N]>>)
        else reject(new Error(`${name}: ${answer.error}`))
      }
      child.on('message', hear)
      stop.signal.addEventListener('abort', () => child.off('message', hear))
    })
    child.send({ id, name, argument })
    try {
      return await Promise.race([answered, ended])
    } finally {
      stop.abort()
    }
  }
}
