/**
 * Which keys lie in a list of ranges, with few looks: a look costs a thread hop, and steps over whatever was deleted behind its
 * range, however little it finds; and of a thousand deleted topics hardly one has a key in most indexes. So neighbouring
 * ranges are looked at as one, and what lies between them, of topics that are still there, is stepped over.
 */

import { invariant } from '../../protocol/index.ts'
import type { TableRange } from '../store.ts'

/** Looks of one step. */
const LOOKS = 64
/** Keys of a first look at several ranges, and of one after another that met keys between them. */
const FEW_KEYS = 32

export interface KeysFound {
  readonly keys: Uint8Array[]
  /** So many ranges, from the first, have no other keys. */
  done: number
  /** From where the range of the last key begins to that key. */
  within: TableRange | undefined
}

/** Finds at most so many keys in a range. */
export type Look = (range: TableRange, limit: number) => Promise<readonly Uint8Array[]>

/** At most `limit` keys of the ranges, one range after the other, or as many as a bounded number of looks finds. */
export async function keysWithin(ranges: readonly TableRange[], limit: number, look: Look): Promise<KeysFound> {
  const found: KeysFound = { keys: [], done: 0, within: undefined }
  let few = FEW_KEYS
  let behind: Uint8Array | null = null
  for (let looks = 0; looks < LOOKS && found.done < ranges.length && found.keys.length < limit; looks++) {
    const end = endOfNeighbours(ranges, found.done)
    const room = limit - found.keys.length
    const wanted = end === found.done + 1 ? room : Math.min(few, room)
    const first = at(ranges, found.done)
    const gte = behind !== null && Buffer.compare(behind, first.gte) > 0 ? behind : first.gte
    const page = await look({ gte, lt: at(ranges, end - 1).lt }, wanted)
    const strangers = take(page, ranges, found)
    few = strangers > 0 ? FEW_KEYS : few * 2
    const last = page.at(-1)
    if (last === undefined || page.length < wanted) {
      found.done = end
      few = FEW_KEYS
      behind = null
    } else behind = Buffer.concat([last, Buffer.of(0)])
  }
  return found
}

/** Adds those of the page that lie in a range; says how many do not. */
function take(page: readonly Uint8Array[], ranges: readonly TableRange[], found: KeysFound): number {
  let strangers = 0
  for (const key of page) {
    while (Buffer.compare(at(ranges, found.done).lt, key) <= 0) found.done++
    const { gte } = at(ranges, found.done)
    if (Buffer.compare(key, gte) < 0) strangers++
    else {
      found.keys.push(key)
      found.within = { gte, lt: key }
    }
  }
  return strangers
}

/** The index behind the last of the ranges from `from` on that follow each other in one index. */
function endOfNeighbours(ranges: readonly TableRange[], from: number): number {
  let end = from + 1
  while (end < ranges.length && follows(at(ranges, end - 1), at(ranges, end))) end++
  return end
}

function follows(before: TableRange, after: TableRange): boolean {
  return before.gte[0] === after.gte[0] && Buffer.compare(before.lt, after.gte) <= 0
}

function at(ranges: readonly TableRange[], index: number): TableRange {
  const range = ranges[index]
  invariant(range !== undefined, 'a key that was looked for lies before the end of the last range')
  return range
}
