/** Tokens that a key issues, and those that somebody else signs: what they grant, until when, and what is not taken for one. About 3 s. */

import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { exportJWK, SignJWT } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { signToken } from '../../broker/access/tokens.ts'
import type { BrokerOptions, JwtOptions } from '../../broker/index.ts'
import { connect } from '../../client/index.ts'
import { LIMITS, UP } from '../../protocol/index.ts'
import { accessOf, RIGHTS, type TestAccess } from './access.ts'
import { afterwards, message, TestBroker, tempDir } from './brokers.ts'
import { codeOf, type Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

const HOUR_MS = 3_600_000

async function start(options: BrokerOptions = {}): Promise<{ test: TestBroker; access: TestAccess; backend: Peer }> {
  const access = await accessOf({
    backend: { support: ['read', 'write', 'stop'], 'support/secret': [] },
    admin: { '': RIGHTS },
  })
  const test = await TestBroker.start({ accessFile: access.path, ...options })
  test.token = access.keys.admin
  const backend = await test.peer({ token: access.keys.backend })
  return { test, access, backend }
}

/** Why a token is not taken; null if it is. */
async function refusal(test: TestBroker, token: string): Promise<unknown> {
  const peer = await test.peer({ hello: false })
  peer.send([UP.hello, 1, { token }])
  await peer.until(() => peer.welcome !== null || peer.closeCode !== null)
  return peer.welcome !== null ? null : (peer.errors[0]?.details.reason ?? peer.errors[0]?.code)
}

/** Of the records of a topic, over HTTP. */
async function principalsOf({ broker }: TestBroker, topic: string, token: string): Promise<unknown[]> {
  const url = `http://127.0.0.1:${broker.port}/v1/records/${topic}?raw=true`
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
  const { records } = (await response.json()) as { records: { principal?: string }[] }
  return records.map(({ principal }) => principal)
}

describe('a token that a key issues', () => {
  test('grants what it says on the topic and below it, and its records say whose they are', async () => {
    const { test, backend } = await start()
    const asked = { topic: 'support/42', can: ['read', 'write'], as: 'ada' } as const
    const { token, principal, expiresAtMs } = await backend.ask(UP.issueToken, { ...asked, can: [...asked.can] })
    expect([principal, expiresAtMs - test.clock.wallMs()]).toEqual(['backend/ada', HOUR_MS])
    const peer = await test.peer({ token })
    await peer.attach('support/42/retry', {}, 1)
    await peer.attach('support/42', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('x'))
    const codes = [
      peer.attach('support/43', {}, 2),
      peer.ask(UP.stop, 0, null, {}),
      peer.ask(UP.delete, 'support/42', null),
    ]
    expect(await Promise.all(codes.map(codeOf))).toEqual(Array(3).fill('ACCESS_DENIED'))
    expect(await principalsOf(test, 'support/42', token)).toEqual(['backend/ada'])
  })

  test('is for no more than the key has, and never for ever; a token issues none', async () => {
    const { test, backend } = await start()
    const ask = (options: object, peer = backend) =>
      codeOf(peer.ask(UP.issueToken, { topic: 'support/1', can: ['read'], ...options }))
    expect(await ask({})).toBe('ok')
    for (const options of [{ can: ['read', 'manage'] }, { topic: 'other' }, { topic: '' }, { topic: 'support' }]) {
      expect([options, await ask(options)]).toEqual([options, 'ACCESS_DENIED'])
    }
    for (const options of [{ forMs: 0 }, { forMs: LIMITS.accessTokenMaxMs + 1 }, { can: [] }]) {
      expect([options, await ask(options)]).toEqual([options, 'BAD_REQUEST'])
    }
    expect(await ask({ topic: 'a b' })).toBe('BAD_NAME')
    const { token } = await backend.ask(UP.issueToken, { topic: 'support/1', can: ['read'] })
    expect(await ask({}, await test.peer({ token }))).toBe('ACCESS_DENIED')
    const open = await TestBroker.start()
    expect(await ask({}, await open.peer())).toBe('BAD_REQUEST')
  })

  test('ends the connection with a typed error when it expires, and is not taken any more; a new one before that goes on', async () => {
    const { test, backend } = await start()
    const issue = (forMs: number, as?: string) =>
      backend.ask(UP.issueToken, { topic: 'support/1', can: ['read', 'write'], forMs, as })
    const { token } = await issue(60_000)
    const [ends, goesOn] = [await test.peer({ token }), await test.peer({ token })]
    for (const peer of [ends, goesOn]) await peer.attach('support/1', { producer: 'p' })
    await test.clock.advance(59_000)
    await goesOn.ask(UP.token, (await issue(LIMITS.accessTokenMaxMs)).token)
    expect(await codeOf(goesOn.ask(UP.token, (await issue(1000, 'somebody else')).token))).toBe('ACCESS_DENIED')
    expect(ends.closeCode).toBe(null)
    await test.clock.advance(1000)
    expect(await ends.closedBy()).toMatchObject({ code: 'UNAUTHENTICATED', details: { reason: 'expired' } })
    expect(ends.closeCode).toBe(1008)
    expect(await refusal(test, token)).toBe('expired')
    expect(await goesOn.ask(UP.describe, 'support/1')).toMatchObject({ name: 'support/1' })
  })

  test('is also given by whoever runs the broker in a process, to anybody', async () => {
    const { test } = await start()
    const { token, principal } = test.broker.issueToken({ topic: 'other', can: ['write'], as: 'eve' })
    const peer = await test.peer({ token })
    expect([principal, (await peer.attach('other')).created]).toEqual(['eve', true])
    const open = await TestBroker.start()
    expect(() => open.broker.issueToken({ topic: 'x', can: ['read'] })).toThrow(/key create/)
  })

  test('is over with the key that issued it', async () => {
    const { test, access, backend } = await start()
    const issued = await backend.ask(UP.issueToken, { topic: 'support/1', can: ['write'] })
    const peer = await test.peer({ token: issued.token })
    await access.revoke('backend')
    await test.broker.reload()
    expect(await peer.closedBy()).toMatchObject({ code: 'UNAUTHENTICATED', details: { reason: 'revoked' } })
    expect(await refusal(test, issued.token)).toBe('revoked')
  })

  test('that is shown anew takes away what it does not grant, also what is being read', async () => {
    const { test, backend } = await start()
    const issue = async (can: ('read' | 'write')[]) =>
      (await backend.ask(UP.issueToken, { topic: 'support/1', can })).token
    const peer = await test.peer({ token: await issue(['read', 'write']) })
    await peer.attach('support/1', { producer: 'p' })
    const reading = await peer.read({ live: true })
    await peer.ask(UP.token, await issue(['write']))
    await eventually(() => reading.ended !== null)
    expect(reading.ended).toMatchObject({ code: 'ACCESS_DENIED' })
    expect(await peer.append({ sequence: 0 }, message('x'))).toBe(0)
    await peer.ask(UP.token, await issue(['read']))
    expect(await codeOf(peer.append({ sequence: 1 }, message('y')))).toBe('ACCESS_DENIED')
  })

  test('is not taken if anything in it was changed, or another secret has signed it', async () => {
    const { test, backend } = await start()
    const { token } = await backend.ask(UP.issueToken, { topic: 'support/1', can: ['read'] })
    const [payload = ''] = token.slice(4).split('.')
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const forged = [
      signToken({ ...claims, expiresMs: claims.expiresMs + 1 }, randomBytes(32)),
      token.replace(payload, Buffer.from(JSON.stringify({ ...claims, grants: { '': RIGHTS } })).toString('base64url')),
      `${token}A`,
      token.slice(0, -1),
      token.split('.')[0] ?? '',
      `ltt_${payload}.`,
      'ltt_.',
    ]
    for (const text of forged) expect([text, await refusal(test, text)]).toEqual([text, 'wrong'])
    expect(await refusal(test, token)).toBe(null)
  })
})

test('a client gets a token anew for each connection: one that expires is followed by the next, and nothing is lost', async () => {
  const { test, backend } = await start()
  let fetched = 0
  const token = async (): Promise<string> => {
    fetched++
    return (await backend.ask(UP.issueToken, { topic: 'support/1', can: ['read', 'write'], forMs: 60_000 })).token
  }
  const client = connect(test.broker.url, { token, reconnect: { minMs: 1, maxMs: 5 } })
  afterwards(() => client.close().catch(() => undefined))
  const session = await client.session<string>('support/1')
  await session.append('one')
  const read: unknown[] = []
  const reading = (async () => {
    for await (const record of session.records()) {
      if (record.kind === 'message') read.push(record.value)
      if (record.kind === 'message' && record.value === 'two') return
    }
  })()
  await test.clock.advance(60_000)
  await eventually(() => fetched === 2)
  await session.append('two')
  await reading
  expect([read, fetched]).toEqual([['one', 'two'], 2])
  const fixed = connect(test.broker.url, { token: await token() })
  await fixed.list()
  await test.clock.advance(60_000)
  await eventually(() => fixed.state === 'closed')
  await expect(fixed.list()).rejects.toMatchObject({ code: 'UNAUTHENTICATED', details: { reason: 'expired' } })
})

describe('a JWT', () => {
  const ISSUER = 'https://login.example'
  const secret = randomBytes(32)
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const other = generateKeyPairSync('ed25519')
  let directory: string
  beforeEach(async () => {
    directory = await tempDir()
  })

  const jwt = (facts: Partial<JwtOptions>): JwtOptions => ({
    ...{ name: 'login', issuer: ISSUER, audience: 'litetopic', algorithm: 'EdDSA' },
    ...facts,
  })

  async function file(name: string, content: string | Uint8Array): Promise<string> {
    const path = join(directory, name)
    await writeFile(path, content)
    return path
  }

  const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }) as string

  /** A token that is good, but for what is said. */
  function signed(
    test: TestBroker,
    facts: Record<string, unknown> = {},
    header: object = {},
    key: KeyObject | Uint8Array = privateKey,
  ) {
    const now = Math.floor(test.clock.wallMs() / 1000)
    const claims = {
      iss: ISSUER,
      aud: 'litetopic',
      sub: 'ada',
      exp: now + 60,
      litetopic: { 'u/ada': ['read', 'write'] },
      ...facts,
    }
    return new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', ...header }).sign(key)
  }

  test('is taken from who may sign it, with the rights of its claim, until it expires', async () => {
    const test = await TestBroker.start({ jwt: [jwt({ publicKeyFile: await file('key.pem', pem(publicKey)) })] })
    expect(test.broker.hasAccess).toBe(true)
    const peer = await test.peer({ hello: false })
    // What follows hello at once waits until it is known whose it is.
    peer.send([UP.hello, 1, { token: await signed(test) }])
    await peer.attach('u/ada', { producer: 'p' })
    expect(await codeOf(peer.attach('u/eve', {}, 1))).toBe('ACCESS_DENIED')
    await peer.append({ sequence: 0 }, message('x'))
    expect(await principalsOf(test, 'u/ada', await signed(test))).toEqual(['login/ada'])
    await test.clock.advance(66_000)
    expect(await peer.closedBy()).toMatchObject({ code: 'UNAUTHENTICATED', details: { reason: 'expired' } })
  })

  test('is refused for another signer, algorithm, issuer or audience, too late, too early, and without an end', async () => {
    const test = await TestBroker.start({ jwt: [jwt({ publicKeyFile: await file('key.pem', pem(publicKey)) })] })
    const now = Math.floor(test.clock.wallMs() / 1000)
    const none = (await signed(test)).split('.')
    const wrong = [
      await signed(test, {}, {}, other.privateKey),
      // The public key, which everybody has, as the secret of an HMAC.
      await signed(test, {}, { alg: 'HS256' }, Buffer.from(pem(publicKey))),
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${none[1]}.`,
      await signed(test, { iss: 'https://evil.example' }),
      await signed(test, { aud: 'other' }),
      await signed(test, { aud: undefined }),
      await signed(test, { exp: undefined }),
      await signed(test, { sub: undefined }),
      await signed(test, { nbf: now + 60 }),
      await signed(test, { litetopic: { 'u/ada': ['everything'] } }),
      await signed(test, { litetopic: undefined }),
    ]
    for (const [i, token] of wrong.entries()) expect([i, await refusal(test, token)]).toEqual([i, 'wrong'])
    expect(await refusal(test, await signed(test, { exp: now - 10 }))).toBe('expired')
    expect(await refusal(test, await signed(test))).toBe(null)
    const response = await fetch(`http://127.0.0.1:${test.broker.port}/v1/sessions/u/ada`, {
      headers: { authorization: `Bearer ${await signed(test)}` },
    })
    expect(response.status).toBe(404)
  })

  test('is verified with a secret, with a key set in a file or at a URL, and grants what the configuration says', async () => {
    const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'EdDSA' }
    const keys = JSON.stringify({ keys: [jwk] })
    let isUp = false
    const server = createServer((_request, response) => {
      response.writeHead(isUp ? 200 : 500, { 'content-type': 'application/json' }).end(keys)
    }).listen(0, '127.0.0.1')
    afterwards(async () => server.close())
    await new Promise((resolve) => server.once('listening', resolve))
    const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
    const test = await TestBroker.start({
      jwt: [
        jwt({
          algorithm: 'HS256',
          secretFile: await file('secret', secret),
          grants: { 'users/{sub}': ['read', 'write'] },
        }),
        jwt({ name: 'set', issuer: 'set', jwksFile: await file('jwks.json', keys) }),
        jwt({ name: 'url', issuer: 'url', jwksUrl }),
      ],
    })
    const peer = await test.peer({ token: await signed(test, {}, { alg: 'HS256' }, secret) })
    expect(await peer.attach('users/ada')).toMatchObject({ created: true })
    expect(await codeOf(peer.attach('u/ada', {}, 1))).toBe('ACCESS_DENIED')
    expect(await refusal(test, await signed(test, { iss: 'set' }, { kid: 'k1' }))).toBe(null)
    expect(await refusal(test, await signed(test, { iss: 'url' }, { kid: 'k1' }))).toBe('ACCESS_UNAVAILABLE')
    isUp = true
    expect(await refusal(test, await signed(test, { iss: 'url' }, { kid: 'k1' }))).toBe(null)
    expect(await refusal(test, await signed(test, { iss: 'url' }, { kid: 'k1' }, other.privateKey))).toBe('wrong')
  })

  test('of an issuer that is configured wrongly keeps the broker from starting, in one line that says what to do', async () => {
    const short = await file('short', 'secret')
    const broken = await file('broken.json', '{"keys": 1}')
    const told = [
      [{ algorithm: 'none' as 'HS256' }, /algorithm must be one of HS256, EdDSA/],
      [{}, /exactly one of secretFile/],
      [{ algorithm: 'HS256', publicKeyFile: short }, /secretFile/],
      [{ algorithm: 'HS256', secretFile: short }, /at least 32 bytes/],
      [{ publicKeyFile: short }, /no public key in PEM/],
      [{ jwksFile: broken }, /no JSON Web Key Set/],
      [{ jwksFile: join(directory, 'none') }, /ENOENT/],
      [{ jwksUrl: 'http://login.example/keys' }, /https/],
      [{ audience: '' }, /audience/],
      [{ name: 'a/b' }, /name must be/],
    ] as const
    for (const [facts, message] of told) {
      const error = await TestBroker.start({ jwt: [jwt(facts)] }).catch((refused: unknown) => refused)
      expect(error).toMatchObject({ code: 'BAD_REQUEST', message: expect.stringMatching(message) })
      expect((error as Error).message).not.toContain('\n')
    }
    const one = jwt({ publicKeyFile: await file('key.pem', pem(createPublicKey(privateKey))) })
    await expect(TestBroker.start({ jwt: [one, one] })).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  })
})
