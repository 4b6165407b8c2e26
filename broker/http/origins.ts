/**
 * Which web pages may use the broker. A browser sends to any address what any page tells it to: so a page of another origin is refused
 * unless it is allowed, and where nobody is asked for a token also a request for a name that is none of this machine's, for a page's own
 * name may lead here (DNS rebinding).
 */

import type { IncomingMessage } from 'node:http'
import { LitetopicError } from '../../protocol/index.ts'
import { isLoopback } from '../access/address.ts'
import type { Authority } from '../access/authority.ts'

export interface PageOptions {
  /** Each checked: `https://app.example.com`, or `*` for every page. Pages of the broker's own origin may always. */
  readonly allowOrigins: readonly string[]
  /** The name that others reach it by, if it is told. */
  readonly publicHost: string | null
  /** May it be asked by any name, though nobody is asked for a token? */
  readonly anyHost: boolean
}

const HOST = /^(\[[^\]]+\]|[^:]*)(?::\d+)?$/

export class Origins {
  private readonly options: PageOptions
  private readonly authority: Authority
  private readonly allowed: ReadonlySet<string>
  /** One that was found to be: nearly all ask by the same. */
  private ownName = ''

  constructor(options: PageOptions, authority: Authority) {
    this.options = options
    this.authority = authority
    this.allowed = new Set(options.allowOrigins)
  }

  /** Why the request is not taken, or null. */
  refusal({ headers }: IncomingMessage): LitetopicError | null {
    const { origin, host } = headers
    const { anyHost } = this.options
    if (!anyHost && !this.authority.isConfigured && host !== undefined && !this.isOwnName(host)) {
      const advice = 'configure access, or name it with --public-url'
      return denied(`without access this broker is not asked by the name ${shown(host)}: ${advice}`, 'host')
    }
    if (this.allowed.has('*')) return null
    if (origin === undefined) return this.withoutOrigin(headers['sec-fetch-site'])
    if (this.allowed.has(origin) || isOf(origin, host)) return null
    const advice = 'have it allowed with --allow-origin'
    return denied(`pages of ${shown(origin)} may not use this broker: ${advice}`, 'origin')
  }

  /** What tells a browser whether the page may see the answer. */
  headersFor({ headers }: IncomingMessage): Readonly<Record<string, string>> {
    const isOpen = this.allowed.has('*')
    const { origin } = headers
    if (isOpen) return OPEN
    if (this.allowed.size === 0) return CLOSED
    if (origin === undefined || !this.allowed.has(origin)) return { ...CLOSED, vary: 'origin' }
    return { ...OPEN, 'access-control-allow-origin': origin, vary: 'origin' }
  }

  /** A browser may leave it out, as for an image, but says whose page it is. */
  private withoutOrigin(site: string | string[] | undefined): LitetopicError | null {
    if (site === undefined || site === 'same-origin' || site === 'none') return null
    return denied('pages of other origins ask with an Origin: load it with crossorigin, or by fetch', 'origin')
  }

  private isOwnName(host: string): boolean {
    if (host === this.ownName) return true
    const name = HOST.exec(host)?.[1]?.toLowerCase() ?? ''
    const isOwn = isLoopback(name) || name === this.options.publicHost
    if (isOwn) this.ownName = host
    return isOwn
  }
}

const OPEN: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': '*',
  'cross-origin-resource-policy': 'cross-origin',
}
const CLOSED: Readonly<Record<string, string>> = { 'cross-origin-resource-policy': 'same-origin' }

/** Throws BAD_REQUEST for what is no origin, nor `*`. */
export function checkOrigin(text: string): string {
  if (text === '*' || (URL.canParse(text) && new URL(text).origin === text)) return text
  throw new LitetopicError(
    'BAD_REQUEST',
    `${JSON.stringify(text)} is no origin: write one such as https://app.example.com, without a path, or *`,
  )
}

/** Is it of the broker's own address, whichever of http and https a proxy before it speaks? */
function isOf(origin: string, host: string | undefined): boolean {
  if (host === undefined || !URL.canParse(origin)) return false
  const { protocol, host: asking } = new URL(origin)
  const asked = `${protocol}//${host}`
  return URL.canParse(asked) && new URL(asked).host === asking
}

function denied(message: string, reason: 'host' | 'origin'): LitetopicError {
  return new LitetopicError('ACCESS_DENIED', message, { reason })
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}
