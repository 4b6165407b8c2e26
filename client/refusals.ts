/** Why a writer may not go on, as the errors that its user gets. */

import { LitetopicError, type StreamInfo } from '../protocol/index.ts'
import { decodeJson } from './values.ts'

/** What keeps the writer with this fence from writing to the stream as it is now; null if nothing does. */
export function whyNotWritable(streamId: string, fence: number, stream: StreamInfo | null): LitetopicError | null {
  if (stream === null) {
    return new LitetopicError('STREAM_UNKNOWN', `the topic knows no stream ${streamId} any more`, { streamId })
  }
  if (stream.state === 'stopped') return streamStopped(streamId, stopReason(stream.detail))
  if (stream.state === 'done' || stream.state === 'failed') {
    return new LitetopicError('STREAM_ENDED', `stream ${streamId} has ended: ${stream.state}`, { state: stream.state })
  }
  return stream.fence === fence ? null : streamFenced(streamId, stream.fence)
}

/** What was given to `stop`, out of the detail of a stopped stream. */
export function stopReason(detail: string | null | undefined): string | null {
  const found: unknown = detail == null ? null : decodeJson(detail)
  const reason: unknown = typeof found === 'object' && found !== null ? (found as { reason?: unknown }).reason : null
  return typeof reason === 'string' ? reason : null
}

export function streamStopped(streamId: string, reason: string | null | undefined): LitetopicError {
  return new LitetopicError('STREAM_STOPPED', `stream ${streamId} was stopped`, { streamId, reason: reason ?? null })
}

export function streamFenced(streamId: string, fence: number | undefined): LitetopicError {
  return new LitetopicError('FENCED', `stream ${streamId} was taken over by another writer`, { streamId, fence })
}

/** The whole topic was taken, by a session whose fence this is. */
export function topicFenced(topic: string, fence: number): LitetopicError {
  const what = `an exclusive session has taken topic ${topic}: this one may read it, but not write any more`
  return new LitetopicError('FENCED', what, { fence })
}
