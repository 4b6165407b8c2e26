/** Small dense numbers for things that come and go: handles and subscriptions of one connection. */

import { LitetopicError } from '../protocol/index.ts'

export class Slots<T> {
  private readonly items: (T | undefined)[] = []
  private readonly free: number[] = []
  private readonly bound: number
  private readonly what: string

  /** `what` is for the error beyond the bound. */
  constructor(bound: number, what: string) {
    this.bound = bound
    this.what = what
  }

  /** Throws LIMIT_EXCEEDED. */
  add(item: T): number {
    const number = this.free.pop() ?? this.items.length
    if (number >= this.bound) {
      throw new LitetopicError('LIMIT_EXCEEDED', `more ${this.what} than one connection may have (${this.bound})`, {
        limit: this.what,
        bound: this.bound,
      })
    }
    this.items[number] = item
    return number
  }

  get(number: number): T | undefined {
    return this.items[number]
  }

  /** Must be called once per number: the next `add` may give it out again. */
  remove(number: number): void {
    this.items[number] = undefined
    this.free.push(number)
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const item of this.items) if (item !== undefined) yield item
  }
}
