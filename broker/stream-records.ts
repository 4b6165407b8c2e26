/** The stream records of the broker's own making, and the writers that it knows of streams. */

import { ByteWriter, type RecordData, type StreamState, writeStream } from '../protocol/index.ts'
import type { CommitItem } from './commit-item.ts'
import { CallbackItem } from './committer.ts'
import type { Context } from './context.ts'
import { increment } from './observe/counts.ts'
import { appendOwn } from './own-records.ts'
import type { Lease, Topic } from './topic.ts'

/** The stream has no writer any more. */
export function forgetWriter(topic: Topic, streamId: string): void {
  const writer = topic.writers?.get(streamId)
  writer?.writes?.delete(streamId)
  topic.writers?.delete(streamId)
  topic.graces?.delete(streamId)
}

/** Appends a stream record of the broker's own making, in the name of a producer or, with slot -1, its own. */
export function appendStreamRecord(
  context: Context,
  topic: Topic,
  record: { state: StreamState; streamId: string; data?: RecordData; slot?: number; sequence?: number },
  after: CommitItem,
  principal?: string,
): number {
  const out = new ByteWriter(64)
  writeStream(out, record.state, record.streamId, record.data)
  const { slot = -1, sequence = 0 } = record
  increment(context.counts.streams, record.state)
  return appendOwn(context, topic, { record: out, slot, sequence, effects: true, principal }, after)
}

/** Writes a record that nobody waits for. */
export function appendUnlessFailed(context: Context, topic: Topic, state: 'lost' | 'resumed', streamId: string): void {
  try {
    appendStreamRecord(context, topic, { state, streamId }, new CallbackItem(ignore, ignore))
  } catch {
    // The store cannot write: no reader is told anything, and the grace begins anew after the next start.
  }
}

/** The stream is lost at that monotonic time, unless its writer is heard of before; with a lease it is live until then. */
export function setGrace(topic: Topic, streamId: string, lostAtMs: number, lease: Lease | null = null): void {
  topic.graces ??= new Map()
  topic.graces.set(streamId, { lostAtMs, lease })
}

function ignore(): void {}
