/** Receivers of webhooks on a real socket, and Durable Streams subscriptions as a worker sees them. */

import { createPublicKey, type JsonWebKey, verify } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect } from 'vitest'
import type { BrokerOptions } from '../../broker/index.ts'
import { UP } from '../../protocol/index.ts'
import type { MemoryDisk } from '../../storage/index.ts'
import { afterwards, message, TestBroker } from '../broker/brokers.ts'
import type { Peer } from '../broker/peer.ts'
import { eventually, turn, type VirtualClock } from '../broker/virtual-clock.ts'
import { HttpBroker } from './http.ts'

export interface StreamBody {
  readonly path: string
  readonly link_type: string
  readonly acked_offset: string
  readonly tail_offset: string
  readonly has_pending: boolean
}

export interface WakeBody {
  readonly subscription_id: string
  readonly wake_id: string
  readonly generation: number
  readonly streams: readonly StreamBody[]
  readonly callback_url: string
  readonly callback_token: string
}

export interface Call {
  readonly body: WakeBody
  readonly raw: string
  readonly headers: IncomingHttpHeaders
  readonly path: string
}

/** What a receiver answers: a status, JSON with status 200, or whatever it does with the response. */
export type Answer = number | object | ((response: ServerResponse) => void)

/** A receiver of webhooks on 127.0.0.1. */
export class Receiver {
  readonly calls: Call[] = []
  answer: Answer = {}
  url = ''

  static async open(answer: Answer = {}): Promise<Receiver> {
    const receiver = new Receiver()
    receiver.answer = answer
    const server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const raw = Buffer.concat(chunks).toString()
        receiver.calls.push({
          body: JSON.parse(raw) as WakeBody,
          raw,
          headers: request.headers,
          path: request.url ?? '',
        })
        const { answer: given } = receiver
        if (typeof given === 'function') given(response)
        else if (typeof given === 'number') response.writeHead(given, { location: 'http://127.0.0.1:1/' }).end()
        else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(given))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
    afterwards(async () => {
      server.closeAllConnections()
      server.close()
    })
    return receiver
  }

  /** The call of that number, from 1 on, once it has come. */
  async call(number: number): Promise<Call> {
    await eventually(() => this.calls.length >= number)
    return this.calls[number - 1] as Call
  }
}

/** A broker that may call 127.0.0.1, with a peer that appends. */
export class Rig {
  http: HttpBroker
  private peer: Peer | null = null
  private handles = 0
  private readonly sequences = new Map<string, { handle: number; sequence: number }>()

  private constructor(http: HttpBroker) {
    this.http = http
  }

  static async start(options: BrokerOptions = {}, disk?: MemoryDisk): Promise<Rig> {
    const test = await TestBroker.start({ webhookHosts: ['127.0.0.1'], ...options }, disk)
    return new Rig(new HttpBroker(test))
  }

  get clock(): VirtualClock {
    return this.http.test.clock
  }

  /** Ends it as if it had been killed, and starts another one on what it had stored. */
  async kill(options: BrokerOptions = {}): Promise<void> {
    const before = this.http.test
    this.http = new HttpBroker(await before.kill({ webhookHosts: ['127.0.0.1'], ...options }))
    await before.broker.close()
    this.reconnect()
  }

  /** Appends by a new connection. */
  reconnect(): void {
    this.peer = null
    this.sequences.clear()
  }

  /** Appends a message by WebSocket, and creates the topic. */
  async append(topic: string, value = 'x'): Promise<void> {
    this.peer ??= await this.http.test.peer()
    let place = this.sequences.get(topic)
    if (place === undefined) {
      place = { handle: this.handles++, sequence: 0 }
      this.sequences.set(topic, place)
      // By another name after each start, since this one begins anew.
      await this.peer.ask(UP.attach, place.handle, topic, { producer: `p${Math.random()}` })
    }
    await this.peer.append({ handle: place.handle, sequence: place.sequence++ }, message(value))
  }

  async create(topic: string): Promise<void> {
    const peer = await this.http.test.peer()
    await peer.attach(topic, { producer: 'creator' })
  }

  async fork(topic: string, as: string): Promise<void> {
    this.peer ??= await this.http.test.peer()
    await this.peer.ask(UP.fork, topic, as, {})
  }

  async delete(topic: string): Promise<void> {
    this.peer ??= await this.http.test.peer()
    await this.peer.ask(UP.delete, topic, null)
    this.sequences.delete(topic)
  }

  put(id: string, body: object): Promise<Response> {
    return this.send('PUT', id, body)
  }

