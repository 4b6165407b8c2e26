/**
 * Where webhooks may go: nowhere, until the configuration names hosts. A name is resolved once for each call, every address that it has is
 * checked, and the call goes to one that was.
 */

import { lookup } from 'node:dns/promises'
import { isTopicName, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { Addresses, familyOf, isLoopback, isPublic } from './addresses.ts'

/** All addresses of a host name. */
export type Resolve = (host: string) => Promise<readonly string[]>

export const systemResolve: Resolve = async (host) =>
  (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address)

/** A url that may be called, and the address that was checked. */
export interface Target {
  readonly url: URL
  readonly address: string
}

/** An entry of the configuration: a name, or addresses. */
interface Allowed {
  /** `*` is any, and `*.` before a name any below it. */
  readonly name: string
  /** Those that may be called although they are not public. */
  readonly addresses: Addresses | null
  /** Null for any. */
  readonly port: string | null
}

export class Targets {
  private readonly allowed: readonly Allowed[]
  private readonly resolve: Resolve

  /**
   * `hosts`: names, with `*.` before them for those below, or `*` for all public ones; and addresses or ranges, which may then
   * be called although they are private. Each may end in a port. Throws BAD_REQUEST.
   */
  constructor(hosts: readonly string[], resolve: Resolve = systemResolve) {
    this.resolve = resolve
    this.allowed = hosts.map(parseEntry)
  }

  /** The url, if it may be called as far as can be said without resolving its name. Throws WEBHOOK_URL_REJECTED. */
  check(text: string): URL {
    const url = URL.canParse(text) && text.length <= LIMITS.webhookUrlBytes ? new URL(text) : null
    if (url === null) throw rejected('it is not a url, or too long')
    if (url.username !== '' || url.password !== '') throw rejected('it must not hold a user or a password')
    const host = hostOf(url)
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal(host))) {
      throw rejected('it must be https, or http to this machine')
    }
    if (this.allowed.length === 0) throw rejected('the configuration allows no webhooks: it names no hosts for them')
    const port = portOf(url)
    if (!this.isNamed(host, port)) throw rejected(`${host}:${port} is not among the hosts that the configuration names`)
    if (familyOf(host) !== null) this.checkAddress(host, port, host)
    return url
  }

  /** Resolves the name. Throws WEBHOOK_URL_REJECTED if any of its addresses must not be called, or what resolving it throws. */
  async find(text: string): Promise<Target> {
    const url = this.check(text)
    const host = hostOf(url)
    const addresses = familyOf(host) === null ? await this.resolve(host) : [host]
    for (const address of addresses) this.checkAddress(host, portOf(url), address)
    const [address] = addresses
    if (address === undefined) throw rejected(`${host} has no address`)
    if (url.protocol === 'http:' && !addresses.every(isLoopback)) throw rejected('http goes only to this machine')
    return { url, address }
  }

  private checkAddress(host: string, port: string, address: string): void {
    if (isPublic(address) || this.isPermitted(address, port)) return
    throw rejected(`the address of ${host} is not public, nor among those that the configuration names`)
  }

  /** Is the host of a url among the entries, by its name or as an address? */
  private isNamed(host: string, port: string): boolean {
    if (familyOf(host) !== null && this.isPermitted(host, port)) return true
    return this.allowed.some(({ name, addresses, port: only }) => {
      if (addresses !== null || (only !== null && only !== port)) return false
      return name === '*' || name === host || (name.startsWith('*.') && host.endsWith(name.slice(1)))
    })
  }

  /** Is the address named itself? */
  private isPermitted(address: string, port: string): boolean {
    return this.allowed.some(({ addresses, port: only }) => (only ?? port) === port && addresses?.has(address))
  }
}

function parseEntry(entry: string): Allowed {
  const { host, port = null } = splitPort(entry.trim().toLowerCase())
  const addresses = new Addresses()
  if (addresses.add(host)) return { name: '', addresses, port }
  const isName = host === '*' || (isTopicName(host.replace(/^\*\./, '')) && !host.includes('/'))
  if (isName && (port === null || Number(port) <= 65_535)) return { name: host, addresses: null, port }
  const shown = JSON.stringify(entry.slice(0, 80))
  throw new LitetopicError('BAD_REQUEST', `${shown} is no host for webhooks: name a host, *.host, *, or an address`)
}

/** Of an IPv6 address with a port the address is in brackets, as in a url. */
function splitPort(entry: string): { host: string; port?: string } {
  const [, address, bits = '', behind] = /^\[([^\]]+)\](\/\d+)?(?::(\d+))?$/.exec(entry) ?? []
  if (address !== undefined) return { host: address + bits, port: behind }
  const [, host = entry, port] = /^([^:]+):(\d+)$/.exec(entry) ?? []
  return { host, port }
}

/** In small letters, without the brackets of an address and the dot at the end of a name. */
function hostOf(url: URL): string {
  return url.hostname.toLowerCase().replace(/^\[|\]$|\.$/g, '')
}

function portOf(url: URL): string {
  return url.port || (url.protocol === 'https:' ? '443' : '80')
}

function isLocal(host: string): boolean {
  return host === 'localhost' || isLoopback(host)
}

function rejected(why: string): LitetopicError {
  return new LitetopicError('WEBHOOK_URL_REJECTED', `the webhook cannot be used: ${why}`)
}
