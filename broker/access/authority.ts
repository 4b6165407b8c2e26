/**
 * Who may come in: turns what a client shows into who it is. Without keys everybody may do everything; from the moment there is an
 * access file, nobody without a token may do anything, also when its last key is revoked.
 */

import { timingSafeEqual } from 'node:crypto'
import { isLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Client } from '../client.ts'
import type { Clock } from '../clock.ts'
import { type AccessFile, hashOf, keyIdOf, readAccessFile } from './access-file.ts'
import { Attempts } from './attempts.ts'
import type { Audit } from './audit.ts'
import { everybody, expired, Identity, unauthenticated } from './identity.ts'
import { isJwt, issuerOf, JwtIssuer, type JwtOptions } from './jwt.ts'
import { grantsOf, rightsOf } from './rights.ts'
import { claimsOf, isToken, signToken, type TokenRequest, tokenFacts, verifyToken } from './tokens.ts'

interface Key {
  readonly sha256: string
  readonly identity: Identity
}

export interface IssuedToken {
  readonly token: string
  readonly principal: string
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number
}

export class Authority {
  private readonly clock: Clock
  private readonly path: string | null
  private readonly attempts: Attempts
  private readonly audit: Audit | null
  /** Null while access is not configured. */
  private open: Identity | null = everybody()
  private keys = new Map<string, Key>()
  private secret: Buffer | null = null
  private hasStarted = false
  /** By what they call themselves. */
  private readonly issuers: ReadonlyMap<string, JwtIssuer>

  private constructor(path: string | null, issuers: readonly JwtIssuer[], clock: Clock, audit: Audit | null) {
    this.path = path
    this.issuers = new Map(issuers.map((one) => [one.issuer, one]))
    if (issuers.length > 0) this.open = null
    this.clock = clock
    this.attempts = new Attempts(clock)
    this.audit = audit
  }

  /** `path`: of the access file, which need not be there; null for none. `jwt`: whose tokens are taken, too. Rejects with BAD_REQUEST. */
  static async open(
    path: string | null,
    clock: Clock,
    jwt: readonly JwtOptions[] = [],
    audit: Audit | null = null,
  ): Promise<Authority> {
    const issuers = await Promise.all(jwt.map((options) => JwtIssuer.open(options, clock)))
    const names = new Set(jwt.flatMap(({ name, issuer }) => [`name ${name}`, `issuer ${issuer}`]))
    if (names.size < jwt.length * 2) {
      throw new LitetopicError('BAD_REQUEST', 'jwt has two entries of one name or issuer: give each its own')
    }
    const authority = new Authority(path, issuers, clock, audit)
    await authority.reload()
    return authority
  }

  /** Is anybody kept out? */
  get isConfigured(): boolean {
    return this.open === null
  }

  /** Reads the file again. What was revoked is over at once. Rejects with BAD_REQUEST, and leaves everything as it was. */
  async reload(): Promise<void> {
    const file = this.path === null ? null : await readAccessFile(this.path)
    // One that was removed while the broker runs opens nothing.
    if (file !== null) this.use(file)
    this.hasStarted = true
  }

  /**
   * Who shows this token. Throws, or rejects with, UNAUTHENTICATED, RATE_LIMITED after too many wrong ones from that address, or
   * ACCESS_UNAVAILABLE. At once, unless it is a JWT.
   */
  identify(token: string | undefined, address: string): Identity | Promise<Identity> {
    if (this.open !== null) return this.open
    this.attempts.check(address)
    const failed = (error: unknown): never => {
      const { reason } = isLitetopicError(error) ? error.details : {}
      if (this.attempts.refused(address)) this.audit?.note('refuse', { address, reason: reason ?? null })
      if (reason === 'wrong' || reason === 'revoked') this.attempts.failed(address)
      throw error
    }
    try {
      const found = this.resolve(token)
      return found instanceof Promise ? found.catch(failed) : found
    } catch (error) {
      return failed(error)
    }
  }

