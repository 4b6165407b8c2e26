/** TLS with a real chain of certificates: WebSocket, HTTP and event streams over it, a renewed certificate, and wrong ones. About 2 s; needs openssl. */

import { execFileSync } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { Broker } from '../../broker/index.ts'
import { type ConnectOptions, connect } from '../../client/index.ts'
import { LIMITS } from '../../protocol/index.ts'
import { accessOf, RIGHTS } from '../broker/access.ts'
import { afterwards, TestBroker } from '../broker/brokers.ts'
import { VirtualClock } from '../broker/virtual-clock.ts'
import { Chain, type Leaf } from './certificates.ts'

let directory: string
let chain: Chain
let leaf: Leaf

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-tls-'))
  chain = await Chain.make(directory)
  leaf = await chain.leaf('first')
}, 60_000)
afterAll(() => rm(directory, { recursive: true, force: true }))

const start = ({ certFile: cert, keyFile: key }: Leaf, options = {}) =>
  TestBroker.start({ tls: { cert, key }, ...options })

/** A WebSocket that trusts the root, as the client library takes one. */
const webSocket: ConnectOptions['webSocket'] = (url, events) => {
  const socket = new WebSocket(url, 'litetopic.v1', { ca: chain.root, maxPayload: LIMITS.messageBytes })
  socket.on('open', () => events.opened())
  socket.on('message', (data: Buffer) => events.message(data))
  let reason = ''
  socket.on('error', (error) => {
    reason = error.message
  })
  socket.on('close', (code) => events.closed(reason || `closed with ${code}`))
  return {
    send: (message) => socket.send(message),
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    close: () => socket.close(1000),
    terminate: () => socket.terminate(),
  }
}

function get(
  { port }: Broker,
  path: string,
  headers: Record<string, string>,
  enough = '',
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, headers, ca: chain.root, agent: false }, (answer) => {
      let text = ''
      const done = (): void => {
        resolve({ status: answer.statusCode ?? 0, text })
        asked.destroy()
      }
      answer.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
        if (enough !== '' && text.includes(enough)) done()
      })
      answer.on('end', done)
    })
    asked.on('error', reject).end()
  })
}

/** The name of the certificate that new connections get. */
function certificate({ port }: Broker): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, ca: chain.root }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

describe('a broker with a certificate', () => {
  it('speaks WebSocket, HTTP and event streams over TLS, and nothing without', async () => {
    const access = await accessOf({ admin: { '': RIGHTS } })
    const { broker } = await start(leaf, { accessFile: access.path })
    expect(broker.url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+\/v1\/ws$/)
    const client = connect(broker.url, { webSocket, token: access.keys.admin })
    afterwards(() => client.close())
    const session = await client.session<string>('t')
    for (let i = 0; i < 3; i++) await session.append(`message ${i}`)
    const stream = await session.openStream('s')
    for (let i = 0; i < 200; i++) stream.write(`token ${i} `)
    await stream.end()
    const headers = { authorization: `Bearer ${access.keys.admin}` }
    const [records, events, missing] = await Promise.all([
      get(broker, '/v1/records/t', headers),
      get(broker, '/v1/events/t', headers, 'event: live'),
      get(broker, '/v1/records/t', {}),
    ])
    expect([records.status, events.status, missing.status]).toEqual([200, 200, 401])
    for (const { text } of [records, events])
      for (const told of ['message 2', 'token 199 ']) expect(text).toContain(told)
    await expect(fetch(`http://127.0.0.1:${broker.port}/`)).rejects.toThrow()
    // Another request behind one that asks for an upgrade that nobody has.
    expect((await get(broker, '/', { connection: 'upgrade, http2-settings', upgrade: 'h2c' })).status).toBe(200)
  })

  it('gives new connections the one that was renewed, and those that there are stay; a wrong one changes nothing', async () => {
    const files = { certFile: join(directory, 'now.pem'), keyFile: join(directory, 'now.key') }
    const use = async ({ certFile, keyFile }: Leaf): Promise<void> => {
      await copyFile(certFile, files.certFile)
      await copyFile(keyFile, files.keyFile)
    }
    await use(leaf)
    const { broker } = await start(files)
    const client = connect(broker.url, { webSocket })
    afterwards(() => client.close())
    const session = await client.session<string>('t')
    expect(await certificate(broker)).toBe('litetopic first')
    await use(await chain.leaf('second'))
    await broker.reload()
    expect(await certificate(broker)).toBe('litetopic second')
    expect(await session.append('still here')).toMatchObject({ offset: 0 })
    await copyFile(leaf.keyFile, files.keyFile)
    await expect(broker.reload()).rejects.toMatchObject({ code: 'BAD_REQUEST' })
    expect(await certificate(broker)).toBe('litetopic second')
    expect([client.state, client.lastError]).toEqual(['open', null])
  })
})

it('what is wrong with certificate or key keeps it from starting, in one line that says what to do', async () => {
  const other = await chain.leaf('other')
  const expired = await chain.leaf('expired', 1)
  const text = join(directory, 'text.pem')
  await writeFile(text, 'no certificate')
  const locked = join(directory, 'locked.key')
  execFileSync('openssl', ['ec', '-aes256', '-passout', 'pass:x', '-in', leaf.keyFile, '-out', locked], {
    stdio: 'ignore',
  })
  const { certFile, keyFile } = leaf
  for (const [files, message] of [
    [{ certFile: join(directory, 'none.pem'), keyFile }, /none\.pem cannot be read \(ENOENT\)/],
    [{ certFile: text, keyFile }, /text\.pem has no certificate in PEM/],
    [{ certFile, keyFile: text }, /text\.pem has no private key/],
    [{ certFile, keyFile: locked }, /without a passphrase/],
    [{ certFile, keyFile: other.keyFile }, /belong together/],
    [{ ...expired }, /expired on .*: have it renewed/],
  ] as const) {
    const clock = /expired/.test(String(message)) ? { clock: new VirtualClock(Date.now() + 3 * 86_400_000) } : {}
    const error = await start(files, clock).catch((refused: unknown) => refused)
    expect(error).toMatchObject({ code: 'BAD_REQUEST', message: expect.stringMatching(message) })
    expect((error as Error).message).not.toContain('\n')
  }
})
