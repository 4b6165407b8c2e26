/** Context entries as answers carry them: one by name, or pages of them, as of an offset. */

import { type ContextInfo, type DataInfo, LIMITS, LitetopicError } from '../protocol/index.ts'
import { contextNames, findContext } from '../storage/index.ts'
import type { Context } from './context.ts'
import type { Topic } from './topic.ts'

export interface ContextPage {
  /** Default: now. */
  readonly asOf?: number
  /** Names come after this one, in byte order. */
  readonly after?: string
  readonly limit: number
  /** The page ends behind the first entry if the next ones would bring it beyond this. */
  readonly bytes: number
}

/** One entry as of an offset, or null. Neighbouring pieces of text, and of bytes, come as one. */
export async function contextEntry(
  context: Context,
  topic: Topic,
  name: string,
  asOf: number,
): Promise<ContextInfo | null> {
  const before = Math.min(asOf, topic.state.committedTo)
  const versions = await findContext(context.shard.store.table, topic.state, name, before)
  if (versions === null || versions.length === 0) return null
  const pieces = joined(versions.map((version) => version.data))
  return { name, offset: versions.at(-1)?.offset ?? 0, pieces }
}

/** A page of entries; `more` is true exactly when another one comes behind it. */
export async function contextPage(
  context: Context,
  topic: Topic,
  page: ContextPage,
): Promise<{ entries: ContextInfo[]; more: boolean }> {
  const asOf = page.asOf ?? topic.state.committedTo
  const entries: ContextInfo[] = []
  let after = page.after ?? ''
  let bytes = 0
  for (;;) {
    const names = await contextNames(context.shard.store.table, topic.state, after, page.limit)
    for (const name of names) {
      const entry = await contextEntry(context, topic, name, asOf)
      if (entry === null) continue
      bytes += entryBytes(entry)
      const isFull = entries.length === page.limit || (bytes > page.bytes && entries.length > 0)
      if (isFull) return { entries, more: true }
      entries.push(entry)
    }
    if (names.length < page.limit) return { entries, more: false }
    after = names.at(-1) as string
  }
}

/** Throws LIMIT_EXCEEDED for an entry of more pieces than an answer can hold: JSON that was appended too often. */
export function checkPieces({ name, pieces }: ContextInfo): void {
  const value = pieces.length
  if (value <= LIMITS.frameElements) return
  const details = { limit: 'frameElements', value, bound: LIMITS.frameElements }
  throw new LitetopicError('LIMIT_EXCEEDED', `context entry ${name} has ${value} pieces: set it anew`, details)
}

/** About what an entry takes in an answer; infinite if it fits none. */
export function entryBytes(entry: ContextInfo): number {
  if (entry.pieces.length > LIMITS.frameElements) return Number.POSITIVE_INFINITY
  return entry.pieces.reduce((sum, piece) => sum + piece.value.length + 16, entry.name.length + 32)
}

function joined(pieces: readonly DataInfo[]): DataInfo[] {
  const out: DataInfo[] = []
  let run: DataInfo[] = []
  const close = (): void => {
    if (run.length > 0) out.push(join(run))
    run = []
  }
  for (const piece of pieces) {
    if (piece.tag === 'json' || piece.tag !== run[0]?.tag) close()
    run.push(piece)
  }
  close()
  return out
}

function join(run: readonly DataInfo[]): DataInfo {
  const first = run[0] as DataInfo
  if (run.length === 1) return first
  if (first.tag === 'bytes')
    return { tag: 'bytes', value: Buffer.concat(run.map((piece) => piece.value as Uint8Array)) }
  return { tag: first.tag, value: run.map((piece) => piece.value).join('') }
}
