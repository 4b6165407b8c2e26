/** What lies around the topics: the journal, timers, marks of garbage, and which epochs have keys in which index. */

import { unpack } from '../../protocol/index.ts'
import { type Hidden, hiddenOf } from '../forks.ts'
import { EPOCH_INDEXES } from '../garbage.ts'
import { epochRange, hiddenNameOf, indexRange, numberInKey } from '../keys.ts'
import type { Unloaded } from '../recovery.ts'
import { unseal } from '../seal.ts'
import { Slabs } from '../slabs.ts'
import { INDEX, type Store, type Table, type TableRange } from '../store.ts'
import { checkWakerEntry } from '../wakers.ts'
import { type Damage, type Findings, must, reasonOf } from './damage.ts'
import { EpochSet } from './epoch-set.ts'
import { readJournal } from './journal.ts'

const PAGE = 1000

export interface Surroundings {
  readonly table: Table
  readonly slabs: Slabs
  readonly findings: Findings
  /** Topics that the journal names, by epoch. */
  readonly byEpoch: ReadonlyMap<number, Unloaded>
  /** By index, the epochs that have keys there. */
  readonly used: ReadonlyMap<number, EpochSet>
  readonly timers: EpochSet
  readonly openStreams: EpochSet
  readonly garbage: EpochSet
  /** Parents of garbage: they are looked after when that is cleared. */
  readonly parents: EpochSet
  /** Deleted topics that forks still read, by epoch. */
  readonly hidden: ReadonlyMap<number, Hidden>
  /** Offsets that forks share, by the epoch that has them; filled by the checks of topics. */
  readonly shared: Map<number, { from: number; upTo: number }[]>
}

export async function lookAround(store: Store, findings: Findings): Promise<Surroundings> {
  const slabs = new Slabs()
  const { table } = store
  const byEpoch = await readJournal(store.journal, slabs, findings)
  const entries: Entries = (index, unit, lost, check) => readEntries(table, index, findings, { unit, lost, check })
  const timers = await entries(INDEX.timer, 'timer', 'when that topic is to be looked at', (key, payload) => {
    const packed = unpack(payload) as unknown[]
    const epoch = numberInKey(key, 1)
    must(typeof packed[0] === 'string' && packed[1] === epoch, 'a timer is not of the topic that its key names')
    return epoch
  })
  const openStreams = await entries(
    INDEX.openStreams,
    'openStreams',
    'that its streams are looked after',
    (key, payload) => {
      must(typeof unpack(payload) === 'string', 'an entry of the open streams has no name')
      return numberInKey(key, 0)
    },
  )
  const parents = new EpochSet()
  const garbage = await entries(INDEX.garbage, 'garbage', 'nothing, but space', (key, payload) => {
    const kinship = payload.length === 0 ? [0, false] : unpack(payload)
    const isKinship = Array.isArray(kinship) && Number.isSafeInteger(kinship[0]) && typeof kinship[1] === 'boolean'
    must(isKinship && kinship.length === 2, 'a mark of garbage does not say what it is of')
    parents.add(kinship[0] as number)
    return numberInKey(key, 0)
  })
  const hidden = await readHidden(entries, byEpoch)
  await entries(INDEX.usage, 'usage', 'how much is stored, where limits are set', (_key, payload) => {
    const packed = unpack(payload)
    const isCounter = Array.isArray(packed) && packed.length === 4 && packed.every((n) => Number.isSafeInteger(n))
    must(isCounter, 'a counter is not four numbers')
    return 0
  })
  await entries(INDEX.waker, 'waker', 'a subscription, or how far a topic was acknowledged in one', (key, payload) => {
    checkWakerEntry(key, payload)
    return 0
  })
  const used = new Map<number, EpochSet>()
  for (const index of EPOCH_INDEXES) used.set(index, await epochsOf(table, index))
  return { table, slabs, findings, byEpoch, used, timers, openStreams, garbage, parents, hidden, shared: new Map() }
}

type Entries = (index: number, unit: Damage['unit'], lost: string, check: Check) => Promise<EpochSet>

/** Of a hidden topic there are two keys; one, while its deletion is still in the journal. */
async function readHidden(entries: Entries, byEpoch: Surroundings['byEpoch']): Promise<Map<number, Hidden>> {
  const hidden = new Map<number, Hidden>()
  await entries(INDEX.hidden, 'hidden', 'what forks share of a deleted topic', (key, _payload, value) => {
    hidden.set(numberInKey(key, 0), hiddenOf({ key, value }))
    return 0
  })
  await entries(INDEX.hiddenName, 'hiddenName', 'that the name is that of a deleted topic', (key, payload) => {
    const { name, epoch } = hiddenNameOf(key)
    const isKnown = hidden.get(epoch)?.name === name || byEpoch.get(epoch)?.deleted === true
    must(payload.length === 0 && isKnown, `a hidden topic ${name} that there is not`)
    return 0
  })
  return hidden
}

/** Returns the epoch of an entry, or throws what is wrong with it. */
type Check = (key: Uint8Array, payload: Uint8Array, value: Uint8Array) => number

async function readEntries(
  table: Table,
  index: number,
  findings: Findings,
  { unit, lost, check }: { unit: Damage['unit']; lost: string; check: Check },
): Promise<EpochSet> {
  const epochs = new EpochSet()
  for (let { gte, lt } = indexRange(index); ; ) {
    const page = await table.scan({ gte, lt, limit: PAGE })
    for (const { key, value } of page) {
      gte = Buffer.concat([key, Buffer.of(0)])
      try {
        epochs.add(check(key, unseal(key, value, `the entry ${Buffer.from(key).toString('hex')}`), value))
      } catch (error) {
        findings.add({ unit, topic: null, offsets: null, what: reasonOf(error), lost })
      }
    }
    if (page.length < PAGE) return epochs
  }
}

/** The epochs that have keys in an index, by stepping from one to the next. */
async function epochsOf(table: Table, index: number): Promise<EpochSet> {
  const epochs = new EpochSet()
  for await (const epoch of eachEpoch(table, index)) epochs.add(epoch)
  return epochs
}

export async function* eachEpoch(table: Table, index: number): AsyncGenerator<number> {
  let { gte, lt } = indexRange(index)
  for (;;) {
    const [entry] = await table.scan({ gte, lt, limit: 1 })
    if (entry === undefined) return
    const epoch = numberInKey(entry.key, 0)
    yield epoch
    gte = epochRange(index, epoch).lt
  }
}

/** Keys that belong to no index: between those that there are. */
export function unknownRanges(): TableRange[] {
  const known = [0x00, ...Object.values(INDEX), 0xff].sort((a, b) => a - b)
  return known
    .slice(1)
    .map((byte, i) => ({ gte: Buffer.of((known[i] as number) + 1), lt: Buffer.of(byte) }))
    .filter(({ gte, lt }) => Buffer.compare(gte, lt) < 0)
}
