/** Messages that many connections are sent alike: encoded for the first of them. */

import { ByteWriter, beginBytesFrame, DOWN, endBytesFrame } from '../../protocol/index.ts'
import type { SharedBatches, SharedMessage } from '../client.ts'

/**
 * Messages of one round that are kept for readers to come, in bytes. Those that share a connection each have a number of their own, and
 * their messages are of no use to others: of thousands of them all that they are sent would be kept.
 */
const KEPT_BYTES = 4 * 1024 * 1024

/** One `deliver` frame with all of the batches. */
export function encodeShared(subscription: number, batches: SharedBatches): SharedMessage {
  const known = batches.encoded.get(subscription)
  if (known !== undefined) return known
  const out = new ByteWriter(batches.size + 64)
  const start = beginBytesFrame(out, DOWN.deliver)
  for (let i = 0; i < batches.starts.length; i++) {
    out.varint(subscription)
    out.varint(batches.flags)
    out.slice(batches.bytes, batches.starts[i] as number, batches.starts[i + 1] ?? batches.size)
  }
  endBytesFrame(out, start)
  const message: SharedMessage = { bytes: out.view(), wire: null }
  if (batches.encoded.size * message.bytes.length < KEPT_BYTES) batches.encoded.set(subscription, message)
  return message
}
