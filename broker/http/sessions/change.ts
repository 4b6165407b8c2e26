/** What else changes a topic: dropping its beginning, and closing it. See HTTP.md, Trim, close, fork. */

import { formatCursor, parseCursor } from '../../../protocol/index.ts'

import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { numberedOf, queryOf, writingOf } from './request.ts'
import { CHANGING, CLOSED, PRODUCER, parameters, TOPIC_ERRORS, TRIM, TRIMMED, WRITE_ERRORS } from './schemas.ts'

const TRIM_RECORDS = {
  operationId: 'trimRecords',
  summary: 'Drop the records before an offset or a checkpoint',
  tags: ['records'],
  querystring: parameters(CHANGING),
  headers: PRODUCER,
  body: TRIM,
  response: { 200: { ...TRIMMED, description: 'The first offset that is kept.' } },
  errors: [...WRITE_ERRORS, 'OFFSET_BEYOND_END', 'CHECKPOINT_UNKNOWN'],
} as const

const CLOSE_TOPIC = {
  operationId: 'closeSession',
  summary: 'Take no more records',
  tags: ['sessions'],
  querystring: parameters(CHANGING),
  response: { 200: { ...CLOSED, description: 'It is closed.' } },
  errors: [...TOPIC_ERRORS, 'FENCED'],
} as const

interface TrimBody {
  readonly before?: number
  readonly checkpoint?: string
}

const NO_RECORDS = { records: new Uint8Array(0), count: 0 }

export function changeRoutes(app: App, face: Face): void {
  app.post('/v1/trim/*', { schema: TRIM_RECORDS }, async (request, reply) => {
    const numbered = numberedOf(request)
    const caller = face.caller(reply)
    caller.begin(topicOf(request), { ...writingOf(queryOf(request), numbered), create: false })
    const { producerEpoch = 0, sequence = 0 } = numbered ?? {}
    return caller.trim({ producerEpoch, sequence, ...(request.body as TrimBody) })
  })
  app.post('/v1/close/*', { schema: CLOSE_TOPIC }, async (request, reply) => {
    const caller = face.caller(reply)
    caller.begin(topicOf(request), { ...writingOf(queryOf(request), null), create: false })
    const { nextOffset } = await caller.atomicAppend({ ...NO_RECORDS, producerEpoch: 0, sequence: 0, close: true })
    const { epoch, cursor } = await caller.whenAttached()
    return {
      epoch,
      nextOffset,
      cursor: formatCursor({ incarnation: parseCursor(cursor).incarnation, epoch, next: nextOffset }),
    }
  })
}
