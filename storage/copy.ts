/**
 * Copies of a store. A copy is read from a snapshot as it lies there, then made a history of its own: its journal is
 * brought into its table and emptied, each head remembers how far it goes together with the history that it was copied
 * from, numbers go on far ahead, and the store incarnation is a new one. See FORMAT.md, Copies.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'
import { decodeHead, encodeHead } from './head.ts'
import { unpackInlineTail } from './inline-tail.ts'
import { headRange, indexRange, nameOfHeadKey } from './keys.ts'
import { Shard } from './shard.ts'
import { silentListener } from './shard-listener.ts'
import { INDEX, type Store, type StoreSnapshot, type TableChange, type TableRange } from './store.ts'
import { renewInfo, type StoreInfo } from './store-info.ts'
import { EPOCHS_PER_COMMIT, type TopicState } from './topic-state.ts'

/** How far the numbers of a copy begin behind those of its original, which goes on: at 1,000 commits a second, 49 days. */
export const COMMITS_SKIPPED = 2 ** 32
const COMMITS_MAX = Math.floor(Number.MAX_SAFE_INTEGER / EPOCHS_PER_COMMIT)

export interface CopyOptions {
  /** Called after each piece of at most LIMITS.copyPieceBytes; the next one waits for it. What it rejects with ends the copy. */
  readonly piece: (copiedBytes: number) => Promise<void>
}

/** Copies what the snapshot has into a new store, as it is: damage too. Rejects with STORE_CORRUPT for a hole in the journal. */
export async function copySnapshot(snapshot: StoreSnapshot, target: Store, { piece }: CopyOptions): Promise<void> {
  let copied = 0
  const done = (bytes: number): Promise<void> => {
    copied += bytes
    return piece(copied)
  }
  // The info comes last, and a store that has a floor and no info is refused: a copy that was cut off is none.
  await target.journal.skipTo(await snapshot.floor())
  const indexes = Object.values(INDEX).filter((index) => index !== INDEX.info)
  for (const index of indexes) await copyRange(snapshot, indexRange(index), target, done)
  await copyJournal(snapshot, target, done)
  await copyRange(snapshot, indexRange(INDEX.info), target, done)
}

/** Copies the keys of a range, piece by piece. */
export async function copyRange(
  source: Pick<StoreSnapshot, 'iterate'>,
  range: TableRange,
  target: Store,
  done: (bytes: number) => Promise<void>,
): Promise<void> {
  let changes: TableChange[] = []
  let bytes = 0
  const write = async (): Promise<void> => {
    await target.table.write(changes)
    await done(bytes)
    changes = []
    bytes = 0
  }
  for await (const { key, value } of source.iterate(range)) {
    changes.push({ key, value })
    bytes += key.length + value.length
    if (bytes >= LIMITS.copyPieceBytes) await write()
  }
  if (changes.length > 0) await write()
}

async function copyJournal(
  snapshot: StoreSnapshot,
  target: Store,
  done: (bytes: number) => Promise<void>,
): Promise<void> {
  let entries: Uint8Array[] = []
  let bytes = 0
  const append = async (): Promise<void> => {
    await target.journal.append(target.journal.last + 1, entries)
    await done(bytes)
    entries = []
    bytes = 0
  }
  for await (const entry of snapshot.entries()) {
    entries.push(entry.bytes)
    bytes += entry.bytes.length
    if (bytes >= LIMITS.copyPieceBytes) await append()
  }
  if (entries.length > 0) await append()
}

/**
 * Makes a copy a history of its own, and closes it. Resolves with its incarnation and the names of topics whose heads cannot be
 * read: those are as they were. Rejects with STORE_CORRUPT if the journal is damaged, or holds something of such a topic.
 */
export async function beginHistory(store: Store): Promise<{ incarnation: string; damaged: string[] }> {
  const shard = await openAlone(store)
  try {
    const damaged = await branchOff(store, shard.incarnation)
    shard.renewed(await renewHistory(store))
    return { incarnation: shard.incarnation, damaged }
  } finally {
    await shard.close()
  }
}

/** Gives a store whose journal is empty numbers far ahead, and a new incarnation behind `before`, as `renewInfo` does. */
export async function renewHistory(store: Store, before?: StoreInfo | null): Promise<StoreInfo> {
  const last = store.journal.last + COMMITS_SKIPPED
  if (last > COMMITS_MAX / 2) {
    throw new LitetopicError('LIMIT_EXCEEDED', 'this store was copied from copies too often: its numbers run out', {
      limit: 'commits',
      value: last,
      bound: COMMITS_MAX / 2,
    })
  }
  await store.journal.skipTo(last)
  return renewInfo(store, before)
}

/** A shard that serves nobody, with an empty journal. */
async function openAlone(store: Store): Promise<Shard<never>> {
  let failure: LitetopicError | null = null
  const shard = await Shard.open<never>(
    store,
    silentListener((error) => {
      failure ??= error
    }),
  )
  try {
    await shard.emptyJournal()
    await shard.quiesce()
    if (failure !== null) throw failure
    return shard
  } catch (error) {
    await shard.close()
    throw error
  }
}

/** Notes in each head how far it is the same as in the history copied from. Returns the names of those that cannot be read. */
async function branchOff(store: Store, incarnation: string): Promise<string[]> {
  const damaged: string[] = []
  for (let after = ''; ; ) {
    const page = await store.table.scan({ ...headRange('', after), limit: LIMITS.flushTopics })
    const changes: TableChange[] = []
    for (const { key, value } of page) {
      after = nameOfHeadKey(key)
      try {
        const { state, asOf } = decodeHead(after, value)
        addBranch(state, incarnation)
        const { chunkedTo, tableUsed } = state
        const inline = state.inline === null ? null : unpackInlineTail(state.inline)
        changes.push({ key, value: encodeHead(key, state, { asOf, chunkedTo, inline, tableUsed }) })
      } catch (error) {
        if (!(error instanceof LitetopicError)) throw error
        damaged.push(after)
      }
    }
    await store.table.write(changes)
    if (page.length < LIMITS.flushTopics) return damaged
  }
}

/** The topic as it is now is what it has in common with that history; of earlier ones, no more than that either. */
export function addBranch(state: TopicState, incarnation: string): void {
  const { nextOffset } = state
  const earlier = (state.branches ?? []).map((branch) => ({ ...branch, next: Math.min(branch.next, nextOffset) }))
  state.branches = [...earlier, { incarnation, next: nextOffset }].slice(-LIMITS.branchesPerTopic)
}
