/** Appending by one request: what its body says, all or nothing, once if it is numbered or has an id. See HTTP.md, Append. */

import { formatCursor, LitetopicError, parseCursor } from '../../../protocol/index.ts'
import { type Caller, checkBounds } from '../caller.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { bytesOf, dataOfBody, JSON_TYPE, jsonOf, LINES_TYPE, mediaTypeOf, RECORDS_TYPE, textOf } from './body.ts'
import { linesOf, type Records, recordsOfBytes, recordsOfJson, recordsOfMessage } from './record-body.ts'
import { type Numbered, numberedOf, type Query, queryOf, writingOf } from './request.ts'
import { APPEND_ANSWERS, BODIES, CLOSE, FENCE, NAMED, PRODUCER, parameters, WRITE_ERRORS, WRITING } from './schemas.ts'

const APPEND = {
  operationId: 'appendRecords',
  summary: 'Append records, or one message',
  tags: ['records'],
  querystring: parameters({ ...WRITING, ...NAMED, fence: FENCE, close: CLOSE }),
  headers: PRODUCER,
  bodies: BODIES.records,
  response: APPEND_ANSWERS,
  errors: [...WRITE_ERRORS, 'BAD_FRAME', 'STREAM_UNKNOWN', 'STREAM_ENDED'],
  refusals: [415],
} as const

/** In a part of the face whose bodies come as bytes. */
export function appendRoutes(app: App, face: Face): void {
  app.post('/v1/records/*', { schema: APPEND }, (request, reply) => {
    const query = queryOf(request)
    const { fence, close } = query
    // Who has a fence knows the topic.
    const create = fence === undefined ? undefined : false
    return appendRecords(face, request, reply, recordsOfBody(request, query), { fence, close, create })
  })
}

interface AppendOptions {
  /** Of the stream that the records are of, and how long it is live behind them. */
  readonly fence?: number
  readonly leaseMs?: number
  readonly close?: boolean
  /** May the topic be created? Default: as the query says. */
  readonly create?: false
}

/** Appends the records in the name of the request, and answers it. */
export async function appendRecords(
  face: Face,
  request: Request,
  reply: Reply,
  { bytes, count }: Records,
  options: AppendOptions = {},
): Promise<Reply> {
  const name = topicOf(request)
  const numbered = numberedOf(request)
  // What is refused for its size makes no topic.
  checkBounds(bytes.length, count)
  const caller = face.caller(reply)
  const { leaseMs, create } = options
  const writing = writingOf(queryOf(request), numbered)
  caller.begin(name, { ...writing, create: create ?? writing.create, leaseMs })
  const { fence, close } = options
  const { offset, behind, repeat } =
    close === true
      ? await appendAndClose(caller, { bytes, count }, numbered, fence)
      : await appendOnly(caller, { bytes, count }, numbered, fence)
  const { epoch, cursor } = await caller.whenAttached()
  reply.code(repeat ? 200 : 201)
  if (offset !== null) reply.header('location', `/v1/records/${name}?offset=${offset}`)
  const { incarnation } = parseCursor(cursor)
  return reply.send({ epoch, offset, count, cursor: formatCursor({ incarnation, epoch, next: behind }), repeat })
}

interface Place {
  /** Of the first record; null where nobody knows any more. */
  readonly offset: number | null
  readonly behind: number
  readonly repeat: boolean
}

async function appendOnly(
  caller: Caller,
  { bytes, count }: Records,
  numbered: Numbered | null,
  fence: number | undefined,
): Promise<Place> {
  const { base, repeat } = await caller.append(bytes, { count, ...numbered, fence })
  return { offset: base, behind: base + count, repeat }
}

async function appendAndClose(
  caller: Caller,
  { bytes, count }: Records,
  numbered: Numbered | null,
  fence: number | undefined,
): Promise<Place> {
  const { producerEpoch = 0, sequence = 0 } = numbered ?? {}
  const request = { records: bytes, count, producerEpoch, sequence, fence, close: true }
  const { offset, nextOffset, repeat } = await caller.atomicAppend(request)
  return { offset, behind: offset === null ? nextOffset : offset + count, repeat }
}

/** Throws BAD_REQUEST, BAD_VALUE, BAD_NAME, BAD_FRAME or LIMIT_EXCEEDED. */
function recordsOfBody(request: Request, { id, trace, fence }: Query): Records {
  const type = mediaTypeOf(request)
  if (type !== JSON_TYPE && type !== LINES_TYPE && type !== RECORDS_TYPE) {
    const data = dataOfBody(request)
    if (data === null) throw new LitetopicError('BAD_REQUEST', 'a message without a body')
    return recordsOfMessage(data, { id, trace })
  }
  if (id !== undefined || trace !== undefined) {
    throw new LitetopicError('BAD_REQUEST', 'id and trace stand in the records themselves')
  }
  const bytes = bytesOf(request)
  if (type === RECORDS_TYPE) return recordsOfBytes(bytes, fence !== undefined)
  return recordsOfJson(type === LINES_TYPE ? linesOf(textOf(bytes)) : jsonOf(bytes))
}
