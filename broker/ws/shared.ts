/** Messages that many connections are sent alike: encoded for the first of them, as a frame and as what goes over the wire. */

import { ByteWriter, beginBytesFrame, DOWN, endBytesFrame } from '../../protocol/index.ts'
import type { SharedBatches, SharedMessage } from '../client.ts'

/** The flags of a final binary WebSocket frame, and how its length is told. */
const FINAL_BINARY = 0x82
const LENGTH_16 = 126
const LENGTH_64 = 127

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

/** The message as one unmasked WebSocket frame. */
export function wireOf(message: SharedMessage): Uint8Array {
  message.wire ??= Buffer.concat([headerOf(message.bytes.length), message.bytes])
  return message.wire
}

function headerOf(size: number): Buffer {
  if (size < LENGTH_16) return Buffer.from([FINAL_BINARY, size])
  const header = Buffer.alloc(size < 0x1_0000 ? 4 : 10)
  header[0] = FINAL_BINARY
  header[1] = size < 0x1_0000 ? LENGTH_16 : LENGTH_64
  if (size < 0x1_0000) header.writeUInt16BE(size, 2)
  else header.writeUIntBE(size, 4, 6)
  return header
}
