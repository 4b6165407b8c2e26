/**
 * Scoped tokens, such as a browser is given: who it is, what it may do and until when, signed with a secret of the broker. They are
 * checked without looking anything up.
 *
 *     ltt_ base64url(JSON) . base64url(HMAC-SHA256)
 */

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { checkId, checkPrefix, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { unauthenticated } from './identity.ts'
import { type GrantTable, type Right, rightNames, rightsOf } from './rights.ts'

const TOKEN = /^ltt_([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})$/
/** What the secret signs, so that it signs nothing else. */
const CONTEXT = 'litetopic token 1.'
const ID_BYTES = 9

export const DEFAULT_TOKEN_MS = 3_600_000

/** What a token is to be good for. */
export interface TokenRequest {
  /** A topic, or a prefix of whole segments: what lies below it is meant, too. */
  readonly topic: string
  readonly can: readonly Right[]
  /** Default 1 hour. */
  readonly forMs?: number
  /** Who has it, for the audit. Default `token`. */
  readonly as?: string
}

export interface Claims {
  readonly id: string
  readonly principal: string
  readonly grants: GrantTable
  readonly expiresMs: number
  /** Of the key that has issued it; null for who has the secret itself. */
  readonly keyId: string | null
}

/** Throws BAD_REQUEST or BAD_NAME. `issuer`: the principal that issues it, null for who has the secret itself. */
export function claimsOf(
  request: TokenRequest,
  issuer: { readonly principal: string; readonly keyId: string } | null,
  nowMs: number,
): Claims {
  const { topic, can, forMs = DEFAULT_TOKEN_MS, as = 'token' } = request
  const rights = rightsOf(can, 'can')
  if (rights === 0) throw new LitetopicError('BAD_REQUEST', 'can names no right: a token is for something')
  if (!Number.isSafeInteger(forMs) || forMs < 1 || forMs > LIMITS.accessTokenMaxMs) {
    const most = `${LIMITS.accessTokenMaxMs} ms (30 days)`
    throw new LitetopicError('BAD_REQUEST', `a token is for 1 to ${most}, not ${forMs}`)
  }
  checkId(as, 'principal')
  return {
    id: randomBytes(ID_BYTES).toString('base64url'),
    principal: issuer === null ? as : `${issuer.principal}/${as}`,
    grants: { [checkPrefix(topic)]: rightNames(rights) },
    expiresMs: nowMs + forMs,
    keyId: issuer?.keyId ?? null,
  }
}

/** What the audit log says of a token, which is not the token. */
export function tokenFacts({ id, principal, grants, expiresMs, keyId }: Claims): object {
  return { keyId, token: id, to: principal, grants, expiresAt: new Date(expiresMs).toISOString() }
}

export function signToken(claims: Claims, secret: Buffer): string {
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url')
  return `ltt_${payload}.${macOf(payload, secret).toString('base64url')}`
}

/** Has the text the form of such a token? */
export function isToken(text: string): boolean {
  return text.startsWith('ltt_')
}

/** Throws UNAUTHENTICATED for what was not signed with this secret. Whether it has expired is not asked. */
export function verifyToken(text: string, secret: Buffer): Claims {
  const [, payload = '', mac = ''] = TOKEN.exec(text) ?? []
  const given = Buffer.from(mac, 'base64url')
  const expected = macOf(payload, secret)
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw unauthenticated('wrong', 'the token was not issued by this broker, or not as it is')
  }
  return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims
}

function macOf(payload: string, secret: Buffer): Buffer {
  return createHmac('sha256', secret)
    .update(CONTEXT + payload)
    .digest()
}
