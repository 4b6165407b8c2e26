/** Reads what yields pieces over time, until it ends or a signal says stop; a piece that is never to come is not waited for. */

/** An async iterable, an iterable or a ReadableStream; Safari's streams are not iterable. */
export type PipeSource<T> = AsyncIterable<T> | Iterable<T> | ReadableStream<T>

interface Pieces<T> {
  next(): Promise<IteratorResult<T, unknown>> | IteratorResult<T, unknown>
  /** Nobody wants more. */
  stop(reason: unknown): unknown
}

/** Resolves when the source has ended. Rejects with the signal's reason, at once, or with what the source or `take` throws. */
export async function pipe<T>(
  source: PipeSource<T>,
  signal: AbortSignal,
  take: (piece: T) => Promise<void>,
): Promise<void> {
  const pieces = piecesOf(source)
  let giveUp = (): void => {}
  const aborted = (): void => giveUp()
  signal.addEventListener('abort', aborted)
  try {
    for (;;) {
      signal.throwIfAborted()
      const { done, value } = await new Promise<IteratorResult<T, unknown>>((resolve, reject) => {
        giveUp = () => reject(signal.reason)
        Promise.resolve(pieces.next()).then(resolve, reject)
      })
      if (done) return
      await take(value as T)
    }
  } catch (error) {
    // It may not answer before the piece it is busy with, so nobody waits; what it fails with now is no longer of interest.
    Promise.resolve(pieces.stop(error)).catch(() => {})
    throw error
  } finally {
    signal.removeEventListener('abort', aborted)
  }
}

function piecesOf<T>(source: PipeSource<T>): Pieces<T> {
  // The iterators of streams cannot be stopped while they wait for a piece, so it is the streams that are.
  if ('getReader' in source) {
    const reader = source.getReader()
    return { next: () => reader.read() as Promise<IteratorResult<T, unknown>>, stop: (reason) => reader.cancel(reason) }
  }
  if (Symbol.asyncIterator in source) {
    const iterator = source[Symbol.asyncIterator]()
    return { next: () => iterator.next(), stop: () => (isReadable(source) ? source.destroy() : iterator.return?.()) }
  }
  const iterator = source[Symbol.iterator]()
  return { next: () => iterator.next(), stop: () => iterator.return?.() }
}

/** Is it a Readable of Node? */
function isReadable(source: object): source is { destroy(): void } {
  return 'destroy' in source && typeof source.destroy === 'function'
}
