/**
 * What falls due in memory, on one clock. Items are kept in buckets of time, so that a million of them cost one timer and
 * adding one costs the same whatever there is. Nothing is cancelled: who is called looks whether it is still due.
 */

import type { Clock } from './clock.ts'

const BUCKET_MS = 50
/** Items handled before the loop gets its turn. */
const ITEMS_PER_TURN = 1000

export class Timers<Item> {
  private readonly clock: Clock
  private readonly due: (item: Item) => void
  private readonly buckets = new Map<number, Item[]>()
  /** Bucket numbers, the next last. */
  private order: number[] = []
  private cancel: (() => void) | null = null
  private armedFor = Number.POSITIVE_INFINITY

  constructor(clock: Clock, due: (item: Item) => void) {
    this.clock = clock
    this.due = due
  }

  /** Calls `due` with the item at that monotonic time, at most 50 ms late. */
  add(atMs: number, item: Item): void {
    const bucket = Math.ceil(atMs / BUCKET_MS)
    const items = this.buckets.get(bucket)
    if (items !== undefined) {
      items.push(item)
      return
    }
    this.buckets.set(bucket, [item])
    this.insert(bucket)
    this.arm()
  }

  stop(): void {
    this.cancel?.()
    this.cancel = null
    this.buckets.clear()
    this.order = []
    this.armedFor = Number.POSITIVE_INFINITY
  }

  private insert(bucket: number): void {
    let low = 0
    let high = this.order.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.order[middle] as number) > bucket) low = middle + 1
      else high = middle
    }
    this.order.splice(low, 0, bucket)
  }

  private arm(): void {
    const next = this.order.at(-1)
    if (next === undefined || next >= this.armedFor) return
    this.cancel?.()
    this.armedFor = next
    const delay = Math.max(0, next * BUCKET_MS - this.clock.monotonicMs())
    this.cancel = this.clock.after(delay, () => this.fire())
  }

  private fire(): void {
    this.cancel = null
    this.armedFor = Number.POSITIVE_INFINITY
    const now = this.clock.monotonicMs()
    let handled = 0
    while (handled < ITEMS_PER_TURN) {
      const bucket = this.order.at(-1)
      if (bucket === undefined || bucket * BUCKET_MS > now) break
      const items = this.buckets.get(bucket) as Item[]
      const turn = items.splice(0, ITEMS_PER_TURN - handled)
      if (items.length === 0) {
        this.buckets.delete(bucket)
        this.order.pop()
      }
      handled += turn.length
      for (const item of turn) this.due(item)
    }
    this.arm()
  }
}
