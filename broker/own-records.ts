/** Records of the broker's own making: one at a time, delivered as any other. */

import { ByteWriter, type RecordData, writeMessage } from '../protocol/index.ts'
import type { CommitItem } from './commit-item.ts'
import { AppendItem, InOrder } from './committer.ts'
import type { Context } from './context.ts'
import type { Topic } from './topic.ts'

export interface OwnRecord {
  /** The one record, encoded. */
  readonly record: ByteWriter
  /** In whose name; -1 for nobody's. */
  readonly slot: number
  readonly sequence: number
  /** Is it more than a message or a token? */
  readonly effects: boolean
  readonly principal?: string
}

/** Appends the record and returns its offset. `after` is told behind its delivery. */
export function appendOwn(context: Context, topic: Topic, own: OwnRecord, after: CommitItem): number {
  const { record, ...given } = own
  const base = topic.state.nextOffset
  const delivery = new AppendItem(topic, null, 0, 0, base, 1)
  delivery.position = context.shard.append(topic.state, {
    ...given,
    count: 1,
    timeMs: context.clock.wallMs(),
    source: record.bytes,
    from: 0,
    to: record.length,
    item: new InOrder(delivery, after),
  })
  delivery.size = context.shard.log.batchBytes
  topic.lastUsedMs = topic.appendedMs = context.clock.monotonicMs()
  return base
}

/** Appends a message of nobody's. */
export function appendMessage(context: Context, topic: Topic, data: RecordData, after: CommitItem): number {
  const record = new ByteWriter(64)
  writeMessage(record, data)
  return appendOwn(context, topic, { record, slot: -1, sequence: 0, effects: false }, after)
}
