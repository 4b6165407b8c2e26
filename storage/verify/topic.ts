/**
 * Checks one topic: its log, record by record; what each record must have in the indexes, and whether the indexes have
 * anything else; its head against both. Memory is that of a few chunks, whatever the topic has.
 */

import { createHash } from 'node:crypto'
import { BatchReader, ByteReader, LIMITS, type RecordParts, RecordWalker } from '../../protocol/index.ts'
import { addEffects } from '../effects.ts'
import { partKey } from '../keys.ts'
import { cutBatches, forkPoint } from '../lineage.ts'
import { unseal } from '../seal.ts'
import { effectChanges } from '../snapshot.ts'
import { INDEX, type TableChange } from '../store.ts'
import { type Effects, TopicState } from '../topic-state.ts'
import { type Damage, must, reasonOf } from './damage.ts'
import { dropBelow } from './effects.ts'
import { INDEX_CHECKS } from './indexes.ts'
import { type LogVisitor, walkLog } from './log.ts'
import { checkUnused, type Reverse } from './reverse.ts'
import { missingForkKey, noteShared } from './shared.ts'
import type { Surroundings } from './surroundings.ts'

/** Index entries looked up at once. */
const KEYS = 256
/** What the offset adds to the key of an id that came after a fork. */
const VERSION_BYTES = 8
const UPLOADED: ReadonlySet<number> = new Set([INDEX.part, INDEX.upload])

export interface Verdict {
  readonly state: TopicState
  /** The log is whole up to here. */
  readonly soundTo: number
  /** Nothing of it is damaged. */
  readonly isSound: boolean
}

export async function checkTopic(around: Surroundings, state: TopicState): Promise<Verdict> {
  const check = new TopicCheck(around, state)
  return check.run()
}

/** Checks what forks share of a deleted topic: its records before an offset, and what these have in the indexes. */
export async function checkHidden(around: Surroundings, state: TopicState, sharedTo: number): Promise<void> {
  await new TopicCheck(around, state, sharedTo).runShared()
}

class TopicCheck implements LogVisitor, Reverse {
  readonly state: TopicState
  readonly around: Surroundings
  /** By index, entries that the records of the log have there. */
  readonly matched = new Map<number, number>()
  readonly told = new Set<string>()
  private readonly scratch: TopicState
  private damages = 0
  /** The first record whose content is damaged. */
  private contentTo = Number.POSITIVE_INFINITY
  /** Records from here on do not count. */
  private readonly to: number

  constructor(around: Surroundings, state: TopicState, to = Number.POSITIVE_INFINITY) {
    this.around = around
    this.state = state
    this.to = to
    this.scratch = new TopicState(state.name, state.epoch, 0, null)
  }

  async run(): Promise<Verdict> {
    const { state, around } = this
    this.checkHead()
    noteShared(around, state)
    const unshared = state.dirtySince === 0 ? await missingForkKey(around, state) : null
    if (unshared !== null) this.damage('fork', null, unshared, 'what it shares, once that is deleted')
    const logTo = await walkLog(around.table, around.slabs, state, this)
    const soundTo = Math.min(logTo, this.contentTo)
    if (soundTo === state.nextOffset) this.checkOpenStreams()
    await checkUnused(this, soundTo === state.nextOffset)
    return { state, soundTo, isSound: this.damages === 0 }
  }

  async runShared(): Promise<void> {
    const { around, state } = this
    const { records, bytes } = around.findings
    await walkLog(around.table, around.slabs, state, this)
    // They are those of no topic, and counted nowhere.
    Object.assign(around.findings, { records, bytes })
  }

  damage(unit: Damage['unit'], offsets: Damage['offsets'], what: string, lost: string): void {
    this.damages++
    this.around.findings.add({ unit, topic: this.state.name, offsets, what, lost })
  }

  damaged(unit: 'chunk' | 'head' | 'journal', from: number, to: number, what: string, kept: boolean): void {
    const isShared = this.state.extra?.forkedTo !== undefined
    const lost = kept
      ? 'these records'
      : isShared
        ? 'these records, where forks share them'
        : 'nothing: nobody reads it'
    this.damage(unit, { from, to }, what, lost)
  }

  async batches(whole: Uint8Array, from: number, flushed: boolean): Promise<void> {
    const { findings } = this.around
    const bytes = cutBatches(whole, this.to)
    const effects: Effects = {}
    const batch = new BatchReader(new ByteReader(bytes))
    while (batch.advance()) {
      if (batch.next <= from) continue
      findings.records += batch.next - Math.max(batch.base, from)
      findings.bytes += batch.end - batch.start
      addEffects(this.scratch, effects, bytes, batch.contentFrom, batch.end, batch.base, -1)
      const walker = new RecordWalker(batch.content())
      const parts = walker.next() && batch.base >= this.state.firstOffset ? walker.parts() : undefined
      if (parts !== undefined) await this.checkContent(parts, batch.base)
    }
    dropBelow(effects, this.state.firstOffset)
    const isLooked = ({ key, value }: TableChange): boolean =>
      value !== null && (this.to === Number.POSITIVE_INFINITY || key[0] !== INDEX.checkpointName)
    const changes = effectChanges(this.state, effects).filter(isLooked)
    for (let i = 0; i < changes.length; i += KEYS) await this.compare(changes.slice(i, i + KEYS), flushed)
  }

