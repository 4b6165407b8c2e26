/**
 * What the items of a conversation are, from the changes that were stored, newest first. The order of the log decides: who takes the
 * last item writes that one was taken, and which one it was follows from what stands before. So nobody has to be first, nothing is
 * written over, and no more changes are read than the items asked for need.
 */

import type { AgentInputItem } from '@openai/agents-core'
import { sameJson } from './json.ts'

/** One change, as it is stored: the state of a checkpoint. */
export type Change =
  | { readonly op: 'add'; readonly items: readonly AgentInputItem[]; readonly first?: First }
  | { readonly op: 'pop' }
  /** These are all items; nothing before counts. */
  | { readonly op: 'reset'; readonly items: readonly AgentInputItem[] }
  /** Counts only if the newest items are those expected. */
  | {
      readonly op: 'replace'
      readonly expected: readonly AgentInputItem[]
      readonly items: readonly AgentInputItem[]
      readonly first?: First
    }

/** Nothing was there before it, so that whoever reads back to it has everything. */
type First = true

/** The items behind the newest of the changes, newest first. Takes from `changes` only as many as it needs. */
export async function* newestFirst(
  changes: AsyncIterator<Change, undefined>,
): AsyncGenerator<AgentInputItem, undefined> {
  // A pop that found nothing is left over, and so is everything before it.
  let popped = 0
  for (;;) {
    const { done, value: change } = await changes.next()
    if (done) return
    if (change.op === 'pop') {
      popped++
      continue
    }
    const isReplace = change.op === 'replace'
    for await (const item of isReplace ? replaced(change, changes) : backwards(change.items)) {
      if (popped > 0) popped--
      else yield item
    }
    if (isReplace || change.op === 'reset') return
  }
}

/** Did the change, the newest of these, find what it expects? */
export async function applies(
  expected: readonly AgentInputItem[],
  before: AsyncIterator<Change, undefined>,
): Promise<boolean> {
  const newest = await take(newestFirst(before), expected.length)
  return sameJson(newest.reverse(), expected)
}

/** At most so many, or all. */
export async function take<V>(values: AsyncIterator<V, undefined>, count = Number.POSITIVE_INFINITY): Promise<V[]> {
  const taken: V[] = []
  while (taken.length < count) {
    const { done, value } = await values.next()
    if (done) break
    taken.push(value)
  }
  return taken
}

async function* replaced(
  { expected, items }: Extract<Change, { op: 'replace' }>,
  changes: AsyncIterator<Change, undefined>,
): AsyncGenerator<AgentInputItem> {
  const before = newestFirst(changes)
  const newest = await take(before, expected.length)
  yield* sameJson(newest.toReversed(), expected) ? backwards(items) : newest
  yield* before
}

function* backwards<V>(values: readonly V[]): Generator<V> {
  for (let i = values.length - 1; i >= 0; i--) yield values[i] as V
}
