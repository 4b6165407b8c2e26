/** Appending by plain HTTP: every kind of body, once however often it is sent, and nothing at all of what is wrong. */

import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { ByteWriter, writeMessage } from '../../protocol/index.ts'
import { HttpBroker, problemOf } from './http.ts'

interface Appended {
  readonly offset: number
  readonly count: number
  readonly repeat: boolean
}

interface Page {
  readonly nextOffset: number
  readonly records: Readonly<Record<string, unknown>>[]
}

const post = (
  body: string | Uint8Array<ArrayBuffer>,
  type?: string,
  headers: Record<string, string> = {},
): RequestInit => ({
  method: 'POST',
  headers: { ...(type !== undefined && { 'content-type': type }), ...headers },
  body,
})

const json = (body: unknown, headers: Record<string, string> = {}): RequestInit =>
  post(JSON.stringify(body), 'application/json', headers)

const numbered = (epoch: number, sequence: number, producer = 'p'): Record<string, string> => ({
  'producer-id': producer,
  'producer-epoch': `${epoch}`,
  'producer-seq': `${sequence}`,
})

const recordsOf = async (http: HttpBroker, query = ''): Promise<Page['records']> =>
  (await http.json<Page>(`/v1/records/a${query}`)).records

describe('a body', () => {
  it('of another type than JSON is one message, whose bytes are kept', async () => {
    const http = await HttpBroker.start()
    const bytes = new Uint8Array([0, 255, 10, 13])
    await http.json('/v1/records/a', post('just a text', 'text/plain; charset=UTF-8'), 201)
    await http.json('/v1/records/a', post(bytes, 'image/png'), 201)
    await http.json('/v1/records/a', post(bytes), 201)
    await http.json('/v1/records/a?id=doc-1&trace=00-ab', post('{ "n": 1.0 }', 'application/vnd.chat+json'), 201)
    const lines = await http.fetch('/v1/records/a', { headers: { accept: 'application/x-ndjson' } })
    expect((await lines.text()).split('\n').map((line) => line.replace(/^.*"kind":"message"/, ''))).toEqual([
      ',"text":"just a text"}',
      ',"base64":"AP8KDQ=="}',
      ',"base64":"AP8KDQ=="}',
      ',"id":"doc-1","trace":"00-ab","json":{ "n": 1.0 }}',
      '',
    ])
  })

  it('of lines, or of a list, is one append: all of it or nothing', async () => {
    const http = await HttpBroker.start()
    const lines = '{"text":"a"}\n{"kind":"checkpoint","name":"c","json":{"step":1}}\n'
    const appended = await http.json<Appended>('/v1/records/a', post(lines, 'application/x-ndjson'), 201)
    expect(appended).toMatchObject({ offset: 0, count: 2, repeat: false })
    const refused = await http.problem('/v1/records/a', post(`${lines}{"text":5}`, 'application/x-ndjson'))
    expect(refused).toMatchObject({ status: 400, code: 'BAD_REQUEST', details: { index: 2 } })
    expect(await recordsOf(http)).toMatchObject([{ text: 'a' }, { kind: 'checkpoint', name: 'c' }])
  })

  it('of binary records is kept byte for byte', async () => {
    const http = await HttpBroker.start()
    const out = new ByteWriter()
    writeMessage(out, { tag: 'text', value: 'one' }, { id: 'x' })
    writeMessage(out, { tag: 'bytes', value: new Uint8Array([1]) })
    const bytes = new Uint8Array(out.copy())
    const type = 'application/vnd.litetopic.records'
    expect(await http.json('/v1/records/a', post(bytes, type), 201)).toMatchObject({ count: 2 })
    expect(await http.json('/v1/records/a', post(bytes, type))).toMatchObject({ offset: 0, repeat: true })
    const read = await http.fetch('/v1/records/a?raw=true', { headers: { accept: type } })
    expect(Buffer.from(await read.arrayBuffer()).includes(Buffer.from(bytes))).toBe(true)
  })

  it('is told where it is read', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json({ text: 'a' }), 201)
    const response = await http.fetch('/v1/records/a', json([{ text: 'b' }, { text: 'c' }]))
    const { cursor } = (await response.json()) as { cursor: string }
    expect(await http.json(response.headers.get('location') ?? '')).toMatchObject({
      records: [{ text: 'b' }, { text: 'c' }],
    })
    await http.json('/v1/records/a', json({ text: 'd' }), 201)
    expect(await recordsOf(http, `?cursor=${cursor}`)).toMatchObject([{ text: 'd' }])
  })
})

