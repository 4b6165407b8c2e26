/** The routes of the Durable Streams protocol: a stream is a topic, and its URL is that of its name. See HTTP.md. */

import { isLitetopicError } from '../../../protocol/index.ts'
import { increment } from '../../observe/counts.ts'
import { sendProblem } from '../answers.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request, Route } from '../fastify.ts'
import { requestError } from '../problem.ts'
import { append } from './append.ts'
import { streamBodies } from './bodies.ts'
import { create } from './create.ts'
import { head, remove } from './metadata.ts'
import { read } from './read.ts'
import { deleted, refusalAnswer } from './refusals.ts'
import { STREAM_PATH, streamOf } from './stream-name.ts'
import { DELETE_STREAM, GET_STREAM, HEAD_STREAM, POST_STREAM, PUT_STREAM } from './stream-schemas.ts'

type Handler = (face: Face, request: Request, reply: Reply) => Promise<Reply>

const METHODS: Readonly<Record<string, { readonly handler: Handler; readonly schema: Route['schema'] }>> = {
  PUT: { handler: create, schema: PUT_STREAM },
  POST: { handler: append, schema: POST_STREAM },
  HEAD: { handler: head, schema: HEAD_STREAM },
  GET: { handler: read, schema: GET_STREAM },
  DELETE: { handler: remove, schema: DELETE_STREAM },
}

export function streamRoutes(app: App, face: Face): void {
  streamBodies(app, face)
  // Headers are checked where they are read; the schemas describe them.
  app.setValidatorCompiler(() => () => true)
  app.setErrorHandler((fault, request, reply) => {
    const error = requestError(fault)
    increment(face.options.counts.rejected, error.code)
    sendProblem(refusalAnswer(error, request.id), reply)
  })
  for (const [method, { handler, schema }] of Object.entries(METHODS)) {
    app.route({
      method,
      url: `${STREAM_PATH}*`,
      exposeHeadRoute: false,
      schema,
      handler: (request, reply) => handler(face, request, reply).catch((error) => tell(face, error, request, reply)),
    })
  }
}

/** A stream that was deleted, and whose data its forks still have, is gone where another one would never have been. */
async function tell(face: Face, error: unknown, request: Request, reply: Reply): Promise<never> {
  if (isLitetopicError(error, 'NOT_FOUND')) {
    const name = streamOf(request)
    if (error.details.topic === name && (await face.caller(reply).isHidden(name))) throw deleted(name)
  }
  throw error
}
