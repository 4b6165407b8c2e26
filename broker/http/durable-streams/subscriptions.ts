/** The routes of Durable Streams subscriptions, below a prefix that no stream can have. See HTTP.md. */

import { LitetopicError } from '../../../protocol/index.ts'
import { invalidToken } from '../../wakes/secrets.ts'
import type { WakerVerbs } from '../../wakes/verbs.ts'
import type { WakerInfo } from '../../wakes/wakers.ts'
import { answerPreflight } from '../cors.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { MethodTable } from '../methods.ts'
import { problemOf, requestError, retryAfter, StatusError } from '../problem.ts'
import {
  acksOf,
  CONTROL_PATH,
  claimBody,
  type ReportBody,
  reportOf,
  requestOf,
  type SubscriptionBody,
  subscriptionBody,
} from './subscription-bodies.ts'
import * as schemas from './subscription-schemas.ts'
import { answers } from './subscription-schemas.ts'

/** What the protocol has one code for. */
const INVALID: ReadonlySet<string> = new Set(['BAD_REQUEST', 'BAD_NAME', 'BAD_VALUE'])
const SUBSCRIPTION = `${CONTROL_PATH}/subscriptions/:id`
const JWKS = `${CONTROL_PATH}/jwks.json`
const OPEN = { openTo: 'everybody' } as const
/** Their Authorization has the token of a wake. */
const OF_WAKE = { openTo: 'whoever has the token of a wake' } as const
const DONE = { 204: schemas.NOTHING }
const MISSING = ['SUBSCRIPTION_NOT_FOUND'] as const
const CONFIGURE = ['BAD_NAME', 'SUBSCRIPTION_ALREADY_EXISTS', 'WEBHOOK_URL_REJECTED'] as const
const CLAIM = [...MISSING, 'ALREADY_CLAIMED', 'NO_PENDING_WORK'] as const
const REPORT = [...MISSING, 'TOKEN_INVALID', 'TOKEN_EXPIRED', 'FENCED', 'INVALID_OFFSET'] as const
/** What is no path of theirs is that of a stream neither. */
const REST: readonly string[] = [CONTROL_PATH, `${CONTROL_PATH}/*`]
/** Receivers may keep the keys for so long. */
const KEYS_MAX_AGE_S = 300

export function subscriptionRoutes(app: App, face: Face): void {
  const methods = new MethodTable()
  app.addHook('onRoute', (route) => {
    if (!REST.includes(route.url)) methods.add(route)
  })
  app.addHook('onRequest', (_request, reply, done) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff')
    done()
  })
  app.setErrorHandler(answerError)
  const wakers = (): WakerVerbs => face.operations.wakers
  addConfiguration(app, face, wakers)
  addWorkers(app, face, wakers)
  // Before its body is looked at.
  const onRequest = async (request: Request, reply: Reply): Promise<void> => refuse(methods, request, reply)
  for (const url of REST) app.all(url, { schema: { hide: true }, config: OPEN, onRequest }, () => undefined)
}

function addConfiguration(app: App, face: Face, wakers: () => WakerVerbs): void {
  const show = async (info: WakerInfo): Promise<object> =>
    subscriptionBody(info, face.options.publicUrl(), await wakers().publicKey())
  app.get(
    JWKS,
    { schema: answers('Keys of webhooks', { 200: schemas.KEYS }, []), config: OPEN },
    async (_request, reply) => {
      const keys = [await wakers().publicKey()]
      const cache = `public, max-age=${KEYS_MAX_AGE_S}`
      return reply.header('cache-control', cache).type('application/jwk-set+json').send(JSON.stringify({ keys }))
    },
  )
  const made = answers('Make, or confirm', { 200: schemas.SUBSCRIPTION, 201: schemas.SUBSCRIPTION }, CONFIGURE)
  const put = { ...made, body: schemas.SUBSCRIPTION_REQUEST }
  app.put(SUBSCRIPTION, { schema: put }, async (request, reply) => {
    const { created, info } = await wakers().put(
      face.caller(reply),
      idOf(request),
      requestOf(request.body as SubscriptionBody),
    )
    return reply.code(created ? 201 : 200).send(await show(info))
  })
  const shown = answers('Look at it', { 200: schemas.SUBSCRIPTION }, MISSING)
  app.get(SUBSCRIPTION, { schema: shown }, async (request, reply) =>
    show(await wakers().get(face.caller(reply), idOf(request))),
  )
  app.delete(SUBSCRIPTION, { schema: answers('Delete it', DONE, []) }, async (request, reply) => {
    await wakers().delete(face.caller(reply), idOf(request))
    return reply.code(204).send()
  })
  const linked = { ...answers('Link streams', DONE, [...MISSING, 'BAD_NAME']), body: schemas.STREAMS_REQUEST }
  app.post(`${SUBSCRIPTION}/streams`, { schema: linked }, async (request, reply) => {
    await wakers().link(face.caller(reply), idOf(request), (request.body as { streams: string[] }).streams)
    return reply.code(204).send()
  })
  const unlinked = answers('Take a link back', DONE, MISSING)
  app.delete(`${SUBSCRIPTION}/streams/*`, { schema: unlinked }, async (request, reply) => {
    await wakers().unlink(face.caller(reply), idOf(request), (request.params as { '*': string })['*'])
    return reply.code(204).send()
  })
}

