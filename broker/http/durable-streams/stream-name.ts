/** Which topic a URL of the Durable Streams protocol means: its path, but for what the protocol keeps for itself. */

import { checkTopicName, LitetopicError } from '../../../protocol/index.ts'
import type { Request } from '../fastify.ts'
import { topicOf } from '../names.ts'

export const STREAM_PATH = '/v1/stream/'

const RESERVED = /^__ds(?:\/|$)/

export function isReserved(name: string): boolean {
  return RESERVED.test(name)
}

/** Throws BAD_NAME, or NOT_FOUND for a reserved path. */
export function streamOf(request: Request): string {
  return unreserved(topicOf(request))
}

/** The same of the path of a URL, as a header has it. */
export function streamAt(path: string): string {
  if (!path.startsWith(STREAM_PATH)) throw missing(path)
  try {
    return unreserved(checkTopicName(decodeURIComponent(path.slice(STREAM_PATH.length))))
  } catch (error) {
    if (error instanceof URIError) throw missing(path)
    throw error
  }
}

function unreserved(name: string): string {
  if (!isReserved(name)) return name
  throw new LitetopicError('NOT_FOUND', `${name} is no stream: what lies below __ds is of the protocol itself`, {
    topic: name,
  })
}

function missing(path: string): LitetopicError {
  return new LitetopicError('NOT_FOUND', `${JSON.stringify(path.slice(0, 80))} is the path of no stream here`)
}
