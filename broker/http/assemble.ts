/** Puts the routes together, and around them what holds for all: ids, CORS, problems, what there is at a path, and its description. */

import {
  asLitetopicError,
  CONNECTIONS_PATH,
  ERRORS,
  isErrorCode,
  LIMITS,
  LitetopicError,
  WEBSOCKET_PATH,
} from '../../protocol/index.ts'
import { denied } from '../access/gate.ts'
import { RIGHT } from '../access/rights.ts'
import { increment } from '../observe/counts.ts'
import { METRICS_TYPE } from '../observe/metrics.ts'
import { answerProblem } from './answers.ts'
import { compressed } from './compress.ts'
import { answerPreflight } from './cors.ts'
import type { Face } from './face.ts'
import type { App, Reply, Request, Route } from './fastify.ts'
import { fixedHeaders } from './fixed-headers.ts'
import { MethodTable } from './methods.ts'
import { OpenApi } from './openapi.ts'
import { jsonBodies } from './parsers.ts'
import { requestError, STATUS, StatusError } from './problem.ts'
import { queryReader } from './query.ts'
import { ROUTES } from './routes.ts'

const OPEN = { openTo: 'everybody' } as const

/** Adds all routes to the app. */
export function addRoutes(app: App, face: Face): void {
  const methods = new MethodTable()
  const openapi = new OpenApi(face.options.version)
  app.addHook('onRoute', (route) => {
    methods.add(route)
    openapi.add(route)
    readQuery(route)
    compress(route)
  })
  app.addHook('onRequest', (request, reply, done) => {
    const { origins } = face
    reply.headers(fixedHeaders(request.id)).headers(origins.headersFor(request.raw))
    const refusal = origins.refusal(request.raw)
    if (refusal !== null) {
      done(refusal)
      return
    }
    // An open connection is told in its own words.
    if (face.stopping !== null && !request.url.startsWith(`${CONNECTIONS_PATH}/`)) done(face.stopping)
    else if (request.url.length > LIMITS.httpUrlBytes) done(urlTooLong(request.url.length))
    else done(queryFault(request.url))
  })
  app.addHook('onRequest', (request, _reply, done) => {
    const { url, config } = request.routeOptions
    // There is nothing at a path without a route, whoever asks.
    if (url === undefined || config.openTo !== undefined) done()
    else authenticate(face, request, done)
  })
  app.setErrorHandler((error, request, reply) => {
    increment(face.options.counts.rejected, requestError(error).code)
    answerProblem(error, request, reply)
  })
  app.setNotFoundHandler((request, reply) => answerMissing(methods.of(request.url), request, reply))
  jsonBodies(app, face)
  openapi.register(app)
  describeProblems(app)
  exposeMetrics(app, face)
  app.get(WEBSOCKET_PATH, { schema: { hide: true }, config: OPEN }, (_request, reply) => {
    reply.header('upgrade', 'websocket')
    throw new StatusError(426, 'BAD_REQUEST', 'here is the WebSocket protocol: connect with a client of litetopic')
  })
  for (const routes of ROUTES) {
    app.register((own, _options, done) => {
      routes(own, face)
      done()
    })
  }
}

function authenticate(face: Face, request: Request, done: (error?: Error) => void): void {
  try {
    const under = face.authenticate(request)
    if (under === undefined) done()
    else under.then(() => done(), done)
  } catch (error) {
    done(asLitetopicError(error))
  }
}

function readQuery(route: Route): void {
  const read = queryReader(route.schema?.querystring)
  if (read === null) return
  const before = [route.preValidation ?? []].flat()
  const turn = (request: Request, _reply: Reply, done: () => void): void => {
    read(request)
    done()
  }
  route.preValidation = [...before, turn] as typeof route.preValidation
}

/** JSON that is read may be long; what a write is answered with is not. */
function compress(route: Route): void {
  if (route.method !== 'GET' || !answersJson(route.schema?.response)) return
  route.onSend = [...[route.onSend ?? []].flat(), compressed] as typeof route.onSend
}

/** A schema by itself is that of JSON. */
function answersJson(response: unknown): boolean {
  const { 200: answer } = (response ?? {}) as { 200?: { content?: object } }
  return answer !== undefined && (answer.content === undefined || 'application/json' in answer.content)
}

function answerMissing(methods: readonly string[], request: Request, reply: Reply): void {
  if (request.url === '/' && (request.method === 'GET' || request.method === 'HEAD')) greet(reply)
  else if (methods.length === 0)
    throw new LitetopicError('NOT_FOUND', 'there is nothing at this path: see /openapi.json')
  else if (request.method === 'OPTIONS') answerPreflight(request, reply, methods)
  else {
    reply.header('allow', [...methods, 'OPTIONS'].join(', '))
    const what = `this path takes ${methods.join(', ')}, not ${request.method}`
    throw new StatusError(405, 'BAD_REQUEST', what, { methods })
  }
}

function greet(reply: Reply): void {
  const text = [
    'This is litetopic.',
    `Connect with a WebSocket to ${WEBSOCKET_PATH}, or use plain HTTP: /openapi.json describes all there is.`,
  ]
  reply.type('text/plain; charset=utf-8').send(`${text.join('\n')}\n`)
}

/** What the `type` of a problem document leads to. */
function describeProblems(app: App): void {
  const text = { type: 'string' } as const
  const properties = { code: text, means: text, status: { type: 'integer' }, retry: { type: 'boolean' } } as const
  const schema = {
    summary: 'What an error code means',
    tags: ['broker'],
    errors: ['NOT_FOUND'] as const,
    response: { 200: { type: 'object', required: Object.keys(properties), properties } },
  }
  app.get<{ Params: { code: string } }>('/problems/:code', { schema, config: OPEN }, (request, reply) => {
    const { code } = request.params
    if (!isErrorCode(code)) throw new LitetopicError('NOT_FOUND', 'there is no error of this code')
    const { means, retry } = ERRORS[code]
    reply.send({ code, means, status: STATUS[code], retry })
  })
}

/** For Prometheus; no series is of a topic, and nothing in it names one. */
function exposeMetrics(app: App, face: Face): void {
  const schema = {
    summary: 'What the broker counts and measures, for Prometheus',
    tags: ['broker'],
    response: { 200: { content: { 'text/plain': { schema: { type: 'string' } } } } },
  }
  app.get('/metrics', { schema }, async (request, reply) => {
    // They tell of all topics together: they are for who runs the broker.
    if (!face.identityOf(request).grants.coversAll('', RIGHT.manage)) throw denied('', 'manage')
    reply.type(METRICS_TYPE)
    return face.options.metrics()
  })
}

function urlTooLong(value: number): LitetopicError {
  const details = { limit: 'httpUrlBytes', value, bound: LIMITS.httpUrlBytes }
  return new StatusError(414, 'LIMIT_EXCEEDED', 'path and query are too long', details)
}

/** What is no percent-encoding of UTF-8 would be taken for the text that it stands there as. */
function queryFault(url: string): LitetopicError | undefined {
  const from = url.indexOf('?')
  if (from < 0 || !url.includes('%', from)) return undefined
  try {
    decodeURIComponent(url.slice(from))
    return undefined
  } catch (cause) {
    return new LitetopicError('BAD_REQUEST', 'the query is not percent-encoded UTF-8', {}, cause)
  }
}
