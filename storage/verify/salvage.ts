/**
 * Copies what is sound of a damaged store into a new one, which is a history of its own. A sound topic is copied as it is. Of
 * a damaged one the log is kept up to the first damage, because a reader never crosses a hole, and what its indexes and
 * its head say is made anew from these records. One without a readable head begins with its first chunk. A fork gets what it
 * shares as its own: a copy of it stands by itself.
 */

import { BatchReader, ByteReader, isLitetopicError } from '../../protocol/index.ts'
import { clearAll } from '../clear-all.ts'
import { addBranch, copyRange, renewHistory } from '../copy.ts'
import { addEffects } from '../effects.ts'
import { EPOCH_INDEXES } from '../garbage.ts'
import {
  chunkRange,
  contextKey,
  epochRange,
  indexRange,
  nameInKey,
  numberInKey,
  parseContextKey,
  partKey,
  partNumber,
  partRange,
  streamKey,
} from '../keys.ts'
import { forkPoint, ownerOf, shares } from '../lineage.ts'
import { seal, unseal } from '../seal.ts'
import { putChunks, putEffects, takeSnapshot } from '../snapshot.ts'
import { INDEX, type Store, type StoreSnapshot, type TableChange, type TableEntry } from '../store.ts'
import { type StoreInfo, storedInfo } from '../store-info.ts'
import { changeBytes, type Effects, TopicState } from '../topic-state.ts'
import { checkWakerEntry } from '../wakers.ts'
import { Findings, faultOf, type Report, reasonOf, type VerifyOptions } from './damage.ts'
import { dropBelow } from './effects.ts'
import { EpochSet } from './epoch-set.ts'
import { INDEX_CHECKS } from './indexes.ts'
import { checkKin } from './kin.ts'
import { type LogVisitor, walkLog, walkShared } from './log.ts'
import { lookAround, type Surroundings } from './surroundings.ts'
import type { Verdict } from './topic.ts'
import { checkInfo, eachTopic, type Judged } from './verify.ts'

/** Chunks looked at to find where a log without a head ends. */
const CHUNKS = 8
/** Keys deleted at once. */
const CLEARED = 64

/** What became of a topic: kept whole, cut at an offset, or lost. */
export interface Salvaged {
  readonly topic: string
  readonly outcome: 'kept' | 'cut' | 'lost'
  /** Records from here on are not in the copy; null for a topic that is lost. */
  readonly to: number | null
  /** How many records of it were beyond; null if nobody knows. */
  readonly missing: number | null
}

export interface SalvageOptions extends VerifyOptions {
  /** Told of each topic. */
  readonly salvaged?: (topic: Salvaged) => void
}

export interface SalvageReport {
  /** What was damaged in the source. */
  readonly report: Report
  readonly kept: number
  readonly cut: number
  readonly lost: number
  readonly incarnation: string
}

/** Copies into `target`, which is new. The source is not changed. */
export async function salvageStore(source: Store, target: Store, options: SalvageOptions = {}): Promise<SalvageReport> {
  const findings = new Findings(options)
  await checkInfo(source, findings)
  const info = await infoOf(source)
  const around = await lookAround(source, findings)
  const snapshot = source.snapshot()
  const counts = { kept: 0, cut: 0, lost: 0 }
  try {
    await target.journal.skipTo(source.journal.last)
    const salvage = new Salvage(around, snapshot, source, target, info?.incarnation ?? null)
    const epochs = new EpochSet()
    for await (const judged of eachTopic(around)) {
      const epoch = judged.state?.epoch ?? (judged as { epoch: number | null }).epoch
      if (epoch !== null) epochs.add(epoch)
      const salvaged = await salvage.copy(judged)
      counts[salvaged.outcome]++
      options.salvaged?.(salvaged)
      findings.topicDone()
    }
    await copyWakers(snapshot, target)
    await checkKin(around, epochs)
  } finally {
    await snapshot.close()
  }
  const { incarnation } = await renewHistory(target, info)
  return { report: findings.report(), ...counts, incarnation }
}

