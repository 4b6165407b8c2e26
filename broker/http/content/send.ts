/** The content of a message as the body of a response: read part by part as the socket takes it, never held whole. */

import type { ServerResponse } from 'node:http'
import {
  BatchReader,
  ByteReader,
  type DataTag,
  LIMITS,
  LitetopicError,
  type RecordParts,
  RecordWalker,
  tagName,
} from '../../../protocol/index.ts'
import type { Caller } from '../caller.ts'

export interface Content {
  readonly offset: number
  readonly tag: DataTag
  /** In bytes. */
  readonly size: number
  /** Of a large message; else its bytes are here. */
  readonly parts: RecordParts | null
  readonly bytes: Uint8Array | null
}

/** Bytes of a content, `to` left out. */
export interface Range {
  readonly from: number
  readonly to: number
}

/** The content of the record at the offset. Rejects with OFFSET_BEYOND_END, TRIMMED, GONE or STORE_CORRUPT. */
export async function contentAt(caller: Caller, offset: number): Promise<Content> {
  const { batches } = await caller.read({ from: { offset }, raw: true, to: offset + 1, maxBytes: 1 })
  const [first] = batches
  if (first === undefined) {
    throw new LitetopicError('OFFSET_BEYOND_END', `there is no record at offset ${offset} yet`, { offset })
  }
  const batch = new BatchReader(new ByteReader(first))
  batch.advance()
  const walker = new RecordWalker(batch.content())
  for (let at = batch.base; walker.next(); at++) {
    if (at < offset) continue
    const tag = tagName(walker.tag)
    const parts = walker.parts()
    if (parts !== undefined) return { offset, tag, size: parts.size, parts, bytes: null }
    const bytes = walker.bytes.slice(walker.dataFrom, walker.dataTo)
    return { offset, tag, size: bytes.length, parts: null, bytes }
  }
  throw new LitetopicError('STORE_CORRUPT', `there is no record at offset ${offset} where it should be`, { offset })
}

/** Writes the range to the response and ends it; cuts it off if it cannot be read any more. Its head has been written. */
export async function sendContent(
  caller: Caller,
  response: ServerResponse,
  { offset, bytes }: Content,
  { from, to }: Range,
): Promise<void> {
  if (bytes !== null) {
    response.end(bytes.subarray(from, to))
    return
  }
  try {
    for (let at = from; at < to; ) {
      const { reply, taken } = await caller.fetch({ offset, from: at, maxBytes: Math.min(LIMITS.partBytes, to - at) })
      at += reply.bytes.length
      try {
        await written(response, reply.bytes)
      } finally {
        taken()
      }
    }
    response.end()
  } catch {
    // The status has been sent: that the body ends short of its length is all that can still be said.
    response.destroy()
  }
}

/** Resolves when the socket has taken it; rejects when it never will. */
function written(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    if (response.destroyed) reject(new LitetopicError('CONNECTION_CLOSED', 'the client has gone'))
    else response.write(bytes, (error) => (error == null ? resolve() : reject(error)))
  })
}
