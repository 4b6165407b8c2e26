/**
 * A map by text, in pieces. V8 makes a map anew when it is full, entries that are gone counted too: with a million entries that come
 * and go, all would wait some 50 ms for it, again and again.
 */

const PIECES = 64

export class SplitMap<T> {
  private readonly pieces = Array.from({ length: PIECES }, () => new Map<string, T>())

  get(key: string): T | undefined {
    return this.pieceOf(key).get(key)
  }

  set(key: string, value: T): void {
    this.pieceOf(key).set(key, value)
  }

  delete(key: string): void {
    this.pieceOf(key).delete(key)
  }

  *values(): IterableIterator<T> {
    for (const piece of this.pieces) yield* piece.values()
  }

  /** By the last letters, in which names differ most. */
  private pieceOf(key: string): Map<string, T> {
    const end = key.length
    let hash = end
    for (let at = Math.max(0, end - 4); at < end; at++) hash = hash * 31 + key.charCodeAt(at)
    return this.pieces[hash % PIECES] as Map<string, T>
  }
}
