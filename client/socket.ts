/** What the client needs of a WebSocket. websocket.ts has it for Node, websocket-browser.ts for browsers; tests bring their own. */

import { LitetopicError, WEBSOCKET_PATH } from '../protocol/index.ts'

/** An open, or opening, WebSocket of binary messages. */
export interface Socket {
  /** Sends one message. The bytes may be overwritten once it returns. Only after `opened`. */
  send(message: Uint8Array): void
  /** Bytes sent that the network has not taken yet. */
  readonly bufferedBytes: number
  /** Closes with a handshake; `closed` is called when it is done. */
  close(): void
  /** Drops the connection at once. */
  terminate(): void
}

/** What a socket tells. After `closed` it tells nothing more. */
export interface SocketEvents {
  opened(): void
  message(bytes: Uint8Array): void
  /** `reason` is for people. */
  closed(reason: string): void
}

/** Opens a WebSocket with the protocol's subprotocol. Never throws: what goes wrong is told by `closed`. */
export type SocketFactory = (url: string, events: SocketEvents) => Socket

/** The address of a broker's WebSocket: its path is added unless it is there. Throws BAD_REQUEST. */
export function socketUrl(url: string): string {
  const address = URL.canParse(url) ? new URL(url) : null
  if (address?.protocol === 'http:') address.protocol = 'ws:'
  if (address?.protocol === 'https:') address.protocol = 'wss:'
  if (address === null || (address.protocol !== 'ws:' && address.protocol !== 'wss:')) {
    throw new LitetopicError('BAD_REQUEST', `${JSON.stringify(url)} is no broker's address: use ws:// or wss://`)
  }
  address.hash = ''
  const path = address.pathname.replace(/\/$/, '')
  if (!path.endsWith(WEBSOCKET_PATH)) address.pathname = path + WEBSOCKET_PATH
  return address.href
}