describe('what is sent again', () => {
  it('with the numbers of its producer is stored once, also after the broker was killed', async () => {
    const http = await HttpBroker.start()
    const send = (to: HttpBroker, status: number): Promise<Appended> =>
      to.json('/v1/records/a', json([{ text: 'a' }, { text: 'b' }], numbered(0, 0)), status)
    expect(await send(http, 201)).toMatchObject({ offset: 0, repeat: false })
    expect(await send(http, 200)).toMatchObject({ offset: 0, count: 2, repeat: true })
    const again = new HttpBroker(await http.test.kill())
    expect(await send(again, 200)).toMatchObject({ offset: 0, repeat: true })
    expect(await recordsOf(again)).toHaveLength(2)
  })

  it('takes its turn among all that its producer does', async () => {
    const http = await HttpBroker.start()
    const steps: [string, unknown][] = [
      ['/v1/records/a', { text: 'a' }],
      ['/v1/streams/a', { streamId: 's' }],
      ['/v1/tokens/a?stream=s&fence=1', ['x']],
      ['/v1/context/a?entry=plan', 'look'],
      ['/v1/checkpoints/a?checkpoint=c', { step: 1 }],
      ['/v1/end/a', { streamId: 's', fence: 1, state: 'done' }],
      ['/v1/trim/a', { before: 1 }],
    ]
    for (const [sequence, [path, body]] of steps.entries()) {
      const first = await http.fetch(path, json(body, numbered(0, sequence)))
      const second = await http.fetch(path, json(body, numbered(0, sequence)))
      const strip = (answer: unknown): object => ({ ...(answer as object), repeat: null, text: null })
      expect([path, strip(await second.json())]).toEqual([path, strip(await first.json())])
    }
    expect(await http.json('/v1/sessions/a')).toMatchObject({ firstOffset: 1, nextOffset: 6 })
    const gap = await http.problem('/v1/records/a', json({ text: 'b' }, numbered(0, 9)))
    expect(gap).toMatchObject({ status: 409, code: 'SEQUENCE_GAP', details: { expected: 7 } })
    const stale = await http.problem('/v1/records/a', json({ text: 'b' }, numbered(0, 1, 'unknown')))
    expect(stale).toMatchObject({ status: 409, code: 'PRODUCER_UNKNOWN' })
    await http.json('/v1/records/a', json({ text: 'c' }, numbered(1, 0)), 201)
    const old = await http.problem('/v1/records/a', json({ text: 'd' }, numbered(0, 7)))
    expect(old).toMatchObject({ code: 'PRODUCER_STALE', details: { producerEpoch: 1 } })
  })

  it('with a record id is stored once, whoever sends it', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json({ id: 'msg-1', text: 'a' }), 201)
    expect(await http.json('/v1/records/a', json({ id: 'msg-1', text: 'a' }))).toMatchObject({
      offset: 0,
      repeat: true,
    })
    expect(await http.json('/v1/records/a?id=msg-1', post('a', 'text/plain', numbered(0, 0)))).toMatchObject({
      repeat: true,
    })
    await http.json('/v1/records/a', json({ text: 'b' }, numbered(0, 1)), 201)
    expect(await recordsOf(http)).toMatchObject([{ text: 'a' }, { text: 'b' }])
  })

  it('with the numbers of a producer that the topic knows makes no topic anew', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json({ text: 'a' }, numbered(0, 0)), 201)
    await http.fetch('/v1/sessions/a', { method: 'DELETE' })
    const refused = await http.problem('/v1/records/a', json({ text: 'b' }, numbered(0, 1)))
    expect(refused).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect((await http.fetch('/v1/sessions/a')).status).toBe(404)
  })

  it('with the last records of a topic closes it once', async () => {
    const http = await HttpBroker.start()
    const send = (status: number): Promise<unknown> =>
      http.json('/v1/records/a?close=true', json({ text: 'last' }, numbered(0, 0)), status)
    expect(await send(201)).toMatchObject({ offset: 0, repeat: false })
    expect(await send(200)).toMatchObject({ offset: 0, repeat: true })
    expect(await http.problem('/v1/records/a', json({ text: 'more' }))).toMatchObject({ code: 'CLOSED' })
    expect(await recordsOf(http)).toMatchObject([{ text: 'last' }])
  })
})

