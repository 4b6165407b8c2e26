/**
 * Delivers to the readers of a topic that has many. All at once they would hold up every other topic, so a few are served in
 * each turn of the loop, crowds in turn. What is committed meanwhile is one block for the next round: readers get it in one
 * message, which is encoded once for all of them.
 */

import { asLitetopicError, ByteWriter, DELIVER_LIVE, LIMITS, type LitetopicError } from '../protocol/index.ts'
import { SLAB_BYTES } from '../storage/index.ts'
import type { SharedBatches, SharedMessage } from './client.ts'

/** A topic with more readers than this is a crowd. */
export const CROWD_READERS = 64

/** Readers served in one turn of the loop, of all crowds together; and of one crowd before the next one's turn. */
const READERS_PER_TURN = 64
const READERS_AT_ONCE = 32

/** A reader, as its crowd sees it. */
export interface CrowdReader {
  /** Takes what it has not got of the block, if it can. */
  serve(block: Block): void
}

/** Batches of one topic that were committed one behind the other. */
export class Block implements SharedBatches {
  readonly flags = DELIVER_LIVE
  readonly encoded = new Map<number | string, SharedMessage>()
  /** Offset of the first record, and the one after the last. */
  readonly base: number
  next: number
  /** Of each batch: the offset of its first record, and where its bytes begin. */
  private readonly bases: number[] = []
  readonly starts: number[] = []
  private readonly out = new ByteWriter(256)

  constructor(base: number) {
    this.base = this.next = base
  }

  get bytes(): Uint8Array {
    return this.out.bytes
  }

  get size(): number {
    return this.out.length
  }

  add(bytes: Uint8Array, from: number, to: number, base: number, next: number): void {
    this.bases.push(base)
    this.starts.push(this.out.length)
    this.out.slice(bytes, from, to)
    this.next = next
  }

  /** Which batch begins with this offset, or -1. */
  indexOf(offset: number): number {
    return this.bases.indexOf(offset)
  }
}

/** The readers of one topic, and how far they have been served. */
export class Crowd {
  private readonly crowds: Crowds
  private readonly readers: readonly CrowdReader[]
  /** What is being delivered, and how many readers have not been served yet: from the last to the first. */
  private serving: Block | null = null
  private left = 0
  /** For the next round. */
  private coming: Block | null = null

  /** `readers` changes as they come and go. */
  constructor(crowds: Crowds, readers: readonly CrowdReader[]) {
    this.crowds = crowds
    this.readers = readers
  }

  /** A batch at the end of the topic was committed. Readers that need what a block has no room for read for themselves. */
  offer(position: number, size: number, base: number, next: number): void {
    if (this.coming === null || this.coming.size + size > LIMITS.readBytes) this.coming = new Block(base)
    const from = position % SLAB_BYTES
    this.coming.add(this.crowds.slabAt(position), from, from + size, base, next)
    if (this.serving !== null) return
    this.begin()
    this.crowds.enqueue(this)
  }

  /** Serves up to so many readers, and returns how many it was: fewer at the end of a round. */
  serve(most: number): number {
    const { serving } = this
    // Some may have gone.
    const from = Math.min(this.left, this.readers.length)
    const to = Math.max(0, from - most)
    while (serving !== null && this.left > to) {
      this.left = Math.min(this.left, this.readers.length) - 1
      this.readers[this.left]?.serve(serving)
    }
    if (this.left <= 0) this.begin()
    return from - to
  }

  /** Are there readers to be served? */
  get waits(): boolean {
    return this.serving !== null
  }

  private begin(): void {
    this.serving = this.coming
    this.coming = null
    this.left = this.readers.length
  }
}

/** All crowds with readers to be served, each in its turn. */
export class Crowds {
  /** Bytes in memory by their position: the slab. */
  readonly slabAt: (position: number) => Uint8Array
  private readonly report: (error: LitetopicError) => void
  private readonly queue: Crowd[] = []

  constructor(slabAt: (position: number) => Uint8Array, report: (error: LitetopicError) => void) {
    this.slabAt = slabAt
    this.report = report
  }

  enqueue(crowd: Crowd): void {
    this.queue.push(crowd)
    if (this.queue.length === 1) this.schedule()
  }

  private schedule(): void {
    setImmediate(() => this.turn())
  }

  private turn(): void {
    for (let left = READERS_PER_TURN; left > 0; ) {
      const crowd = this.queue.shift()
      if (crowd === undefined) return
      left -= this.serve(crowd, Math.min(left, READERS_AT_ONCE))
      if (crowd.waits) this.queue.push(crowd)
    }
    if (this.queue.length > 0) this.schedule()
  }

  /** A fault in telling one reader must not keep the others from being told. */
  private serve(crowd: Crowd, most: number): number {
    try {
      return Math.max(1, crowd.serve(most))
    } catch (error) {
      this.report(asLitetopicError(error))
      return most
    }
  }
}
