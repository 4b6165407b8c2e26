/**
 * Token streams over HTTP: opened, written, ended and stopped by single requests, so that a function without a connection can be
 * the writer. Its lease says how long it may be silent. See HTTP.md, Token streams.
 */

import { checkId, DEFAULT_PART, LitetopicError } from '../../../protocol/index.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { StatusError } from '../problem.ts'
import { appendRecords } from './append.ts'
import { bytesOf, JSON_TYPE, jsonOf, LINES_TYPE, mediaTypeOf, RECORDS_TYPE, TEXT_TYPE, textOf } from './body.ts'
import { sendJson } from './json.ts'
import { linesOf, type Records, recordsOfBytes, recordsOfEnd, recordsOfTokens } from './record-body.ts'
import { lookingOf, numberedOf, type Query, queryOf, writingOf } from './request.ts'
import {
  APPEND_ANSWERS,
  BODIES,
  CHANGING,
  END,
  ENDING,
  FENCE,
  LEASE,
  MEANT,
  OPEN_STREAM,
  OPENED,
  optional,
  PRODUCER,
  parameters,
  STOP,
  STOPPED,
  STREAM,
  STREAMS,
  TOPIC_ERRORS,
  WRITE_ERRORS,
  WRITING,
} from './schemas.ts'
import { streamJson, streamTextJson } from './stream-json.ts'

const TOKEN_TYPES = [TEXT_TYPE, JSON_TYPE, LINES_TYPE, RECORDS_TYPE]

interface OpenBody {
  readonly streamId: string
  readonly mode?: 'create' | 'continue' | 'join'
  readonly leaseMs?: number
}

interface EndBody {
  readonly streamId: string
  readonly fence: number
  readonly state: 'done' | 'failed'
  readonly detail?: unknown
}

const TAGS = ['streams']
const STREAM_ERRORS = [...WRITE_ERRORS, 'STREAM_UNKNOWN', 'STREAM_ENDED'] as const

const SHOW = {
  operationId: 'showStreams',
  summary: 'The streams that are open, or one',
  tags: TAGS,
  querystring: parameters({ ...MEANT, stream: STREAM.stream }),
  response: { 200: { ...STREAMS, description: 'Those that are open; with stream, that one, also when it has ended.' } },
  errors: [...TOPIC_ERRORS, 'STREAM_UNKNOWN'],
} as const

const OPEN = {
  operationId: 'openStream',
  summary: 'Open a stream, go on with it, or join it',
  tags: TAGS,
  querystring: parameters(WRITING),
  headers: { ...PRODUCER, required: Object.keys(PRODUCER.properties) },
  body: OPEN_STREAM,
  response: {
    201: { ...OPENED, description: "It is the writer's." },
    200: { ...OPENED, description: 'It has ended, or somebody else writes it.' },
  },
  errors: [...STREAM_ERRORS, 'STREAM_EXISTS'],
} as const

const WRITE = {
  operationId: 'writeTokens',
  summary: 'Append tokens to a stream, and end it with them; or keep it live',
  tags: TAGS,
  querystring: parameters({ ...CHANGING, ...STREAM, fence: FENCE, leaseMs: LEASE, end: ENDING }, ['stream', 'fence']),
  headers: PRODUCER,
  bodies: BODIES.tokens,
  response: APPEND_ANSWERS,
  errors: [...STREAM_ERRORS, 'BAD_FRAME'],
  refusals: [415],
} as const

const END_STREAM = {
  operationId: 'endStream',
  summary: 'End a stream',
  tags: TAGS,
  querystring: parameters(CHANGING),
  headers: PRODUCER,
  body: END,
  response: APPEND_ANSWERS,
  errors: STREAM_ERRORS,
} as const

const STOP_STREAMS = {
  operationId: 'stopStreams',
  summary: 'Stop a stream, or all that are open',
  tags: TAGS,
  querystring: parameters(MEANT),
  body: optional(STOP),
  response: { 200: { ...STOPPED, description: 'The streams as they are now.' } },
  errors: [...TOPIC_ERRORS, 'CLOSED'],
} as const

