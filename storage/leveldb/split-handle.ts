/**
 * Two LevelDB directories as one: parts of large messages lie in one of their own. LevelDB writes what it is given at least
 * twice, and again with every compaction; beside small keys from all over the table that would be three to four times, and
 * each of those compactions would wait for megabytes of parts.
 */

import { INDEX, type TableEntry, type TableRange } from '../store.ts'
import type { LevelHandle, LevelSnapshot } from './level-handle.ts'

const PARTS_FROM = Buffer.of(INDEX.part)
const PARTS_TO = Buffer.of(INDEX.part + 1)

/**
 * The index of parts in `parts`, everything else in `rest`. A write is atomic in each of them; what it changes of parts is
 * written, and durable with `sync`, before the rest. The keys at both ends of all, which a compaction writes, are in both.
 */
export function splitHandle(rest: LevelHandle, parts: LevelHandle): LevelHandle {
  const of = (key: Uint8Array): LevelHandle => (isPart(key) ? parts : rest)
  return {
    write: async (changes, sync) => {
      if (!changes.some(({ key }) => isPart(key) || isEdge(key))) return rest.write(changes, sync)
      const ofParts = changes.filter(({ key }) => isPart(key) || isEdge(key))
      await parts.write(ofParts, sync)
      const others = changes.filter(({ key }) => !isPart(key))
      if (others.length > 0) await rest.write(others, sync)
    },
    get: (key) => of(key).get(key),
    getMany: (keys) => getMany(keys, rest, parts),
    scan: (range, reverse, limit) => of(range.gte).scan(range, reverse, limit),
    keys: (range, limit) => of(range.gte).keys(range, limit),
    iterate: (range) => iterate(range, rest, parts),
    snapshot: () => splitSnapshot(rest.snapshot(), parts.snapshot()),
    compact: async (range) => {
      const has = pieces(range)
      if (has.some(([isOfParts]) => !isOfParts)) await rest.compact(range)
      if (has.some(([isOfParts]) => isOfParts)) await parts.compact(range)
    },
    close: async () => {
      const results = await Promise.allSettled([rest.close(), parts.close()])
      for (const result of results) if (result.status === 'rejected') throw result.reason
    },
  }
}

function splitSnapshot(rest: LevelSnapshot, parts: LevelSnapshot): LevelSnapshot {
  return {
    get: (key) => (isPart(key) ? parts : rest).get(key),
    iterate: (range) => iterate(range, rest, parts),
    close: async () => {
      await Promise.all([rest.close(), parts.close()])
    },
  }
}

/** Keys of parts are asked for one by one. */
function getMany(keys: readonly Uint8Array[], rest: LevelHandle, parts: LevelHandle) {
  if (!keys.some(isPart)) return rest.getMany(keys)
  return Promise.all(keys.map((key) => (isPart(key) ? parts : rest).get(key)))
}

async function* iterate(
  range: TableRange,
  rest: Pick<LevelSnapshot, 'iterate'>,
  parts: Pick<LevelSnapshot, 'iterate'>,
): AsyncIterable<TableEntry> {
  for (const [isOfParts, piece] of pieces(range)) yield* (isOfParts ? parts : rest).iterate(piece)
}

/** The range in what lies before the parts, among them, and behind them. */
function pieces({ gte, lt }: TableRange): [isOfParts: boolean, piece: TableRange][] {
  const bounds: [boolean, Uint8Array, Uint8Array][] = [
    [false, gte, least(lt, PARTS_FROM)],
    [true, most(gte, PARTS_FROM), least(lt, PARTS_TO)],
    [false, most(gte, PARTS_TO), lt],
  ]
  return bounds
    .filter(([, from, to]) => Buffer.compare(from, to) < 0)
    .map(([isOfParts, from, to]) => [isOfParts, { gte: from, lt: to }])
}

/** No index has these bytes: see LevelTable.compact. */
function isEdge(key: Uint8Array): boolean {
  return key[0] === 0x00 || key[0] === 0xff
}

function isPart(key: Uint8Array): boolean {
  return key[0] === INDEX.part
}

function least(a: Uint8Array, b: Uint8Array): Uint8Array {
  return Buffer.compare(a, b) < 0 ? a : b
}

function most(a: Uint8Array, b: Uint8Array): Uint8Array {
  return Buffer.compare(a, b) < 0 ? b : a
}
