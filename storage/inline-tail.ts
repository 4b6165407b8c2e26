/**
 * The tail that a topic's head holds, as it is kept in memory: its bytes, as the characters of a string. A million topics have
 * one each. As a buffer each would take an object of some 100 bytes beside them, and memory that V8 does not have in its heap: of
 * that it lets 64 MiB become garbage, and then marks all there is, a million topics too.
 */
export type InlineTail = string

export function packInlineTail(bytes: Uint8Array): InlineTail {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

export function unpackInlineTail(inline: InlineTail): Buffer {
  return Buffer.from(inline, 'latin1')
}
