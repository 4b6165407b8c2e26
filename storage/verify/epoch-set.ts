/** Epochs by the million: eight bytes each, where a Set takes forty. */

export class EpochSet {
  private epochs = new Float64Array(64)
  private length = 0
  private isSorted = true

  add(epoch: number): void {
    if (this.length === this.epochs.length) {
      const larger = new Float64Array(this.length * 2)
      larger.set(this.epochs)
      this.epochs = larger
    }
    this.epochs[this.length++] = epoch
    this.isSorted = false
  }

  has(epoch: number): boolean {
    if (!this.isSorted) this.epochs.subarray(0, this.length).sort()
    this.isSorted = true
    let low = 0
    let high = this.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.epochs[middle] as number) < epoch) low = middle + 1
      else high = middle
    }
    return this.length > 0 && this.epochs[low] === epoch
  }
}
