/** Event streams of sessions, for EventSource: /v1/events/{name}. See HTTP.md, Events. */

import type { OutgoingHttpHeaders } from 'node:http'
import {
  asLitetopicError,
  type ErrorCode,
  type FromInfo,
  LitetopicError,
  parseCursor,
} from '../../../protocol/index.ts'
import { comeBack, randomDelayMs } from '../../come-back.ts'
import type { Caller } from '../caller.ts'
import { eventText, retryText } from '../event-text.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { problemOf } from '../problem.ts'
import type { EventStream } from '../sse.ts'
import { RecordEvents } from './record-events.ts'
import { attachToLook, fromOf, type Query } from './request.ts'
import { FLAGS, MEANT, PLACES, parameters, STREAM } from './schemas.ts'

/** The id of a last event: who comes back with it is told to stay away, which is how EventSource ends. */
const LAST_ID = 'end'

/** Events that are named after what became of the topic. All others that end a stream are `problem`. */
const NAMES: Partial<Record<ErrorCode, string>> = {
  TRIMMED: 'trimmed',
  RECREATED: 'recreated',
  GONE: 'gone',
  DIVERGED: 'diverged',
  CLOSED: 'closed',
  SHUTTING_DOWN: 'goaway',
}

/** Those that a reader is told as events because it knows a cursor. Without one they are the answer to its request. */
const OUTCOMES: ReadonlySet<ErrorCode> = new Set(['TRIMMED', 'RECREATED', 'GONE', 'DIVERGED'])

const EVENT_STREAM = /\btext\/event-stream\b/

interface EventQuery extends Query {
  readonly lastEventId?: string
  readonly observe?: boolean
}

const SCHEMA = {
  summary: 'Records as they come, for EventSource',
  description: 'Where the reader stood, if it comes back; else where it begins. See HTTP.md, Events, for the events.',
  tags: ['records'],
  querystring: parameters({
    ...MEANT,
    ...PLACES,
    ...STREAM,
    raw: FLAGS.raw,
    lastEventId: { type: 'string', maxLength: 64, description: 'The same as Last-Event-ID, for who cannot send it.' },
    observe: { type: 'boolean', description: 'Does not hold the session.' },
  }),
  headers: {
    type: 'object',
    properties: {
      'last-event-id': { type: 'string', maxLength: 64, description: 'Id of the last event that was read.' },
    },
  },
  response: {
    200: { description: 'Events', content: { 'text/event-stream': { schema: { type: 'string' } } } },
    204: { description: 'There is nothing more to be told: stay away.', type: 'null' },
  },
  errors: [
    'NOT_FOUND',
    'GONE',
    'RECREATED',
    'TRIMMED',
    'DIVERGED',
    'BAD_CURSOR',
    'OFFSET_BEYOND_END',
    'CHECKPOINT_UNKNOWN',
  ],
} as const

/** One request. */
interface Visit {
  readonly face: Face
  readonly request: Request
  readonly reply: Reply
  readonly query: EventQuery
  /** The cursor that the reader comes back with, if it does. */
  readonly lastId: string | undefined
  readonly caller: Caller
  readonly stream: EventStream
}

export function eventRoutes(app: App, face: Face): void {
  app.get('/v1/events/*', { schema: SCHEMA, exposeHeadRoute: false }, async (request, reply) => {
    const query = request.query as EventQuery
    const lastId = header(request, 'last-event-id') ?? query.lastEventId
    const stream = face.events.of(reply.raw)
    const caller = face.caller(reply, stream)
    const visit = { face, request, reply, query, lastId, stream, caller }
    try {
      caller.require(topicOf(request), 'read')
      if (lastId === LAST_ID) return reply.code(204).send()
      await readOut(visit)
    } catch (error) {
      const known = asLitetopicError(error)
      if (!isToldByEvent(visit, known)) throw known
      begin(visit)
      finish(visit, known)
    }
    return reply
  })
}

async function readOut(visit: Visit): Promise<void> {
  const { face, request, query, lastId, caller, stream } = visit
  const { stream: streamId, part } = query
  if (part !== undefined && streamId === undefined) {
    throw new LitetopicError('BAD_REQUEST', 'part is of a stream: say which')
  }
  const place = fromOf(query)
  if (lastId !== undefined) parseCursor(lastId)
  const known = { ...query, cursor: lastId ?? query.cursor }
  const { epoch, cursor } = await attachToLook(caller, topicOf(request), known, { observe: query.observe })
  const from = lastId === undefined ? (place ?? (await openingOf(caller, streamId))) : { cursor: lastId }
  const { incarnation } = parseCursor(cursor)
  const raw = query.raw ?? false
  const options = { raw, stream: streamId, part }
  const events = new RecordEvents(stream, face.events.texts, { incarnation, epoch }, options, (error) =>
    finish(visit, error),
  )
  const { next, nextOffset, start } = await caller.subscribe(from, { raw }, events)
  begin(visit)
  events.begin(next, nextOffset)
  start()
}

/** Where the records of a stream begin; the start, if nothing is known of it yet. */
async function openingOf(caller: Caller, streamId: string | undefined): Promise<FromInfo> {
  const found = streamId === undefined ? null : (await caller.stream(streamId)).stream
  return found === null ? { start: true } : { offset: found.openOffset }
}

/**
 * An EventSource does not see the answer to a request that failed, and never comes back: so it is told by an event what became of its
 * cursor, and to come back when that may help.
 */
function isToldByEvent({ request, query, lastId }: Visit, { code, retry }: LitetopicError): boolean {
  if (OUTCOMES.has(code)) return lastId !== undefined || query.cursor !== undefined
  return retry && EVENT_STREAM.test(header(request, 'accept') ?? '')
}

function begin({ reply, stream }: Visit): void {
  reply.hijack()
  stream.open(reply.getHeaders() as OutgoingHttpHeaders)
}

/** Says why nothing more comes, and ends. Whoever is to come back keeps the cursor that it has. */
function finish({ face, request, stream }: Visit, error: LitetopicError): void {
  const event = NAMES[error.code] ?? 'problem'
  const problem = JSON.stringify(problemOf(error, request.id))
  if (!error.retry) {
    stream.end(eventText(problem, { event, id: LAST_ID }))
    return
  }
  const delay = comeBack(face.events.count)
  const data = error.code === 'SHUTTING_DOWN' ? JSON.stringify(delay) : problem
  stream.end(retryText(randomDelayMs(delay)) + eventText(data, { event }))
}

function header({ headers }: Request, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : undefined
}
