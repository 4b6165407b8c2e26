/** How the operations of Durable Streams subscriptions are driven; see drives.ts. */

import { eventually } from '../broker/virtual-clock.ts'
import type { Drive } from './drive.ts'
import type { HttpBroker } from './http.ts'
import { Receiver } from './webhooks.ts'

const CONTROL = '/v1/stream/__ds'
const ONE = `${CONTROL}/subscriptions/s`
const PATH = `${CONTROL}/subscriptions/{id}`

const sent = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
})

const PULLED = { type: 'pull-wake', pattern: 'd/*', wake_stream: 'wake/pool' }

async function subscribe(http: HttpBroker, body: object = PULLED): Promise<void> {
  await http.json(ONE, { method: 'PUT', ...sent(body) }, 201)
}

/** A stream that the subscription is of, with something pending. */
async function fill(http: HttpBroker): Promise<void> {
  const headers = { 'content-type': 'text/plain' }
  await http.fetch('/v1/stream/d/1', { method: 'PUT', headers })
  await http.fetch('/v1/stream/d/1', { method: 'POST', headers, body: 'hi' })
}

interface Wake {
  readonly wake_id: string
  readonly generation: number
}

/** A worker has claimed the wake: what it reports with, and as. */
async function claimed(http: HttpBroker): Promise<{ wake: Wake; authorization: string }> {
  await subscribe(http)
  await fill(http)
  let response: Response | null = null
  await eventually(async () => {
    response = await http.fetch(`${ONE}/claim`, { method: 'POST', ...sent({ worker: 'w' }) })
    return response.status === 200
  })
  const { token, wake_id, generation } = (await (response as unknown as Response).json()) as Wake & { token: string }
  return { wake: { wake_id, generation }, authorization: `Bearer ${token}` }
}

export const SUBSCRIPTION_DRIVES: Readonly<Record<string, Drive>> = {
  [`GET ${CONTROL}/jwks.json`]: (call) => call(`${CONTROL}/jwks.json`),
  [`PUT ${PATH}`]: async (call) => {
    await call(ONE, sent(PULLED))
    await call(ONE, sent(PULLED))
  },
  [`GET ${PATH}`]: async (call, http) => {
    await subscribe(http)
    await call(ONE)
  },
  [`DELETE ${PATH}`]: async (call, http) => {
    await subscribe(http)
    await call(ONE)
  },
  [`POST ${PATH}/streams`]: async (call, http) => {
    await subscribe(http)
    await call(`${ONE}/streams`, sent({ streams: ['m/1'] }))
  },
  [`DELETE ${PATH}/streams/{name}`]: async (call, http) => {
    await subscribe(http, { ...PULLED, streams: ['m/1'] })
    await call(`${ONE}/streams/m/1`)
  },
  [`POST ${PATH}/claim`]: async (call, http) => {
    await subscribe(http)
    await fill(http)
    await eventually(async () => (await call(`${ONE}/claim`, sent({ worker: 'w' }))).status === 200)
  },
  [`POST ${PATH}/ack`]: async (call, http) => {
    const { wake, authorization } = await claimed(http)
    await call(`${ONE}/ack`, sent({ ...wake, done: true }, { authorization }))
  },
  [`POST ${PATH}/release`]: async (call, http) => {
    const { wake, authorization } = await claimed(http)
    await call(`${ONE}/release`, sent(wake, { authorization }))
  },
  [`POST ${PATH}/callback`]: async (call, http) => {
    const receiver = await Receiver.open()
    await subscribe(http, { type: 'webhook', pattern: 'd/*', webhook: { url: receiver.url } })
    await fill(http)
    const { body } = await receiver.call(1)
    const { wake_id, generation, callback_token } = body
    await call(`${ONE}/callback`, sent({ wake_id, generation }, { authorization: `Bearer ${callback_token}` }))
  },
}
