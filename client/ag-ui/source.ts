/** What an agent's run may be: anything that yields events over time. */

import type { PipeSource } from '../index.ts'

/** Of an Observable, what is used. */
export interface ObservableLike<T> {
  subscribe(observer: { next(value: T): void; error(error: unknown): void; complete(): void }): {
    unsubscribe(): void
  }
}

/** An Observable, an async iterable, an iterable or a ReadableStream. */
export type EventSource<T> = ObservableLike<T> | PipeSource<T>

/** An Observable cannot be asked to wait: what comes faster than it is read is held in memory. */
export function iterable<T>(source: EventSource<T>): PipeSource<T> {
  return 'subscribe' in source ? { [Symbol.asyncIterator]: () => observe(source) } : source
}

function observe<T>(source: ObservableLike<T>): AsyncIterator<T, undefined> {
  const arrived: T[] = []
  let ended: { readonly failed: boolean; readonly error?: unknown } | null = null
  let wake = (): void => {}
  const end = (failed: boolean, error?: unknown): void => {
    ended ??= { failed, error }
    wake()
  }
  const subscription = source.subscribe({
    next: (value) => {
      arrived.push(value)
      wake()
    },
    error: (error) => end(true, error),
    complete: () => end(false),
  })
  return {
    next: async () => {
      while (arrived.length === 0 && ended === null) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      // What it gave before it failed is not lost.
      if (arrived.length > 0) return { done: false, value: arrived.shift() as T }
      if (ended?.failed) throw ended.error
      return { done: true, value: undefined }
    },
    return: async () => {
      subscription.unsubscribe()
      end(false)
      return { done: true, value: undefined }
    },
  }
}
