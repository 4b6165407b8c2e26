/** Messages that many connections are sent alike: encoded for the first of them. */

import { ByteWriter, beginBytesFrame, DOWN, endBytesFrame } from '../../protocol/index.ts'
import type { SharedBatches, SharedMessage } from '../client.ts'

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
  batches.encoded.set(subscription, message)
  return message
}
