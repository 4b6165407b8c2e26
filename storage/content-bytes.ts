/** What batches weigh beside their own bytes: the content of large messages, which lies in parts. */

import { BatchReader, ByteReader, RecordWalker } from '../protocol/index.ts'
import type { TopicState } from './topic-state.ts'

/** Bytes of the content of large messages among the records of some batches of the topic. */
export function contentBytes(state: TopicState, batches: Uint8Array): number {
  if (!hasLarge(state)) return 0
  let bytes = 0
  const batch = new BatchReader(new ByteReader(batches))
  while (batch.advance()) {
    const walker = new RecordWalker(batch.content())
    // Only the first record of an append may be one.
    if (walker.next()) bytes += walker.parts()?.size ?? 0
  }
  return bytes
}

/** Has the topic, or had it, any large message? Of most the records need not be looked at. */
function hasLarge({ counts, recent, flushing }: TopicState): boolean {
  return (counts?.large ?? 0) > 0 || recent?.uploads !== undefined || flushing?.uploads !== undefined
}
