/**
 * Things that are there for a moment, of which all are asked for now and then. A Map or a Set of what comes and goes is made anew again and
 * again, and V8 has the one before keep what has long left it until the next full collection: with it half of all that requests made.
 */

/** Where it stands among those that are there; -1 while it does not. */
export interface Placed {
  place: number
}

export class Present<T extends Placed> {
  private readonly items: T[] = []

  get size(): number {
    return this.items.length
  }

  /** Those that are there now. */
  all(): T[] {
    return [...this.items]
  }

  add(item: T): void {
    item.place = this.items.push(item) - 1
  }

  /** Idempotent. */
  remove(item: T): void {
    const { items } = this
    if (item.place < 0) return
    const last = items.pop() as T
    if (last !== item) {
      items[item.place] = last
      last.place = item.place
    }
    item.place = -1
  }
}
