/** A shard as the broker uses it, reduced to what tests of the shard need: promises for commits, and plain records. */

import {
  BatchReader,
  ByteReader,
  ByteWriter,
  type ContextOp,
  contextOpName,
  KIND,
  LIMITS,
  type LitetopicError,
  NO_DATA,
  type RecordData,
  RecordWalker,
  type StreamState,
  streamStateName,
  writeCheckpoint,
  writeContext,
  writeMessage,
  writeStream,
} from '../../protocol/index.ts'
import { Shard } from '../../storage/shard.ts'
import type { Store } from '../../storage/store.ts'
import { streamsAt } from '../../storage/streams-at.ts'
import type { TopicState } from '../../storage/topic-state.ts'

export type TestRecord =
  | { kind: 'message'; text: string; id?: string }
  | { kind: 'large'; uploadId: string; size: number; sha256?: Uint8Array }
  | { kind: 'context'; op: ContextOp; name: string; text: string }
  | { kind: 'checkpoint'; name: string }
  | { kind: 'stream'; state: StreamState; streamId: string }

export interface TestItem {
  committed(): void
  failed(error: LitetopicError): void
}

export interface AppendOptions {
  readonly slot?: number
  readonly sequence?: number
  readonly timeMs?: number
  readonly principal?: string
}

/** The time of tests that do not care. */
export const TIME_MS = 1_700_000_000_000

const text = (value: string): RecordData => ({ tag: 'text', value })

export class Rig {
  readonly shard: Shard<TestItem>
  readonly failures: LitetopicError[]
  /** Topics flushed, by name, in order. */
  readonly flushed: string[]

  private constructor(shard: Shard<TestItem>, failures: LitetopicError[], flushed: string[]) {
    this.shard = shard
    this.failures = failures
    this.flushed = flushed
  }

  static async open(store: Store, boot?: () => Promise<string>): Promise<Rig> {
    const failures: LitetopicError[] = []
    const flushed: string[] = []
    const shard: Shard<TestItem> = await Shard.open<TestItem>(
      store,
      {
        committed(items) {
          for (const item of items) item.committed()
          shard.wakeFlusher()
        },
        failed(items, error) {
          for (const item of items) item.failed(error)
        },
        lingerMs: () => LIMITS.lingerMs,
        flushed: (state) => void flushed.push(state.name),
        truncated: () => undefined,
        broken: (error) => void failures.push(error),
        flushFailed: (error) => void failures.push(error),
      },
      boot,
    )
    return new Rig(shard, failures, flushed)
  }

  /** Resolves with the topic when its creation is durable. */
  async create(name: string): Promise<TopicState> {
    let state: TopicState | undefined
    await this.commit((item) => {
      state = this.shard.create(name, TIME_MS, null, item)
    })
    return state as TopicState
  }

  /** Resolves with a fork of the topic, when its creation is durable. */
  async fork(parent: TopicState, at: number, name: string): Promise<TopicState> {
    await this.shard.prepareFork(parent, at)
    const streams = await streamsAt(this.shard.store.table, parent, at)
    const facts = { createdMs: TIME_MS, policy: null, extra: null, streams }
    let state: TopicState | undefined
    await this.commit((item) => {
      state = this.shard.fork(parent, at, name, facts, item)
    })
    return state as TopicState
  }

  /** Appends, and resolves with the base offset when that is durable. */
  async append(state: TopicState, records: readonly TestRecord[], options: AppendOptions = {}): Promise<number> {
    const base = state.nextOffset
    await this.commit((item) => this.appendNow(state, records, options, item))
    return base
  }

  /** Appends; the topic's committed end moves when that is durable. */
  appendNow(state: TopicState, records: readonly TestRecord[], options: AppendOptions, item: TestItem): number {
    const source = encode(records)
    const next = state.nextOffset + records.length
    return this.shard.append(state, {
      slot: options.slot ?? -1,
      sequence: options.sequence ?? 0,
      count: records.length,
      effects: records.some((record) => record.kind !== 'message' || record.id !== undefined),
      timeMs: options.timeMs ?? TIME_MS,
      source,
      from: 0,
      to: source.length,
      principal: options.principal,
      item: {
        committed() {
          state.committedTo = next
          item.committed()
        },
        failed: (error) => item.failed(error),
      },
    })
  }

