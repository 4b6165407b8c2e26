/** Names in paths: what stands behind the verb, with its slashes, decoded. */

import { checkTopicName } from '../../protocol/index.ts'
import type { Request } from './fastify.ts'

/** The topic that the path of a route such as `/v1/records/*` names. Throws BAD_NAME. */
export function topicOf(request: Request): string {
  const { '*': name } = request.params as { '*'?: string }
  return checkTopicName(name ?? '')
}
