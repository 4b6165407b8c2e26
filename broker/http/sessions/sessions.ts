/** Sessions as such: what there is, what is known of one, and how one is made, kept and deleted. See HTTP.md, Sessions. */

import { createHash } from 'node:crypto'
import {
  type FromInfo,
  formatCursor,
  isLitetopicError,
  LitetopicError,
  type PolicyInfo,
  type TopicInfo,
} from '../../../protocol/index.ts'
import type { Caller } from '../caller.ts'
import { isNotModified, mayChange } from '../etag.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { StatusError } from '../problem.ts'
import { sendJson } from './json.ts'
import { meantBy, queryOf, queryText } from './request.ts'
import {
  CONDITIONS,
  FORK,
  headersOf,
  MEANT,
  optional,
  PAGE,
  PLACE_ERRORS,
  POLICY,
  PREFIX,
  parameters,
  SESSION,
  SESSIONS,
  TOPIC_ERRORS,
} from './schemas.ts'
import { streamJson } from './stream-json.ts'

/** A topic as it is shown, and its entity tag. */
interface Shown {
  readonly info: TopicInfo
  readonly json: string
  readonly tag: string
}

const TAGS = ['sessions']
const NOT_MODIFIED = { type: 'null', description: 'As the entity tag says.' }
const SHOWN = { ...SESSION, headers: headersOf({ etag: 'Of the session as it is.' }) }

const LIST = {
  operationId: 'listSessions',
  summary: 'Sessions by prefix, in byte order of their names',
  tags: TAGS,
  querystring: parameters({ prefix: PREFIX, ...PAGE }),
  response: {
    200: { ...SESSIONS, description: 'A page.', headers: headersOf({ link: 'The next page, while there is one.' }) },
  },
  errors: ['BAD_NAME'],
} as const

const SHOW = {
  operationId: 'describeSession',
  summary: 'A session',
  tags: TAGS,
  querystring: parameters(MEANT),
  headers: CONDITIONS,
  response: { 200: { ...SHOWN, description: 'The session as it is.' }, 304: NOT_MODIFIED },
  errors: ['NOT_FOUND', 'RECREATED'],
} as const

const CREATE = {
  operationId: 'createSession',
  summary: 'Create a session, or set the policy of the one that there is',
  tags: TAGS,
  querystring: parameters(MEANT),
  headers: CONDITIONS,
  body: optional(POLICY),
  response: {
    201: { ...SHOWN, description: 'It was created.' },
    200: { ...SHOWN, description: 'It was there; the policy given is in force.' },
  },
  errors: ['GONE', 'RECREATED'],
  refusals: [412],
} as const

const CHANGE = {
  operationId: 'changeSession',
  summary: 'Change what is given of the policy',
  tags: TAGS,
  querystring: parameters(MEANT),
  headers: CONDITIONS,
  body: POLICY,
  response: { 200: { ...SHOWN, description: 'The session as it is now.' } },
  errors: TOPIC_ERRORS,
  refusals: [412],
} as const

const REMOVE = {
  operationId: 'deleteSession',
  summary: 'Delete a session',
  tags: TAGS,
  querystring: parameters(MEANT),
  headers: CONDITIONS,
  response: { 204: { type: 'null', description: 'It is no more.' } },
  errors: TOPIC_ERRORS,
  refusals: [412],
} as const

const FORK_SESSION = {
  operationId: 'forkSession',
  summary: 'Make a session that shares the records of this one up to some point',
  tags: TAGS,
  querystring: parameters(MEANT),
  body: FORK,
  response: {
    201: { ...SHOWN, description: 'The fork.' },
    200: { ...SHOWN, description: 'The fork was there, of the same session at the same place.' },
  },
  errors: [...PLACE_ERRORS, 'TOPIC_EXISTS'],
} as const

interface ForkBody {
  readonly as: string
  readonly at?: FromInfo
  readonly policy?: PolicyInfo
}

export function sessionRoutes(app: App, face: Face): void {
  app.get('/v1/sessions', { schema: LIST }, (request, reply) => listSessions(face, request, reply))
  app.get('/v1/sessions/*', { schema: SHOW }, (request, reply) => show(face, request, reply))
  app.put('/v1/sessions/*', { schema: CREATE }, (request, reply) => change(face, request, reply, true))
  app.patch('/v1/sessions/*', { schema: CHANGE }, (request, reply) => change(face, request, reply, false))
  app.delete('/v1/sessions/*', { schema: REMOVE }, (request, reply) => remove(face, request, reply))
  app.post('/v1/fork/*', { schema: FORK_SESSION }, async (request, reply) => {
    const { as, at, policy } = request.body as ForkBody
    const caller = face.caller(reply)
    caller.require(as, 'read')
    const { created } = await caller.fork(topicOf(request), { as, at, policy, ...meantBy(queryOf(request)) })
    return sendShown(reply, await shownOf(face, caller, as), created)
  })
}

