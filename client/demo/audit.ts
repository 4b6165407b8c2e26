/**
 * The reader's own bookkeeping, from raw offsets alone: it takes no one's word for it that nothing was lost, doubled or
 * reordered. Offsets of a topic are dense, so every wrong delivery shows in them.
 */

/** What a reader found wrong; all 0 when the contract holds. In records. */
export interface AuditResult {
  readonly records: number
  /** Offsets that never came. */
  readonly gaps: number
  /** Offsets that came again. */
  readonly repeats: number
  /** Offsets that came after a later one. */
  readonly reorders: number
}

/** Watches the offsets of one topic from `first` on. */
export class OffsetAudit {
  #next: number
  #records = 0
  #repeats = 0
  #reorders = 0
  /** Ranges that have been skipped and not come since, as [from, to). */
  #missing: { from: number; to: number }[] = []

  constructor(first = 0) {
    this.#next = first
  }

  /** The offset that must come next. */
  get next(): number {
    return this.#next
  }

  see(offset: number): void {
    this.#records++
    if (offset >= this.#next) {
      if (offset > this.#next) this.#missing.push({ from: this.#next, to: offset })
      this.#next = offset + 1
      return
    }
    const range = this.#missing.find(({ from, to }) => offset >= from && offset < to)
    if (range === undefined) {
      this.#repeats++
      return
    }
    this.#reorders++
    const rest = [
      { from: range.from, to: offset },
      { from: offset + 1, to: range.to },
    ].filter(({ from, to }) => from < to)
    this.#missing = this.#missing.flatMap((other) => (other === range ? rest : [other]))
  }

  result(): AuditResult {
    const gaps = this.#missing.reduce((sum, { from, to }) => sum + to - from, 0)
    return { records: this.#records, gaps, repeats: this.#repeats, reorders: this.#reorders }
  }
}
