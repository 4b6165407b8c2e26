/** The one place that knows Fastify: what the routes need of it, under the names they use. */

import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type RouteOptions } from 'fastify'
import { type ErrorCode, LIMITS } from '../../protocol/index.ts'
import { checkBy, checkSchema, type Schema } from './check.ts'
import { DirectRequest } from './direct-request.ts'
import { OneWriteResponse } from './one-write.ts'
import type { TlsContent } from './tls.ts'
import { answerOn, answerUnreadable } from './unreadable.ts'

export type App = FastifyInstance
export type Request = FastifyRequest
export type Reply = FastifyReply
export type Route = RouteOptions

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Why the route asks for no token. */
    readonly openTo?: 'everybody' | 'whoever has the token of a wake'
  }
  /** What openapi.ts tells of a route beside its schemas. */
  interface FastifySchema {
    readonly operationId?: string
    readonly summary?: string
    readonly description?: string
    readonly tags?: readonly string[]
    /** Codes that the route can answer with, beside those that every route can. */
    readonly errors?: readonly ErrorCode[]
    /** Schemas of its body by content type, where it takes bodies as they are, and reads them itself. */
    readonly bodies?: Readonly<Record<string, unknown>>
    /** Statuses of HTTP itself that it can be refused with, as BAD_REQUEST: 406, 412, 415. */
    readonly refusals?: readonly number[]
    /** Is left out of /openapi.json. */
    readonly hide?: boolean
  }
}

/** Percent-encoded, each byte of a name takes three. */
const ENCODED = 3

/**
 * A server that does not listen yet, over TLS or not, and the routes on it. `refuse` answers what does not even reach the routes; `serve`
 * gets every request, and hands on to the routes what it does not answer itself.
 */
export function createApp(
  refuse: (error: Error, request: Request, reply: Reply) => void,
  serve: (request: DirectRequest, response: ServerResponse, routes: RequestListener) => void,
  requestId: (request: IncomingMessage) => string,
  tls: TlsContent | null = null,
): { app: App; http: Server | TlsServer } {
  const options = {
    IncomingMessage: DirectRequest as typeof IncomingMessage,
    ServerResponse: OneWriteResponse,
    maxHeaderSize: LIMITS.httpHeaderBytes,
    headersTimeout: LIMITS.httpHeaderMs,
    keepAliveTimeout: LIMITS.httpKeepAliveMs,
    // A stream that a client sends or reads may last for hours.
    requestTimeout: 0,
  }
  const http =
    tls === null
      ? createServer(options)
      : createTlsServer({ ...options, ...tls, handshakeTimeout: LIMITS.httpHeaderMs })
  // Nothing has moved on the socket: the client takes no more of its answer, or has no request there.
  http.setTimeout(LIMITS.eventStuckMs, (socket) => {
    if (socket.writableLength > 0 || answerOn(socket) === null) socket.destroy()
  })
  const app = fastify({
    logger: false,
    serverFactory(handler) {
      http.on('request', (request, response) => {
        serve(request as DirectRequest, response, handler)
      })
      return http
    },
    bodyLimit: LIMITS.httpBodyBytes,
    frameworkErrors: refuse,
    forceCloseConnections: false,
    return503OnClosing: false,
    requestIdHeader: false,
    genReqId: requestId,
    exposeHeadRoutes: true,
    clientErrorHandler: answerUnreadable,
    routerOptions: { maxParamLength: LIMITS.nameBytes * ENCODED },
  })
  app.setValidatorCompiler(({ schema, httpPart }) => {
    checkSchema(schema as Schema)
    return (value) => {
      const error = checkBy(schema as Schema, value, httpPart ?? 'request')
      return error === null ? { value } : { error }
    }
  })
  // What answers are is in their routes: schemas describe them, and tests check them.
  app.setSerializerCompiler(() => JSON.stringify)
  return { app, http }
}
