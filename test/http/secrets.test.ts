/** What a client shows to be let in never comes back: not in an answer of any route, not in what is logged, not in the metrics. About 1 s. */

import { expect, it, vi } from 'vitest'
import { encodeFrame, FRAMES_TYPE, UP } from '../../protocol/index.ts'
import { accessOf, RIGHTS } from '../broker/access.ts'
import { TestBroker } from '../broker/brokers.ts'
import { HttpBroker } from './http.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

it('no key or token is in an answer, a log line or the metrics, whether it is good, wrong or where it does not belong', async () => {
  const printed: string[] = []
  const watch = (stream: NodeJS.WriteStream) =>
    vi.spyOn(stream, 'write').mockImplementation((text) => {
      printed.push(String(text))
      return true
    })
  const spies = [watch(process.stdout), watch(process.stderr)]
  const access = await accessOf({ admin: { '': RIGHTS }, reader: { t: ['read'] } })
  const test = await TestBroker.start({ accessFile: access.path, webhookHosts: ['127.0.0.1'] })
  test.token = access.keys.admin
  const http = new HttpBroker(test)
  const admin = await test.peer()
  const { token } = await admin.ask(UP.issueToken, { topic: 't', can: ['read'], as: 'ada' })
  const key = access.keys.admin as string
  const wrong = `${key.slice(0, -4)}AAAA`
  const changed = `${token.slice(0, -4)}AAAA`
  const jwt = `${btoa('{"alg":"none"}')}.${btoa('{"iss":"x"}')}.c2lnbmF0dXJl`.replaceAll('=', '')
  const secrets = [key, token, wrong, changed, jwt, access.keys.reader as string]
  const said: string[] = []
  const ask = async (path: string, init: RequestInit, shown: string) => {
    const headers = { ...(init.headers as object), authorization: `Bearer ${shown}` }
    // Each from an address of its own: wrong ones are limited.
    const from = { 'x-forwarded-for': `10.0.${said.length >> 8}.${said.length & 255}` }
    const response = await http.fetch(path, { ...init, headers: { ...headers, ...from } })
    const text = path === '/v1/connections' ? await first(response) : await response.text()
    said.push(`${[...response.headers].join('\n')}\n${text}`)
  }
  const subscription = { type: 'webhook', pattern: 't/*', webhook: { url: 'http://127.0.0.1:1/hook' } }
  const hello = encodeFrame([UP.hello, 1, {}])
  for (const shown of secrets) {
    const body = JSON.stringify({ token: shown, text: 1, type: shown })
    await ask('/v1/connections', { method: 'POST', headers: { 'content-type': FRAMES_TYPE }, body: hello }, shown)
    await ask('/v1/connections/none', { method: 'POST', headers: { 'content-type': FRAMES_TYPE }, body: hello }, shown)
    await ask('/v1/connections', { method: 'POST', headers: { 'content-type': FRAMES_TYPE }, body: '\xff' }, shown)
    const at = '/v1/stream/__ds/subscriptions/s'
    await ask(at, { method: 'PUT', headers: JSON_TYPE, body: JSON.stringify(subscription) }, shown)
    await ask(at, {}, shown)
    await ask(`${at}/claim`, { method: 'POST', headers: JSON_TYPE, body: '{"worker":"w"}' }, shown)
    await ask(`${at}/ack`, { method: 'POST', headers: JSON_TYPE, body: '{"wake_id":"w","generation":1}' }, shown)
    await ask('/v1/access-tokens', { method: 'POST', headers: JSON_TYPE, body: '{"topic":"t","can":["all"]}' }, shown)
    await ask('/v1/records/t', { method: 'POST', headers: JSON_TYPE, body: '[{]' }, shown)
    for (const path of ['/v1/broker', '/v1/sessions', '/v1/records/t', '/v1/stream/t', '/metrics', '/nothing'])
      await ask(path, {}, shown)
    // Where it does not belong it may be told of, but is no secret of the path.
    await ask(`/v1/sessions?token=${shown}`, {}, shown)
    await ask('/v1/fork/t', { method: 'POST', headers: JSON_TYPE, body }, shown)
  }
  await admin.ask(UP.delete, 't', null).catch(() => undefined)
  said.push(await test.broker.metrics())
  await test.broker.close()
  for (const spy of spies) spy.mockRestore()
  expect(said.length).toBe(secrets.length * 17 + 1)
  const all = [...said, ...test.log, ...printed]
  // The part that makes it one: ids of keys are told.
  for (const secret of secrets) expect(all.filter((text) => text.includes(secret.slice(-43, -4)))).toEqual([])
})

/** What is told first: the answer of a connection stays open. */
async function first(response: Response): Promise<string> {
  const reader = response.body?.getReader()
  const { value } = (await reader?.read()) ?? {}
  await reader?.cancel()
  return Buffer.from(value ?? []).toString('latin1')
}