/** Those whose body is JSON. */
export function streamRoutes(app: App, face: Face): void {
  app.get('/v1/streams/*', { schema: SHOW }, (request, reply) => showStreams(face, request, reply))
  app.post('/v1/streams/*', { schema: OPEN }, (request, reply) => open(face, request, reply))
  app.post('/v1/end/*', { schema: END_STREAM }, async (request, reply) => {
    const { fence, ...end } = request.body as EndBody
    checkId(end.streamId, 'stream id')
    return appendRecords(face, request, reply, recordsOfEnd(end), { fence, create: false })
  })
  app.post('/v1/stop/*', { schema: STOP_STREAMS }, async (request, reply) => {
    const { streamId, reason } = (request.body ?? {}) as { streamId?: string; reason?: string }
    const caller = face.caller(reply)
    caller.begin(topicOf(request), lookingOf(queryOf(request)))
    const { streams } = await caller.stop(streamId ?? null, reason ?? null)
    return sendJson(reply, `{"streams":[${streams.map(streamJson).join(',')}]}`)
  })
}

/** Those whose body is tokens. */
export function tokenRoutes(app: App, face: Face): void {
  app.post('/v1/tokens/*', { schema: WRITE }, async (request, reply) => {
    const query = queryOf(request)
    const { fence = 0, leaseMs } = query
    const records = recordsOfBody(request, query)
    if (records.count > 0) return appendRecords(face, request, reply, records, { fence, leaseMs, create: false })
    const caller = face.caller(reply)
    const { epoch, cursor } = await caller.attach(topicOf(request), {
      ...writingOf(query, null),
      create: false,
      leaseMs,
    })
    await caller.keepStream(query.stream ?? '', fence)
    return reply.send({ epoch, offset: null, count: 0, cursor, repeat: false })
  })
}

async function showStreams(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request)
  const caller = face.caller(reply)
  const name = topicOf(request)
  await caller.attach(name, lookingOf(query))
  if (query.stream === undefined) {
    const { streams = [] } = await caller.describe(name)
    return sendJson(reply, `{"streams":[${streams.map(streamJson).join(',')}]}`)
  }
  const { stream } = await caller.stream(query.stream)
  if (stream !== null) return sendJson(reply, streamJson(stream))
  throw new LitetopicError('STREAM_UNKNOWN', `topic ${name} has no stream ${query.stream}`, { streamId: query.stream })
}

async function open(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const { streamId, mode = 'join', leaseMs } = request.body as OpenBody
  const numbered = numberedOf(request)
  if (numbered === null) {
    throw new LitetopicError('BAD_REQUEST', 'who opens a stream has Producer-Id, Producer-Epoch and Producer-Seq')
  }
  const caller = face.caller(reply)
  caller.require(topicOf(request), 'read')
  const { create, ...writing } = writingOf(queryOf(request), numbered)
  const options = { ...writing, create: create === true && mode !== 'continue', leaseMs }
  const { epoch } = await caller.attach(topicOf(request), options)
  const { fence, offset, stream } = await caller.openStream({ ...numbered, streamId, mode })
  const text = await streamTextJson(caller, stream)
  reply.code(offset === null ? 200 : 201)
  const members = JSON.stringify({ epoch, fence, offset }).slice(0, -1)
  return sendJson(reply, `${members},"stream":${streamJson(stream)},"text":${text}}`)
}

/** Throws 415, BAD_REQUEST, BAD_VALUE, BAD_NAME, BAD_FRAME or LIMIT_EXCEEDED. */
function recordsOfBody(request: Request, query: Query): Records {
  const { stream = '', part = DEFAULT_PART, end } = query
  checkId(stream, 'stream id')
  checkId(part, 'part')
  const ending = end === undefined ? null : { streamId: stream, state: end }
  const bytes = bytesOf(request)
  const type = mediaTypeOf(request)
  if (bytes.length === 0) return recordsOfTokens(stream, part, [], ending)
  switch (type) {
    case TEXT_TYPE:
      return recordsOfTokens(stream, part, [textOf(bytes)], ending)
    case JSON_TYPE: {
      const tokens = jsonOf(bytes)
      if (!Array.isArray(tokens)) throw new LitetopicError('BAD_REQUEST', 'tokens as JSON are a list')
      return recordsOfTokens(stream, part, tokens, ending)
    }
    case LINES_TYPE:
      return recordsOfTokens(stream, part, linesOf(textOf(bytes)), ending)
    case RECORDS_TYPE:
      if (ending === null) return recordsOfBytes(bytes, true)
      throw new LitetopicError('BAD_REQUEST', 'binary records hold the end themselves')
    default:
      throw new StatusError(415, 'BAD_REQUEST', `tokens come as ${TOKEN_TYPES.join(', ')}`)
  }
}
