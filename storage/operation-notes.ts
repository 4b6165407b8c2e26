/**
 * Where in memory the operations of the journal lie, of each topic in their order, and what of them a start must know. A start notes
 * a million and more at once: they are numbers in a few large blocks, because an array of each topic takes longer to make, and to
 * collect, than the journal takes to read.
 */

/** Of an operation: position, commit, index within the commit, change of the topic's bytes, and the topic's next one. */
const FIELDS = 5
const BLOCK_OPERATIONS = 16_384

export class OperationNotes {
  private readonly blocks: Float64Array[] = []
  private count = 0

  /** Notes an operation behind the topic's last one, or -1, and returns its number. */
  add(last: number, position: number, commit: number, index: number, bytes: number): number {
    const number = this.count++
    if (number % BLOCK_OPERATIONS === 0) this.blocks.push(new Float64Array(BLOCK_OPERATIONS * FIELDS))
    const block = this.block(number)
    const at = (number % BLOCK_OPERATIONS) * FIELDS
    block[at] = position
    block[at + 1] = commit
    block[at + 2] = index
    block[at + 3] = bytes
    block[at + 4] = -1
    if (last >= 0) this.block(last)[(last % BLOCK_OPERATIONS) * FIELDS + 4] = number
    return number
  }

  position(number: number): number {
    return this.field(number, 0)
  }

  commit(number: number): number {
    return this.field(number, 1)
  }

  index(number: number): number {
    return this.field(number, 2)
  }

  /** By how much it changes the topic's bytes. */
  bytes(number: number): number {
    return this.field(number, 3)
  }

  /** The topic's next one, or -1. */
  next(number: number): number {
    return this.field(number, 4)
  }

  private field(number: number, field: number): number {
    return this.block(number)[(number % BLOCK_OPERATIONS) * FIELDS + field] as number
  }

  private block(number: number): Float64Array {
    return this.blocks[Math.floor(number / BLOCK_OPERATIONS)] as Float64Array
  }
}
