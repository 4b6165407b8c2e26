/** Answers whose JSON is put together from pieces that are JSON already. */

import type { Reply } from '../fastify.ts'

export function sendJson(reply: Reply, json: string): Reply {
  return reply.type('application/json; charset=utf-8').send(json)
}
