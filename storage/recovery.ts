/**
 * Start-up: the journal is read once into memory, and each topic that it names is remembered with the positions of its
 * operations. A topic's state is built when somebody needs it: its head from the table, then the operations behind it.
 */

import { ByteReader, invariant, LIMITS, LitetopicError } from '../protocol/index.ts'
import {
  applyAppend,
  applyClose,
  applyEffects,
  applyExtra,
  applyFence,
  applyFork,
  applyPolicy,
  applyProducer,
  applySequence,
  applyTrim,
} from './apply.ts'
import { type AsOf, decodeHead } from './head.ts'
import { headKey } from './keys.ts'
import { OperationNotes } from './operation-notes.ts'
import {
  APPEND_EFFECTS,
  checkEntry,
  ENTRY_HEADER_BYTES,
  type FoundOperation,
  OPERATION,
  type OperationBody,
  type OperationType,
  readOperation,
  type TopicExtra,
} from './operations.ts'
import { SLAB_BYTES, type Slabs } from './slabs.ts'
import type { Journal, JournalEntry, Table } from './store.ts'
import { storedBytes } from './stored-bytes.ts'
import { batchAt } from './tail.ts'
import { TopicState } from './topic-state.ts'

/** Operations that name their topic. */
const NAMING: ReadonlySet<OperationType> = new Set([OPERATION.create, OPERATION.introduce, OPERATION.delete])

/** A topic that the journal names and nobody has needed yet. */
export interface Unloaded {
  readonly name: string
  readonly epoch: number
  /** Number of the oldest commit that names it. */
  readonly since: number
  /** Of its operations but introductions the first one and the last one, or -1. */
  readonly notes: OperationNotes
  first: number
  last: number
  readonly principal: string | null
  /** Epoch of its parent if it is a fork that the journal creates; else 0. */
  readonly parent: number
  /** Is the first of them its creation? */
  readonly created: boolean
  /** Is the last of them its deletion? */
  deleted: boolean
}

export interface Replayed {
  /** Topics in the order in which the journal first names them. */
  readonly topics: Unloaded[]
  /** Told of each entry: its number, position and count of operations. */
  readonly entries: { number: number; start: number; operations: number }[]
}

/** Reads the journal into the slabs. Rejects with STORE_CORRUPT if an entry is damaged or missing. */
export async function replay(journal: Journal, slabs: Slabs): Promise<Replayed> {
  const byEpoch = new Map<number, Unloaded>()
  const notes = new OperationNotes()
  const entries: Replayed['entries'] = []
  for await (const entry of journal.entries()) entries.push(replayEntry(slabs, entry, byEpoch, notes))
  return { topics: [...byEpoch.values()], entries }
}

/** Reads one entry into the slabs, and notes its operations. Throws STORE_CORRUPT or DATA_DIR_VERSION. */
export function replayEntry(
  slabs: Slabs,
  { number, bytes }: JournalEntry,
  byEpoch: Map<number, Unloaded>,
  notes: OperationNotes,
): Replayed['entries'][number] {
  const operations = checkEntry(bytes, number)
  slabs.makeRoom(bytes.length)
  const start = slabs.position
  slabs.at(start).set(bytes, start % SLAB_BYTES)
  slabs.position += bytes.length
  indexEntry(slabs, { start, size: bytes.length, number }, byEpoch, notes)
  return { number, start, operations }
}

function indexEntry(
  slabs: Slabs,
  { start, size, number }: { start: number; size: number; number: number },
  byEpoch: Map<number, Unloaded>,
  notes: OperationNotes,
): void {
  const from = start % SLAB_BYTES
  const base = start - from
  const reader = new ByteReader(slabs.at(start), from + ENTRY_HEADER_BYTES, from + size)
  let topic: Unloaded | undefined
  for (let index = 0; !reader.done; index++) {
    const position = base + reader.at
    const operation = readOperation(reader)
    // Often it is of the same topic as the one before it.
    if (topic?.epoch !== operation.epoch) topic = byEpoch.get(operation.epoch)
    if (topic === undefined) {
      // Operations of a topic that is not introduced lie before its newest flush: the table has their effects.
      if (!NAMING.has(operation.type)) continue
      topic = named(operation, number, notes)
      byEpoch.set(topic.epoch, topic)
    }
    if (operation.type === OPERATION.introduce) continue
    const changed = changedBytes(operation, reader.at, base, slabs)
    topic.last = notes.add(topic.last, position, number, index, changed)
    if (topic.first < 0) topic.first = topic.last
    if (operation.type === OPERATION.delete) topic.deleted = true
  }
}

function named({ type, body }: FoundOperation, since: number, notes: OperationNotes): Unloaded {
  const [epoch, name] = body as OperationBody['introduce']
  const created = type === OPERATION.create
  const extra = (body as unknown[])[created ? 4 : 2] as TopicExtra | null
  const parent = (created && extra?.fork?.links[0][0]) || 0
  // A deletion has none: that of a topic with a principal is introduced.
  const principal = type === OPERATION.delete ? null : (extra?.principal ?? null)
  return { name, epoch, since, notes, first: -1, last: -1, principal, parent, created, deleted: false }
}

