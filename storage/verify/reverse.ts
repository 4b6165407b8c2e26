/**
 * The other way round: every entry of an epoch's indexes is sound, and is of a record that is there. They are counted;
 * only where there are more than the records have given is each looked up.
 */

import { BatchReader, ByteReader, unpack } from '../../protocol/index.ts'
import { addEffects } from '../effects.ts'
import { unpackInlineTail } from '../inline-tail.ts'
import {
  checkpointKey,
  chunkRange,
  epochRange,
  MARK_PART,
  nameInKey,
  partKey,
  partRange,
  uploadKey,
  uploadOfPart,
} from '../keys.ts'
import { unseal } from '../seal.ts'
import { effectChanges } from '../snapshot.ts'
import { INDEX, type TableEntry, type TableRange } from '../store.ts'
import { copyBatches } from '../tail.ts'
import { type Effects, type TableCounts, TopicState } from '../topic-state.ts'
import { type Damage, must, reasonOf } from './damage.ts'
import { INDEX_CHECKS, type IndexCheck } from './indexes.ts'
import type { Surroundings } from './surroundings.ts'

/** Entries read at once; of parts, which are large, a few. */
const PAGE = 500
const PARTS = 4

/** What is known of the topic from its records. */
export interface Reverse {
  readonly around: Surroundings
  readonly state: TopicState
  /** By index, entries that its records have there. */
  readonly matched: ReadonlyMap<number, number>
  /** Keys of entries that have been found damaged, as hex. */
  readonly told: ReadonlySet<string>
  damage(unit: Damage['unit'], offsets: Damage['offsets'], what: string, lost: string): void
}

const COUNTS: ReadonlyMap<number, keyof TableCounts> = new Map([
  [INDEX.recordId, 'ids'],
  [INDEX.stream, 'streams'],
  [INDEX.context, 'context'],
  [INDEX.checkpoint, 'checkpoints'],
  [INDEX.part, 'large'],
])

/** Looks at all entries of the topic. `isWhole`: all its records could be read, so an entry of none of them is damaged. */
export async function checkUnused(topic: Reverse, isWhole: boolean): Promise<void> {
  const { state, around } = topic
  for (const [index, check] of INDEX_CHECKS) {
    if (!around.used.get(index)?.has(state.epoch)) continue
    const found = index === INDEX.part ? await checkParts(topic) : await countEntries(topic, index, check)
    if (isWhole && found > (topic.matched.get(index) ?? 0)) await nameExtra(topic, index, check)
    const count = COUNTS.get(index)
    if (found > 0 && count !== undefined && state.dirtySince === 0 && (state.counts?.[count] ?? 0) === 0) {
      topic.damage('head', null, `it says that there are no entries of ${check.unit}, but there are`, check.lost)
    }
  }
  if (around.used.get(INDEX.upload)?.has(state.epoch)) await checkUploads(topic)
}

/** Checks each entry, and counts those of records that are kept. */
async function countEntries(topic: Reverse, index: number, check: IndexCheck): Promise<number> {
  const { state } = topic
  let count = 0
  for await (const page of pages(topic, epochRange(index, state.epoch), PAGE)) {
    for (const { key, value } of page) {
      try {
        const offset = check.recordOf(key, unseal(key, value, check.label(key)))
        if (offset !== null && offset >= state.firstOffset) count++
      } catch (error) {
        // One of a record that is kept has been counted and told of with its record.
        if (topic.told.has(Buffer.from(key).toString('hex'))) count++
        else topic.damage(check.unit, null, reasonOf(error), check.lost)
      }
    }
    if (index === INDEX.checkpointName) await checkNames(topic, page, check)
  }
  return count
}

/** A name leads to a checkpoint of that name, unless it has been trimmed. */
async function checkNames(topic: Reverse, page: readonly TableEntry[], check: IndexCheck): Promise<void> {
  const { state, around } = topic
  for (const { key, value } of page) {
    try {
      const offset = unpack(unseal(key, value, check.label(key))) as number
      if (offset < state.firstOffset) continue
      const name = nameInKey(key)
      const target = checkpointKey(state.epoch, offset)
      const stored = await around.table.get(target)
      const isSame = stored !== undefined && unpack(unseal(target, stored, 'it')) === name
      if (!isSame)
        topic.damage(
          check.unit,
          { from: offset, to: offset + 1 },
          `${check.label(key)} leads to no checkpoint of that name`,
          check.lost,
        )
    } catch (error) {
      reasonOf(error) // told of already
    }
  }
}

