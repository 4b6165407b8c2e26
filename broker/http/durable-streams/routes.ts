/** The routes of the Durable Streams protocol: a stream is a topic, and its URL is that of its name. See HTTP.md. */

import { sendProblem } from '../answers.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { requestError } from '../problem.ts'
import { read } from './read.ts'
import { refusalOf } from './refusals.ts'

export const STREAM_PATH = '/v1/stream/'

type Handler = (face: Face, request: Request, reply: Reply) => Promise<Reply>

const HANDLERS: Readonly<Record<string, Handler>> = { GET: read }

/** What keeps a browser from taking data of a stream for something of this site. */
const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'cross-origin',
  'content-security-policy': "default-src 'none'; sandbox",
}

export function streamRoutes(app: App, face: Face): void {
  app.removeAllContentTypeParsers()
  // Bodies are of any type, and read by who knows how much of them to take.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(SECURITY_HEADERS)
    done()
  })
  app.setErrorHandler((fault, request, reply) => {
    const error = requestError(fault)
    const { status, headers } = refusalOf(error)
    reply.headers(headers)
    sendProblem(error, request, reply, status)
  })
  for (const [method, handler] of Object.entries(HANDLERS)) {
    app.route({ method, url: `${STREAM_PATH}*`, handler: (request, reply) => handler(face, request, reply) })
  }
}
