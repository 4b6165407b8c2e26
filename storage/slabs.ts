/**
 * The journal's recent entries in memory. Topics point into them by position, one number for each batch of their tails,
 * so that a tail costs neither a copy nor an object per record. A position is a byte count since the process started;
 * slabs have one size, so that finding the slab is a division, and an entry never straddles two.
 */

import { invariant, LIMITS } from '../protocol/index.ts'

export const SLAB_BYTES = 4 * 1024 * 1024

/**
 * Released slabs that are kept to be used again: of memory outside its heap V8 lets 64 MiB become garbage, and then it marks all
 * there is, a million topics too.
 */
const SPARE_SLABS = 2

export class Slabs {
  private readonly slabs = new Map<number, Buffer>()
  private readonly spare: Buffer[] = []
  /** The one that was asked for last: mostly it is asked for again. */
  private found: Buffer | null = null
  private foundIndex = -1
  private oldest = 0
  private newest = -1
  /** Where the next byte goes. */
  position = 0

  /** Makes the room that one entry may need behind `position`, moving it to a new slab if it must. */
  makeRoom(bytes: number = LIMITS.journalEntryBytes): void {
    invariant(bytes <= SLAB_BYTES, 'an entry is no larger than a slab')
    const used = this.position - this.newest * SLAB_BYTES
    if (this.newest >= 0 && used + bytes <= SLAB_BYTES) return
    this.newest++
    this.slabs.set(this.newest, this.spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES))
    this.position = this.newest * SLAB_BYTES
  }

  /** The slab that holds the position. */
  at(position: number): Buffer {
    const index = Math.floor(position / SLAB_BYTES)
    if (this.found !== null && index === this.foundIndex) return this.found
    const slab = this.slabs.get(index)
    invariant(slab !== undefined, 'a tail points into memory that has been released')
    this.found = slab
    this.foundIndex = index
    return slab
  }

  /** The bytes between two positions of one slab. */
  slice(from: number, to: number): Buffer {
    const start = from % SLAB_BYTES
    return this.at(from).subarray(start, start + to - from)
  }

  /** Releases the slabs that lie wholly before the position: nobody may have a view of them. */
  release(position: number): void {
    const keep = Math.min(Math.floor(position / SLAB_BYTES), this.newest)
    this.found = null
    for (; this.oldest < keep; this.oldest++) {
      const slab = this.slabs.get(this.oldest)
      this.slabs.delete(this.oldest)
      if (slab !== undefined && this.spare.length < SPARE_SLABS) this.spare.push(slab)
    }
  }

  get bytes(): number {
    return this.slabs.size * SLAB_BYTES
  }
}
