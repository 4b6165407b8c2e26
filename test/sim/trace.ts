/** What happened, line by line: the last lines to read after a failure, and a hash of all of them to compare two runs by. */

const KEPT_LINES = 4000

export class Trace {
  count = 0
  private readonly lines: string[] = []
  private high = 0xdeadbeef
  private low = 0x41c6ce57

  add(line: string): void {
    this.lines[this.count++ % KEPT_LINES] = line
    let { high, low } = this
    for (let i = 0; i < line.length; i++) {
      const unit = line.charCodeAt(i)
      high = Math.imul(high ^ unit, 2654435761)
      low = Math.imul(low ^ unit, 1597334677)
    }
    this.high = (high ^ (low >>> 15)) + this.count
    this.low = low ^ (high >>> 13)
  }

  get hash(): string {
    const part = (value: number): string => (value >>> 0).toString(16).padStart(8, '0')
    return part(this.high) + part(this.low)
  }

  /** The newest lines, oldest first. */
  tail(lines: number): string[] {
    const from = Math.max(0, this.count - Math.min(lines, KEPT_LINES))
    return Array.from({ length: this.count - from }, (_, i) => this.lines[(from + i) % KEPT_LINES] as string)
  }
}
