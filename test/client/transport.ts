/** How the clients of a suite reach their broker: by WebSocket, unless over-http.test.ts has it run over HTTP. */

import { httpSockets } from '../../client/http-socket.ts'
import type { SocketFactory } from '../../client/index.ts'
import { openSocket } from '../../client/websocket.ts'

const overHttp = httpSockets((url, init) => fetch(url, init))
let isHttp = false

/** From now on clients come over HTTP. */
export function useHttp(): void {
  isHttp = true
}

/** The broker's address for `connect`. */
export function addressOf({ url }: { readonly url: string }): string {
  return isHttp ? httpAddressOf({ url }) : url
}

export function httpAddressOf({ url }: { readonly url: string }): string {
  return url.replace(/^ws/, 'http').replace(/\/v1\/ws$/, '')
}

export const open: SocketFactory = (url, events, token) => (isHttp ? overHttp : openSocket)(url, events, token)
