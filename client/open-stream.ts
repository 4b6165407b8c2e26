/** Opens streams for writing: new ones, interrupted ones, or whatever the stream's state allows. */

import { LitetopicError, type ReplyOf, type StreamInfo, UP, type UpFrame } from '../protocol/index.ts'
import type { Attachment } from './attachment.ts'
import { readParts } from './follow.ts'
import type { Operation, OperationOwner, SequencedRequest } from './operation.ts'
import { TokenWriter } from './stream-writer.ts'

export type OpenMode = 'create' | 'continue' | 'join'

/** A writer, or with mode `join` the stream that needs none: it has ended, or has a live writer elsewhere. */
export type OpenedBy = { readonly writer: TokenWriter } | { readonly writer: null; readonly stream: StreamInfo }

/** Rejects with STREAM_EXISTS (create), STREAM_UNKNOWN or STREAM_ENDED (continue), or what ends the session. */
export async function openStream(
  attachment: Attachment,
  streamId: string,
  mode: OpenMode,
  onText?: (part: string, text: string) => void,
): Promise<OpenedBy> {
  const { fence, stream, offset } = await sequencedRequest<typeof UP.openStream>(
    attachment,
    UP.openStream,
    (request, handle, producerEpoch, sequence) => [
      UP.openStream,
      request,
      handle,
      producerEpoch,
      sequence,
      streamId,
      mode,
    ],
  )
  if (offset !== null && offset >= attachment.nextOffset) attachment.nextOffset = offset + 1
  if (fence === null) return { writer: null, stream }
  const { openOffset } = stream
  const parts = new Map<string, string>()
  // Before its text is read: it may be stopped meanwhile.
  const writer = new TokenWriter(attachment, { streamId, fence, openOffset, parts, onText })
  try {
    for (const [part, text] of await readParts(attachment, stream, fence)) parts.set(part, text)
  } catch (error) {
    if (error instanceof LitetopicError) writer.abort(error)
    throw error
  }
  return { writer }
}

/** Asks something that takes a sequence number, in order with everything else that the session writes. */
export function sequencedRequest<R extends SequencedRequest['type']>(
  attachment: Attachment,
  type: R,
  frame: (request: number, handle: number, producerEpoch: number, sequence: number) => UpFrame,
): Promise<ReplyOf<R>> {
  if (attachment.refusesWrites !== null) return Promise.reject(attachment.refusesWrites)
  return new Promise((resolve, reject) => {
    const owner: OperationOwner = {
      sealed: () => {},
      acknowledged: () => {},
      refused: (_: Operation, error: LitetopicError) => reject(error),
    }
    const operation = attachment.operation(owner)
    operation.request = { type, frame, answered: (reply) => resolve(reply as ReplyOf<R>) }
    attachment.add(operation, false)
  })
}
