/** The broker itself: what `welcome` says to a WebSocket, and tokens that it issues. See HTTP.md, The broker. */

import { PROTOCOL_VERSION } from '../../../protocol/index.ts'
import type { TokenRequest } from '../../access/tokens.ts'
import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { BROKER, parameters, TOKEN_ISSUED, TOKEN_REQUEST } from './schemas.ts'

const SHOW = {
  operationId: 'describeBroker',
  summary: 'The broker',
  tags: ['broker'],
  querystring: parameters({}),
  response: { 200: { ...BROKER, description: 'Who answers.' } },
} as const

const ISSUE = {
  operationId: 'issueToken',
  summary: 'A token for somebody else, who may do some of what the API key may',
  tags: ['broker'],
  querystring: parameters({}),
  body: TOKEN_REQUEST,
  response: { 201: { ...TOKEN_ISSUED, description: 'The token.' } },
  errors: ['BAD_NAME'],
} as const

export function brokerRoutes(app: App, face: Face): void {
  app.post('/v1/access-tokens', { schema: ISSUE }, async (request, reply) => {
    const issued = await face.caller(reply).issueToken(request.body as TokenRequest)
    return reply.code(201).header('cache-control', 'no-store').send(issued)
  })
  app.get('/v1/broker', { schema: SHOW }, async () => ({
    server: `litetopic/${face.options.version}`,
    version: PROTOCOL_VERSION,
    incarnation: face.incarnation,
    timeMs: face.options.clock.wallMs(),
  }))
}
