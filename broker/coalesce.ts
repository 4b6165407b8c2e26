/**
 * Coalescing, pure: raw batches in, batches out that hold one run per (stream, part) instead of its tokens. A run crosses
 * neither a record of another kind nor a JSON value. See PROTOCOL.md, Batches.
 */

import {
  BatchReader,
  ByteReader,
  ByteWriter,
  FORM,
  KIND,
  RecordWalker,
  TAG,
  type TagNumber,
  varintSize,
  writeBatchHeader,
  writeRun,
} from '../protocol/index.ts'

/** Data of one coalesced batch; more goes into the next. */
const BATCH_DATA_BYTES = 64 * 1024

/** Told of each batch: its bytes lie in `bytes[from, to)`, and reading goes on at `next`. False stops. */
export type BatchSink = (bytes: Uint8Array, from: number, to: number, next: number) => boolean

interface GrowingRun {
  readonly tag: TagNumber
  readonly streamId: string
  readonly part: string
  readonly first: number
  last: number
  readonly sizes: number[]
  readonly data: ByteWriter
}

/** Coalesces the records at offsets from `from` to before `to` of contiguous raw batches. */
export function coalesce(batches: Uint8Array, from: number, to: number, sink: BatchSink): void {
  new Coalescer(from, sink).run(batches, from, to)
}

class Coalescer {
  private readonly sink: BatchSink
  private readonly out = new ByteWriter(4096)
  private base: number
  private next: number
  private timeMs = 0
  private runs: GrowingRun[] = []
  private dataBytes = 0
  private current: GrowingRun | null = null
  private stopped = false

  constructor(from: number, sink: BatchSink) {
    this.sink = sink
    this.base = from
    this.next = from
  }

  run(batches: Uint8Array, from: number, to: number): void {
    const batch = new BatchReader(new ByteReader(batches))
    while (!this.stopped && batch.advance() && batch.base < to) {
      if (batch.next <= from) continue
      // What is missing is never covered up: the reader finds that it does not get on.
      if (batch.base > this.next) break
      this.timeMs = batch.timeMs
      this.current = null
      const walker = new RecordWalker(batch.content())
      for (let offset = batch.base; offset < to && walker.next() && !this.stopped; offset++) {
        this.add(batch, walker, offset, offset >= from)
      }
    }
    if (!this.stopped) this.flush()
  }

  private add(batch: BatchReader, walker: RecordWalker, offset: number, wanted: boolean): void {
    if (walker.kind !== KIND.token) {
      if (wanted) this.passThrough(batch, walker, offset)
      return
    }
    if (walker.tag === TAG.json && wanted) this.flush()
    const run = this.runOf(walker, offset, wanted)
    if (!wanted || this.stopped) return
    run.sizes.push(walker.dataTo - walker.dataFrom)
    run.data.slice(walker.bytes, walker.dataFrom, walker.dataTo)
    run.last = offset
    this.dataBytes += walker.dataTo - walker.dataFrom
    this.next = offset + 1
    if (walker.tag === TAG.json || this.dataBytes >= BATCH_DATA_BYTES) this.flush()
  }

  /** The run that the token belongs to. For one that is not wanted, only what a later repeat needs. */
  private runOf(walker: RecordWalker, offset: number, wanted: boolean): GrowingRun {
    const current = this.current
    const same = walker.repeat && current !== null && current.tag === walker.tag
    if (same && current.sizes.length > 0) return current
    const streamId = walker.repeat && current !== null ? current.streamId : walker.name()
    const part = walker.repeat && current !== null ? current.part : walker.part()
    let known = this.runs.find((open) => open.streamId === streamId && open.part === part)
    // Tokens of one part keep their order, so that one of another tag begins anew.
    if (known !== undefined && known.tag !== walker.tag) {
      this.flush()
      known = undefined
    }
    const run = known ?? newRun(walker.tag, streamId, part, offset)
    if (wanted && run.sizes.length === 0) this.runs.push(run)
    this.current = run
    return run
  }

  private flush(): void {
    if (this.runs.length === 0) return
    const out = this.out
    out.reset()
    let size = 0
    for (const run of this.runs) size += runSize(run, this.base)
    writeBatchHeader(out, FORM.coalesced, this.base, this.next - this.base, this.timeMs, size)
    for (const run of this.runs) writeRun(out, this.base, { ...run, data: run.data.view() })
    if (this.current !== null) this.current = newRun(this.current.tag, this.current.streamId, this.current.part, 0)
    this.runs = []
    this.dataBytes = 0
    this.emit()
  }

  private passThrough(batch: BatchReader, walker: RecordWalker, offset: number): void {
    this.flush()
    if (this.stopped) return
    const out = this.out
    out.reset()
    writeBatchHeader(out, FORM.raw, offset, 1, batch.timeMs, walker.end - walker.start, batch.envelope())
    out.slice(walker.bytes, walker.start, walker.end)
    this.next = offset + 1
    this.emit()
  }

  private emit(): void {
    this.base = this.next
    if (!this.sink(this.out.bytes, 0, this.out.length, this.next)) this.stopped = true
  }
}

function newRun(tag: TagNumber, streamId: string, part: string, first: number): GrowingRun {
  return { tag, streamId, part, first, last: first, sizes: [], data: new ByteWriter(64) }
}

function runSize(run: GrowingRun, base: number): number {
  const text = (value: string): number => 1 + Buffer.byteLength(value)
  let size = 1 + text(run.streamId) + (run.part === 'text' ? 1 : text(run.part))
  size += varintSize(run.first - base) + varintSize(run.last - base) + varintSize(run.sizes.length)
  for (const bytes of run.sizes) size += varintSize(bytes)
  return size + run.data.length
}
