/** Problems as answers of Fastify. */

import type { Reply, Request } from './fastify.ts'
import { fixedHeaders } from './fixed-headers.ts'
import { type ProblemAnswer, problemAnswer, requestError } from './problem.ts'

/** Answers with what went wrong, be it Fastify that found it. */
export function answerProblem(error: unknown, request: Request, reply: Reply): void {
  sendProblem(problemAnswer(requestError(error), request.id), reply)
}

/** The same for what has reached no route, nor the hook that sets what is on every response. */
export function answerUnrouted(error: unknown, request: Request, reply: Reply): void {
  answerProblem(error, request, reply.headers(fixedHeaders(request.id)))
}

export function sendProblem({ status, headers, body }: ProblemAnswer, reply: Reply): void {
  reply.code(status).headers(headers).send(body)
}
