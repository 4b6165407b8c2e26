/** A queue whose ends cost the same whatever its length: an array's own `shift` moves all that is behind. */

/** Taken items are dropped from the array when there are more than so many, and more than are left. */
const COMPACT_ITEMS = 4096

export class Fifo<T> {
  private items: T[] = []
  private head = 0
  /** Items ever added, and ever taken. */
  added = 0
  taken = 0

  get length(): number {
    return this.items.length - this.head
  }

  push(item: T): void {
    this.items.push(item)
    this.added++
  }

  peek(): T | undefined {
    return this.items[this.head]
  }

  shift(): T | undefined {
    if (this.head === this.items.length) return undefined
    const item = this.items[this.head++]
    this.taken++
    if (this.head === this.items.length || (this.head > COMPACT_ITEMS && this.head * 2 > this.items.length)) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return item
  }
}