/** Those that are sound. What is beyond the end of a topic that was cut is no more than acknowledged to that end. */
async function copyWakers(snapshot: StoreSnapshot, target: Store): Promise<void> {
  for await (const entry of snapshot.iterate(indexRange(INDEX.waker))) {
    try {
      checkWakerEntry(entry.key, unseal(entry.key, entry.value, 'a subscription'))
    } catch (error) {
      reasonOf(error) // told of already
      continue
    }
    await target.table.write([entry])
  }
}

async function infoOf(source: Store): Promise<StoreInfo | null> {
  try {
    return await storedInfo(source)
  } catch (error) {
    reasonOf(error) // told of already
    return null
  }
}

class Salvage {
  private readonly around: Surroundings
  private readonly snapshot: StoreSnapshot
  private readonly source: Store
  private readonly target: Store
  private readonly incarnation: string | null

  constructor(around: Surroundings, snapshot: StoreSnapshot, source: Store, target: Store, incarnation: string | null) {
    this.around = around
    this.snapshot = snapshot
    this.source = source
    this.target = target
    this.incarnation = incarnation
  }

  /**
   * LevelDB may be unable to read a file also where the check has not looked, as at what was trimmed: the topic is then copied
   * by its records alone, and if even that fails it is lost, but no other.
   */
  async copy(judged: Judged): Promise<Salvaged> {
    const { state } = judged
    const name = state?.name ?? (judged as { name: string }).name
    const epoch = state?.epoch ?? (judged as { epoch: number | null }).epoch
    const isFork = state?.extra?.fork !== undefined
    const ways = [() => (judged.state === null ? this.rebuild(name, epoch) : this.keep(judged))]
    if (isFork) ways.splice(0, 1, () => this.standAlone(judged as Verdict))
    if (state !== null) ways.push(() => this.cut(state, (judged as Verdict).soundTo, state.nextOffset))
    for (const way of ways) {
      try {
        return await way()
      } catch (error) {
        const what = reasonOf(error)
        if (!isLitetopicError(error, 'STORE_CORRUPT')) throw error
        this.around.findings.add({ unit: 'table', topic: name, offsets: null, what, lost: 'what is not copied of it' })
        if (epoch !== null) await this.forget(epoch)
      }
    }
    return { topic: name, outcome: 'lost', to: null, missing: null }
  }

  /** Takes back what was copied of an epoch. */
  private async forget(epoch: number): Promise<void> {
    const ranges = EPOCH_INDEXES.map((index) => epochRange(index, epoch))
    await clearAll(this.target.table, ranges, CLEARED)
  }

  private async keep({ state, soundTo, isSound }: Verdict): Promise<Salvaged> {
    if (!isSound) return this.cut(state, soundTo, state.nextOffset)
    for (const index of EPOCH_INDEXES) {
      if (!this.around.used.get(index)?.has(state.epoch)) continue
      await copyRange(this.snapshot, epochRange(index, state.epoch), this.target, async () => undefined)
      state.tableUsed = true
    }
    await this.writeHead(state)
    return { topic: state.name, outcome: 'kept', to: state.nextOffset, missing: 0 }
  }

  /** A fork, up to the first damage of what it shares, or of its own. */
  private async standAlone({ state, soundTo, isSound }: Verdict): Promise<Salvaged> {
    const none: LogVisitor = { batches: async () => undefined, damaged: () => undefined }
    const sharedTo = await walkShared(this.around.table, state, none)
    const isWhole = sharedTo >= forkPoint(state)
    return this.cut(state, isWhole ? soundTo : sharedTo, state.nextOffset, isWhole && isSound)
  }

  /** A topic whose head cannot be read: its chunks say where it begins, and how far it goes. */
  private async rebuild(name: string, epoch: number | null): Promise<Salvaged> {
    const state = epoch === null ? null : await this.stateOfChunks(name, epoch)
    if (state === null) return { topic: name, outcome: 'lost', to: null, missing: null }
    const none: LogVisitor = { batches: async () => undefined, damaged: () => undefined }
    const soundTo = await walkLog(this.around.table, this.around.slabs, state, none)
    return this.cut(state, soundTo, null)
  }

