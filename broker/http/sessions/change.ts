/** What else changes a topic: dropping its beginning. See HTTP.md, Trim. */

import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { numberedOf, queryOf, writingOf } from './request.ts'
import { CHANGING, PRODUCER, parameters, TRIM, TRIMMED, WRITE_ERRORS } from './schemas.ts'

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

interface TrimBody {
  readonly before?: number
  readonly checkpoint?: string
}

export function changeRoutes(app: App, face: Face): void {
  app.post('/v1/trim/*', { schema: TRIM_RECORDS }, async (request, reply) => {
    const numbered = numberedOf(request)
    const caller = face.caller(reply)
    caller.begin(topicOf(request), { ...writingOf(queryOf(request), numbered), create: false })
    const { producerEpoch = 0, sequence = 0 } = numbered ?? {}
    return caller.trim({ producerEpoch, sequence, ...(request.body as TrimBody) })
  })
}
