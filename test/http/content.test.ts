/** Messages of any size over HTTP: streamed in and out, whole or by range, once, and nothing of one that is cut off. */

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { INLINE_BYTES } from '../../broker/http/content/receive.ts'
import { LIMITS } from '../../protocol/index.ts'
import { afterwards, message } from '../broker/brokers.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { HttpBroker, problemOf } from './http.ts'

const { partBytes } = LIMITS
const LARGE = 5 * partBytes + 12_345

interface Appended {
  readonly offset: number
  readonly repeat: boolean
}

function post(http: HttpBroker, path: string, body: Uint8Array | string, headers: Record<string, string> = {}) {
  return http.fetch(path, { method: 'POST', body, headers })
}

async function posted(http: HttpBroker, path: string, body: Uint8Array | string, headers: Record<string, string> = {}) {
  const response = await post(http, path, body, headers)
  const answer = await response.text()
  expect([response.status, answer]).toEqual([expect.toBeOneOf([200, 201]), answer])
  return { status: response.status, ...(JSON.parse(answer) as Appended) }
}

async function bytesAt(http: HttpBroker, path: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const response = await http.fetch(path, { headers })
  expect(response.status).toBeLessThan(300)
  return Buffer.from(await response.arrayBuffer())
}

/** Sends the head of a POST and some of its body, and waits for nothing. */
function begin(http: HttpBroker, path: string, told: number, body: Uint8Array): Socket {
  const socket = connect(http.test.broker.port, http.test.broker.host)
  socket.write(`POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${told}\r\n\r\n`)
  socket.write(body)
  afterwards(async () => socket.destroy())
  return socket
}

