/** Sessions as such: what there is, and what is known of one. */

import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { topicOf } from '../names.ts'

export function sessionRoutes(app: App, face: Face): void {
  app.get(
    '/v1/sessions/*',
    {
      schema: {
        summary: 'A session',
        tags: ['sessions'],
        response: { 200: { type: 'object', additionalProperties: true } },
      },
    },
    async (request, reply) => face.caller(reply).describe(topicOf(request)),
  )
}