  /** Makes one that calls the receiver. */
  async webhook(id: string, receiver: Receiver, more: object = { pattern: 'events/*' }): Promise<void> {
    const response = await this.put(id, { type: 'webhook', webhook: { url: receiver.url }, ...more })
    expect(`${response.status} ${response.status === 201 ? '' : await response.text()}`).toBe('201 ')
  }

  /** Makes one whose wakes are in the topic `wake/pool`. */
  async pull(id: string, more: object = { pattern: 'events/*' }): Promise<void> {
    await this.create('wake/pool')
    const response = await this.put(id, { type: 'pull-wake', wake_stream: 'wake/pool', ...more })
    expect(response.status).toBe(201)
  }

  /** Asks, and holds the answer against /openapi.json. */
  async send(method: string, path: string, body?: object | string, token?: string): Promise<Response> {
    const response = await this.ask(method, path, body, token)
    await checkAnswer(this.http, method, path, response.clone())
    return response
  }

  private ask(method: string, path: string, body?: object | string, token?: string): Promise<Response> {
    return this.http.fetch(`/v1/stream/__ds/subscriptions/${path}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
  }

  /** Status and code of what is refused. */
  async refused(method: string, path: string, body?: object | string, token?: string): Promise<string> {
    const response = await this.send(method, path, body, token)
    const { error } = (await response.json()) as { error: { code: string } }
    return `${response.status} ${error.code}`
  }

  async get(id: string): Promise<{ status: string; streams: StreamBody[] } & Record<string, unknown>> {
    return this.http.json(`/v1/stream/__ds/subscriptions/${id}`)
  }

  /** Calls back about a wake. */
  async callback({ body }: Call, more: object): Promise<string> {
    const { subscription_id: id, wake_id, generation, callback_token } = body
    const response = await this.send('POST', `${id}/callback`, { wake_id, generation, ...more }, callback_token)
    return `${response.status} ${await response.text()}`
  }

  /** What is in the wake stream. */
  wakes(): Promise<Record<string, unknown>[]> {
    return this.http.json('/v1/stream/wake/pool')
  }

  /** Turns of the loop in which whatever was about to happen has happened. */
  async settle(): Promise<void> {
    for (let turns = 0; turns < 100; turns++) await turn()
  }
}

const ajv = new Ajv2020({ strict: false })
let operations: Promise<Record<string, Record<string, { responses: Record<string, Described> }>>> | null = null

interface Described {
  readonly content?: Readonly<Record<string, { readonly schema: object }>>
}

/** Is the answer one that the document has for the operation? Those of paths that there are none of are not in it. */
async function checkAnswer(http: HttpBroker, method: string, path: string, response: Response): Promise<void> {
  operations ??= http
    .json<{ paths: Awaited<NonNullable<typeof operations>> }>('/openapi.json')
    .then(({ paths }) => paths)
  const [, verb = '', rest = ''] = path.split('?')[0]?.split('/') ?? []
  const url = ['/v1/stream/__ds/subscriptions/{id}', verb, rest && '{name}'].filter((part) => part !== '').join('/')
  const operation = (await operations)[url]?.[method.toLowerCase()]
  if (operation === undefined) return
  const described = operation.responses[response.status]
  expect(described, `${method} ${url} may answer ${response.status}`).toBeDefined()
  if (response.status === 204) return
  const [type = ''] = response.headers.get('content-type')?.split(';') ?? []
  const schema = described?.content?.[type]?.schema
  expect(schema, `${method} ${url} may answer ${response.status} with ${type}`).toBeDefined()
  const validate = ajv.compile(schema as object)
  expect(validate(await response.json()), ajv.errorsText(validate.errors)).toBe(true)
}

export const done = (call: Call): object => ({
  acks: call.body.streams.map(({ path, tail_offset }) => ({ stream: path, offset: tail_offset })),
  done: true,
})

/** Is the call signed by a key that the broker tells of? */
export async function isSigned(http: HttpBroker, { raw, headers }: Call): Promise<boolean> {
  const signature = String(headers['webhook-signature'])
  const [, timestamp, kid, signed = ''] = /^t=(\d+),kid=([^,]+),ed25519=([\w-]+)$/.exec(signature) ?? []
  const { keys } = await http.json<{ keys: (JsonWebKey & { kid: string })[] }>('/v1/stream/__ds/jwks.json')
  const key = keys.find((candidate) => candidate.kid === kid)
  if (key === undefined) return false
  const publicKey = createPublicKey({ key, format: 'jwk' })
  return verify(null, Buffer.from(`${timestamp}.${raw}`), publicKey, Buffer.from(signed, 'base64url'))
}
