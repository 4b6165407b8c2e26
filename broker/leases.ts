/**
 * Leases of streams whose writer has no connection: it writes by requests, each of which is over before the next. The stream is
 * live until its lease runs out, and each append to it gives it a new one. A writer that is connected needs none: its streams
 * go with its connection. See PROTOCOL.md, Streams.
 */

import { LIMITS, LitetopicError } from '../protocol/index.ts'
import type { Context } from './context.ts'
import { appendUnlessFailed, setGrace } from './stream-records.ts'
import { writableStream } from './stream-state.ts'
import type { Attachment, Lease, Topic } from './topic.ts'

/** Throws BAD_REQUEST for a lease out of its bounds. */
export function checkLease(leaseMs: number): void {
  if (Number.isInteger(leaseMs) && leaseMs >= LIMITS.leaseMinMs && leaseMs <= LIMITS.leaseMaxMs) return
  throw new LitetopicError(
    'BAD_REQUEST',
    `leaseMs must be from ${LIMITS.leaseMinMs} to ${LIMITS.leaseMaxMs}, not ${leaseMs}`,
    { leaseMs },
  )
}

/** Gives the stream a lease from now on. */
export function setLease(context: Context, topic: Topic, streamId: string, lease: Lease): void {
  setGrace(topic, streamId, context.clock.monotonicMs() + lease.leaseMs, lease)
}

/**
 * A request writes to the stream of that fence: its lease begins anew, unless its writer is connected. Of one that was lost the
 * readers are told first that it is resumed.
 */
export function renewLease(context: Context, attachment: Attachment, fence: number): void {
  const { topic, producerId, request } = attachment
  const stream = writableStream(topic.state, fence)
  if (stream === null || topic.writers?.has(stream.streamId) === true) return
  const { streamId } = stream
  const lease = topic.graces?.get(streamId)?.lease
  if (stream.state === 'lost') appendUnlessFailed(context, topic, 'resumed', streamId)
  setLease(context, topic, streamId, {
    producerId: lease?.producerId ?? producerId,
    leaseMs: request?.leaseMs ?? lease?.leaseMs ?? LIMITS.leaseMs,
  })
}

/** Who is connected for the attachment: itself, or for a request what is open for the same producer, if there is one. */
export function connectionOf(attachment: Attachment): Attachment | null {
  const { topic, producerId, request } = attachment
  if (request === null) return attachment
  if (producerId === null) return null
  return topic.attachments.find((other) => other.request === null && other.producerId === producerId) ?? null
}

/** The leases of all but the topic's new holder end: their streams are lost after the grace. */
export function endLeases(context: Context, topic: Topic, holder: string): void {
  const lostAt = context.clock.monotonicMs() + context.streamGraceMs
  for (const [streamId, { lease }] of topic.graces ?? []) {
    if (lease !== null && lease.producerId !== holder) setGrace(topic, streamId, lostAt)
  }
}

/** When the last of the topic's leases runs out, in monotonic time; 0 if it has none. */
export function leasedUntilMs({ graces }: Topic): number {
  let until = 0
  for (const { lease, lostAtMs } of graces?.values() ?? []) if (lease !== null) until = Math.max(until, lostAtMs)
  return until
}
