/** Checks what forks share: the keys that say so, and the data of deleted topics that forks still read. */

import { unpack } from '../../protocol/index.ts'
import { forkOfKey, type Hidden } from '../forks.ts'
import { EPOCH_INDEXES } from '../garbage.ts'
import { chunkRange, epochRange, hiddenNameKey, indexRange, numberInKey } from '../keys.ts'
import { SEAL_BYTES, unseal } from '../seal.ts'
import { INDEX, type TableEntry } from '../store.ts'
import { firstOffsetOf } from '../tail.ts'
import { TopicState } from '../topic-state.ts'
import { faultOf, must, reasonOf } from './damage.ts'
import type { EpochSet } from './epoch-set.ts'
import type { Surroundings } from './surroundings.ts'
import { checkHidden } from './topic.ts'

/** Entries read at once. */
const PAGE = 500
const LARGE: ReadonlySet<number> = new Set([INDEX.part, INDEX.chunk])

/** Every key of a fork is of two topics that there are; every hidden topic has a fork, and its data is sound. */
export async function checkKin(around: Surroundings, live: EpochSet): Promise<void> {
  const { byEpoch, findings, garbage, hidden, table } = around
  const exists = (epoch: number): boolean =>
    live.has(epoch) || garbage.has(epoch) || hidden.has(epoch) || byEpoch.has(epoch)
  const parents = new Set<number>()
  for await (const { key, value } of entries(around, INDEX.fork)) {
    const [parent, fork] = [numberInKey(key, 0), forkOfKey(key)]
    try {
      must(Number.isSafeInteger(unpack(unseal(key, value, 'it'))), 'it does not say how much is shared')
    } catch (error) {
      findings.add({ unit: 'fork', topic: null, offsets: null, what: reasonOf(error), lost: 'nothing' })
    }
    parents.add(parent)
    if (exists(parent) && exists(fork)) continue
    const what = `epoch ${fork} is a fork of epoch ${parent}, and one of them is neither a topic nor garbage`
    findings.add({ unit: 'fork', topic: null, offsets: null, what, lost: 'the topic, or else only space' })
  }
  for (const { parent } of byEpoch.values()) parents.add(parent)
  for (const [epoch, ranges] of around.shared) {
    if (hidden.has(epoch)) continue
    for (const { from, upTo } of ranges) await checkShared(around, epoch, from, upTo)
  }
  for (const [epoch, found] of hidden) {
    if (parents.has(epoch)) await checkHiddenTopic(around, epoch, found)
    // It is being hidden, or cleared.
    if (garbage.has(epoch) || byEpoch.get(epoch)?.deleted === true) continue
    const add = (unit: 'hidden' | 'hiddenName', what: string, lost: string): void =>
      findings.add({ unit, topic: found.name, offsets: null, what, lost })
    if (!parents.has(epoch) && !around.parents.has(epoch))
      add('hidden', 'it was deleted, and no fork reads it', 'nothing, but space')
    const named = await table.get(hiddenNameKey(found.name, epoch))
    if (named === undefined) add('hiddenName', 'nothing says that it is hidden', 'that its name was deleted')
  }
}

/** Everything that a hidden topic has must be sound, and what forks share of it complete. */
async function checkHiddenTopic(around: Surroundings, epoch: number, hidden: Hidden): Promise<void> {
  const { name, sharedTo } = hidden
  for (const index of EPOCH_INDEXES) {
    // Chunks are walked, and parts are looked at with their records.
    if (LARGE.has(index)) continue
    const [unit] = Object.entries(INDEX).find(([, byte]) => byte === index) as [keyof typeof INDEX, number]
    for await (const { key, value } of entries(around, index, epoch)) {
      const what = faultOf(() => unseal(key, value, 'it'))
      if (what === null) continue
      around.findings.add({ unit, topic: name, offsets: null, what, lost: 'what forks share of it' })
    }
  }
  for (const { from, upTo } of around.shared.get(epoch) ?? []) {
    const [last] = await around.table.scan({ ...chunkRange(epoch, upTo - 1), limit: 1 })
    const state = new TopicState(name, epoch, 0, null, { forkedTo: sharedTo })
    state.firstOffset = from
    state.nextOffset = last === undefined ? upTo : numberInKey(last.key, 1) + 1
    state.chunkedTo = state.flushedTo = state.committedTo = state.nextOffset
    // What lies behind is not missed, nor is it too much.
    state.dirtySince = 1
    await checkHidden(around, state, upTo)
  }
}

/** All offsets that forks share must be in chunks. */
async function checkShared(around: Surroundings, epoch: number, from: number, upTo: number): Promise<void> {
  let position = from
  while (position < upTo) {
    const [chunk] = await around.table.scan({ ...chunkRange(epoch, position), limit: 1 })
    const base = chunk === undefined ? upTo : firstOffsetOf(chunk.value, SEAL_BYTES)
    if (base > position) {
      const offsets = { from: position, to: Math.min(base, upTo) }
      const what = `epoch ${epoch} has no chunk with it`
      around.findings.add({ unit: 'chunk', topic: null, offsets, what, lost: 'what forks share of it' })
    }
    position = chunk === undefined ? upTo : numberInKey(chunk.key, 1) + 1
  }
}

/** Entries of an index, or of one epoch in it. */
async function* entries({ table }: Surroundings, index: number, epoch?: number): AsyncGenerator<TableEntry> {
  for (let { gte, lt } = epoch === undefined ? indexRange(index) : epochRange(index, epoch); ; ) {
    const page = await table.scan({ gte, lt, limit: PAGE })
    yield* page
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE) return
    gte = Buffer.concat([last.key, Buffer.of(0)])
  }
}
