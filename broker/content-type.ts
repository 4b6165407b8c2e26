/** Content types of topics: which of them are the same, and what a topic is that has none. */

import { LitetopicError } from '../protocol/index.ts'
import type { Topic } from './topic.ts'

/** Of a topic that was created without one: its data is served as JSON values. */
export const TOPIC_CONTENT_TYPE = 'application/json'

/** The media type without its parameters, in lower case. */
export function mediaType(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

/** Do both name the same media type? Parameters, such as a charset, and case do not count. */
export function isSameType(one: string, other: string): boolean {
  return one === other || mediaType(one) === mediaType(other)
}

/** Is data of this type what the topic takes? Throws CONTENT_TYPE_MISMATCH. */
export function checkSameType({ name, state }: Topic, contentType: string): void {
  const own = state.extra?.contentType ?? TOPIC_CONTENT_TYPE
  if (isSameType(own, contentType)) return
  throw new LitetopicError('CONTENT_TYPE_MISMATCH', `topic ${name} takes ${own}, not ${contentType}`, {
    contentType: own,
  })
}
