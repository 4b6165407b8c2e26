/**
 * What wakes are signed with: an Ed25519 key, whose public half receivers of webhooks fetch, and a key for the tokens of wakes.
 * Both are made once and kept in the store, so that what was signed before a restart is valid behind it.
 */

import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  timingSafeEqual,
} from 'node:crypto'
import { LIMITS, LitetopicError, pack, unpack } from '../../protocol/index.ts'
import { readSecrets, type Store, writeSecrets } from '../../storage/index.ts'

const FORMAT = 1
const TOKEN_KEY_BYTES = 32

/** A public key, as RFC 7517 writes it. */
export interface PublicKey {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly x: string
  readonly kid: string
  readonly use: 'sig'
  readonly alg: 'EdDSA'
}

/** What a token is for. */
export interface TokenScope {
  /** Of the subscription. */
  readonly id: string
  readonly wakeId: string
  readonly generation: number
}

type Claims = readonly [id: string, wakeId: string, generation: number, expiresMs: number]

export class Secrets {
  readonly publicKey: PublicKey
  private readonly privateKey: KeyObject
  private readonly tokenKey: Uint8Array

  private constructor(privateKey: KeyObject, tokenKey: Uint8Array) {
    this.privateKey = privateKey
    this.tokenKey = tokenKey
    const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
    const thumbprint = createHash('sha256').update(JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x }))
    this.publicKey = {
      kty: 'OKP',
      crv: 'Ed25519',
      x,
      kid: `ds_${thumbprint.digest('base64url')}`,
      use: 'sig',
      alg: 'EdDSA',
    }
  }

  /** Those of the store; makes them where there are none. Rejects with STORE_CORRUPT or STORE_UNAVAILABLE. */
  static async open({ table }: Store): Promise<Secrets> {
    const stored = await readSecrets(table)
    if (stored !== null) {
      const [, der, tokenKey] = unpack(stored) as [number, Uint8Array, Uint8Array]
      return new Secrets(createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' }), tokenKey)
    }
    const { privateKey } = generateKeyPairSync('ed25519')
    const tokenKey = randomBytes(TOKEN_KEY_BYTES)
    await writeSecrets(table, pack([FORMAT, privateKey.export({ format: 'der', type: 'pkcs8' }), tokenKey]))
    return new Secrets(privateKey, tokenKey)
  }

  /** The `Webhook-Signature` of a body that is sent now. */
  signature(body: string, wallMs: number): string {
    const timestamp = Math.floor(wallMs / 1000)
    const signed = sign(null, Buffer.from(`${timestamp}.${body}`), this.privateKey)
    return `t=${timestamp},kid=${this.publicKey.kid},ed25519=${signed.toString('base64url')}`
  }

  /** A token for one wake. */
  token({ id, wakeId, generation }: TokenScope, wallMs: number): string {
    const claims: Claims = [id, wakeId, generation, wallMs + LIMITS.wakeTokenMs]
    const payload = Buffer.from(JSON.stringify(claims)).toString('base64url')
    return `${payload}.${this.mac(payload).toString('base64url')}`
  }

  /** What a token is for, whatever has become of that. Throws TOKEN_INVALID or TOKEN_EXPIRED. */
  open(token: string, wallMs: number): TokenScope {
    const [payload = '', mac = ''] = token.split('.', 2)
    const given = Buffer.from(mac, 'base64url')
    const expected = this.mac(payload)
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw invalidToken()
    const [id, wakeId, generation, expiresMs] = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims
    if (wallMs > expiresMs) throw new LitetopicError('TOKEN_EXPIRED', 'the token of this wake has expired')
    return { id, wakeId, generation }
  }

  private mac(payload: string): Buffer {
    return createHmac('sha256', this.tokenKey).update(payload).digest()
  }
}

export function invalidToken(): LitetopicError {
  return new LitetopicError('TOKEN_INVALID', 'the bearer token is missing, or is not one of this subscription')
}
