/** Where a client comes from: its own address, or what a proxy on this machine says of it. */

import type { IncomingMessage } from 'node:http'
import { isIP, isIPv4 } from 'node:net'

/** Is it a host that only this machine reaches? */
export function isLoopback(host: string): boolean {
  const plain = host.replace(/^\[(.*)\]$/, '$1').replace(/^::ffff:(?=\d+\.)/i, '')
  return plain.toLowerCase() === 'localhost' || plain === '::1' || (isIPv4(plain) && plain.startsWith('127.'))
}

/** The last address in X-Forwarded-For, if the request comes from this machine: a proxy here has put it there. */
export function addressOf({ socket, headers }: IncomingMessage): string {
  const own = socket.remoteAddress ?? 'unknown'
  const told = headers['x-forwarded-for']
  if (told === undefined || !isLoopback(own)) return own
  const last = [told].flat().join(',').split(',').at(-1)?.trim() ?? ''
  return isIP(last) === 0 ? own : last
}