/** Checks the parts of uploads that are not messages, and counts those that are. */
async function checkParts(topic: Reverse): Promise<number> {
  const { state, around } = topic
  const { table } = around
  const { gte, lt } = epochRange(INDEX.part, state.epoch)
  let marks = 0
  for (let from = gte; ; ) {
    const [entry] = await table.scan({ gte: from, lt, limit: 1 })
    if (entry === undefined) return marks
    const uploadId = uploadOfPart(entry.key)
    const range = partRange(state.epoch, uploadId)
    from = range.lt
    const markKey = partKey(state.epoch, uploadId, MARK_PART)
    const [mark, upload] = await table.getMany([markKey, uploadKey(state.epoch, uploadId)])
    const offset = mark === undefined ? null : markedOffset(topic, markKey, mark)
    if (offset !== null && offset >= state.firstOffset) marks++
    else if (offset !== null) continue
    else if (upload === undefined && !state.recent?.uploads?.has(uploadId)) {
      topic.damage(
        'part',
        null,
        `parts of upload ${uploadId}, which is neither under way nor a message`,
        'nothing, but space',
      )
    } else await checkSeals(topic, range, uploadId)
  }
}

function markedOffset(topic: Reverse, key: Uint8Array, value: Uint8Array): number | null {
  try {
    return unpack(unseal(key, value, 'it')) as number
  } catch (error) {
    topic.damage('part', null, reasonOf(error), 'which record the content belongs to')
    return null
  }
}

async function checkSeals(topic: Reverse, range: TableRange, uploadId: string): Promise<void> {
  for await (const page of pages(topic, range, PARTS)) {
    for (const { key, value } of page) {
      try {
        unseal(key, value, `a part of upload ${uploadId}`)
      } catch (error) {
        topic.damage('part', null, reasonOf(error), 'the upload, which is not a message yet')
      }
    }
  }
}

async function checkUploads(topic: Reverse): Promise<void> {
  for await (const page of pages(topic, epochRange(INDEX.upload, topic.state.epoch), PAGE)) {
    for (const { key, value } of page) {
      try {
        const packed = unpack(unseal(key, value, `upload ${nameInKey(key)}`))
        must(Array.isArray(packed) && packed[0] === topic.state.name, `upload ${nameInKey(key)} names another topic`)
      } catch (error) {
        topic.damage('upload', null, reasonOf(error), 'the upload, which is not a message yet')
      }
    }
  }
}

/** Tells of each entry that no record has given. */
async function nameExtra(topic: Reverse, index: number, check: IndexCheck): Promise<void> {
  const { state } = topic
  for await (const page of pages(topic, epochRange(index, state.epoch), index === INDEX.part ? PARTS : PAGE)) {
    for (const { key, value } of page) {
      let offset: number | null
      try {
        offset = check.recordOf(key, unseal(key, value, 'it'))
      } catch (error) {
        reasonOf(error) // told of already
        continue
      }
      if (offset === null || offset < state.firstOffset || (await givenBy(topic, offset, key))) continue
      topic.damage(
        check.unit,
        { from: offset, to: offset + 1 },
        `${check.label(key)} is of no record that there is`,
        check.lost,
      )
    }
  }
}

/** Is there a record at the offset that gives the index this key? */
async function givenBy(topic: Reverse, offset: number, key: Uint8Array): Promise<boolean> {
  const { state } = topic
  const batches = offset < state.nextOffset ? await batchesAt(topic, offset) : null
  if (batches === null) return false
  const batch = new BatchReader(new ByteReader(batches))
  while (batch.advance()) {
    if (batch.next <= offset || batch.base > offset) continue
    const effects: Effects = {}
    const scratch = new TopicState(state.name, state.epoch, 0, null)
    addEffects(scratch, effects, batches, batch.contentFrom, batch.end, batch.base, -1)
    // Before it was forked, its keys were those of any topic.
    const changes = [...effectChanges(state, effects), ...effectChanges({ ...state, extra: null }, effects)]
    return changes.some((change) => Buffer.compare(change.key, key) === 0)
  }
  return false
}

async function batchesAt({ around, state }: Reverse, offset: number): Promise<Uint8Array | null> {
  if (offset >= state.flushedTo) {
    return copyBatches(state, around.slabs, 0, state.tail.length, state.nextOffset, Number.POSITIVE_INFINITY)
  }
  if (offset >= state.chunkedTo) return state.inline === null ? null : unpackInlineTail(state.inline)
  const [chunk] = await around.table.scan({ ...chunkRange(state.epoch, offset), limit: 1 })
  return chunk === undefined ? null : unseal(chunk.key, chunk.value, 'it')
}

async function* pages({ around }: Reverse, range: TableRange, limit: number): AsyncGenerator<TableEntry[]> {
  for (let gte = range.gte; ; ) {
    const page = await around.table.scan({ gte, lt: range.lt, limit })
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    gte = Buffer.concat([last.key, Buffer.of(0)])
  }
}
