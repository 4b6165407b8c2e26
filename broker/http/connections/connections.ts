/**
 * Connections over HTTP, for clients that WebSockets do not reach: the frames of PROTOCOL.md in bodies. The hub takes them as it takes
 * WebSockets, so that all that is true of a connection is true of these.
 */

import { CONNECTIONS_PATH, FRAMES_TYPE, LitetopicError } from '../../../protocol/index.ts'
import { addressOf } from '../../access/address.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { StatusError } from '../problem.ts'
import { ResponseSocket } from './response-socket.ts'

const ONE_PATH = `${CONNECTIONS_PATH}/:id`

/** PROTOCOL.md describes them, as it does WebSockets. */
const HIDDEN = { hide: true }

export function connectionRoutes(app: App, face: Face): void {
  const open = new Map<string, ResponseSocket>()
  // Twice the limit, as with WebSockets: what lies between gets a typed error on the connection.
  const bodyLimit = face.options.frameBytes * 2
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(FRAMES_TYPE, (request, _payload, done) => face.readBody(request, done))

  const connectionOf = (request: Request): ResponseSocket => {
    const { id } = request.params as { id: string }
    const socket = open.get(id)
    const isOwn = socket?.identity.principal === face.identityOf(request).principal
    if (socket === undefined || !isOwn)
      throw new LitetopicError('NOT_FOUND', 'there is no such connection: open another one')
    return socket
  }

  app.post(CONNECTIONS_PATH, { bodyLimit, schema: HIDDEN }, (request, reply) => {
    const socket = new ResponseSocket(reply.raw, addressOf(request.raw), face.identityOf(request))
    open.set(socket.id, socket)
    socket.on('close', () => open.delete(socket.id))
    reply.hijack()
    socket.open(reply.getHeaders())
    face.accept(socket)
    void socket.receive(bodyOf(request))
    face.forgetBody(request)
  })

  // Before the body is read: who may not send is not listened to.
  const onRequest = async (request: Request, reply: Reply): Promise<void> => {
    const socket = connectionOf(request)
    if (socket.busy) throw new StatusError(409, 'BAD_REQUEST', 'a connection takes one message after the other')
    socket.busy = true
    reply.raw.once('close', () => {
      socket.busy = false
    })
  }
  app.post(ONE_PATH, { bodyLimit, onRequest, schema: HIDDEN }, async (request, reply) => {
    await connectionOf(request).receive(bodyOf(request))
    return reply.code(204).send()
  })

  app.delete(ONE_PATH, { schema: HIDDEN }, async (request, reply) => {
    connectionOf(request).close()
    return reply.code(204).send()
  })
}

function bodyOf(request: Request): Buffer {
  return (request.body as Buffer | null) ?? Buffer.alloc(0)
}
