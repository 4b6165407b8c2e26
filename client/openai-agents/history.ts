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

export interface PlacedChange {
  readonly offset: number
  readonly change: Change
}

/** An item, and of which change it is how manieth; null where it is not the change alone that says so. */
export interface FoundItem {
  readonly item: AgentInputItem
  readonly place: ItemPlace | null
}

export interface ItemPlace {
  readonly offset: number
  readonly count: number
}

/** Changes, newest first, as they are asked for. */
export type Changes = AsyncIterator<PlacedChange, undefined>

/** The items behind the newest of the changes, newest first. Takes from `changes` only as many as it needs. */
export async function* newestFirst(changes: Changes): AsyncGenerator<FoundItem, undefined> {
  // A pop that found nothing is left over, and so is everything before it.
  let popped = 0
  for (;;) {
    const { done, value } = await changes.next()
    if (done) return
    const { change, offset } = value
    if (change.op === 'pop') {
      popped++
      continue
    }
    const isReplace = change.op === 'replace'
    for await (const found of isReplace ? replaced(change, changes) : backwards(change.items, offset)) {
      if (popped > 0) popped--
      else yield found
    }
    if (isReplace || change.op === 'reset') return
  }
}

/** Are these the newest items? */
export async function applies(expected: readonly AgentInputItem[], before: Changes): Promise<boolean> {
  const newest = await take(newestFirst(before), expected.length)
  return sameJson(newest.map(({ item }) => item).reverse(), expected)
}

/** At most so many, or all. */
export async function take<V>(
  values: AsyncIterator<V, undefined>,
  count: number = Number.POSITIVE_INFINITY,
): Promise<V[]> {
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
  changes: Changes,
): AsyncGenerator<FoundItem> {
  const before = newestFirst(changes)
  const newest = await take(before, expected.length)
  const holds = sameJson(newest.map(({ item }) => item).reverse(), expected)
  yield* holds ? backwards(items, null) : newest
  yield* before
}

function* backwards(items: readonly AgentInputItem[], offset: number | null): Generator<FoundItem> {
  for (let count = items.length; count > 0; count--) {
    yield { item: items[count - 1] as AgentInputItem, place: offset === null ? null : { offset, count } }
  }
}