describe('the content of a message over HTTP', () => {
  it('comes back as it went in, whatever its size', async () => {
    const http = await HttpBroker.start()
    const sizes = [0, 1, INLINE_BYTES, INLINE_BYTES + 1, partBytes, partBytes + 1, 3 * partBytes, LARGE]
    for (const [i, size] of sizes.entries()) {
      const bytes = randomBytes(size)
      const appended = await posted(http, '/v1/data/a/b', bytes, { 'content-type': 'application/x-thing' })
      expect(appended).toMatchObject({ status: 201, offset: i, repeat: false })
      expect((await bytesAt(http, `/v1/data/a/b?offset=${i}`)).equals(bytes), `${size} bytes`).toBe(true)
    }
    const [large] = (await http.json<{ records: unknown[] }>(`/v1/records/a/b?offset=${sizes.length - 1}`)).records
    expect(large).toMatchObject({ kind: 'message', large: { tag: 'bytes', size: LARGE } })
  })

  it('says what it is, how long, and by which hash; HEAD says the same', async () => {
    const http = await HttpBroker.start()
    const text = 'é'.repeat(LARGE / 2)
    await posted(http, '/v1/data/a', text, { 'content-type': 'text/markdown' })
    for (const method of ['GET', 'HEAD']) {
      const response = await http.fetch('/v1/data/a?offset=0', { method })
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'content-type': 'text/plain; charset=utf-8',
        'content-length': String(Buffer.byteLength(text)),
        'accept-ranges': 'bytes',
        etag: `"${createHash('sha256').update(text).digest('hex')}"`,
        'x-request-id': expect.any(String),
      })
      expect(await response.text()).toBe(method === 'GET' ? text : '')
    }
  })

  it('is sent by range, and not again to who has it', async () => {
    const http = await HttpBroker.start()
    const bytes = randomBytes(LARGE)
    await posted(http, '/v1/data/a', bytes)
    const path = '/v1/data/a?offset=0'
    const etag = (await http.fetch(path, { method: 'HEAD' })).headers.get('etag') as string
    for (const [range, from, to] of [
      ['bytes=0-0', 0, 1],
      [`bytes=${partBytes - 1}-${partBytes + 1}`, partBytes - 1, partBytes + 2],
      [`bytes=${LARGE - 7}-`, LARGE - 7, LARGE],
      ['bytes=-9', LARGE - 9, LARGE],
      [`bytes=5-${LARGE * 2}`, 5, LARGE],
    ] as const) {
      const response = await http.fetch(path, { headers: { range, 'if-range': etag } })
      expect([response.status, response.headers.get('content-range')]).toEqual([
        206,
        `bytes ${from}-${to - 1}/${LARGE}`,
      ])
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes.subarray(from, to)), range).toBe(true)
    }
    const whole: Record<string, string>[] = [
      { range: 'bytes=0-1,5-6' },
      { range: 'lines=1-2' },
      { range: 'bytes=0-1', 'if-range': '"x"' },
    ]
    for (const headers of whole) {
      expect((await bytesAt(http, path, headers)).length).toBe(LARGE)
    }
    const beyond = await http.fetch(path, { headers: { range: `bytes=${LARGE}-` } })
    expect(beyond.headers.get('content-range')).toBe(`bytes */${LARGE}`)
    expect(await problemOf(beyond)).toMatchObject({ status: 416, code: 'BAD_REQUEST' })
    expect((await http.fetch(path, { headers: { 'if-none-match': etag } })).status).toBe(304)
  })

  it('is stored once: by the numbers of a producer, and by its id', async () => {
    const http = await HttpBroker.start()
    const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
    const bytes = randomBytes(LARGE)
    const first = await posted(http, '/v1/data/a', bytes, producer)
    expect(await posted(http, '/v1/data/a', bytes, producer)).toEqual({ ...first, status: 200, repeat: true })
    const named = await posted(http, '/v1/data/a?id=one', bytes)
    expect(named).toMatchObject({ status: 201, offset: 1 })
    expect(await posted(http, '/v1/data/a?id=one', randomBytes(LARGE))).toMatchObject({ offset: 1, repeat: true })
    const next = { ...producer, 'producer-seq': '1' }
    expect(await posted(http, '/v1/data/a?id=one', bytes, next)).toMatchObject({ offset: 1, repeat: true })
    expect(await posted(http, '/v1/data/a', 'x', { ...producer, 'producer-seq': '2' })).toMatchObject({ offset: 2 })
  })

  it('that is cut off leaves the topic as it was, and nothing of itself', async () => {
    const http = await HttpBroker.start()
    await posted(http, '/v1/data/a', 'before', { 'content-type': 'text/plain' })
    const before = await http.json('/v1/sessions/a')
    const socket = begin(http, '/v1/data/a', LARGE, randomBytes(4 * partBytes))
    // The attachment of the request is there, so its upload is under way.
    await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments === 1)
    socket.destroy()
    await once(socket, 'close')
    await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments === 0)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ ...(before as object), reclaimAtMs: expect.any(Number) })
    // As many as a topic may have, one after the other: none of those before is left.
    for (let i = 0; i < LIMITS.uploadsPerTopic + 1; i++) {
      const one = begin(http, '/v1/data/a', LARGE, randomBytes(partBytes + 1))
      await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments === 1)
      one.destroy()
      await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments === 0)
    }
    expect(await posted(http, '/v1/data/a', randomBytes(LARGE))).toMatchObject({ offset: 1 })
  })

  it('that is cut off leaves no topic where there was none', async () => {
    const http = await HttpBroker.start()
    const socket = begin(http, '/v1/data/new', LARGE, randomBytes(4 * partBytes))
    await eventually(async () => (await http.fetch('/v1/sessions/new')).status === 200)
    socket.destroy()
    await eventually(async () => (await http.fetch('/v1/sessions/new')).status === 404)
    // Not where somebody else has it by then.
    const other = begin(http, '/v1/data/new', LARGE, randomBytes(4 * partBytes))
    await eventually(async () => (await http.fetch('/v1/sessions/new')).status === 200)
    const peer = await http.test.peer()
    await peer.attach('new', { producer: 'p' })
    other.destroy()
    await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/new')).attachments === 1)
    expect(await peer.append({ sequence: 0 }, message('kept'))).toBe(0)
  })

  it('is refused beyond the bound, told or not, and where it is not what its type says', async () => {
    const http = await HttpBroker.start({ maxMessageBytes: 2 * partBytes })
    const told = await problemOf(await post(http, '/v1/data/a', randomBytes(2 * partBytes + 1)))
    expect(told).toMatchObject({ status: 413, code: 'LIMIT_EXCEEDED', details: { limit: 'largeMessageBytes' } })
    const untold = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 3; i++) controller.enqueue(randomBytes(partBytes))
        controller.close()
      },
    })
    const init = { method: 'POST', body: untold, duplex: 'half' } as RequestInit
    expect(await problemOf(await http.fetch('/v1/data/b', init))).toMatchObject({ status: 413, code: 'LIMIT_EXCEEDED' })
    for (const [type, body] of [
      ['text/plain', Buffer.from([0xff])],
      ['text/plain', Buffer.concat([Buffer.alloc(INLINE_BYTES + 5, 'x'), Buffer.from([0xc3])])],
      ['application/json', Buffer.from('{')],
    ] as const) {
      const problem = await problemOf(await post(http, '/v1/data/c', body, { 'content-type': type }))
      expect(problem).toMatchObject({ status: 400, code: 'BAD_VALUE' })
    }
    expect(await http.problem('/v1/data/a?offset=0')).toMatchObject({ code: expect.stringMatching(/BEYOND|NOT_FOUND/) })
  })

  it('is answered with a problem where there is none', async () => {
    const http = await HttpBroker.start()
    expect(await http.problem('/v1/data/a?offset=0')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    await posted(http, '/v1/data/a', 'x')
    expect(await http.problem('/v1/data/a?offset=1')).toMatchObject({ status: 416, code: 'OFFSET_BEYOND_END' })
    expect(await http.problem('/v1/data/a')).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(await http.problem('/v1/data/a?offset=-1')).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(await http.problem('/v1/data/a?offset=0&epoch=1')).toMatchObject({ status: 410, code: 'RECREATED' })
  })
})

