/** What browsers are told: headers of every answer, and preflights, which are answered for each path that there is. See origins.ts. */

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
  addVary(reply, 'access-control-request-headers')
  reply.header('access-control-max-age', PREFLIGHT_SECONDS).code(204).send()
}

/** The answer depends on that header of the request, too. */
export function addVary(reply: Reply, name: string): void {
  const vary = reply.getHeader('vary')
  reply.header('vary', vary === undefined ? name : `${vary}, ${name}`)
}
