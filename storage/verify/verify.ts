/**
 * Checks a whole store that nobody else uses: info, journal, and every key and value of the table, each against the
 * others. It reads everything once and little twice, and holds the journal and some bytes for each topic in memory.
 */

import { isLitetopicError, unpack } from '../../protocol/index.ts'
import { decodeHead } from '../head.ts'
import { headRange, nameOfHeadKey, timersWithin } from '../keys.ts'
import { loadUnloaded, type Unloaded } from '../recovery.ts'
import { unseal } from '../seal.ts'
import { INDEX, type Store, type Table, type TableEntry } from '../store.ts'
import { storedInfo } from '../store-info.ts'
import { timersFrom } from '../timers.ts'
import type { TopicState } from '../topic-state.ts'
import { Findings, faultOf, type Report, reasonOf, type VerifyOptions } from './damage.ts'
import { EpochSet } from './epoch-set.ts'
import { checkKin } from './kin.ts'
import { eachEpoch, lookAround, type Surroundings, unknownRanges } from './surroundings.ts'
import { checkTopic, type Verdict } from './topic.ts'

/** Heads read at once. */
const HEADS = 256

/** What became of a topic that has been looked at. */
export type Judged = Verdict | { readonly state: null; readonly name: string; readonly epoch: number | null }

/** Rejects with DATA_DIR_VERSION if a later version wrote some of it, and STORE_UNAVAILABLE if it cannot be read. */
export async function verifyStore(store: Store, options: VerifyOptions = {}): Promise<Report> {
  const findings = new Findings(options)
  await checkInfo(store, findings)
  const around = await lookAround(store, findings)
  const epochs = new EpochSet()
  for await (const judged of eachTopic(around)) {
    const epoch = judged.state?.epoch ?? (judged as { epoch: number | null }).epoch
    if (epoch !== null) epochs.add(epoch)
    findings.topicDone()
  }
  await checkStray(around, epochs)
  await checkKin(around, epochs)
  return findings.report()
}

export async function checkInfo(store: Store, findings: Findings): Promise<void> {
  try {
    await storedInfo(store)
  } catch (error) {
    const lost = 'the identity of the store: old cursors mean nothing any more'
    findings.add({ unit: 'info', topic: null, offsets: null, what: reasonOf(error), lost })
  }
}

/** Checks every topic there is: those with a head in order of name, then those that are only in the journal. */
export async function* eachTopic(around: Surroundings): AsyncGenerator<Judged> {
  const inJournal = new Map<string, Unloaded>()
  for (const topic of around.byEpoch.values()) if (!topic.deleted) inJournal.set(topic.name, topic)
  for (let after = ''; ; ) {
    const page = await around.table.scan({ ...headRange('', after), limit: HEADS })
    for (const entry of page) {
      after = nameOfHeadKey(entry.key)
      const judged = await judgeHead(around, entry, inJournal.get(after))
      inJournal.delete(after)
      if (judged !== null) yield judged
    }
    if (page.length < HEADS) break
  }
  for (const topic of inJournal.values()) yield judgeUnloaded(around, topic)
}

async function judgeHead(around: Surroundings, entry: TableEntry, topic: Unloaded | undefined): Promise<Judged | null> {
  const name = nameOfHeadKey(entry.key)
  let head: TopicState
  try {
    head = decodeHead(name, entry.value).state
  } catch (error) {
    const what = reasonOf(error)
    around.findings.add({
      unit: 'head',
      topic: name,
      offsets: null,
      what,
      lost: 'the state of the topic, and its newest records',
    })
    return { state: null, name, epoch: topic?.epoch ?? (await epochOf(around.table, name)) }
  }
  if (topic !== undefined) {
    // One that was deleted before this one was created under its name has no more than this head.
    return judgeUnloaded(around, topic)
  }
  // Deleted in the journal, and not removed yet.
  if (around.byEpoch.get(head.epoch)?.deleted === true) return null
  return judge(around, head)
}

async function judgeUnloaded(around: Surroundings, topic: Unloaded): Promise<Judged> {
  const { name, epoch } = topic
  try {
    const state = await loadUnloaded(around.table, around.slabs, topic)
    if (state !== null) return judge(around, state)
  } catch (error) {
    const what = reasonOf(error)
    around.findings.add({ unit: 'head', topic: name, offsets: null, what, lost: 'what the journal has of the topic' })
  }
  return { state: null, name, epoch }
}

/** LevelDB may be unable to go through the keys of one topic: the others are checked nevertheless. */
async function judge(around: Surroundings, state: TopicState): Promise<Judged> {
  const { name, epoch } = state
  try {
    return await checkTopic(around, state)
  } catch (error) {
    if (!isLitetopicError(error, 'STORE_CORRUPT')) throw error
    const what = reasonOf(error)
    around.findings.add({ unit: 'table', topic: name, offsets: null, what, lost: 'what is next to it in the topic' })
    return { state: null, name, epoch }
  }
}

/** The epoch of a topic whose head cannot be read, from its timer; null if it has none. */
async function epochOf(table: Table, name: string): Promise<number | null> {
  for (let { gte, lt } = timersWithin(timersFrom(0), Number.MAX_SAFE_INTEGER - 1); ; ) {
    const page = await table.scan({ gte, lt })
    for (const { key, value } of page) {
      gte = Buffer.concat([key, Buffer.of(0)])
      let packed: unknown[] = []
      if (faultOf(() => (packed = unpack(unseal(key, value, 'a timer')) as unknown[])) !== null) continue
      if (packed[0] === name) return Number(packed[1])
    }
    if (page.length === 0) return null
  }
}

/** Keys of epochs that are neither live nor garbage, and keys of no index. */
async function checkStray(around: Surroundings, live: EpochSet): Promise<void> {
  const { table, findings, byEpoch, garbage, hidden, used } = around
  for (const index of used.keys()) {
    for await (const epoch of eachEpoch(table, index)) {
      if (live.has(epoch) || garbage.has(epoch) || byEpoch.has(epoch) || hidden.has(epoch)) continue
      // A broker that was killed before it could end an upload of a deleted topic finds it at its next start, and its parts by it.
      if ((index === INDEX.upload || index === INDEX.part) && used.get(INDEX.upload)?.has(epoch) === true) continue
      const what = `keys of epoch ${epoch} in index ${index.toString(16)}, which is neither a topic nor garbage`
      findings.add({ unit: 'table', topic: null, offsets: null, what, lost: 'the topic, or else only space' })
    }
  }
  for (const range of unknownRanges()) {
    const [entry] = await table.scan({ ...range, limit: 1 })
    if (entry === undefined) continue
    const what = `the key ${Buffer.from(entry.key).toString('hex')} is of no index`
    findings.add({ unit: 'table', topic: null, offsets: null, what, lost: 'what it was' })
  }
}
