/** What one subscription has been delivered, decoded; checks that nothing is left out or comes twice. */

import {
  type BatchReader,
  contextOpName,
  FORM,
  isStreamEnd,
  KIND,
  kindName,
  RecordWalker,
  type ReplyOf,
  readRun,
  streamStateName,
  TAG,
  type UP,
} from '../../protocol/index.ts'
import type { Refusal } from './refusal.ts'

export interface SeenRecord {
  /** -1 for a token of a run, whose offset is not told. */
  readonly offset: number
  readonly kind: string
  readonly name?: string
  readonly part?: string
  readonly id?: string
  /** Context op or stream state. */
  readonly what?: string
  /** Tag and value; bytes as hex. */
  readonly data: string
}

export interface SeenBatch {
  readonly form: number
  readonly live: boolean
  readonly base: number
  readonly next: number
  readonly bytes: number
}

export class Reading {
  readonly id: number
  readonly batches: SeenBatch[] = []
  readonly records: SeenRecord[] = []
  /** Where the broker said that it begins, and the offset expected next. */
  start = -1
  position = -1
  ended: Refusal | null = null
  private readonly grant: ((bytes: number) => void) | null

  /** `grant` gives back the credit of each batch at once; null when the test does it. */
  constructor(id: number, grant: ((bytes: number) => void) | null) {
    this.id = id
    this.grant = grant
  }

  begin(reply: ReplyOf<typeof UP.subscribe>): void {
    this.start = reply.next
    if (this.position < 0) this.position = reply.next
  }

  take(batch: BatchReader, flags: number): void {
    if (this.ended !== null) throw new Error('a delivery behind the end')
    if (this.position < 0) throw new Error('a delivery before the reply')
    if (batch.base > this.position) throw new Error(`offsets ${this.position} to ${batch.base - 1} are left out`)
    if (batch.next <= this.position) throw new Error(`offsets up to ${batch.next - 1} come again`)
    if (batch.form === FORM.coalesced && batch.base !== this.position) throw new Error('a run from before the position')
    const bytes = batch.end - batch.start
    this.batches.push({ form: batch.form, live: (flags & 1) === 1, base: batch.base, next: batch.next, bytes })
    if (batch.form === FORM.raw) this.takeRaw(batch)
    else this.takeRuns(batch)
    this.position = batch.next
    this.grant?.(bytes)
  }

  end(refusal: Refusal): void {
    this.ended = refusal
  }

  /** Values of the tokens of a stream's part, as text. */
  text(streamId: string, part = 'text'): string {
    return this.records
      .filter((record) => record.kind === 'token' && record.name === streamId && record.part === part)
      .map((record) => record.data.slice('text:'.length))
      .join('')
  }

  /** `open`, `lost` and so on, in order. */
  states(streamId: string): string[] {
    return this.records
      .filter((record) => record.kind === 'stream' && record.name === streamId)
      .map((record) => record.what as string)
  }

  get messages(): string[] {
    return this.records.filter((record) => record.kind === 'message').map((record) => record.data)
  }

  get isEnded(): boolean {
    return this.records.some((record) => record.kind === 'stream' && isStreamEnd(record.what as 'done'))
  }

  private takeRaw(batch: BatchReader): void {
    const walker = new RecordWalker(batch.content())
    let offset = batch.base
    for (; walker.next(); offset++) if (offset >= this.position) this.records.push(recordOf(walker, offset))
    if (offset !== batch.next) throw new Error(`a batch of ${batch.count} records has ${offset - batch.base}`)
  }

  private takeRuns(batch: BatchReader): void {
    const content = batch.content()
    let tokens = 0
    let first = -1
    while (!content.done) {
      const run = readRun(content, batch.base)
      if (run.first <= first) throw new Error('runs are not in order')
      first = run.first
      if (run.last >= batch.next || run.last - run.first + 1 < run.sizes.length)
        throw new Error('a run beyond its batch')
      if (run.tag === TAG.json && (tokens > 0 || run.sizes.length > 1 || batch.count > 1)) {
        throw new Error('a JSON value in a run with others')
      }
      let at = 0
      for (const size of run.sizes) {
        const bytes = run.data.subarray(at, at + size)
        const { streamId: name, part } = run
        this.records.push({ offset: -1, kind: 'token', name, part, data: dataOf(run.tag, bytes) })
        at += size
        tokens++
      }
    }
    if (tokens !== batch.count) throw new Error(`a batch of ${batch.count} tokens has ${tokens}`)
  }
}

/**
 * The content of records, the same for raw and coalesced reading: between two records that are not tokens, the tokens of
 * each part of each stream in order.
 */
export function contentOf(records: readonly SeenRecord[]): unknown[] {
  const content: unknown[] = []
  let tokens = new Map<string, string[]>()
  const close = (): void => {
    if (tokens.size > 0) content.push([...tokens].sort(([a], [b]) => (a < b ? -1 : 1)))
    tokens = new Map()
  }
  for (const record of records) {
    if (record.kind === 'token') {
      const key = `${record.name}\0${record.part}`
      tokens.set(key, [...(tokens.get(key) ?? []), record.data])
      continue
    }
    close()
    content.push(record)
  }
  close()
  return content
}

function recordOf(walker: RecordWalker, offset: number): SeenRecord {
  const kind = kindName(walker.kind)
  const hasName = walker.kind !== KIND.message
  const what =
    walker.kind === KIND.context
      ? contextOpName(walker.code)
      : walker.kind === KIND.stream
        ? streamStateName(walker.code)
        : undefined
  return {
    offset,
    kind,
    name: hasName ? walker.name() : undefined,
    part: walker.kind === KIND.token ? walker.part() : undefined,
    id: walker.extras()?.id,
    what,
    data: dataOf(walker.tag, walker.data()),
  }
}

function dataOf(tag: number, bytes: Uint8Array): string {
  const tags = ['text', 'json', 'bytes']
  return `${tags[tag]}:${tag === 2 ? Buffer.from(bytes).toString('hex') : Buffer.from(bytes).toString()}`
}
