/**
 * How each operation of /openapi.json is driven against a real broker. An operation that is not here fails the test of the document:
 * who adds a route adds its drive. `call` is for the operation itself: each of its answers is held against the document, and all
 * answers that are no errors must come.
 */

import { UP } from '../../protocol/index.ts'
import type { Drive } from './drive.ts'
import type { HttpBroker } from './http.ts'
import { SUBSCRIPTION_DRIVES } from './subscription-drives.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const put = (body?: unknown): RequestInit => ({ method: 'PUT', ...bodyOf(body) })
const post = (body?: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  ...bodyOf(body, headers),
})

function bodyOf(body: unknown, headers: Record<string, string> = {}): RequestInit {
  return body === undefined ? { headers } : { headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body) }
}

/** Numbers of a producer. */
const numbered = (sequence: number, producer = 'p'): Record<string, string> => ({
  'producer-id': producer,
  'producer-epoch': '0',
  'producer-seq': `${sequence}`,
})

/** A session with one of everything: a message, context, a checkpoint, and a stream `s` that is open, with fence 3. */
async function fill(http: HttpBroker): Promise<void> {
  const records = [
    { json: { role: 'user' }, id: 'msg-1' },
    { kind: 'context', op: 'set', name: 'plan', json: ['look'] },
    { kind: 'checkpoint', name: 'begun', json: { step: 1 } },
  ]
  await http.json('/v1/records/a/b', post(records), 201)
  await http.json('/v1/streams/a/b', post({ streamId: 's' }, numbered(0)), 201)
  await http.json('/v1/tokens/a/b?stream=s&fence=3', post(['Hel', 'lo']), 201)
}

/** Asks twice: the second time with the entity tag of the first answer. */
const twice =
  (path: string): Drive =>
  async (call, http) => {
    await fill(http)
    const first = await call(path)
    await call(path, { headers: { 'if-none-match': first.headers.get('etag') ?? '' } })
  }

/** Appends with the numbers of a producer, and once more. */
const repeated =
  (path: string, init: (headers: Record<string, string>) => RequestInit): Drive =>
  async (call, http) => {
    await fill(http)
    await call(path, init(numbered(0, 'q')))
    await call(path, init(numbered(0, 'q')))
  }

/** A Durable Streams stream with an append, closed. */
async function fillStream(http: HttpBroker, path: string): Promise<void> {
  const headers = { 'content-type': 'text/plain' }
  await http.fetch(path, { method: 'PUT', headers })
  await http.fetch(path, { method: 'POST', headers: { ...headers, 'stream-closed': 'true' }, body: 'hi' })
}

const text = (method: string, body: string) => (headers: Record<string, string>) => ({ method, headers, body })

