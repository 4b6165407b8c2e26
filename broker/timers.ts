/**
 * What falls due in memory, on one clock. Items are kept in buckets of time, so that a million of them cost one timer and
 * adding one costs the same whatever there is. An item is in one bucket at most; who leaves takes it out, or the bucket
 * would keep it in memory until it is due.
 */

import type { Clock } from './clock.ts'

const BUCKET_MS = 50
/** Items handled before the loop gets its turn. */
const ITEMS_PER_TURN = 1000

export class Timers<Item> {
  private readonly clock: Clock
  private readonly due: (item: Item) => void
  private readonly buckets = new Map<number, Set<Item>>()
  /** Bucket numbers, the next last. */
  private order: number[] = []
  private cancel: (() => void) | null = null
  private armedFor = Number.POSITIVE_INFINITY

  constructor(clock: Clock, due: (item: Item) => void) {
    this.clock = clock
    this.due = due
  }

  /** The bucket of a monotonic time: it is due at most 50 ms later. */
  static bucketOf(atMs: number): number {
    return Math.max(0, Math.ceil(atMs / BUCKET_MS))
  }

  /** Calls `due` with the item when the bucket is due. */
  add(bucket: number, item: Item): void {
    const items = this.buckets.get(bucket)
    if (items !== undefined) {
      items.add(item)
      return
    }
    this.buckets.set(bucket, new Set([item]))
    this.order.splice(this.placeOf(bucket), 0, bucket)
    this.arm()
  }

  remove(bucket: number, item: Item): void {
    const items = this.buckets.get(bucket)
    if (items?.delete(item) !== true || items.size > 0) return
    this.buckets.delete(bucket)
    this.order.splice(this.placeOf(bucket), 1)
  }

  stop(): void {
    this.cancel?.()
    this.cancel = null
    this.buckets.clear()
    this.order = []
    this.armedFor = Number.POSITIVE_INFINITY
  }

  /** Where the bucket is, or belongs, in the order. */
  private placeOf(bucket: number): number {
    let low = 0
    let high = this.order.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.order[middle] as number) > bucket) low = middle + 1
      else high = middle
    }
    return low
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
    const turn: Item[] = []
    while (turn.length < ITEMS_PER_TURN) {
      const bucket = this.order.at(-1)
      if (bucket === undefined || bucket * BUCKET_MS > now) break
      this.take(bucket, turn)
    }
    for (const item of turn) this.due(item)
    this.arm()
  }

  /** Moves items of the bucket to the turn, as many as it has room for. */
  private take(bucket: number, turn: Item[]): void {
    const items = this.buckets.get(bucket) as Set<Item>
    for (const item of items) {
      if (turn.length === ITEMS_PER_TURN) return
      items.delete(item)
      turn.push(item)
    }
    this.buckets.delete(bucket)
    this.order.pop()
  }
}
