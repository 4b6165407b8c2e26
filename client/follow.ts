/** Reads one stream back out of the log: what is durable of it, or what another writer still writes. */

import { isStreamEnd, type StreamEnd, type StreamInfo } from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import { readBatches } from './reader.ts'
import type { TokenRecord } from './records.ts'
import type { Json } from './values.ts'

/** What was found of a stream. `end` is null if it had none. */
export interface FoundStream {
  readonly end: StreamEnd | null
  readonly detail: Json | undefined
  /** Text of each part. */
  readonly parts: Map<string, string>
}

/** The tokens of the stream with offsets in [openOffset, before). Rejects with TRIMMED if some of them are gone. */
export async function* readTokens(
  attachment: Attachment,
  stream: Pick<StreamInfo, 'streamId' | 'openOffset'>,
  before: number,
): AsyncGenerator<TokenRecord> {
  if (before <= stream.openOffset + 1) return
  for await (const records of readBatches(attachment, { from: { offset: stream.openOffset } }, null)) {
    // Runs of parallel streams overlap, so only all of them together say how far it has come.
    let last = -1
    for (const record of records) {
      last = Math.max(last, record.lastOffset)
      if (record.offset < before && record.kind === 'token' && record.streamId === stream.streamId) yield record
    }
    if (last >= before - 1) return
  }
}

/** Text of each part that is durable below `before`. */
export async function readParts(
  attachment: Attachment,
  stream: Pick<StreamInfo, 'streamId' | 'openOffset'>,
  before: number,
): Promise<Map<string, string>> {
  const parts = new Map<string, string>()
  for await (const token of readTokens(attachment, stream, before)) addText(parts, token)
  return parts
}

/** Reads from the stream's beginning until it ends, or until its present writer is lost. */
export async function follow(attachment: Attachment, stream: StreamInfo): Promise<FoundStream> {
  const parts = new Map<string, string>()
  for await (const records of readBatches(attachment, { from: { offset: stream.openOffset } }, null)) {
    for (const record of records) {
      if ((record.kind !== 'token' && record.kind !== 'stream') || record.streamId !== stream.streamId) continue
      if (record.kind === 'token') addText(parts, record)
      else if (isStreamEnd(record.state)) return { end: record.state, detail: record.detail, parts }
      else if (record.state === 'lost' && record.offset > stream.fence) return { end: null, detail: undefined, parts }
    }
  }
  return { end: null, detail: undefined, parts }
}

function addText(parts: Map<string, string>, { part, text }: TokenRecord): void {
  if (text !== undefined) parts.set(part, (parts.get(part) ?? '') + text)
}
