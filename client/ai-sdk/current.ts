/** Which answer of a chat is the newest: what a page that is loaded again comes back to, and what a stop button stops. */

import { LitetopicError, type Session, type StreamInfo } from '../index.ts'

/** Of a response: names its answer, so that its reader can come back to it. */
export const STREAM_HEADER = 'litetopic-stream'

/** The context entry that names it. */
const CURRENT = 'ai-sdk/answer'
const STREAM_PREFIX = 'answer/'
/** What a browser may call an answer. */
const KEY = /^[A-Za-z0-9_-]{1,64}$/

/** The id of the stream of the answer that a browser has named. Throws BAD_REQUEST. */
export function streamIdOf(key: string): string {
  if (KEY.test(key)) return STREAM_PREFIX + key
  throw new LitetopicError('BAD_REQUEST', 'an answer is named by up to 64 letters, digits, _ and -')
}

/** How the browser has named it. */
export function keyOf(streamId: string): string {
  return streamId.slice(STREAM_PREFIX.length)
}

/** A name that no other answer has. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export async function setCurrent(session: Session<unknown>, streamId: string): Promise<void> {
  await session.context.set(CURRENT, streamId)
}

/** The newest answer unless it has ended; one whose writer is lost has not. */
export async function currentStream(session: Session<unknown>): Promise<StreamInfo | null> {
  const streamId = await session.context.get(CURRENT)
  const stream = typeof streamId === 'string' ? await session.stream(streamId) : null
  return stream === null || ['done', 'stopped', 'failed'].includes(stream.state) ? null : stream
}

/** Stops the answer, by default the newest one, also if it has not begun: for every reader, and for the process that makes it. */
export async function stopAnswer(session: Session<unknown>, streamId?: string): Promise<void> {
  const id = streamId ?? (await session.context.get(CURRENT))
  if (typeof id === 'string') await session.stop(id)
}
