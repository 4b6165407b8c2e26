/** Problems as answers: the document, its status, and when to come back. */

import type { LitetopicError } from '../../protocol/index.ts'
import { CORS_HEADERS } from './cors.ts'
import type { Reply, Request } from './fastify.ts'
import { PROBLEM_TYPE, problemOf, requestError, retryAfter } from './problem.ts'

/** Answers with what went wrong, be it Fastify that found it. */
export function answerProblem(error: unknown, request: Request, reply: Reply): void {
  sendProblem(requestError(error), request, reply)
}

/** Answers with a problem document; `status`: where a protocol asks for another one than that of the code. */
export function sendProblem(error: LitetopicError, request: Request, reply: Reply, status?: number): void {
  const problem = problemOf(error, request.id, status)
  const seconds = retryAfter(error)
  if (seconds !== null) reply.header('retry-after', seconds)
  // As bytes, to which Fastify adds no charset: the type has none.
  reply
    .headers(CORS_HEADERS)
    .header('x-request-id', request.id)
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(problem)))
}
