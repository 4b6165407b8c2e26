/** The WebSocket of browsers, in place of websocket.ts. */

import { SUBPROTOCOL } from '../protocol/index.ts'
import type { Socket, SocketEvents } from './socket.ts'

/** What of a browser's WebSocket is used. */
interface BrowserSocket {
  binaryType: string
  readonly bufferedAmount: number
  onopen: (() => void) | null
  onmessage: ((event: { readonly data: unknown }) => void) | null
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null
  send(message: Uint8Array): void
  close(code: number): void
}

type BrowserSocketClass = new (url: string, protocol: string) => BrowserSocket

export function openSocket(url: string, events: SocketEvents): Socket {
  const { WebSocket } = globalThis as unknown as { WebSocket: BrowserSocketClass }
  const socket = new WebSocket(url, SUBPROTOCOL)
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => events.opened()
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) events.message(new Uint8Array(data))
  }
  const closed = (reason: string): void => {
    socket.onopen = socket.onmessage = socket.onclose = null
    events.closed(reason)
  }
  socket.onclose = ({ code, reason }) => closed(reason || `closed with code ${code}`)
  return {
    send: (message) => socket.send(message),
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    close: () => socket.close(1000),
    // A browser gives no way to drop a connection, and its closing handshake with a dead peer takes minutes.
    terminate: () => {
      socket.close(1000)
      if (socket.onclose !== null) closed('given up')
    },
  }
}
