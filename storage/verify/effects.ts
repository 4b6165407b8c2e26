/** What records have done, without what trimmed ones have. */

import type { Effects } from '../topic-state.ts'

/** Leaves out what trimmed records have done: a batch is kept whole for the last of its records. */
export function dropBelow(effects: Effects, firstOffset: number): void {
  const isKept = ({ offset }: { offset: number }): boolean => offset >= firstOffset
  if (effects.context !== undefined) effects.context = effects.context.filter(isKept)
  if (effects.checkpoints !== undefined) effects.checkpoints = effects.checkpoints.filter(isKept)
  for (const [id, offset] of effects.ids ?? []) if (offset < firstOffset) effects.ids?.delete(id)
  for (const [id, offset] of effects.uploads ?? []) if (offset < firstOffset) effects.uploads?.delete(id)
  for (const [id, { lastOffset }] of effects.ended ?? []) if (lastOffset < firstOffset) effects.ended?.delete(id)
}