function addWorkers(app: App, face: Face, wakers: () => WakerVerbs): void {
  const acknowledge = (type: 'webhook' | 'pull-wake') => async (request: Request) => {
    const body = request.body as ReportBody
    const report = reportOf(tokenOf(request), body)
    const next = await wakers().acknowledge(idOf(request), type, report, acksOf(body), body.done === true)
    return { ok: true, next_wake: next }
  }
  const report = (summary: string): object => ({
    ...answers(summary, { 200: schemas.REPORTED }, REPORT),
    body: schemas.REPORT_REQUEST,
  })
  app.post(
    `${SUBSCRIPTION}/callback`,
    { schema: report('A webhook acknowledges'), config: OF_WAKE },
    acknowledge('webhook'),
  )
  app.post(
    `${SUBSCRIPTION}/ack`,
    { schema: report('A worker acknowledges'), config: OF_WAKE },
    acknowledge('pull-wake'),
  )
  const claimed = { ...answers('Claim the wake', { 200: schemas.CLAIM }, CLAIM), body: schemas.CLAIM_REQUEST }
  app.post(`${SUBSCRIPTION}/claim`, { schema: claimed }, async (request, reply) => {
    const { worker } = request.body as { worker: string }
    return claimBody(await wakers().claim(face.caller(reply), idOf(request), worker))
  })
  const released = { ...answers('Give the claim back', DONE, REPORT), body: schemas.RELEASE_REQUEST }
  app.post(`${SUBSCRIPTION}/release`, { schema: released, config: OF_WAKE }, async (request, reply) => {
    await wakers().release(idOf(request), reportOf(tokenOf(request), request.body as ReportBody))
    return reply.code(204).send()
  })
}

function idOf(request: Request): string {
  return (request.params as { id: string }).id
}

/** Throws TOKEN_INVALID. */
function tokenOf(request: Request): string {
  const [, token] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? []
  if (token === undefined) throw invalidToken()
  return token
}

function refuse(methods: MethodTable, request: Request, reply: Reply): void {
  const allowed = methods.of(request.url)
  if (allowed.length === 0) throw new LitetopicError('NOT_FOUND', 'there is nothing at this path')
  if (request.method === 'OPTIONS') {
    answerPreflight(request, reply, allowed)
    return
  }
  reply.header('allow', [...allowed, 'OPTIONS'].join(', '))
  throw new StatusError(405, 'BAD_REQUEST', `this path takes ${allowed.join(', ')}, not ${request.method}`)
}

function answerError(fault: unknown, request: Request, reply: Reply): void {
  sendError(requestError(fault), request, reply)
}

/** The protocol has the code in an object of its own, in plain JSON; the rest is a problem document as everywhere. */
function sendError(error: LitetopicError, request: Request, reply: Reply): void {
  const problem = problemOf(error, request.id)
  const { code, message, details } = error
  const seconds = retryAfter(error)
  if (seconds !== null) reply.header('retry-after', seconds)
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer')
  const told = INVALID.has(code) ? 'INVALID_REQUEST' : code
  reply.code(problem.status).send({ ...problem, error: { code: told, message, ...details } })
}
