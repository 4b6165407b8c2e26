/** Pure decisions on token streams: who may open, continue, write and end one. See PROTOCOL.md, Streams. */

import { isStreamEnd, LitetopicError, type StreamInfo } from '../protocol/index.ts'
import type { StreamState, TopicState } from '../storage/index.ts'

export type OpenMode = 'create' | 'continue' | 'join'

/** `open` and `resumed` are the record to write; `report` means that nothing is opened and the state is the answer. */
export type OpenDecision = 'open' | 'resumed' | 'report'

/** Throws STREAM_EXISTS, STREAM_UNKNOWN or STREAM_ENDED. `live`: a writer other than the one asking is connected. */
export function decideOpen(
  mode: OpenMode,
  streamId: string,
  stream: StreamState | null,
  live: boolean,
  topic: string,
): OpenDecision {
  if (stream === null) {
    if (mode !== 'continue') return 'open'
    throw new LitetopicError('STREAM_UNKNOWN', `topic ${topic} has no stream ${streamId} to continue`, { streamId })
  }
  if (mode === 'create') {
    throw new LitetopicError('STREAM_EXISTS', `topic ${topic} has a stream ${streamId} already`, {
      stream: streamInfo(stream, live),
    })
  }
  if (isStreamEnd(stream.state)) {
    if (mode === 'join') return 'report'
    throw streamEnded(topic, stream)
  }
  return mode === 'join' && live ? 'report' : 'resumed'
}

/** The open stream that a writer's fence names. Throws STREAM_ENDED, FENCED or STREAM_UNKNOWN. */
export function writableStream(state: TopicState, fence: number): StreamState | null {
  for (const stream of state.openStreams?.values() ?? []) if (stream.fence === fence) return stream
  return null
}

/** Why a writer may not write to a stream that its fence does not name. */
export function refusal(topic: string, streamId: string, stream: StreamState | null): LitetopicError {
  if (stream === null) {
    return new LitetopicError('STREAM_UNKNOWN', `topic ${topic} has no open stream ${streamId}`, { streamId })
  }
  if (isStreamEnd(stream.state)) return streamEnded(topic, stream)
  return new LitetopicError('FENCED', `stream ${streamId} of topic ${topic} has been taken over by another writer`, {
    streamId,
    fence: stream.fence,
  })
}

export function streamEnded(topic: string, stream: StreamState): LitetopicError {
  return new LitetopicError('STREAM_ENDED', `stream ${stream.streamId} of topic ${topic} has ended: ${stream.state}`, {
    streamId: stream.streamId,
    state: stream.state,
    detail: stream.detail,
  })
}

export function streamInfo(stream: StreamState, live: boolean): StreamInfo {
  const { streamId, state, openOffset, fence, lastOffset, detail } = stream
  return { streamId, state, live: live && !isStreamEnd(state), openOffset, fence, lastOffset, detail }
}
