/** `litetopic token`: a token for a browser, signed with the secret in the data directory, or by a broker for who has a key. */

import { LitetopicError } from '../../protocol/index.ts'
import { readAccessFile } from '../access/access-file.ts'
import type { Right } from '../access/rights.ts'
import { claimsOf, signToken, type TokenRequest, tokenFacts } from '../access/tokens.ts'
import { accessFile, noteOffline } from './key.ts'
import { jsonLine, write } from './output.ts'
import { type RemoteOptions, withBroker } from './remote.ts'

export interface TokenOptions extends RemoteOptions {
  readonly topic: string
  readonly can: readonly Right[]
  /** In ms. */
  readonly for?: number
  readonly as?: string
  /** Of the broker. */
  readonly data?: string
  readonly json?: boolean
}

/** Prints a token. With `--url` the broker there issues it. Rejects with BAD_REQUEST, BAD_NAME or ACCESS_DENIED. */
export async function token(options: TokenOptions): Promise<void> {
  const { topic, can, for: forMs, as, url } = options
  const request = { topic, can, forMs, as }
  const issued =
    url === undefined ? await sign(request, options) : await withBroker(options, (broker) => broker.issueToken(request))
  await write(options.json ? jsonLine(issued) : `${issued.token}\n`)
  const until = new Date(issued.expiresAtMs).toISOString()
  console.error(`litetopic: a token for ${issued.principal} to ${can.join(', ')} ${topic}, until ${until}`)
}

async function sign(
  request: TokenRequest,
  { data }: TokenOptions,
): Promise<{ token: string; principal: string; expiresAtMs: number }> {
  const path = accessFile({ data })
  const file = await readAccessFile(path)
  if (file === null) {
    const advice = 'make a key with "litetopic key create", or name the data directory with --data'
    throw new LitetopicError('BAD_REQUEST', `no access is configured, there is no ${path}: ${advice}`)
  }
  const claims = claimsOf(request, null, Date.now())
  await noteOffline({ data }, 'token', { principal: 'operator', ...tokenFacts(claims) })
  const token = signToken(claims, Buffer.from(file.tokenSecret, 'base64url'))
  return { token, principal: claims.principal, expiresAtMs: claims.expiresMs }
}