  private async stateOfChunks(name: string, epoch: number): Promise<TopicState | null> {
    let state: TopicState | null = null
    for (let from = 0; ; ) {
      const page = await this.around.table.scan({ ...chunkRange(epoch, from), limit: CHUNKS })
      for (const { key, value } of page) {
        from = numberInKey(key, 1) + 1
        if (state !== null) {
          state.chunkedTo = from
          continue
        }
        const batch = new BatchReader(new ByteReader(value, 4))
        if (faultOf(() => unseal(key, value, 'it')) !== null || !batch.advance()) return null
        state = new TopicState(name, epoch, batch.timeMs, null)
        state.firstOffset = batch.base
        state.chunkedTo = from
      }
      if (page.length < CHUNKS) break
    }
    if (state !== null) state.flushedTo = state.nextOffset = state.committedTo = state.chunkedTo
    return state
  }

  /** Writes the topic with its records before `soundTo`, and what these records have done. `isSound`: these are all. */
  private async cut(state: TopicState, soundTo: number, end: number | null, isSound = false): Promise<Salvaged> {
    const { fork: _fork, forkedTo: _forkedTo, ...extra } = state.extra ?? {}
    const rest = Object.keys(extra).length > 0 ? extra : null
    const next = new TopicState(state.name, state.epoch, state.createdMs, state.policy, rest)
    next.firstOffset = next.clearedTo = state.firstOffset
    next.lastAppendMs = state.lastAppendMs
    next.fence = state.fence
    next.branches = state.branches
    next.closed = state.closed
    next.tableUsed = true
    // Without a head nobody knows of a time: it is looked at when a broker starts.
    next.dueMs = state.headStored && state.dueMs === 0 ? 0 : 1
    for (const stream of state.openStreams?.values() ?? []) {
      if (stream.openOffset >= state.firstOffset) continue
      next.openStreams ??= new Map()
      next.openStreams.set(stream.streamId, { ...stream, writerSlot: -1 })
    }
    if (isSound) Object.assign(next, { producers: state.producers, fenceHolder: state.fenceHolder })
    const lostContext = await this.copyOlder(state, next)
    const write = new PrefixWriter(this.snapshot, this.target, { source: state, state: next }, soundTo, lostContext)
    await walkShared(this.around.table, state, write)
    await walkLog(this.around.table, this.around.slabs, state, write)
    next.chunkedTo = next.flushedTo = next.nextOffset = next.committedTo = Math.max(soundTo, next.firstOffset)
    await this.writeHead(next)
    const missing = end === null ? null : end - next.nextOffset
    return { topic: state.name, outcome: isSound ? 'kept' : 'cut', to: next.nextOffset, missing }
  }

  /**
   * What is kept of trimmed records: values of context entries, and streams that ended. Returns the names of context
   * entries of which one cannot be read: what it was is not known until the next that replaces it.
   */
  private async copyOlder(source: TopicState, state: TopicState): Promise<Set<string>> {
    const lost = new Set<string>()
    const changes: TableChange[] = []
    for (const index of [INDEX.context, INDEX.stream]) {
      const check = INDEX_CHECKS.get(index)
      if (check === undefined) continue
      for await (const { key, value, upTo } of this.entries(source, index)) {
        const isContext = index === INDEX.context
        try {
          const payload = unseal(key, value, 'it')
          const offset = check.recordOf(key, payload)
          if (offset === null || offset >= Math.min(state.firstOffset, upTo)) continue
          const own = isContext
            ? contextKey(state.epoch, parseContextKey(key).name, offset)
            : streamKey(state.epoch, nameInKey(key))
          changes.push({ key: own, value: seal(own, payload) })
        } catch (error) {
          reasonOf(error) // told of already
          if (isContext && parseContextKey(key).offset < state.firstOffset) lost.add(parseContextKey(key).name)
        }
      }
    }
    const isWhole = ({ key }: TableChange): boolean => key[0] !== INDEX.context || !lost.has(parseContextKey(key).name)
    const whole = changes.filter(isWhole)
    await this.target.table.write(whole)
    const counts = { ids: 0, streams: 0, context: 0, checkpoints: 0, large: 0 }
    for (const { key } of whole) counts[key[0] === INDEX.context ? 'context' : 'streams']++
    state.counts = counts
    return lost
  }