describe('a body that is cut off in the middle', () => {
  it('leaves the topic as it was, and none where there was none', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json({ text: 'a' }), 201)
    for (const name of ['a', 'new']) {
      const socket = connect(http.test.broker.port, http.test.broker.host)
      await once(socket, 'connect')
      const head = ['Host: x', 'Content-Type: application/x-ndjson', 'Content-Length: 1000', '', '{"text":"b"}\n']
      socket.end(`POST /v1/records/${name} HTTP/1.1\r\n${head.join('\r\n')}`)
      socket.resume()
      await once(socket, 'close')
    }
    expect(await recordsOf(http)).toMatchObject([{ text: 'a' }])
    expect(await http.json('/v1/sessions')).toMatchObject({ sessions: [{ name: 'a' }] })
  })
})

describe('bad input', () => {
  it('is refused with its status and a problem, and leaves the topic as it was', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json({ text: 'a' }), 201)
    const opened = await http.json<{ fence: number }>(
      '/v1/streams/a',
      json({ streamId: 's' }, numbered(0, 0, 'w')),
      201,
    )
    const tokens = `/v1/tokens/a?stream=s&fence=${opened.fence}`
    const big = 'x'.repeat(300_000)
    const binary = 'application/vnd.litetopic.records'
    const latin = post(new Uint8Array([0xe9]), 'text/plain')
    const bad: [string, RequestInit, number, string][] = [
      ['/v1/records/a', post('', 'text/plain'), 400, 'BAD_REQUEST'],
      ['/v1/records/a', post('{', 'application/json'), 400, 'BAD_VALUE'],
      ['/v1/records/a', post('', 'application/json'), 400, 'BAD_VALUE'],
      ['/v1/records/a', json([]), 400, 'BAD_REQUEST'],
      ['/v1/records/a', json('text'), 400, 'BAD_REQUEST'],
      ['/v1/records/a', json([{ text: 'a' }, { text: 'b', id: 'second' }]), 400, 'BAD_REQUEST'],
      ['/v1/records/a?id=x', json({ text: 'a' }), 400, 'BAD_REQUEST'],
      ['/v1/records/a', post('{"a":', 'application/x+json'), 400, 'BAD_VALUE'],
      ['/v1/records/a', post('a', 'text/plain; charset=latin1'), 415, 'BAD_REQUEST'],
      ['/v1/records/a', latin, 400, 'BAD_VALUE'],
      ['/v1/records/a', post('a', 'text/plain', { 'content-encoding': 'gzip' }), 415, 'BAD_REQUEST'],
      ['/v1/records/a', post(new Uint8Array([9, 9]), binary), 400, 'BAD_FRAME'],
      ['/v1/records/a', post(big, 'text/plain'), 413, 'LIMIT_EXCEEDED'],
      ['/v1/records/a', post(big.repeat(5), 'text/plain'), 413, 'LIMIT_EXCEEDED'],
      ['/v1/records/a?epoch=1', json({ text: 'a' }), 410, 'RECREATED'],
      ['/v1/records/a', json({ text: 'a' }, { 'producer-id': 'p' }), 400, 'BAD_REQUEST'],
      ['/v1/records/a', json({ text: 'a' }, { ...numbered(0, 0), 'producer-seq': '-1' }), 400, 'BAD_REQUEST'],
      ['/v1/records/a', json({ text: 'a' }, numbered(0, 0, 'p'.repeat(65))), 400, 'BAD_REQUEST'],
      [tokens, json({ text: 'a' }), 400, 'BAD_REQUEST'],
      [tokens, json([1]), 400, 'BAD_REQUEST'],
      [tokens, post('a', 'image/png'), 415, 'BAD_REQUEST'],
      [`${tokens}&end=lost`, json(['a']), 400, 'BAD_REQUEST'],
      [`${tokens}&part=`, json(['a']), 400, 'BAD_REQUEST'],
      ['/v1/tokens/a?stream=s', json(['a']), 400, 'BAD_REQUEST'],
      ['/v1/tokens/a?stream=s&fence=99', json(['a']), 409, 'FENCED'],
      ['/v1/tokens/a?stream=none&fence=99', json(['a']), 404, 'STREAM_UNKNOWN'],
      ['/v1/tokens/none?stream=s&fence=0', json(['a']), 404, 'NOT_FOUND'],
      ['/v1/streams/a', json({ streamId: 't' }), 400, 'BAD_REQUEST'],
      ['/v1/streams/a', json({ streamId: '' }, numbered(0, 1, 'w')), 400, 'BAD_REQUEST'],
      ['/v1/streams/a', json({ streamId: 't', mode: 'steal' }, numbered(0, 1, 'w')), 400, 'BAD_REQUEST'],
      ['/v1/streams/a', json({ streamId: 't', mode: 'continue' }, numbered(0, 1, 'w')), 404, 'STREAM_UNKNOWN'],
      ['/v1/streams/a', json({ streamId: 's', mode: 'create' }, numbered(0, 1, 'w')), 409, 'STREAM_EXISTS'],
      ['/v1/end/a', json({ streamId: 's', fence: opened.fence, state: 'stopped' }), 400, 'BAD_REQUEST'],
      ['/v1/end/a', { method: 'POST' }, 400, 'BAD_REQUEST'],
      ['/v1/stop/a', json({ streamId: 5 }), 400, 'BAD_REQUEST'],
      ['/v1/stop/none', { method: 'POST' }, 404, 'NOT_FOUND'],
      ['/v1/trim/a', json({}), 400, 'BAD_REQUEST'],
      ['/v1/trim/a', json({ before: 99 }), 416, 'OFFSET_BEYOND_END'],
      ['/v1/trim/a', json({ checkpoint: 'none' }), 404, 'CHECKPOINT_UNKNOWN'],
      ['/v1/context/a', post('a', 'text/plain'), 400, 'BAD_REQUEST'],
      ['/v1/context/a?entry=x', { method: 'POST' }, 400, 'BAD_REQUEST'],
      ['/v1/context/a?entry=x', { ...post('a', 'text/plain'), method: 'DELETE' }, 400, 'BAD_REQUEST'],
      ['/v1/checkpoints/a', { method: 'POST' }, 400, 'BAD_REQUEST'],
      ['/v1/checkpoints/a?checkpoint=%01', { method: 'POST' }, 400, 'BAD_NAME'],
      ['/v1/records/a', { ...json({ text: 'a' }), method: 'PUT' }, 405, 'BAD_REQUEST'],
    ]
    const state = async (): Promise<unknown> => [await recordsOf(http), await http.json('/v1/context/a')]
    const before = await state()
    for (const [path, init, status, code] of bad) {
      const response = await http.fetch(path, init)
      expect([path, init.body, response.status]).toEqual([path, init.body, status])
      const problem = await problemOf(response)
      expect([path, init.body, problem.status, problem.code]).toEqual([path, init.body, status, code])
    }
    expect(await state()).toEqual(before)
  })

  it('makes no topic', async () => {
    const http = await HttpBroker.start()
    const bad: [string, RequestInit][] = [
      ['/v1/records/new', json({ text: 5 })],
      ['/v1/records/new', post(new Uint8Array([9, 9]), 'application/vnd.litetopic.records')],
      ['/v1/records/new', post(new Uint8Array([0xe9]), 'text/plain')],
      ['/v1/records/new', post('x'.repeat(300_000), 'text/plain')],
      ['/v1/records/new?create=false', json({ text: 'a' })],
      ['/v1/records/new?fence=0', json({ text: 'a' })],
      ['/v1/records/new', json([{ text: 'a' }, { text: 'b', id: 'x' }])],
      ['/v1/records/new', json({ text: 'a' }, numbered(0, 3))],
      ['/v1/context/new?entry=', post('a', 'text/plain')],
      ['/v1/streams/new', json({ streamId: 's', leaseMs: 1 }, numbered(0, 0))],
      ['/v1/streams/new', json({ streamId: 's', mode: 'continue' }, numbered(0, 0))],
      ['/v1/records/new', json(Array.from({ length: 16_385 }, () => ({ text: '' })))],
    ]
    for (const [path, init] of bad) {
      const { status } = await http.fetch(path, init)
      expect([path, init.body, status >= 400]).toEqual([path, init.body, true])
      expect([path, init.body, (await http.fetch('/v1/sessions/new')).status]).toEqual([path, init.body, 404])
    }
  })
})