/** By how much an operation, which ends there, changes the bytes of its topic; `base` is where its slab begins. */
function changedBytes(operation: FoundOperation, end: number, base: number, slabs: Slabs): number {
  const { type, flags, body, batchAt: at } = operation
  if (type === OPERATION.append) return flags === 0 ? end - at : storedBytes(batchAt(slabs, base + at), true)
  if (type === OPERATION.trim) return -(body as OperationBody['trim'])[4]
  return type === OPERATION.delete ? -(body as OperationBody['delete'])[2] : 0
}

/** The state of a topic by name from the table alone, or null. Rejects with STORE_CORRUPT. */
export async function loadHead(table: Table, name: string): Promise<{ state: TopicState; asOf: AsOf } | null> {
  const value = await table.get(headKey(name))
  return value === undefined ? null : decodeHead(name, value)
}

/**
 * The state of a topic that the journal names: its head, if it has one, and the operations behind it. Null for a deleted
 * topic of which the table has nothing any more.
 */
export async function loadUnloaded(table: Table, slabs: Slabs, topic: Unloaded): Promise<TopicState | null> {
  const head = await loadHead(table, topic.name)
  let state = head?.state.epoch === topic.epoch ? head.state : null
  const asOf = state === null ? { commit: 0, operations: 0 } : (head?.asOf as AsOf)
  let applied = false
  const { notes } = topic
  for (let at = topic.first; at >= 0; at = notes.next(at)) {
    const [position, commit, index] = [notes.position(at), notes.commit(at), notes.index(at)]
    if (commit < asOf.commit || (commit === asOf.commit && index < asOf.operations)) continue
    const operation = readOperation(new ByteReader(slabs.at(position), position % SLAB_BYTES))
    state = applyOperation(state, operation, position, slabs)
    applied = true
  }
  if (state === null) {
    if (topic.deleted) return null
    throw new LitetopicError('STORE_CORRUPT', `topic ${topic.name} is in the journal, but its head is missing`, {
      topic: topic.name,
    })
  }
  if (applied) {
    state.dirtySince = topic.since
    suspectCutOffFlush(state)
  }
  state.committedTo = state.nextOffset
  state.closeCommitted = state.closed
  return state
}

/** Changes of one table write are not atomic: what a flush writes before the head may be in the table. */
function suspectCutOffFlush(state: TopicState): void {
  const tail = state.tailBytes + (state.inline?.length ?? 0)
  const hadChunks = tail > LIMITS.inlineTailBytes || state.extra?.forkedTo !== undefined
  if (hadChunks || state.recent !== null) state.tableUsed = true
  if (state.openStreams !== null || state.recent?.ended !== undefined) state.openStreamsStored = 'unknown'
}

function applyOperation(
  state: TopicState | null,
  operation: FoundOperation,
  position: number,
  slabs: Slabs,
): TopicState | null {
  if (operation.type === OPERATION.create) {
    const [epoch, name, createdMs, policy, extra, inherited] = operation.body as OperationBody['create']
    const created = new TopicState(name, epoch, createdMs, policy, extra)
    if (inherited !== undefined) applyFork(created, inherited)
    return created
  }
  if (state === null) return null
  switch (operation.type) {
    case OPERATION.append:
      replayAppend(state, operation, position, slabs)
      break
    case OPERATION.producer: {
      const [, slot, id, producerEpoch, timeMs] = operation.body as OperationBody['producer']
      applyProducer(state, slot, id, producerEpoch, timeMs)
      break
    }
    case OPERATION.advance: {
      const [, slot, sequence, base, timeMs] = operation.body as OperationBody['advance']
      applySequence(state, slot, sequence, base, timeMs)
      break
    }
    case OPERATION.trim: {
      const [, slot, sequence, firstOffset, freedBytes, timeMs] = operation.body as OperationBody['trim']
      applyTrim(state, firstOffset, freedBytes)
      if (slot >= 0) applySequence(state, slot, sequence, firstOffset, timeMs)
      break
    }
    case OPERATION.policy:
      applyPolicy(state, (operation.body as OperationBody['policy'])[1])
      break
    case OPERATION.fence: {
      const [, fence, holder] = operation.body as OperationBody['fence']
      applyFence(state, fence, holder)
      break
    }
    case OPERATION.close: {
      const [, slot, sequence, base, timeMs] = operation.body as OperationBody['close']
      applyClose(state, slot, sequence, base, timeMs)
      break
    }
    case OPERATION.extra:
      applyExtra(state, (operation.body as OperationBody['extra'])[1])
      break
    case OPERATION.delete:
      state.deleted = true
      break
    default:
      invariant(false, `operation type ${operation.type} is known`)
  }
  return state
}

function replayAppend(state: TopicState, operation: FoundOperation, position: number, slabs: Slabs): void {
  const at = position - (position % SLAB_BYTES) + operation.batchAt
  const batch = batchAt(slabs, at)
  const size = batch.end - batch.start
  const { producer, sequence } = operation
  applyAppend(state, producer - 1, sequence, batch.base, batch.count, batch.timeMs, at, size)
  if ((operation.flags & APPEND_EFFECTS) !== 0) {
    applyEffects(state, batch.bytes, batch.contentFrom, batch.end, batch.base, producer - 1)
  }
}