async function listSessions(face: Face, request: Request, reply: Reply): Promise<object> {
  const query = queryOf(request)
  const { prefix = '', after, limit } = query
  const { topics, more } = await face.caller(reply).list(prefix, { after, limit })
  const last = topics.at(-1)
  if (more && last !== undefined) {
    reply.header('link', `</v1/sessions?${queryText({ ...query, after: last.name })}>; rel="next"`)
  }
  return { sessions: topics, more }
}

async function show(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const shown = await shownOf(face, face.caller(reply), topicOf(request))
  checkMeant(shown.info, meantBy(queryOf(request)).epoch)
  reply.header('etag', shown.tag).header('cache-control', 'no-cache')
  if (isNotModified(request.headers['if-none-match'], shown.tag)) return reply.code(304).send()
  return sendJson(reply, shown.json)
}

/** Creates it if it may, and changes what is given of its policy. */
async function change(face: Face, request: Request, reply: Reply, mayCreate: boolean): Promise<Reply> {
  const name = topicOf(request)
  const policy = (request.body ?? {}) as PolicyInfo
  const { epoch } = meantBy(queryOf(request))
  const caller = face.caller(reply)
  caller.require(name, 'read')
  const judged = await checkCondition(face, caller, request, name)
  const options = { create: mayCreate && epoch === undefined, epoch: epoch ?? judged?.epoch, policy }
  // Somebody else may create it just now.
  const mustCreate = judged === null && request.headers['if-none-match'] !== undefined
  const { created } = await caller.attach(name, { ...options, mustCreate }).catch((error: unknown) => {
    throw mustCreate && isLitetopicError(error, 'TOPIC_EXISTS') ? notAsAsked(name) : error
  })
  if (!created && Object.keys(policy).length > 0) await caller.policy(policy)
  return sendShown(reply, await shownOf(face, caller, name), created)
}

function sendShown(reply: Reply, { info, json, tag }: Shown, created: boolean): Reply {
  reply.code(created ? 201 : 200).headers({ etag: tag, location: `/v1/sessions/${info.name}` })
  return sendJson(reply, json)
}

async function remove(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = topicOf(request)
  const { epoch } = meantBy(queryOf(request))
  const caller = face.caller(reply)
  const judged = await checkCondition(face, caller, request, name)
  const { deleted } = await caller.delete(name, epoch ?? judged?.epoch ?? null)
  if (deleted) return reply.code(204).send()
  const code = epoch === undefined ? 'NOT_FOUND' : 'GONE'
  throw new LitetopicError(code, `topic ${name} does not exist`, { topic: name })
}

/** What a conditional request was judged by, null if it is none. Throws 412. */
async function checkCondition(
  face: Face,
  caller: Caller,
  { headers }: Request,
  name: string,
): Promise<TopicInfo | null> {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = headers
  if (ifMatch === undefined && ifNoneMatch === undefined) return null
  const shown = await shownOf(face, caller, name).catch((error: unknown) => {
    if (isLitetopicError(error, 'NOT_FOUND')) return null
    throw error
  })
  if (mayChange(headers, shown?.tag ?? null)) return shown?.info ?? null
  throw notAsAsked(name)
}

function notAsAsked(name: string): StatusError {
  const message = `topic ${name} is not as the condition of the request says`
  return new StatusError(412, 'BAD_REQUEST', message, { topic: name })
}

async function shownOf(face: Face, caller: Caller, name: string): Promise<Shown> {
  const info = await caller.describe(name)
  const { streams = [], ...plain } = info
  const cursor = formatCursor({ incarnation: face.incarnation, epoch: info.epoch, next: info.nextOffset })
  const json = `${JSON.stringify({ ...plain, cursor }).slice(0, -1)},"streams":[${streams.map(streamJson).join(',')}]}`
  return { info, json, tag: `"${createHash('sha256').update(json).digest('base64url').slice(0, 22)}"` }
}

function checkMeant({ name, epoch }: TopicInfo, meant: number | undefined): void {
  if (meant === undefined || meant === epoch) return
  throw new LitetopicError('RECREATED', `topic ${name} was created anew since`, {
    topic: name,
    epoch,
    outcome: 'recreated',
  })
}
