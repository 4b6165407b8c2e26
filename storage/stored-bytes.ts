/** What is counted as the bytes of a topic, in one place: when something is appended, replayed and trimmed. */

import { type BatchReader, RecordWalker } from '../protocol/index.ts'
import type { TopicState } from './topic-state.ts'

/**
 * What the batch that the reader stands on adds to its topic's bytes for as long as a record of it is kept: its own bytes, and
 * if there may be one, the content of a large message, which lies in parts.
 */
export function storedBytes(batch: BatchReader, mayBeLarge: boolean): number {
  const bytes = batch.end - batch.start
  if (!mayBeLarge) return bytes
  const walker = new RecordWalker(batch.content())
  // Only the first record of an append may be one.
  return bytes + (walker.next() ? (walker.parts()?.size ?? 0) : 0)
}

/** Has the topic, or had it, any large message? Of most the records need not be looked at. */
export function hasLarge({ counts, recent, flushing }: TopicState): boolean {
  return (counts?.large ?? 0) > 0 || recent?.uploads !== undefined || flushing?.uploads !== undefined
}
