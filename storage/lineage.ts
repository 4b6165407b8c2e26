/**
 * Where the records of a fork lie. A fork shares the records of its parent before an offset and has none of them itself: what it
 * knows is under which epoch each range of its log is stored. The parent's own parents are noted with it, so that nobody has to be asked
 * who may be deleted by now. See FORMAT.md, Forks.
 */

import { BatchReader, ByteReader, ByteWriter, RecordWalker, writeBatchHeader } from '../protocol/index.ts'
import type { Link } from './operations.ts'
import type { TableCounts, TopicState } from './topic-state.ts'

/** Bits of the kinds of a link. */
export const KINDS: Readonly<Record<keyof TableCounts, number>> = {
  ids: 1,
  streams: 2,
  context: 4,
  checkpoints: 8,
  large: 16,
}

/** Offsets from `from` to before `upTo`, which are stored under an epoch. */
export interface Share {
  readonly epoch: number
  readonly from: number
  readonly upTo: number
  readonly kinds: number
}

/** The offset at which a fork goes on by itself; 0 for any other topic. */
export function forkPoint({ extra }: Pick<TopicState, 'extra'>): number {
  return extra?.fork?.links[0][1] ?? 0
}

/** What a topic shares, the nearest first; without ancestors that have nothing that a nearer one shares further back. */
export function shares({ extra }: Pick<TopicState, 'extra'>): Share[] {
  const links = extra?.fork?.links ?? []
  const found: Share[] = []
  links.forEach(([epoch, upTo, kinds], i) => {
    const from = links[i + 1]?.[1] ?? 0
    if (from < upTo) found.push({ epoch, from, upTo, kinds })
  })
  return found
}

/** The epoch that the record at an offset is stored under, and where what the topic has of it ends. */
export function ownerOf(state: Pick<TopicState, 'epoch' | 'extra'>, offset: number): { epoch: number; upTo: number } {
  const fork = state.extra?.fork
  let owner = { epoch: state.epoch, upTo: Number.POSITIVE_INFINITY }
  for (const [epoch, upTo] of fork?.links ?? []) if (offset < upTo) owner = { epoch, upTo }
  return owner
}

/** The ancestor of that epoch, if it is one, or the topic itself: how far both are the same. Null for any other epoch. */
export function sharedWith(state: Pick<TopicState, 'epoch' | 'extra'>, epoch: number): number | null {
  if (epoch === state.epoch) return Number.POSITIVE_INFINITY
  const link = state.extra?.fork?.links.find(([ancestor]) => ancestor === epoch)
  return link === undefined ? null : link[1]
}

/** The lineage of a fork of the topic at an offset, up to which its indexes have been flushed. */
export function linksAt({ epoch, extra, counts }: TopicState, at: number): [Link, ...Link[]] {
  let kinds = 0
  for (const [kind, bit] of Object.entries(KINDS)) if ((counts?.[kind as keyof TableCounts] ?? 0) > 0) kinds |= bit
  const older = (extra?.fork?.links ?? []).map(([of, upTo, has]): Link => [of, Math.min(upTo, at), has])
  return [[epoch, at, kinds], ...older]
}

/** The batches without the records from `upTo` on: the last one is cut where it has some of them. */
export function cutBatches(batches: Uint8Array, upTo: number): Uint8Array {
  if (upTo === Number.POSITIVE_INFINITY) return batches
  const batch = new BatchReader(new ByteReader(batches))
  while (batch.advance()) {
    if (batch.base >= upTo) return batches.subarray(0, batch.start)
    if (batch.next > upTo) return Buffer.concat([batches.subarray(0, batch.start), firstOf(batch, upTo - batch.base)])
  }
  return batches
}

/** The batch with its first records only. What a token refers to comes before it, so that none needs what is left out. */
function firstOf(batch: BatchReader, count: number): Uint8Array {
  const walker = new RecordWalker(batch.content())
  for (let i = 0; i < count; i++) walker.next()
  const out = new ByteWriter(walker.end - batch.start)
  const { form, base, timeMs, contentFrom, bytes } = batch
  writeBatchHeader(out, form, base, count, timeMs, walker.end - contentFrom, batch.envelope())
  out.slice(bytes, contentFrom, walker.end)
  return out.copy()
}
