/**
 * The fence of a topic, which an exclusive session takes to shut out all other writers, and lets go of when it is closed.
 * See PROTOCOL.md, Exclusive sessions.
 */

import type { LitetopicError } from '../protocol/index.ts'
import { CallbackItem } from './committer.ts'
import type { Context } from './context.ts'
import { endLeases } from './leases.ts'
import { orphanStreams } from './streams.ts'
import type { Attachment, Topic } from './topic.ts'

/**
 * Gives the topic's fence to the producer. Whoever else has attached to write is shut out from here on, and told so when it
 * is durable; the streams it writes are orphaned. A producer that has the fence keeps it: its answer was lost.
 */
export function takeFence(context: Context, topic: Topic, producerId: string): void {
  const { state } = topic
  if (state.fenceHolder === producerId) return
  setFence(context, topic, state.fence + 1, producerId, () => {
    for (const attachment of topic.attachments) tellFenced(attachment)
  })
  for (const attachment of topic.attachments) orphanStreams(context, attachment)
  endLeases(context, topic, producerId)
}

/** Lets go of the fence if the attachment is its holder's. Resolves when that is durable; rejects with STORE_UNAVAILABLE. */
export function releaseFence(context: Context, { topic, fence, producerId }: Attachment): Promise<void> {
  const { state } = topic
  const holds = producerId !== null && state.fenceHolder === producerId
  if (!holds || topic.end !== null) return Promise.resolve()
  return new Promise((resolve, reject) => setFence(context, topic, fence, null, resolve, reject))
}

/** Tells a writer that it is shut out, if it is by a session that came after it. */
export function tellFenced({ client, handle, topic, fence, producerId }: Attachment): void {
  if (producerId !== null && fence !== topic.state.fence) client.notice(handle, 'fenced', { fence: topic.state.fence })
}

function setFence(
  context: Context,
  topic: Topic,
  fence: number,
  holder: string | null,
  done: () => void,
  failed: (error: LitetopicError) => void = () => undefined,
): void {
  const item = new CallbackItem(() => {
    topic.fencesUnderWay--
    done()
  }, failed)
  context.shard.setFence(topic.state, fence, holder, item)
  topic.fencesUnderWay++
  topic.lastUsedMs = context.clock.monotonicMs()
}
