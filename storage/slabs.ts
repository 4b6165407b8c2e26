/**
 * The journal's recent entries in memory. Topics point into them by position, one number for each batch of their tails,
 * so that a tail costs neither a copy nor an object per record. A position is a byte count since the process started;
 * slabs have one size, so that finding the slab is a division, and an entry never straddles two.
 */

import { invariant, LIMITS } from '../protocol/index.ts'

export const SLAB_BYTES = 4 * 1024 * 1024

export class Slabs {
  private readonly slabs = new Map<number, Buffer>()
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
    this.slabs.set(this.newest, Buffer.allocUnsafeSlow(SLAB_BYTES))
    this.position = this.newest * SLAB_BYTES
  }

  /** The slab that holds the position. */
  at(position: number): Buffer {
    const slab = this.slabs.get(Math.floor(position / SLAB_BYTES))
    invariant(slab !== undefined, 'a tail points into memory that has been released')
    return slab
  }

  /** The bytes between two positions of one slab. */
  slice(from: number, to: number): Buffer {
    const start = from % SLAB_BYTES
    return this.at(from).subarray(start, start + to - from)
  }

  /** Releases the slabs that lie wholly before the position. */
  release(position: number): void {
    const keep = Math.min(Math.floor(position / SLAB_BYTES), this.newest)
    for (; this.oldest < keep; this.oldest++) this.slabs.delete(this.oldest)
  }

  get bytes(): number {
    return this.slabs.size * SLAB_BYTES
  }
}
