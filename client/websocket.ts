/**
 * The WebSocket of Node: the `ws` package, because Node 20 has none of its own. The client's only import of it.
 * Bundlers for browsers take websocket-browser.ts instead, by the `browser` field of package.json.
 */

import { WebSocket } from 'ws'
import { LIMITS, SUBPROTOCOL } from '../protocol/index.ts'
import type { Socket, SocketEvents } from './socket.ts'

export function openSocket(url: string, events: SocketEvents): Socket {
  const socket = new WebSocket(url, SUBPROTOCOL, { perMessageDeflate: false, maxPayload: LIMITS.messageBytes })
  let reason = ''
  socket.on('open', () => events.opened())
  socket.on('message', (data) => events.message(data as Buffer))
  // Always followed by `close`.
  socket.on('error', (error) => {
    reason = error.message
  })
  socket.on('close', (code, text) => events.closed(reason || text.toString() || `closed with code ${code}`))
  return {
    // ws masks into a copy, so the bytes are free once it returns.
    send: (message) => socket.send(message),
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    close: () => socket.close(1000),
    terminate: () => socket.terminate(),
  }
}
