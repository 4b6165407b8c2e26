/**
 * JSON Web Tokens of somebody else, such as the service that users sign in with. The algorithm is pinned for each issuer, whatever a token
 * says of itself; issuer, audience, expiry and beginning are checked.
 */

import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  errors,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose'
import { checkId, isLitetopicError, LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import { isLoopback } from './address.ts'
import { expired, Identity, unauthenticated } from './identity.ts'
import { type GrantTable, grantsOf } from './rights.ts'

export const JWT_ALGORITHMS = ['HS256', 'EdDSA', 'ES256', 'RS256'] as const

/** Whose tokens are taken. Its keys are in exactly one of `secretFile`, `publicKeyFile`, `jwksFile` and `jwksUrl`. */
export interface JwtOptions {
  /** Principals are called `name/sub`. One segment of a topic name. */
  readonly name: string
  /** `iss` and `aud` that a token must have. */
  readonly issuer: string
  readonly audience: string
  readonly algorithm: (typeof JWT_ALGORITHMS)[number]
  /** For HS256: at least 32 bytes, as they are. */
  readonly secretFile?: string
  /** PEM. */
  readonly publicKeyFile?: string
  readonly jwksFile?: string
  /** https, or http on loopback. Fetched when it is needed first, and again for keys that are not in it. */
  readonly jwksUrl?: string
  /** What every token of it grants; `{sub}` stands for its subject. Default: what its claim `litetopic` says. */
  readonly grants?: GrantTable
}

/** For the verifier's clock to be off. */
const TOLERANCE_SECONDS = 5
const SECRET_BYTES = 32
const FETCH_MS = 5_000
const SOURCES = ['secretFile', 'publicKeyFile', 'jwksFile', 'jwksUrl'] as const

type Keys = KeyObject | JWTVerifyGetKey

export class JwtIssuer {
  readonly issuer: string
  private readonly options: JwtOptions
  private readonly keys: Keys
  private readonly clock: Clock

  private constructor(options: JwtOptions, keys: Keys, clock: Clock) {
    this.issuer = options.issuer
    this.options = options
    this.keys = keys
    this.clock = clock
  }

  /** Rejects with BAD_REQUEST, in one line that says what is wrong and how to mend it. */
  static async open(options: JwtOptions, clock: Clock): Promise<JwtIssuer> {
    checkOptions(options)
    return new JwtIssuer(options, await keysOf(options), clock)
  }

  /** Who has the token. Rejects with UNAUTHENTICATED, or ACCESS_UNAVAILABLE while its keys cannot be fetched. */
  async identify(token: string): Promise<Identity> {
    const { name, issuer, audience, algorithm, grants } = this.options
    const { clock } = this
    try {
      const { payload } = await jwtVerify(token, this.keys as KeyObject, {
        algorithms: [algorithm],
        issuer,
        audience,
        requiredClaims: ['sub', 'exp'],
        clockTolerance: TOLERANCE_SECONDS,
        currentDate: new Date(clock.wallMs()),
      })
      const sub = checkId(payload.sub ?? '', 'subject')
      const table = grants === undefined ? payload.litetopic : grantedTo(grants, sub)
      const expiresMs = ((payload.exp ?? 0) + TOLERANCE_SECONDS) * 1000
      const facts = { principal: `${name}/${sub}`, grants: grantsOf(table, 'the claim litetopic'), expiresMs }
      return new Identity({ ...facts, keyId: null, issues: false }, { clock, issuer: null })
    } catch (error) {
      throw this.refusalOf(error)
    }
  }

  private refusalOf(error: unknown): LitetopicError {
    const { name } = this.options
    if (error instanceof errors.JWTExpired) return expired()
    const isOfToken =
      isLitetopicError(error) ||
      (error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout) && error.code !== 'ERR_JOSE_GENERIC')
    const message = (error as Error).message
    if (isOfToken) return unauthenticated('wrong', `the token of ${name} is not taken: ${message}`)
    return new LitetopicError('ACCESS_UNAVAILABLE', `the keys of ${name} cannot be fetched: ${message}`, {}, error)
  }
}

/** Has the text the form of a JWT? */
export function isJwt(text: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text)
}

/** The issuer that a token names, which is not verified; null if it names none. */
export function issuerOf(token: string): string | null {
  try {
    return decodeJwt(token).iss ?? null
  } catch {
    return null
  }
}

function grantedTo(grants: GrantTable, sub: string): GrantTable {
  return Object.fromEntries(Object.entries(grants).map(([prefix, rights]) => [prefix.replaceAll('{sub}', sub), rights]))
}

function checkOptions(options: JwtOptions): void {
  const { name, issuer, audience, algorithm, grants, jwksUrl } = options
  if (typeof name !== 'string' || !/^[A-Za-z0-9._~:@-]{1,64}$/.test(name)) {
    throw wrong('?', 'name must be 1–64 characters of [A-Za-z0-9._~:@-]')
  }
  if (!issuer || !audience) throw wrong(name, 'issuer and audience must say which iss and aud its tokens have')
  if (!JWT_ALGORITHMS.includes(algorithm)) throw wrong(name, `algorithm must be one of ${JWT_ALGORITHMS.join(', ')}`)
  const given = SOURCES.filter((source) => options[source] !== undefined)
  if (given.length !== 1) throw wrong(name, `its keys are in exactly one of ${SOURCES.join(', ')}`)
  if ((algorithm === 'HS256') !== (given[0] === 'secretFile')) {
    throw wrong(name, 'HS256 has its secret in secretFile, and nothing else has')
  }
  if (grants !== undefined) grantsOf(grantedTo(grants, 'sub'), `jwt ${name}: grants`)
  if (jwksUrl === undefined) return
  const url = URL.canParse(jwksUrl) ? new URL(jwksUrl) : null
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))
  if (!isSafe) throw wrong(name, 'jwksUrl must be an https url')
}

async function keysOf({ name, secretFile, publicKeyFile, jwksFile, jwksUrl }: JwtOptions): Promise<Keys> {
  if (jwksUrl !== undefined) return createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: FETCH_MS })
  const path = secretFile ?? publicKeyFile ?? jwksFile ?? ''
  const content = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw wrong(name, `${path} cannot be read (${cause.code})`, cause)
  })
  if (secretFile !== undefined) {
    if (content.length < SECRET_BYTES)
      throw wrong(name, `the secret in ${path} must have at least ${SECRET_BYTES} bytes`)
    return createSecretKey(content)
  }
  try {
    if (publicKeyFile !== undefined) return createPublicKey(content)
    return createLocalJWKSet(JSON.parse(content.toString()) as JSONWebKeySet)
  } catch (cause) {
    const what = publicKeyFile === undefined ? 'no JSON Web Key Set' : 'no public key in PEM'
    throw wrong(name, `${path} has ${what}`, cause)
  }
}

function wrong(name: string, what: string, cause?: unknown): LitetopicError {
  return new LitetopicError('BAD_REQUEST', `jwt ${name}: ${what}`, { name }, cause)
}
