/** Forks by the Durable Streams protocol: what they have of their source, at which offsets, and what their creation is worth. */

import { beforeEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../protocol/index.ts'
import { MemoryDisk, openMemoryStore } from '../../../storage/index.ts'
import { context, message, TestBroker } from '../../broker/brokers.ts'
import { contentOf, large, upload } from '../../broker/large.ts'
import { HttpBroker, problemOf } from '../http.ts'

const SOURCE = '/v1/stream/chat/1'
const FORK = '/v1/stream/chat/2'
const TEXT = { 'content-type': 'text/plain' }
const BYTES = { 'content-type': 'application/octet-stream' }
const START = `${'0'.repeat(16)}_${'0'.repeat(16)}`
let http: HttpBroker

beforeEach(async () => {
  http = await HttpBroker.start()
})

const put = (path: string, headers: Record<string, string>, body?: string): Promise<Response> =>
  http.fetch(path, { method: 'PUT', headers, body })
const post = (path: string, body: string): Promise<Response> =>
  http.fetch(path, { method: 'POST', headers: TEXT, body })
const fork = (headers: Record<string, string> = {}, body?: string): Promise<Response> =>
  put(FORK, { 'stream-forked-from': SOURCE, ...headers }, body)
const text = async (path: string): Promise<string> => (await http.fetch(path)).text()
const nextOf = (response: Response): string => response.headers.get('stream-next-offset') ?? ''

describe('a fork', () => {
  it('has the offsets of its source up to where it leaves it, and goes on with its own', async () => {
    await put(SOURCE, TEXT, 'a')
    const [one, two] = [nextOf(await post(SOURCE, 'b')), nextOf(await post(SOURCE, 'c'))]
    const end = nextOf(await fork({ 'stream-fork-offset': two }))
    await post(SOURCE, 'of the source')
    await post(FORK, 'd')
    expect(await text(`${FORK}?offset=${one}`)).toBe('cd')
    expect(await text(`${FORK}?offset=${two}`)).toBe('d')
    expect(await text(`${FORK}?offset=${end}`)).toBe('d')
    const { headers } = await http.fetch(FORK, { method: 'HEAD' })
    expect((headers.get('stream-next-offset') ?? '') > two).toBe(true)
    const later = nextOf(await post(SOURCE, 'x'))
    expect(await problemOf(await http.fetch(`${FORK}?offset=${later}`))).toMatchObject({
      status: 410,
      code: 'RECREATED',
    })
  })

  it('at a sub-offset counts messages and bytes of messages, and passes over everything else', async () => {
    const peer = await http.test.peer()
    await peer.attach('chat/1', { producer: 'p' })
    await peer.append(
      { sequence: 0 },
      context('set', 'x'),
      message('a'),
      context('set', 'y'),
      message('b'),
      message('c'),
    )
    expect((await fork({ 'stream-fork-offset': START, 'stream-fork-sub-offset': '2' })).status).toBe(201)
    expect(await text(FORK)).toBe('["a","b"]')
    const other = { 'stream-forked-from': SOURCE, 'stream-fork-offset': START, 'stream-fork-sub-offset': '4' }
    expect(await problemOf(await put('/v1/stream/no', other))).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })

  it('at a sub-offset within a large message begins with its first bytes', async () => {
    const peer = await http.test.peer()
    await peer.attach('chat/1', { producer: 'p', contentType: 'application/octet-stream' })
    const content = contentOf(2 * LIMITS.partBytes)
    await upload(peer, { uploadId: 'u' }, content)
    await peer.append({ sequence: 0 }, large('u', content))
    const at = { 'stream-fork-offset': START, 'stream-fork-sub-offset': '1000' }
    expect((await fork({ ...BYTES, ...at }, 'and more')).status).toBe(201)
    const read = Buffer.from(await (await http.fetch(FORK)).arrayBuffer())
    expect(read).toEqual(Buffer.concat([content.subarray(0, 1000), Buffer.from('and more')]))
    const whole = { 'stream-forked-from': SOURCE, ...at, 'stream-fork-sub-offset': String(content.length) }
    await put('/v1/stream/whole', whole)
    expect(Buffer.from(await (await http.fetch('/v1/stream/whole')).arrayBuffer()).equals(content)).toBe(true)
    const most = { ...whole, 'stream-fork-sub-offset': String(LIMITS.partBytes + 1) }
    expect(await problemOf(await put('/v1/stream/most', most))).toMatchObject({ status: 413, code: 'LIMIT_EXCEEDED' })
  })

  it('is there with its part and its body, or not at all, and is confirmed when it is asked for again', async () => {
    await put(SOURCE, TEXT, 'hello')
    const at = { 'stream-fork-offset': START, 'stream-fork-sub-offset': '3' }
    const created = await fork({ ...TEXT, ...at, 'stream-closed': 'true' }, 'p!')
    expect([created.status, created.headers.get('location')]).toEqual([201, `${http.base}${FORK}`])
    const killed = new HttpBroker(await http.test.kill())
    const read = await killed.fetch(FORK)
    expect([await read.text(), read.headers.get('stream-closed')]).toEqual(['help!', 'true'])
    expect((await fork({ ...TEXT, ...at, 'stream-closed': 'true' }, 'p!')).status).toBe(200)
    for (const other of [at, { ...at, 'stream-closed': 'true', 'stream-fork-sub-offset': '2' }]) {
      expect(await problemOf(await fork(other, 'p!'))).toMatchObject({ status: 409, code: 'TOPIC_EXISTS' })
    }
  })

  it('that begins closed is never there and open, also where a kill loses the newest commit', async () => {
    const disk = new MemoryDisk()
    http = await HttpBroker.start({ store: await openMemoryStore(disk) })
    await put(SOURCE, TEXT, 'hello')
    expect((await fork({ ...TEXT, 'stream-closed': 'true' }, ' you')).status).toBe(201)
    const states: string[] = []
    for (const lost of [0, 1]) {
      const left = disk.copy()
      left.entries.length -= lost
      const read = await new HttpBroker(await TestBroker.start({}, left)).fetch(FORK)
      states.push(`${read.status} ${read.headers.get('stream-closed')}`)
    }
    expect(states).toEqual(['200 true', '404 null'])
  })

  it('lives as long as its source may, unless it says how long itself, and lingers for ever', async () => {
    await put(SOURCE, { ...TEXT, 'stream-ttl': '60' })
    const ttl = async (path: string): Promise<string | null> =>
      (await http.fetch(path, { method: 'HEAD' })).headers.get('stream-ttl')
    await fork()
    await put('/v1/stream/other', { 'stream-forked-from': SOURCE, 'stream-ttl': '30' })
    expect([await ttl(FORK), await ttl('/v1/stream/other')]).toEqual(['60', '30'])
    expect(await http.json('/v1/sessions/chat/2')).toMatchObject({
      lingerMs: 'forever',
      forkedFrom: { name: 'chat/1' },
    })
  })

  it('of a session is one too: its WebSocket clients read on', async () => {
    await put(SOURCE, TEXT, 'a')
    await fork({}, 'b')
    const peer = await http.test.peer()
    await peer.attach('chat/2', { producer: 'w' })
    await peer.append({ sequence: 0 }, message('c'))
    const reading = await peer.read({ start: true }, { raw: true })
    await peer.until(() => reading.records.length === 3)
    expect(reading.records.map(({ data }) => data)).toEqual(['text:a', 'text:b', 'text:c'])
    expect(await text(FORK)).toBe('abc')
  })
})

describe('a fork is refused', () => {
  it('of what is no stream, or was deleted, and so is a stream under a name whose data forks still have', async () => {
    await put(SOURCE, TEXT, 'a')
    const of = (from: string): Promise<Response> => put('/v1/stream/no', { 'stream-forked-from': from })
    for (const from of ['/v1/stream/none', '/elsewhere/a', '/v1/stream/%zz', '/v1/stream/__ds/jwks.json']) {
      expect(await problemOf(await of(from)), from).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    }
    await fork()
    await http.fetch(SOURCE, { method: 'DELETE' })
    expect(await problemOf(await of(SOURCE))).toMatchObject({ status: 409, code: 'GONE' })
    expect(await problemOf(await put(SOURCE, TEXT))).toMatchObject({ status: 409, code: 'GONE' })
    expect(await problemOf(await http.fetch(SOURCE))).toMatchObject({ status: 410, code: 'GONE' })
    expect(await text(FORK)).toBe('a')
  })

  it('at what is no offset of its source, with another content type, and takes nothing of it', async () => {
    await put(SOURCE, TEXT, 'a')
    await put('/v1/stream/other', TEXT, 'a')
    const foreign = nextOf(await http.fetch('/v1/stream/other'))
    for (const offset of ['', '-1', 'x', foreign, '9999999999999999_9999999999999999']) {
      expect((await problemOf(await fork({ 'stream-fork-offset': offset }))).status, offset).toBe(400)
    }
    const wrong = await fork({ 'content-type': 'application/json' })
    expect(await problemOf(wrong)).toMatchObject({ status: 409, code: 'CONTENT_TYPE_MISMATCH' })
    await http.fetch(SOURCE, { method: 'DELETE' })
    expect((await http.fetch(SOURCE)).status).toBe(404)
  })
})