export const DRIVES: Readonly<Record<string, Drive>> = {
  ...SUBSCRIPTION_DRIVES,
  'GET /openapi.json': (call) => call('/openapi.json'),
  'GET /problems/{code}': (call) => call('/problems/NOT_FOUND'),
  'GET /metrics': (call) => call('/metrics'),
  'GET /v1/events/{name}': async (call, http) => {
    await fill(http)
    const peer = await http.test.peer()
    await peer.attach('a/b', { producer: 'closer' })
    await peer.ask(UP.closeTopic, 0, 0, 0, {})
    await call('/v1/events/a/b')
    await call('/v1/events/a/b', { headers: { 'last-event-id': 'end' } })
  },
  'GET /v1/broker': (call) => call('/v1/broker'),
  'POST /v1/access-tokens': (call) =>
    call('/v1/access-tokens', post({ topic: 'a', can: ['read'], forMs: 1000, as: 'ada' })),
  'PUT /v1/stream/{name}': async (call) => {
    await call('/v1/stream/d', { headers: { 'content-type': 'text/plain' } })
    await call('/v1/stream/d', { headers: { 'content-type': 'text/plain' } })
  },
  'POST /v1/stream/{name}': async (call, http) => {
    const type = { 'content-type': 'text/plain' }
    await http.fetch('/v1/stream/d', { method: 'PUT', headers: type })
    await call('/v1/stream/d', { headers: type, body: 'a' })
    await call('/v1/stream/d', { headers: { ...type, ...numbered(0) }, body: 'b' })
  },
  'HEAD /v1/stream/{name}': async (call, http) => {
    await fillStream(http, '/v1/stream/d')
    await call('/v1/stream/d')
  },
  'GET /v1/stream/{name}': async (call, http) => {
    await fillStream(http, '/v1/stream/d')
    const first = await call('/v1/stream/d')
    await call('/v1/stream/d', { headers: { 'if-none-match': first.headers.get('etag') ?? '' } })
    await call('/v1/stream/d?live=long-poll&offset=now')
    await call('/v1/stream/d?live=sse&offset=-1')
  },
  'DELETE /v1/stream/{name}': async (call, http) => {
    await fillStream(http, '/v1/stream/d')
    await call('/v1/stream/d')
  },
  'GET /v1/sessions': async (call, http) => {
    await fill(http)
    await http.json('/v1/sessions/a/c', put(), 201)
    await call('/v1/sessions?prefix=a&limit=1')
  },
  'GET /v1/sessions/{name}': twice('/v1/sessions/a/b'),
  'PUT /v1/sessions/{name}': async (call) => {
    await call('/v1/sessions/a/b', put({ lingerMs: 'forever', maxRecords: null }))
    await call('/v1/sessions/a/b', put())
  },
  'PATCH /v1/sessions/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/sessions/a/b', { ...put({ lingerMs: 1000 }), method: 'PATCH' })
  },
  'DELETE /v1/sessions/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/sessions/a/b', { method: 'DELETE' })
  },
  'GET /v1/records/{name}': async (call, http) => {
    await twice('/v1/records/a/b')(call, http)
    for (const accept of ['application/x-ndjson', 'text/plain', 'application/vnd.litetopic.records']) {
      await call(`/v1/records/a/b?raw=true${accept === 'text/plain' ? '&stream=s' : ''}`, { headers: { accept } })
    }
  },
  'POST /v1/records/{name}': repeated('/v1/records/a/b', (headers) =>
    post([{ text: 'a' }, { base64: 'AA==' }], headers),
  ),
  'POST /v1/close/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/close/a/b', { method: 'POST' })
  },
  'POST /v1/fork/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/fork/a/b', post({ as: 'a/fork', at: { checkpoint: 'begun' }, policy: { lingerMs: 1000 } }))
    await call('/v1/fork/a/b', post({ as: 'a/fork', at: { checkpoint: 'begun' } }))
  },
  'GET /v1/attachment/{name}': async (call) => {
    const response = await call('/v1/attachment/a/b?create=true')
    await response.body?.cancel()
  },
  'DELETE /v1/attachment/{name}': async (call, http) => {
    await fill(http)
    const attached = await http.fetch('/v1/attachment/a/b?exclusive=true', { headers: { 'producer-id': 'x' } })
    await attached.body?.cancel()
    await call('/v1/attachment/a/b?topicFence=1', { method: 'DELETE', headers: { 'producer-id': 'x' } })
  },
  'POST /v1/trim/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/trim/a/b', post({ checkpoint: 'begun' }))
  },
  'GET /v1/context/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/context/a/b')
    await call('/v1/context/a/b?pieces=true')
    await call('/v1/context/a/b?entry=plan')
  },
  'PUT /v1/context/{name}': repeated('/v1/context/a/b?entry=plan', (headers) => ({
    ...post({ x: 1 }, headers),
    method: 'PUT',
  })),
  'POST /v1/context/{name}': repeated('/v1/context/a/b?entry=plan', text('POST', 'more')),
  'DELETE /v1/context/{name}': repeated('/v1/context/a/b?entry=plan', (headers) => ({ method: 'DELETE', headers })),
  'GET /v1/checkpoints/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/checkpoints/a/b')
  },
  'POST /v1/checkpoints/{name}': repeated('/v1/checkpoints/a/b?checkpoint=answered', (headers) =>
    post({ step: 2 }, headers),
  ),
  'GET /v1/resume/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/resume/a/b?checkpoint=')
  },
  'GET /v1/streams/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/streams/a/b')
    await call('/v1/streams/a/b?stream=s')
  },
  'POST /v1/streams/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/streams/a/b', post({ streamId: 't', mode: 'create', leaseMs: 5000 }, numbered(0, 'q')))
    await call('/v1/streams/a/b', post({ streamId: 's' }, numbered(1, 'q')))
  },
  'POST /v1/tokens/{name}': async (call, http) => {
    await repeated('/v1/tokens/a/b?stream=s&fence=3', (headers) => post([{ part: 'x', json: 1 }], headers))(call, http)
    await call('/v1/tokens/a/b?stream=s&fence=3', { method: 'POST' })
  },
  'POST /v1/end/{name}': repeated('/v1/end/a/b', (headers) =>
    post({ streamId: 's', fence: 3, state: 'failed', detail: { message: 'no' } }, headers),
  ),
  'POST /v1/stop/{name}': async (call, http) => {
    await fill(http)
    await call('/v1/stop/a/b', post({ reason: 'enough' }))
    await call('/v1/stop/a/b', { method: 'POST' })
  },
  'GET /v1/data/{name}': async (call, http) => {
    await fill(http)
    const { headers } = await call('/v1/data/a/b?offset=0')
    await call('/v1/data/a/b?offset=0', { headers: { range: 'bytes=0-999' } })
    await call('/v1/data/a/b?offset=0', { headers: { 'if-none-match': headers.get('etag') ?? '' } })
  },
  'HEAD /v1/data/{name}': async (call, http) => {
    await fill(http)
    const { headers } = await call('/v1/data/a/b?offset=0', { method: 'HEAD' })
    await call('/v1/data/a/b?offset=0', { method: 'HEAD', headers: { 'if-none-match': headers.get('etag') ?? '' } })
  },
  'POST /v1/data/{name}': repeated('/v1/data/a/b', text('POST', 'some text')),
}
