/** WebSockets that HTTP requests are upgraded to, on the listener of http/server.ts. */

import type { IncomingMessage } from 'node:http'
import type { Socket as NetSocket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { LitetopicError, SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/index.ts'
import { addressOf } from '../access/address.ts'
import type { Socket } from './socket.ts'
import { StreamedSocket } from './streamed-socket.ts'

export class Upgrades {
  private readonly sockets: WebSocketServer
  private readonly refuse: (socket: Duplex, error: LitetopicError) => void

  /** `frameBytes`: the largest message that is let in; `refuse` answers a request that gets no WebSocket, and closes its connection. */
  constructor(frameBytes: number, refuse: (socket: Duplex, error: LitetopicError) => void) {
    this.refuse = refuse
    this.sockets = new WebSocketServer({
      noServer: true,
      path: WEBSOCKET_PATH,
      // Twice the limit: what lies between gets a typed error, what is beyond is cut off by ws.
      maxPayload: frameBytes * 2,
      perMessageDeflate: false,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    })
    this.sockets.on('wsClientError', ({ message }, socket) =>
      refuse(socket, new LitetopicError('BAD_REQUEST', message)),
    )
  }

  /** Hands over the WebSocket that the request asks for; or refuses it, with NOT_FOUND where there is none. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, accept: (socket: Socket) => void): void {
    if (!this.sockets.shouldHandle(request)) {
      this.refuse(socket, new LitetopicError('NOT_FOUND', `WebSockets are at ${WEBSOCKET_PATH}`))
      return
    }
    this.sockets.handleUpgrade(request, socket, head, (upgraded) => {
      accept(new StreamedSocket(upgraded, request.socket as NetSocket, addressOf(request)))
    })
  }

  /** Hands over no more. */
  close(): void {
    this.sockets.close()
  }
}
