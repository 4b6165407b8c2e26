/**
 * Requests that ask for another protocol than WebSocket: HTTP/2 mostly, for which some clients ask with every request. A server may
 * pass that over (RFC 9110, 7.8), but node:http reads no further where it hands upgrades out.
 */

import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { answerOn } from './unreadable.ts'

const OF_UPGRADE = /^(?:upgrade|http2-settings)$/i

/** Does it ask for a WebSocket? */
export function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return /\bwebsocket\b/i.test(headers.upgrade ?? '')
}

/**
 * Has the server read the request once more from its socket, as one that asks for no upgrade. `head`: what lies behind its headers. Behind
 * a request that is not answered yet it cannot: then the connection is closed.
 */
export function passOver(http: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  if (answerOn(socket) !== null) {
    socket.destroy()
    return
  }
  const { method, url, httpVersion, rawHeaders } = request
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2)
    if (name.toLowerCase() === 'connection') lines.push(`${name}:${withoutUpgrade(value)}`)
    else if (!OF_UPGRADE.test(name)) lines.push(`${name}:${value}`)
  }
  const plain = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head])
  // Followed by its close, of which the server is told.
  socket.on('error', () => undefined)
  // The parser that found the upgrade is still at work, and the server's next one may be the same.
  setImmediate(() => {
    if (socket.destroyed) return
    socket.unshift(plain)
    http.emit(socket instanceof TLSSocket ? 'secureConnection' : 'connection', socket)
  })
}

function withoutUpgrade(connection: string): string {
  return connection
    .split(',')
    .filter((option) => !OF_UPGRADE.test(option.trim()))
    .join(',')
}
