/**
 * Small pieces of bytes, cut from larger blocks. Node's own pool does the same for all of a process at once: there a piece that stays
 * keeps its neighbours, long of no use, in memory. Here all pieces of a block live about as long.
 */

const BLOCK_BYTES = 64 * 1024

export class Blocks {
  private block = Buffer.alloc(0)
  private at = 0

  /** A piece of that size, with any content. */
  take(bytes: number): Buffer {
    if (bytes > BLOCK_BYTES / 8) return Buffer.allocUnsafeSlow(bytes)
    if (this.at + bytes > this.block.length) {
      this.block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.at = 0
    }
    const piece = this.block.subarray(this.at, this.at + bytes)
    this.at += bytes
    return piece
  }
}
