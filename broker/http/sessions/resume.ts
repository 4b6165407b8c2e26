/** Coming back in one round trip: outcome, checkpoint, context, and the streams with their text so far. See HTTP.md, Resume. */

import { checkId, type ReplyOf, type UP } from '../../../protocol/index.ts'
import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { checkpointJson, entryJson } from './context.ts'
import { sendJson } from './json.ts'
import { attachToLook, queryOf } from './request.ts'
import { MEANT, PLACES, parameters, RESUMED, TOPIC_ERRORS } from './schemas.ts'
import { streamJson } from './stream-json.ts'

const RESUME = {
  operationId: 'resume',
  summary: 'Come back: outcome, checkpoint, context and streams in one answer',
  tags: ['sessions'],
  querystring: parameters({ ...MEANT, cursor: PLACES.cursor, checkpoint: PLACES.checkpoint }),
  response: { 200: { ...RESUMED, description: 'What there was there, and what became of it.' } },
  errors: [...TOPIC_ERRORS, 'BAD_CURSOR', 'OFFSET_BEYOND_END', 'CHECKPOINT_UNKNOWN'],
} as const

export function resumeRoutes(app: App, face: Face): void {
  app.get('/v1/resume/*', { schema: RESUME }, async (request, reply) => {
    const query = queryOf(request)
    const { cursor, checkpoint } = query
    const caller = face.caller(reply)
    await attachToLook(caller, topicOf(request), query)
    const from = checkpoint === undefined || checkpoint === '' ? null : checkId(checkpoint, 'checkpoint')
    const resumed = await caller.resume(checkpoint === undefined ? { cursor } : { cursor, checkpoint: from })
    return sendJson(reply, resumedJson(resumed))
  })
}

function resumedJson(resumed: ReplyOf<typeof UP.resume>): string {
  const { checkpoint, context, streams, ...plain } = resumed
  let json = JSON.stringify(plain).slice(0, -1)
  if (checkpoint != null) json += `,"checkpoint":${checkpointJson(checkpoint)}`
  if (context !== undefined) json += `,"context":[${context.map((entry) => entryJson(entry, false)).join(',')}]`
  if (streams !== undefined) {
    const list = streams.map(({ stream, text }) => {
      const parts = Object.fromEntries(text.map(({ part, text: soFar }) => [part, soFar]))
      return `{"stream":${streamJson(stream)},"text":${JSON.stringify(parts)}}`
    })
    json += `,"streams":[${list.join(',')}]`
  }
  return `${json}}`
}
