/** Token streams as JSON, and the text of one so far. */

import {
  BatchReader,
  ByteReader,
  isLitetopicError,
  isStreamEnd,
  LIMITS,
  type StreamInfo,
} from '../../../protocol/index.ts'
import type { Caller } from '../caller.ts'
import { oneLine } from './data-json.ts'
import { eachText } from './record-json.ts'

export function streamJson({ detail, ...stream }: StreamInfo): string {
  return `${JSON.stringify(stream).slice(0, -1)},"detail":${detail == null ? 'null' : oneLine(detail)}}`
}

/**
 * The text of each part of a stream, as far as it is durable, as JSON; null if it is more than `resumeInlineBytes`, or if the
 * stream's beginning is trimmed.
 */
export async function streamTextJson(caller: Caller, stream: StreamInfo): Promise<string> {
  const parts = new Map<string, Buffer[]>()
  let bytes = 0
  const add = (piece: Uint8Array, part: string): void => {
    const pieces = parts.get(part)
    if (pieces === undefined) parts.set(part, [Buffer.from(piece)])
    else pieces.push(Buffer.from(piece))
    bytes += piece.length
  }
  try {
    const to = isStreamEnd(stream.state) ? stream.lastOffset : undefined
    for (let next = stream.openOffset, end = to ?? next + 1; next < end; ) {
      const page = await caller.read({ from: { offset: next }, raw: true, to })
      for (const batch of page.batches)
        eachText(batchOf(batch), next, to ?? page.nextOffset, { stream: stream.streamId }, add)
      if (bytes > LIMITS.resumeInlineBytes) return 'null'
      next = page.next
      end = to ?? page.nextOffset
    }
  } catch (error) {
    if (isLitetopicError(error, 'TRIMMED')) return 'null'
    throw error
  }
  return JSON.stringify(
    Object.fromEntries([...parts].map(([part, pieces]) => [part, Buffer.concat(pieces).toString()])),
  )
}

function batchOf(bytes: Uint8Array): BatchReader {
  const batch = new BatchReader(new ByteReader(bytes))
  batch.advance()
  return batch
}