  trim(state: TopicState, firstOffset: number, freedBytes = 0): Promise<void> {
    return this.commit((item) => this.shard.trim(state, -1, 0, firstOffset, freedBytes, TIME_MS, item))
  }

  delete(state: TopicState): Promise<void> {
    return this.commit((item) => this.shard.delete(state, item))
  }

  /** Resolves when the topic's state is in the table. */
  async flush(state: TopicState): Promise<void> {
    const { flushes } = state
    const isClean = (): boolean => state.dirtySince === 0 && state.dueMs === state.storedDueMs
    const wasClean = isClean() && state.flushing === null && state.flushingBytes === 0
    this.shard.flush(state)
    // A topic without records has nothing in flush that could be seen: only the count tells that the write is over.
    await until(() => wasClean || state.flushes > flushes)
    await until(() => isClean() && state.flushing === null && state.flushingBytes === 0)
  }

  /** Lets the flusher end its round, so that the next topic to be flushed is taken at once. */
  async idle(): Promise<void> {
    for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
  }

  /** Calls `operation` with an item, and resolves when that is given back. */
  commit(operation: (item: TestItem) => void): Promise<void> {
    return new Promise((resolve, reject) => operation({ committed: resolve, failed: reject }))
  }

  /** The kept records of a topic, in order, as `offset: record`. */
  async read(state: TopicState, from: number = state.firstOffset): Promise<string[]> {
    const found: string[] = []
    for (let position = from; position < state.committedTo; ) {
      const batches = this.shard.readMemory(state, position) ?? (await this.shard.readChunk(state, position))
      const before = position
      position = readBatches(batches, position, state.committedTo, found)
      if (position === before) throw new Error(`no record at offset ${position} of ${state.name}`)
    }
    return found
  }
}

/** Waits, turn by turn of the loop, for what other work will make true. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}

export function encode(records: readonly TestRecord[]): Uint8Array {
  const out = new ByteWriter(256)
  for (const record of records) encodeOne(out, record)
  return out.copy()
}

function encodeOne(out: ByteWriter, record: TestRecord): void {
  if (record.kind === 'message') writeMessage(out, text(record.text), { id: record.id })
  if (record.kind === 'large') {
    const { uploadId, size, sha256 = new Uint8Array(32) } = record
    writeMessage(out, NO_DATA, { parts: { uploadId, size, sha256 } })
  }
  if (record.kind === 'context') writeContext(out, record.op, record.name, text(record.text))
  if (record.kind === 'checkpoint') writeCheckpoint(out, record.name, text('{}'))
  if (record.kind === 'stream') writeStream(out, record.state, record.streamId)
}

/** A record in the form that `Rig.read` gives it. */
export function shown(offset: number, record: TestRecord): string {
  switch (record.kind) {
    case 'message':
      return `${offset}: ${record.id ?? ''} ${record.text}`
    case 'large':
      return `${offset}: large ${record.uploadId} ${record.size}`
    case 'context':
      return `${offset}: ${record.op} ${record.name} ${record.text}`
    case 'checkpoint':
      return `${offset}: checkpoint ${record.name}`
    case 'stream':
      return `${offset}: ${record.state} ${record.streamId}`
  }
}

function readBatches(bytes: Uint8Array, from: number, to: number, found: string[]): number {
  const batch = new BatchReader(new ByteReader(bytes))
  let position = from
  while (batch.advance() && batch.base < to) {
    if (batch.next <= position) continue
    if (batch.base > position) return position
    const walker = new RecordWalker(batch.content())
    for (let offset = batch.base; walker.next(); offset++) {
      if (offset >= position) found.push(shown(offset, decode(walker)))
    }
    position = batch.next
  }
  return position
}

function decode(walker: RecordWalker): TestRecord {
  switch (walker.kind) {
    case KIND.context:
      return { kind: 'context', op: contextOpName(walker.code), name: walker.name(), text: walker.text() }
    case KIND.checkpoint:
      return { kind: 'checkpoint', name: walker.name() }
    case KIND.stream:
      return { kind: 'stream', state: streamStateName(walker.code), streamId: walker.name() }
    default: {
      const { id, parts } = walker.extras() ?? {}
      if (parts !== undefined) return { kind: 'large', uploadId: parts.uploadId, size: parts.size }
      return { kind: 'message', text: walker.text(), id }
    }
  }
}
