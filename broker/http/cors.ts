/**
 * Requests of web pages of other origins. There are no cookies, and whoever reaches the port may use it by WebSocket, too: so any
 * origin may, and sees every header. A preflight is answered for each path that there is.
 */

import type { Reply, Request } from './fastify.ts'

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
/** What a page asks to send is allowed, if it is a list of header names. */
const HEADER_NAMES = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*$/
const PREFLIGHT_SECONDS = 86_400

/** Answers OPTIONS of a path that takes these methods. */
export function answerPreflight(request: Request, reply: Reply, methods: readonly string[]): void {
  const asked = request.headers['access-control-request-headers']
  reply.header('allow', [...methods, 'OPTIONS'].join(', '))
  reply.header('access-control-allow-methods', METHODS)
  if (typeof asked === 'string' && HEADER_NAMES.test(asked)) reply.header('access-control-allow-headers', asked)
  reply.header('vary', 'access-control-request-headers')
  reply.header('access-control-max-age', PREFLIGHT_SECONDS).code(204).send()
}