  /** Entries of an index that may be of the topic's records: its own, and of what it shares those before `upTo`. */
  private async *entries(state: TopicState, index: number): AsyncGenerator<TableEntry & { upTo: number }> {
    const own = { epoch: state.epoch, upTo: Number.POSITIVE_INFINITY }
    for (const { epoch, upTo } of [own, ...shares(state)]) {
      if (!this.around.used.get(index)?.has(epoch)) continue
      for await (const entry of this.snapshot.iterate(epochRange(index, epoch))) yield { ...entry, upTo }
    }
  }

  /** The head, its timer, and what is in no chunk yet. */
  private async writeHead(state: TopicState): Promise<void> {
    // A topic that was created since the last flush has no timer yet, and would never go.
    if (state.dueMs === 0 && !state.headStored && state.dirtySince !== 0) state.dueMs = 1
    state.storedDueMs = 0
    state.openStreamsStored = false
    if (this.incarnation !== null) addBranch(state, this.incarnation)
    const asOf = { commit: this.source.journal.last + 1, operations: 0 }
    const changes: TableChange[] = []
    takeSnapshot(state, this.around.slabs, asOf, 0, changes)
    await this.target.table.write(changes)
  }
}

/** Writes the sound batches of a log before an offset, with the parts of large messages and all index entries. */
class PrefixWriter implements LogVisitor {
  private readonly snapshot: StoreSnapshot
  private readonly target: Store
  private readonly source: TopicState
  private readonly state: TopicState
  private readonly soundTo: number
  private readonly lostContext: Set<string>

  /** `source` is the topic as it was, `state` as it is written. */
  constructor(
    snapshot: StoreSnapshot,
    target: Store,
    { source, state }: { source: TopicState; state: TopicState },
    soundTo: number,
    lostContext: Set<string>,
  ) {
    this.snapshot = snapshot
    this.target = target
    this.source = source
    this.state = state
    this.soundTo = soundTo
    this.lostContext = lostContext
  }

  damaged(): void {
    // Told of by the check before.
  }

  async batches(bytes: Uint8Array, from: number): Promise<void> {
    const { state, target } = this
    const effects: Effects = {}
    const batch = new BatchReader(new ByteReader(bytes))
    let [start, end] = [-1, -1]
    while (batch.advance()) {
      if (batch.next <= from || batch.next > this.soundTo) continue
      if (start < 0) start = batch.start
      end = batch.end
      // What the content of a large message takes is counted with its effects.
      changeBytes(state, batch.end - batch.start)
      addEffects(state, effects, bytes, batch.contentFrom, batch.end, batch.base, -1)
    }
    if (start < 0) return
    dropBelow(effects, state.firstOffset)
    this.dropLost(effects)
    for (const uploadId of effects.uploads?.keys() ?? []) {
      await this.copyParts(uploadId, ownerOf(this.source, from).epoch)
    }
    const changes: TableChange[] = []
    state.recent = effects
    putChunks(state, bytes.subarray(start, end), changes)
    putEffects(state, effects, changes)
    state.recent = null
    await target.table.write(changes)
  }

  private async copyParts(uploadId: string, owner: number): Promise<void> {
    const { epoch } = this.state
    for await (const { key, value } of this.snapshot.iterate(partRange(owner, uploadId))) {
      const own = partKey(epoch, uploadId, partNumber(key))
      const payload = unseal(key, value, `a part of upload ${uploadId}`)
      await this.target.table.write([{ key: own, value: seal(own, payload) }])
    }
  }

  /** What is appended to a value that cannot be read would be taken for the value: there is none until it is set again. */
  private dropLost(effects: Effects): void {
    if (this.lostContext.size === 0 || effects.context === undefined) return
    effects.context = effects.context.map((version) => {
      const { name, op } = version
      if (op !== 'append') this.lostContext.delete(name)
      if (!this.lostContext.has(name)) return version
      return { ...version, op: 'delete', data: { tag: 'bytes', value: new Uint8Array(0) } }
    })
  }
}
