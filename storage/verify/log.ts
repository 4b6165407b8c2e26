/** Walks a topic's log as a reader would: its chunks, the inline tail of its head, and what is only in the journal. */

import { BatchReader, ByteReader } from '../../protocol/index.ts'
import { chunkWith } from '../chunks.ts'
import { unpackInlineTail } from '../inline-tail.ts'
import { chunkRange, numberInKey } from '../keys.ts'
import { forkPoint } from '../lineage.ts'
import { unseal } from '../seal.ts'
import type { Slabs } from '../slabs.ts'
import type { Table } from '../store.ts'
import { copyBatches } from '../tail.ts'
import type { TopicState } from '../topic-state.ts'
import { must, reasonOf } from './damage.ts'
import { checkRecords } from './journal.ts'

/** Chunks read at once. */
const CHUNKS = 8

export interface LogVisitor {
  /**
   * Sound batches that follow one another, the first of which may begin before the first offset kept. `flushed`: the
   * table says it has all of them, and so their index entries.
   */
  batches(bytes: Uint8Array, from: number, flushed: boolean): Promise<void>
  /** Records that are damaged or missing; `kept` is false for trimmed ones, which nobody misses. */
  damaged(unit: 'chunk' | 'head' | 'journal', from: number, to: number, what: string, kept: boolean): void
}

/**
 * Goes through all that there is, also behind a damage, and resolves with the offset up to which the log is whole: the
 * place of the first damage, or the end. Of a fork it begins at the fork point: what it shares is another topic's.
 */
export async function walkLog(table: Table, slabs: Slabs, state: TopicState, visitor: LogVisitor): Promise<number> {
  const walk = new Walk(table, slabs, state, visitor)
  return walk.run()
}

/** The same with what a fork shares, up to the first damage. */
export async function walkShared(table: Table, state: TopicState, visitor: LogVisitor): Promise<number> {
  const to = forkPoint(state)
  let position = state.firstOffset
  while (position < to) {
    try {
      const batches = await chunkWith(table, state, position)
      must(batches !== null, 'there is no chunk with it')
      const [, next] = checkBatches(batches)
      must(next > position, 'there is nothing with it')
      await visitor.batches(batches, position, true)
      position = next
    } catch (error) {
      visitor.damaged('chunk', position, to, reasonOf(error), true)
      return position
    }
  }
  return Math.max(position, to)
}

class Walk {
  private readonly table: Table
  private readonly slabs: Slabs
  private readonly state: TopicState
  private readonly visitor: LogVisitor
  /** The next offset. */
  private position: number
  private soundTo: number | null = null

  constructor(table: Table, slabs: Slabs, state: TopicState, visitor: LogVisitor) {
    this.table = table
    this.slabs = slabs
    this.state = state
    this.visitor = visitor
    this.position = Math.max(state.firstOffset, forkPoint(state))
  }

  async run(): Promise<number> {
    const { state } = this
    await this.chunks()
    this.expect('chunk', state.chunkedTo, 'there is no chunk with it')
    if (state.inline !== null) await this.take('head', unpackInlineTail(state.inline), state.flushedTo, true)
    this.expect('head', state.flushedTo, 'the head does not have it')
    const tail = copyBatches(state, this.slabs, 0, state.tail.length, state.nextOffset, Number.POSITIVE_INFINITY)
    if (tail.length > 0) await this.take('journal', tail, state.nextOffset, false)
    this.expect('journal', state.nextOffset, 'the journal does not have it')
    return this.soundTo ?? this.position
  }

  private async chunks(): Promise<void> {
    const { state } = this
    for (let from = 0; ; ) {
      const page = await this.table.scan({ ...chunkRange(state.epoch, from), limit: CHUNKS })
      for (const { key, value } of page) {
        const next = numberInKey(key, 1) + 1
        from = next
        // A flush that was cut off may have left chunks; the journal then has their records.
        const isLeft = next > state.chunkedTo
        if (isLeft && state.dirtySince === 0) {
          this.visitor.damaged('chunk', next - 1, next, 'a chunk that the head does not know of', false)
        }
        const isKept = !isLeft && next > state.firstOffset
        let batches: Uint8Array
        try {
          batches = unseal(key, value, 'it')
        } catch (error) {
          this.broken('chunk', isKept ? this.position : next - 1, next, reasonOf(error), isKept)
          continue
        }
        if (isKept) await this.take('chunk', batches, next, true)
      }
      if (page.length < CHUNKS) return
    }
  }

  /** Checks batches that end at `to`, and gives them on. */
  private async take(
    unit: 'chunk' | 'head' | 'journal',
    bytes: Uint8Array,
    to: number,
    flushed: boolean,
  ): Promise<void> {
    const from = this.position
    if (to <= from) return
    try {
      const [base, next] = checkBatches(bytes)
      if (base > from) this.broken(unit, from, base, 'there is nothing with it', true)
      must(next === to, `it ends at offset ${next}, and should at ${to}`)
    } catch (error) {
      this.broken(unit, from, to, reasonOf(error), true)
      return
    }
    this.position = to
    await this.visitor.batches(bytes, from, flushed)
  }

  private expect(unit: 'chunk' | 'head' | 'journal', to: number, what: string): void {
    if (this.position < to) this.broken(unit, this.position, to, what, true)
  }

  private broken(unit: 'chunk' | 'head' | 'journal', from: number, to: number, what: string, kept: boolean): void {
    this.visitor.damaged(unit, from, to, what, kept)
    if (!kept) return
    this.soundTo ??= from
    this.position = Math.max(this.position, to)
  }
}

/** Throws unless the batches follow one another and their records are sound. Returns the first offset, and that behind the last. */
function checkBatches(bytes: Uint8Array): [base: number, next: number] {
  const batch = new BatchReader(new ByteReader(bytes))
  must(batch.advance(), 'it has no batch')
  const { base } = batch
  let { next } = batch
  checkRecords(batch)
  while (batch.advance()) {
    must(batch.base === next, `its batch at offset ${batch.base} should be at ${next}`)
    checkRecords(batch)
    next = batch.next
  }
  return [base, next]
}
