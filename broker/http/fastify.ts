/** The one place that knows Fastify: what the routes need of it, under the names they use. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type RouteOptions } from 'fastify'
import { type ErrorCode, LIMITS } from '../../protocol/index.ts'
import { answerUnreadable } from './unreadable.ts'

export type App = FastifyInstance
export type Request = FastifyRequest
export type Reply = FastifyReply
export type Route = RouteOptions

declare module 'fastify' {
  /** What openapi.ts tells of a route beside its schemas. */
  interface FastifySchema {
    readonly operationId?: string
    readonly summary?: string
    readonly description?: string
    readonly tags?: readonly string[]
    /** Codes that the route can answer with, beside those that every route can. */
    readonly errors?: readonly ErrorCode[]
    /** Is left out of /openapi.json. */
    readonly hide?: boolean
  }
}

/** Percent-encoded, each byte of a name takes three. */
const ENCODED = 3

/**
 * A server that does not listen yet, and the routes on it. `refuse` answers what does not even reach the routes; `begun` is told of
 * every request.
 */
export function createApp(
  refuse: (error: Error, request: Request, reply: Reply) => void,
  begun: (request: IncomingMessage, response: ServerResponse) => void,
  requestId: (request: IncomingMessage) => string,
): { app: App; http: Server } {
  const http = createServer({
    maxHeaderSize: LIMITS.httpHeaderBytes,
    headersTimeout: LIMITS.httpHeaderMs,
    keepAliveTimeout: LIMITS.httpKeepAliveMs,
    // A stream that a client sends or reads may last for hours.
    requestTimeout: 0,
  })
  const app = fastify({
    logger: false,
    serverFactory(handler) {
      http.on('request', (request, response) => {
        begun(request, response)
        handler(request, response)
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
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true } },
  })
  return { app, http }
}
