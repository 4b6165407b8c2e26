/**
 * What the client needs of a WebSocket. websocket.ts has it for Node, websocket-browser.ts for browsers, http-socket.ts where there
 * is only HTTP; tests bring their own.
 */

import { CONNECTIONS_PATH, LitetopicError, WEBSOCKET_PATH } from '../protocol/index.ts'

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

/**
 * Opens a WebSocket with the protocol's subprotocol, or what takes its place at an http address. Never throws: what goes wrong is told
 * by `closed`. The token goes with hello; who speaks HTTP has it for `Authorization`.
 */
export type SocketFactory = (url: string, events: SocketEvents, token?: string) => Socket

/** By the scheme of an address: where its connections are opened. */
const PATHS: Readonly<Record<string, string>> = {
  'ws:': WEBSOCKET_PATH,
  'wss:': WEBSOCKET_PATH,
  'http:': CONNECTIONS_PATH,
  'https:': CONNECTIONS_PATH,
}

/** The address where a broker's connections are opened: the path is added unless it is there. Throws BAD_REQUEST. */
export function connectionUrl(url: string): string {
  const address = URL.canParse(url) ? new URL(url) : null
  const path = PATHS[address?.protocol ?? '']
  if (address === null || path === undefined) {
    const known = 'use ws:// or wss://, or where WebSockets do not pass http:// or https://'
    throw new LitetopicError('BAD_REQUEST', `${JSON.stringify(url)} is no broker's address: ${known}`)
  }
  address.hash = ''
  const given = address.pathname.replace(/\/$/, '')
  address.pathname = given.endsWith(path) ? given : given + path
  return address.href
}