  /** Has the index what these records give it? A flush that was cut off may have brought it there before the head says so. */
  private async compare(changes: readonly TableChange[], flushed: boolean): Promise<void> {
    const found = await this.entriesOf(changes.map(({ key }) => key))
    changes.forEach(({ key: expectedKey, value }, i) => {
      const [key, stored] = found[i] ?? [expectedKey, undefined]
      const index = key[0] as number
      const check = INDEX_CHECKS.get(index)
      if (check === undefined || value === null || (stored === undefined && !flushed)) return
      const label = check.label(key)
      const expected = value.subarray(4)
      const offset = check.recordOf(key, expected)
      const offsets = offset === null ? null : { from: offset, to: offset + 1 }
      try {
        must(stored !== undefined, `${label} is missing`)
        const agrees = check.agrees(expected, unseal(key, stored, label))
        // What it says may be of an earlier record of that name.
        if (!agrees && !flushed) return
        must(agrees, `${label} is not what its record says`)
      } catch (error) {
        this.damage(check.unit, offsets, reasonOf(error), check.lost)
        if (stored === undefined) return
        this.told.add(Buffer.from(key).toString('hex'))
      }
      if (offset !== null) this.matched.set(index, (this.matched.get(index) ?? 0) + 1)
    })
  }

  /** What an index has under these keys; of a topic that has been forked, what it had before under a key without offset. */
  private async entriesOf(keys: readonly Uint8Array[]): Promise<[key: Uint8Array, value: Uint8Array | undefined][]> {
    const { table } = this.around
    const values = await table.getMany(keys)
    const found = keys.map((key, i): [Uint8Array, Uint8Array | undefined] => [key, values[i]])
    if (this.state.extra?.forkedTo === undefined) return found
    for (const entry of found) {
      const [key, value] = entry
      if (value !== undefined || key[0] !== INDEX.recordId) continue
      const plain = key.subarray(0, key.length - VERSION_BYTES)
      entry.splice(0, 2, plain, await table.get(plain))
    }
    return found
  }

  /** Are all parts of a large message there, and is the content what was uploaded? */
  private async checkContent({ size, sha256, uploadId }: RecordParts, offset: number): Promise<void> {
    const hash = createHash('sha256')
    try {
      for (let at = 0, part = 0; at < size; at += LIMITS.partBytes, part++) {
        const key = partKey(this.state.epoch, uploadId, part)
        const value = await this.around.table.get(key)
        must(value !== undefined, `part ${part} of upload ${uploadId} is missing`)
        const bytes = unseal(key, value, `part ${part} of upload ${uploadId}`)
        must(bytes.length === Math.min(size - at, LIMITS.partBytes), `part ${part} of upload ${uploadId} is cut short`)
        hash.update(bytes)
      }
      must(hash.digest().equals(sha256), `upload ${uploadId} is not the content that was sent`)
    } catch (error) {
      this.contentTo = Math.min(this.contentTo, offset)
      this.damage('part', { from: offset, to: offset + 1 }, reasonOf(error), 'the content of this message')
    }
  }

  private checkHead(): void {
    const { state } = this
    const { epoch, firstOffset, clearedTo, chunkedTo, flushedTo, nextOffset } = state
    const { timers, openStreams, used } = this.around
    const wrong = (what: string, lost: string): void => this.damage('head', null, what, lost)
    const isOrdered = clearedTo <= nextOffset && firstOffset <= nextOffset && chunkedTo <= flushedTo
    if (!isOrdered || flushedTo > nextOffset) wrong('its offsets contradict each other', 'what the topic has')
    if (state.branches?.some(({ next }) => next > nextOffset)) {
      wrong('it shares more with an earlier history than it has', 'what old cursors mean')
    }
    if (state.storedDueMs !== 0 && !timers.has(epoch)) {
      this.damage('timer', null, 'there is none, though the head names a time', 'when the topic is to be reclaimed')
    }
    if (state.dirtySince !== 0) return
    if (state.openStreamsStored !== 'unknown' && state.openStreamsStored !== openStreams.has(epoch)) {
      this.damage('openStreams', null, 'it contradicts the head', 'that its streams are looked after at a start')
    }
    // Parts and uploads that are no message yet are deleted by themselves.
    const isUsed = [...used].some(([index, epochs]) => !UPLOADED.has(index) && epochs.has(epoch))
    if (isUsed && !state.tableUsed) wrong('it knows of no keys beside it, but there are', 'nothing, but space')
  }

  private checkOpenStreams(): void {
    const { state, scratch } = this
    for (const stream of state.openStreams?.values() ?? []) {
      if (stream.openOffset < Math.max(state.firstOffset, forkPoint(state))) continue
      const found = scratch.openStreams?.get(stream.streamId)
      if (found?.lastOffset === stream.lastOffset && found.state === stream.state) continue
      this.damage('head', null, `stream ${stream.streamId} is not as its records say`, 'the state of that stream')
    }
    for (const { streamId } of scratch.openStreams?.values() ?? []) {
      if (state.openStreams?.has(streamId)) continue
      this.damage('head', null, `stream ${streamId} is open, and missing in it`, 'that this stream is open')
    }
  }
}
