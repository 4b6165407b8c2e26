/**
 * Work that may come for a million items at once: some of them in each turn of the loop, so that nothing else waits for all of it.
 * While there is little of it, it is done at once.
 */

export class Portions<Item> {
  private readonly perTurn: number
  private readonly work: (item: Item) => void
  /** Done in this turn of the loop. */
  private done = 0
  /** Those that must wait, from `at` on. */
  private waiting: Item[] = []
  private at = 0

  /** `work` must not throw. */
  constructor(perTurn: number, work: (item: Item) => void) {
    this.perTurn = perTurn
    this.work = work
  }

  /** Works on the item: now, or in its turn behind those that wait. */
  add(item: Item): void {
    if (this.done === this.perTurn || this.at < this.waiting.length) {
      this.waiting.push(item)
      return
    }
    if (this.done++ === 0) setImmediate(() => this.turn())
    this.work(item)
  }

  private turn(): void {
    this.done = 0
    const { waiting } = this
    const end = Math.min(this.at + this.perTurn, waiting.length)
    if (end === this.at) return
    setImmediate(() => this.turn())
    this.done = end - this.at
    while (this.at < end) this.work(waiting[this.at++] as Item)
    if (this.at < waiting.length) return
    this.waiting = []
    this.at = 0
  }
}
