/** What a topic shares with its parents: the key that keeps it, and which of their records. */

import { forkKey } from '../keys.ts'
import { shares } from '../lineage.ts'
import type { TopicState } from '../topic-state.ts'
import type { Surroundings } from './surroundings.ts'

/** Is there the key that keeps what a fork shares? Null if so, else what is wrong. */
export async function missingForkKey({ table }: Surroundings, { epoch, extra }: TopicState): Promise<string | null> {
  const link = extra?.fork?.links[0]
  if (link === undefined) return null
  const key = forkKey(link[0], epoch)
  return (await table.get(key)) === undefined ? `nothing keeps what it shares with ${extra?.fork?.name}` : null
}

/** Notes what a topic shares, so that it is looked at once for all that share it. */
export function noteShared({ shared }: Surroundings, state: TopicState): void {
  for (const { epoch, ...share } of shares(state)) {
    const from = Math.max(share.from, state.firstOffset)
    if (from >= share.upTo) continue
    const ranges = shared.get(epoch) ?? []
    shared.set(epoch, ranges)
    const known = ranges.find((range) => from <= range.upTo && share.upTo >= range.from)
    if (known === undefined) ranges.push({ from, upTo: share.upTo })
    else Object.assign(known, { from: Math.min(from, known.from), upTo: Math.max(share.upTo, known.upTo) })
  }
}
