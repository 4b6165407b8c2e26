/** Appends by the Durable Streams protocol that do not fit one append: stored in parts as they come, and read as they were sent. */

import { connect } from 'node:net'
import { beforeEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../protocol/index.ts'
import { contentOf } from '../../broker/large.ts'
import { HttpBroker, problemOf } from '../http.ts'

const PATH = '/v1/stream/large'
const BYTES = { 'content-type': 'application/octet-stream' }
const JSON_TYPE = { 'content-type': 'application/json' }
const CONTENT = contentOf(3 * LIMITS.partBytes + 17)
let http: HttpBroker

beforeEach(async () => {
  http = await HttpBroker.start()
})

const put = (headers: Record<string, string>): Promise<Response> => http.fetch(PATH, { method: 'PUT', headers })
const post = (headers: Record<string, string>, body: Buffer): Promise<Response> =>
  http.fetch(PATH, { method: 'POST', headers, body })
const read = async (): Promise<Buffer> => {
  const pieces: Buffer[] = []
  for (let from = '-1'; ; ) {
    const response = await http.fetch(`${PATH}?offset=${from}`)
    pieces.push(Buffer.from(await response.arrayBuffer()))
    if (response.headers.get('stream-up-to-date') !== null) return Buffer.concat(pieces)
    from = response.headers.get('stream-next-offset') ?? ''
  }
}

/** The body in pieces, without a length. */
function chunked(content: Buffer): RequestInit {
  const stream = new ReadableStream({
    start(controller) {
      for (let at = 0; at < content.length; at += 50_000) controller.enqueue(content.subarray(at, at + 50_000))
      controller.close()
    },
  })
  return { method: 'POST', headers: BYTES, body: stream, duplex: 'half' } as RequestInit
}

describe('a body that does not fit an append', () => {
  it('becomes one large message, with and without a length', async () => {
    await put(BYTES)
    expect((await post(BYTES, CONTENT)).status).toBe(204)
    expect((await http.fetch(PATH, chunked(CONTENT))).status).toBe(204)
    expect((await http.fetch(PATH, chunked(Buffer.from('small')))).status).toBe(204)
    expect((await read()).equals(Buffer.concat([CONTENT, CONTENT, Buffer.from('small')]))).toBe(true)
    expect(await http.json('/v1/sessions/large')).toMatchObject({ nextOffset: 3 })
  })

  it('is one message of JSON, if it is one', async () => {
    await put(JSON_TYPE)
    const value = JSON.stringify({ text: 'zw\u00f6lf '.repeat(60_000) })
    expect((await post(JSON_TYPE, Buffer.from(`[ ${value} ]`))).status).toBe(204)
    expect((await post(JSON_TYPE, Buffer.from('1'))).status).toBe(204)
    const pages = (await read()).toString()
    expect(pages === `[${value},1]`).toBe(true)
  })

  it('of a producer is stored once, however often it is sent', async () => {
    await put(BYTES)
    const producer = { ...BYTES, 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
    const [first, again] = [await post(producer, CONTENT), await post(producer, CONTENT)]
    expect([first.status, again.status, again.headers.get('producer-seq')]).toEqual([200, 204, '0'])
    expect((await read()).equals(CONTENT)).toBe(true)
  })

  it('closes the stream with it', async () => {
    await put(BYTES)
    const last = await post({ ...BYTES, 'stream-closed': 'true' }, CONTENT)
    expect([last.status, last.headers.get('stream-closed')]).toEqual([204, 'true'])
    const late = await post(BYTES, CONTENT)
    expect(late.headers.get('stream-next-offset')).toBe(last.headers.get('stream-next-offset'))
    expect(await problemOf(late)).toMatchObject({ status: 409, code: 'CLOSED' })
    expect((await read()).equals(CONTENT)).toBe(true)
  })

  it('is refused where it is of another type, or larger than a message may be, and where there is no stream', async () => {
    expect(await problemOf(await post(BYTES, CONTENT))).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    await put(JSON_TYPE)
    expect(await problemOf(await post(BYTES, CONTENT))).toMatchObject({ status: 409, code: 'CONTENT_TYPE_MISMATCH' })
    expect((await read()).toString()).toBe('[]')
    const small = await HttpBroker.start({ maxMessageBytes: LIMITS.partBytes })
    await small.fetch(PATH, { method: 'PUT', headers: BYTES })
    const refused = await small.fetch(PATH, { method: 'POST', headers: BYTES, body: CONTENT })
    expect(await problemOf(refused)).toMatchObject({ status: 413, code: 'LIMIT_EXCEEDED' })
  })

  it('that is cut off leaves nothing', async () => {
    await put(BYTES)
    const socket = connect(http.test.broker.port, http.test.broker.host)
    const head = [`POST ${PATH} HTTP/1.1`, 'Host: x', 'Content-Type: application/octet-stream']
    head.push(`Content-Length: ${CONTENT.length}`)
    await new Promise<void>((sent) => socket.write(`${head.join('\r\n')}\r\n\r\n`, () => sent()))
    await new Promise<void>((sent) => socket.write(CONTENT.subarray(0, 2 * LIMITS.partBytes), () => sent()))
    await http.fetch(PATH)
    await new Promise<void>((closed) => socket.once('close', () => closed()).destroy())
    expect((await read()).length).toBe(0)
    expect((await post(BYTES, CONTENT)).status).toBe(204)
    expect((await read()).equals(CONTENT)).toBe(true)
  })
})
