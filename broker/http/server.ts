/**
 * The one listening socket: HTTP by the routes, WebSockets by upgrade. It hands connections over as a transport does, and takes
 * itself down in order: what is new is refused, what is under way is answered, what would stay open is ended.
 */

import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Transport } from '../ws/hub.ts'
import { Upgrades } from '../ws/server.ts'
import type { Socket } from '../ws/socket.ts'
import { answerUnrouted } from './answers.ts'
import { addRoutes } from './assemble.ts'
import type { DirectRequest } from './direct-request.ts'
import { AtOnce } from './durable-streams/at-once.ts'
import { Face, type FaceOptions } from './face.ts'
import { type App, createApp } from './fastify.ts'
import { fixedHeaders } from './fixed-headers.ts'
import { asksForWebSocket, passOver } from './other-upgrades.ts'
import { problemAnswer, StatusError } from './problem.ts'
import { newRequestIds } from './request-id.ts'
import type { TlsContent } from './tls.ts'
import { refuseOn } from './unreadable.ts'

/**
 * Connections that wait to be accepted: those of a crowd that comes back at once. Beyond it the system drops them, and they try again
 * after a second or more. The system's own bound (on Linux `net.core.somaxconn`) holds below it.
 */
const BACKLOG = 16_384

export interface HttpOptions extends FaceOptions {
  readonly host: string
  readonly port: number
  /** The largest WebSocket message that is let in. */
  readonly frameBytes: number
  /** Null for plain HTTP. */
  readonly tls: TlsContent | null
}

export class HttpServer implements Transport {
  private readonly options: HttpOptions
  private readonly face: Face
  private readonly app: App
  private readonly http: Server | TlsServer
  private readonly upgrades: Upgrades

  constructor(options: HttpOptions) {
    this.options = options
    this.face = new Face(options)
    this.upgrades = new Upgrades(options.frameBytes, refuseOn)
    const requestId = newRequestIds()
    const atOnce = new AtOnce(this.face, requestId)
    const serve = (request: DirectRequest, response: ServerResponse, routes: RequestListener): void => {
      const exchange = this.face.begun(request, response)
      if (!atOnce.serve(request, response, exchange, routes)) routes(request, response)
    }
    const { app, http } = createApp(answerUnrouted, serve, requestId, options.tls)
    this.app = app
    this.http = http
    http.on('checkExpectation', (request, response) => answerExpectation(response, requestId(request)))
    addRoutes(app, this.face)
  }

  async listen(accept: (socket: Socket) => void): Promise<number> {
    const { host, port } = this.options
    this.face.accept = accept
    await this.app.ready()
    this.http.on('upgrade', (request, socket, head) => {
      if (asksForWebSocket(request)) this.upgrade(request, socket, head, accept)
      else passOver(this.http, request, socket, head)
    })
    return new Promise((resolve, reject) => {
      this.http.on('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)))
      this.http.listen({ port, host, backlog: BACKLOG }, () => {
        const address = this.http.address()
        resolve(typeof address === 'object' && address !== null ? address.port : port)
      })
    })
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, accept: (socket: Socket) => void): void {
    const refusal = this.face.origins.refusal(request)
    if (refusal === null) this.upgrades.upgrade(request, socket, head, accept)
    else refuseOn(socket, refusal)
  }

  /** Takes at most `stopMs` for requests under way. Resolves when the connections that it handed over are closed, too. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()))
    this.upgrades.close()
    const error = new LitetopicError('SHUTTING_DOWN', 'the broker is stopping: come back in a moment')
    await new Promise<void>((resolve) => {
      const cancel = this.options.clock.after(LIMITS.stopMs, resolve)
      void this.face.stop(error).then(() => {
        cancel()
        resolve()
      })
    })
    // Those that have become WebSockets are not the HTTP server's any more.
    this.http.closeAllConnections()
    await this.app.close()
    await closed
  }

  /** Connections from now on get this certificate; those that there are keep theirs. Only of one that speaks TLS. */
  useCertificate(tls: TlsContent): void {
    if ('setSecureContext' in this.http) this.http.setSecureContext(tls)
  }

  /** Publishers that were paused may go on, if the disk keeps up again. */
  relieve(): void {
    this.face.relieve()
  }

  /** The core is no more. */
  sendAway(): void {
    this.face.sendAway()
  }
}

/** A request expects more than `100-continue`. RFC 9110, 10.1.1. */
function answerExpectation(response: ServerResponse, id: string): void {
  const error = new StatusError(417, 'BAD_REQUEST', 'the only expectation that is met is 100-continue')
  const { status, headers, body } = problemAnswer(error, id)
  response.writeHead(status, { ...fixedHeaders(id), ...headers, 'content-length': body.length }).end(body)
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === 'EADDRINUSE') {
    return new LitetopicError(
      'PORT_IN_USE',
      `${host}:${port} is taken: stop what listens there, or choose another port`,
      { host, port },
      error,
    )
  }
  return new LitetopicError('BAD_REQUEST', `cannot listen on ${host}:${port}: ${error.code}`, { host, port }, error)
}
