/** Context entries and checkpoints over HTTP: read as JSON, written with the whole body as their data. See HTTP.md, Context. */

import {
  type CheckpointInfo,
  type ContextInfo,
  type ContextOp,
  checkId,
  LitetopicError,
} from '../../../protocol/index.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { appendRecords } from './append.ts'
import { dataOfBody } from './body.ts'
import { dataMember, foldedMember } from './data-json.ts'
import { sendJson } from './json.ts'
import { recordsOfCheckpoint, recordsOfContext } from './record-body.ts'
import { lookingOf, queryOf } from './request.ts'
import {
  APPEND_ANSWERS,
  AS_OF,
  BEFORE,
  BODIES,
  CHECKPOINT_NAME,
  CHECKPOINTS,
  CONTEXT,
  ENTRY,
  FLAGS,
  MEANT,
  NAMED,
  PAGE,
  PRODUCER,
  parameters,
  TOPIC_ERRORS,
  WRITE_ERRORS,
  WRITING,
} from './schemas.ts'

const READ_CONTEXT = {
  operationId: 'readContext',
  summary: 'The context, a page of entries or one entry',
  tags: ['context'],
  querystring: parameters({ ...MEANT, ...PAGE, entry: ENTRY, asOf: AS_OF, pieces: FLAGS.pieces }),
  response: {
    200: { ...CONTEXT, description: 'A page of entries, in byte order of their names; with entry, that one.' },
  },
  errors: TOPIC_ERRORS,
} as const

const READ_CHECKPOINTS = {
  operationId: 'readCheckpoints',
  summary: 'Checkpoints, newest first',
  tags: ['context'],
  querystring: parameters({ ...MEANT, before: BEFORE, limit: PAGE.limit }),
  response: { 200: { ...CHECKPOINTS, description: 'A page of checkpoints.' } },
  errors: TOPIC_ERRORS,
} as const

const WRITE_CHECKPOINT = {
  operationId: 'writeCheckpoint',
  summary: 'Write a checkpoint, whose state is the body',
  tags: ['context'],
  querystring: parameters({ ...WRITING, ...NAMED, checkpoint: CHECKPOINT_NAME }, ['checkpoint']),
  headers: PRODUCER,
  bodies: BODIES.data,
  response: APPEND_ANSWERS,
  errors: WRITE_ERRORS,
  refusals: [415],
} as const

const CHANGES = {
  set: { method: 'PUT', summary: 'Set a context entry to the body' },
  append: { method: 'POST', summary: 'Append the body to a context entry' },
  delete: { method: 'DELETE', summary: 'Delete a context entry' },
} as const satisfies Record<ContextOp, object>

/** In a part of the face whose bodies come as bytes. */
export function contextRoutes(app: App, face: Face): void {
  app.get('/v1/context/*', { schema: READ_CONTEXT }, (request, reply) => readContext(face, request, reply))
  for (const op of ['set', 'append', 'delete'] as const) {
    const { method, summary } = CHANGES[op]
    const schema = {
      operationId: `${op}Context`,
      summary,
      tags: ['context'],
      querystring: parameters({ ...WRITING, ...NAMED, entry: ENTRY }, ['entry']),
      headers: PRODUCER,
      ...(op !== 'delete' && { bodies: BODIES.data }),
      response: APPEND_ANSWERS,
      errors: WRITE_ERRORS,
      refusals: [415],
    }
    app.route({
      method,
      url: '/v1/context/*',
      schema,
      handler: async (request, reply) => changeEntry(face, request, reply, op),
    })
  }
  app.get('/v1/checkpoints/*', { schema: READ_CHECKPOINTS }, (request, reply) => readCheckpoints(face, request, reply))
  app.post('/v1/checkpoints/*', { schema: WRITE_CHECKPOINT }, async (request, reply) => {
    const { checkpoint = '', id, trace } = queryOf(request)
    return appendRecords(face, request, reply, recordsOfCheckpoint(checkpoint, dataOfBody(request), { id, trace }))
  })
}

/** A context entry as a JSON object. `inPieces`: as it was appended to, else the value that comes of it. */
export function entryJson({ name, offset, pieces }: ContextInfo, inPieces: boolean): string {
  const head = `{"name":${JSON.stringify(name)},"offset":${offset}`
  if (!inPieces) return `${head}${foldedMember(pieces)}}`
  return `${head},"pieces":[${pieces.map((piece) => `{${dataMember(piece).slice(1)}}`).join(',')}]}`
}

/** A checkpoint as a JSON object. */
export function checkpointJson({ name, offset, cursor, timeMs, state }: CheckpointInfo): string {
  const head = JSON.stringify({ name, offset, cursor, timeMs })
  return `${head.slice(0, -1)}${state === undefined ? '' : dataMember(state)}}`
}

async function readContext(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request)
  const { entry, after, asOf, limit, pieces: inPieces = false } = query
  const caller = face.caller(reply)
  caller.begin(topicOf(request), lookingOf(query))
  if (entry === undefined) {
    const { entries, more } = await caller.context({ asOf, after, limit })
    return sendJson(
      reply,
      `{"entries":[${entries.map((found) => entryJson(found, inPieces)).join(',')}],"more":${more}}`,
    )
  }
  const name = checkId(entry, 'context entry')
  const { entries } = await caller.context({ name, asOf })
  const [found] = entries
  if (found !== undefined) return sendJson(reply, entryJson(found, inPieces))
  throw new LitetopicError('NOT_FOUND', `there is no context entry ${name}`, { entry: name })
}

async function readCheckpoints(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request)
  const caller = face.caller(reply)
  caller.begin(topicOf(request), lookingOf(query))
  const { checkpoints, more } = await caller.checkpoints({
    before: query.before,
    limit: query.limit,
  })
  return sendJson(reply, `{"checkpoints":[${checkpoints.map(checkpointJson).join(',')}],"more":${more}}`)
}

function changeEntry(face: Face, request: Request, reply: Reply, op: ContextOp): Promise<Reply> {
  const { entry = '', id, trace } = queryOf(request)
  const data = dataOfBody(request)
  if ((data === null) !== (op === 'delete')) {
    throw new LitetopicError(
      'BAD_REQUEST',
      op === 'delete' ? 'to delete takes no body' : 'the body is the value: it is empty',
    )
  }
  return appendRecords(face, request, reply, recordsOfContext(op, entry, data, { id, trace }))
}