  /**
   * A token for who may do some of what the issuer may. Throws BAD_REQUEST where access is not configured, ACCESS_DENIED for
   * who has no API key or not these rights itself, BAD_REQUEST or BAD_NAME for what cannot be granted.
   */
  issue(client: Client, request: TokenRequest): IssuedToken {
    const issuer = client.identity
    if (issuer.over !== null) throw issuer.over
    const secret = this.secretToSign()
    const { principal, keyId } = issuer
    if (!issuer.issues || principal === undefined || keyId === null) {
      throw new LitetopicError('ACCESS_DENIED', 'tokens are issued for API keys only: use one')
    }
    const claims = claimsOf(request, { principal, keyId }, this.clock.wallMs())
    for (const [prefix, list] of Object.entries(claims.grants)) {
      if (issuer.grants.coversAll(prefix, rightsOf(list, 'can'))) continue
      const message = `${principal} has not all of ${list.join(', ')} on ${JSON.stringify(prefix)}, and cannot grant it`
      throw new LitetopicError('ACCESS_DENIED', message, { topic: prefix })
    }
    this.audit?.note('token', { principal, address: client.address, ...tokenFacts(claims) })
    return { token: signToken(claims, secret), principal: claims.principal, expiresAtMs: claims.expiresMs }
  }

  /** A token of whoever runs the broker, who may grant everything. Throws BAD_REQUEST or BAD_NAME. */
  grant(request: TokenRequest): IssuedToken {
    const secret = this.secretToSign()
    const claims = claimsOf(request, null, this.clock.wallMs())
    this.audit?.note('token', { principal: 'operator', ...tokenFacts(claims) })
    return { token: signToken(claims, secret), principal: claims.principal, expiresAtMs: claims.expiresMs }
  }

  private secretToSign(): Buffer {
    if (this.secret !== null) return this.secret
    throw new LitetopicError('BAD_REQUEST', 'access is not configured: make a key first, with "litetopic key create"')
  }

  private resolve(token: string | undefined): Identity | Promise<Identity> {
    if (token === undefined || token === '') {
      throw unauthenticated('missing', 'this broker asks for a token: give an API key, or a token that was issued')
    }
    if (Buffer.byteLength(token) > LIMITS.accessTokenBytes) throw wrongToken()
    const keyId = keyIdOf(token)
    if (keyId !== null) return this.ofKey(token, keyId)
    if (isToken(token) && this.secret !== null) return this.ofToken(token, this.secret)
    const issuer = this.issuers.size > 0 && isJwt(token) ? this.issuers.get(issuerOf(token) ?? '') : undefined
    if (issuer !== undefined) return issuer.identify(token)
    throw wrongToken()
  }

  private ofKey(token: string, id: string): Identity {
    const key = this.keys.get(id)
    const isRight = key !== undefined && timingSafeEqual(Buffer.from(key.sha256, 'hex'), hashOf(token))
    if (isRight) return key.identity
    throw wrongToken()
  }

  private ofToken(token: string, secret: Buffer): Identity {
    const { principal, grants, expiresMs, keyId } = verifyToken(token, secret)
    const issuer = keyId === null ? null : (this.keys.get(keyId)?.identity ?? null)
    if (keyId !== null && issuer === null) throw unauthenticated('revoked', 'the key that issued the token was revoked')
    if (expiresMs <= this.clock.wallMs()) throw expired()
    const facts = { principal, grants: grantsOf(grants, 'grants'), keyId, issues: false, expiresMs }
    return new Identity(facts, { clock: this.clock, issuer })
  }

  private use({ tokenSecret, keys }: AccessFile): void {
    const before = this.keys
    const isFirst = !this.hasStarted
    this.secret = Buffer.from(tokenSecret, 'base64url')
    this.keys = new Map()
    for (const { id, name, sha256, grants } of keys) {
      const facts = { principal: name, grants: grantsOf(grants, 'grants'), keyId: id, issues: true }
      const known = before.get(id)
      const isSame =
        known?.sha256 === sha256 && known.identity.principal === name && known.identity.grants.equals(facts.grants)
      const identity = isSame ? known.identity : new Identity({ ...facts, expiresMs: Number.POSITIVE_INFINITY })
      this.keys.set(id, { sha256, identity })
    }
    const revoked = unauthenticated('revoked', 'the API key was revoked or changed')
    for (const [id, { identity }] of before) {
      if (this.keys.get(id)?.identity === identity) continue
      this.audit?.note('revoke', { principal: identity.principal, keyId: id })
      identity.end(revoked)
    }
    // What was there at the start was told of when it was made.
    const added = isFirst ? [] : keys.filter(({ id }) => this.keys.get(id)?.identity !== before.get(id)?.identity)
    for (const { id, name, grants } of added) this.audit?.note('grant', { principal: name, keyId: id, grants })
    const { open } = this
    this.open = null
    open?.end(unauthenticated('missing', 'access was configured: come back with a token'))
  }
}

function wrongToken(): LitetopicError {
  return unauthenticated('wrong', 'the token is none of this broker: check that it is whole, and was not revoked')
}
