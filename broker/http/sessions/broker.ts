/** What is known of the broker itself: what `welcome` says to a WebSocket. See HTTP.md, The broker. */

import { PROTOCOL_VERSION } from '../../../protocol/index.ts'
import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { BROKER, parameters } from './schemas.ts'

const SHOW = {
  operationId: 'describeBroker',
  summary: 'The broker',
  tags: ['broker'],
  querystring: parameters({}),
  response: { 200: { ...BROKER, description: 'Who answers.' } },
} as const

export function brokerRoutes(app: App, face: Face): void {
  app.get('/v1/broker', { schema: SHOW }, async () => ({
    server: `litetopic/${face.options.version}`,
    version: PROTOCOL_VERSION,
    incarnation: face.incarnation,
    timeMs: face.options.clock.wallMs(),
  }))
}