describe('a broker that stops', () => {
  it('answers the requests under way, refuses new ones, and ends what would stay open', async () => {
    const http = await HttpBroker.start()
    const bytes = randomBytes(LARGE)
    await posted(http, '/v1/data/a', 'x')
    const socket = begin(http, '/v1/data/a', LARGE, bytes.subarray(0, 2 * partBytes))
    let answer = ''
    socket.on('data', (piece) => {
      answer += piece
    })
    const kept = connect(http.test.broker.port, http.test.broker.host)
    let refusal = ''
    kept.on('data', (piece) => {
      refusal += piece
    })
    kept.write('GET /v1/sessions/a HTTP/1.1\r\nhost: localhost\r\n')
    await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments === 1)
    const closed = http.test.broker.close()
    kept.write('\r\n')
    await eventually(() => refusal.includes('SHUTTING_DOWN'))
    expect(refusal).toMatch(/^HTTP\/1\.1 503 .*retry-after: \d/s)
    socket.write(bytes.subarray(2 * partBytes))
    await closed
    expect(answer).toMatch(/^HTTP\/1\.1 201 /)
  })

  it('waits no longer than stopMs for a request that does not end', async () => {
    const http = await HttpBroker.start()
    await posted(http, '/v1/data/a', 'x')
    const socket = begin(http, '/v1/data/a', LARGE, randomBytes(2 * partBytes))
    const gone = once(socket, 'close')
    await eventually(async () => (await http.json<{ attachments: number }>('/v1/sessions/a')).attachments === 1)
    let isClosed = false
    void http.test.broker.close().then(() => {
      isClosed = true
    })
    await http.test.pass(() => isClosed, LIMITS.stopMs / 1000 + 2)
    await gone
  })
})
