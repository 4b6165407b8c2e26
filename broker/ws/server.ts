/** The listening socket: the transport of WebSockets, and a plain answer to whoever comes without one. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { WebSocketServer } from 'ws'
import { LitetopicError, SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/index.ts'
import type { Transport } from './hub.ts'
import type { Socket } from './socket.ts'
import { StreamedSocket } from './streamed-socket.ts'

/**
 * Connections that wait to be accepted: those of a crowd that comes back at once. Beyond it the system drops them, and they try again
 * after a second or more. The system's own bound (on Linux `net.core.somaxconn`) holds below it.
 */
const BACKLOG = 16_384

export class WebSocketTransport implements Transport {
  private readonly host: string
  private readonly port: number
  private readonly http: Server
  private readonly sockets: WebSocketServer

  /** `frameBytes`: the largest message that is let in. */
  constructor(host: string, port: number, frameBytes: number) {
    this.host = host
    this.port = port
    this.http = createServer(answerPlainly)
    this.sockets = new WebSocketServer({
      server: this.http,
      path: WEBSOCKET_PATH,
      // Twice the limit: what lies between gets a typed error, what is beyond is cut off by ws.
      maxPayload: frameBytes * 2,
      perMessageDeflate: false,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    })
  }

  listen(accept: (socket: Socket) => void): Promise<number> {
    const { host, port } = this
    this.sockets.on('connection', (socket, request) => {
      accept(new StreamedSocket(socket, request.socket))
    })
    return new Promise((resolve, reject) => {
      this.sockets.on('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)))
      this.http.listen({ port, host, backlog: BACKLOG }, () => {
        const address = this.http.address()
        resolve(typeof address === 'object' && address !== null ? address.port : port)
      })
    })
  }

  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()))
    this.sockets.close()
    // Those that have become WebSockets are not the HTTP server's any more; these have nothing to wait for.
    this.http.closeAllConnections()
    return closed
  }
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

function answerPlainly(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(426, { 'content-type': 'text/plain; charset=utf-8', upgrade: 'websocket' })
  response.end(`This is litetopic. Connect with a WebSocket to ${WEBSOCKET_PATH}.\n`)
}
