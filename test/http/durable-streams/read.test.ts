/** Catch-up reads by the Durable Streams protocol of topics that WebSocket clients write: what is served, and how much at once. */

import { describe, expect, it } from 'vitest'
import { LIMITS, UP, writeMessage } from '../../../protocol/index.ts'
import { checkpoint, context, json, message, streamEnd, tokens } from '../../broker/brokers.ts'
import { contentOf, large, upload } from '../../broker/large.ts'
import type { Fill, Peer } from '../../broker/peer.ts'
import { HttpBroker } from '../http.ts'

const PATH = '/v1/stream/chat/1'
const value =
  (text: string): Fill =>
  (out) =>
    writeMessage(out, { tag: 'json', value: text })
const next = (response: Response): string => response.headers.get('stream-next-offset') ?? ''
const upToDate = (response: Response): boolean => response.headers.get('stream-up-to-date') === 'true'

async function written(...appends: Fill[][]): Promise<{ http: HttpBroker; peer: Peer }> {
  const http = await HttpBroker.start()
  const peer = await http.test.peer()
  await peer.attach('chat/1', { producer: 'p' })
  for (const [sequence, fills] of appends.entries()) await peer.append({ sequence }, ...fills)
  return { http, peer }
}

/** All pages from an offset on, and how many there were. */
async function pages(http: HttpBroker, offset = '-1'): Promise<Buffer[]> {
  const found: Buffer[] = []
  for (let from = offset; ; ) {
    const response = await http.fetch(`${PATH}?offset=${from}`)
    expect(response.status).toBe(200)
    found.push(Buffer.from(await response.arrayBuffer()))
    if (upToDate(response)) return found
    expect(next(response) > from).toBe(true)
    from = next(response)
  }
}

describe('a topic that was created by WebSocket', () => {
  it('is read as JSON: data of its messages and tokens, and of nothing else', async () => {
    const { http, peer } = await written([message('hi'), context('set', 'x'), checkpoint('c')], [value('{"n": 1.0}')])
    const { fence } = await peer.ask(UP.openStream, 0, 0, 2, 'reply', 'create')
    await peer.append(
      { sequence: 3, fence: fence ?? -1 },
      ...tokens('reply', 'a', 'b'),
      streamEnd('done', 'reply', json('x')),
    )
    const response = await http.fetch(PATH)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.text()).toBe('["hi",{"n": 1.0},"a","b"]')
    expect(upToDate(response)).toBe(true)
    expect(response.headers.get('stream-closed')).toBeNull()
    const behind = await http.fetch(`${PATH}?offset=${next(response)}`)
    expect([await behind.text(), next(behind), upToDate(behind)]).toEqual(['[]', next(response), true])
  })

  it('is read from any offset that a read ended with, and from its end', async () => {
    const { http, peer } = await written([message('a')])
    const first = await http.fetch(PATH)
    await peer.append({ sequence: 1 }, message('b'))
    expect(await (await http.fetch(`${PATH}?offset=${next(first)}`)).text()).toBe('["b"]')
    const now = await http.fetch(`${PATH}?offset=now`)
    expect([await now.text(), upToDate(now)]).toEqual(['[]', true])
    expect([now.headers.get('etag'), now.headers.get('cache-control')]).toEqual([null, 'no-store'])
    expect(next(now) > next(first)).toBe(true)
  })

  it('is served in pages of a bound size, each whole records, that a cache may keep until the last one', async () => {
    const text = (i: number): string => String(i).padEnd(200_000, 'x')
    const numbers = Array.from({ length: Math.ceil(LIMITS.httpReadBytes / 200_000) + 8 }, (_, i) => i)
    const { http } = await written(...numbers.map((i) => [message(text(i))]))
    const found = await pages(http)
    expect(found.length).toBeGreaterThan(2)
    expect((found[0] as Buffer).length).toBeLessThan(LIMITS.httpPageBytes + 2 * LIMITS.appendBytes)
    expect(found.flatMap((page) => JSON.parse(page.toString()) as string[])).toEqual(numbers.map(text))
    const [first, last] = [await http.fetch(PATH), await http.fetch(`${PATH}?offset=now`)]
    expect(first.headers.get('cache-control')).toBe('private, max-age=60, stale-while-revalidate=300')
    expect((await http.fetch(`${PATH}?offset=${next(last)}`)).headers.get('cache-control')).toBe('private, no-cache')
  })

  it('is served whole while that is not too much, in one response that is read from the store as it is sent', async () => {
    const text = (i: number): string => String(i).padEnd(100_000, '"')
    const numbers = Array.from({ length: 40 }, (_, i) => i)
    const { http, peer } = await written(...numbers.map((i) => [message(text(i))]))
    const content = contentOf(2 * LIMITS.partBytes)
    await upload(peer, { uploadId: 'u' }, content)
    await peer.append({ sequence: 40 }, large('u', content), context('set', 'x'), message('last'))
    const response = await http.fetch(PATH)
    expect([upToDate(response), response.headers.get('cache-control')]).toEqual([true, 'private, no-cache'])
    const values = (await response.json()) as string[]
    expect(values.slice(0, 40)).toEqual(numbers.map(text))
    expect(Buffer.from(values[40] as string, 'base64').equals(content)).toBe(true)
    expect(values.slice(41)).toEqual(['last'])
    expect(next(response)).toBe(next(await http.fetch(`${PATH}?offset=now`)))
    const etag = response.headers.get('etag') ?? ''
    expect((await http.fetch(PATH, { headers: { 'if-none-match': etag } })).status).toBe(304)
  })

  it('serves a run of records without data together with what follows', async () => {
    const many = Array.from({ length: 60 }, () => [context('set', 'x', json('y'.repeat(50_000)))])
    const { http } = await written(...many, [message('behind')])
    expect((await pages(http)).map(String)).toEqual(['["behind"]'])
  })

  it('serves a large message as one element, whatever its data', async () => {
    const { http, peer } = await written([message('before')])
    const content = contentOf(3 * LIMITS.partBytes + 5)
    await upload(peer, { uploadId: 'b' }, content)
    await peer.append({ sequence: 1 }, large('b', content))
    const text = Buffer.from('"zwölf" \n'.repeat(100_000))
    await upload(peer, { uploadId: 't', tag: 'text' }, text)
    await peer.append({ sequence: 2 }, large('t', text, 'text'))
    const list = Buffer.from(JSON.stringify({ list: Array.from({ length: 100_000 }, (_, i) => i) }))
    await upload(peer, { uploadId: 'j', tag: 'json' }, list)
    await peer.append({ sequence: 3 }, large('j', list, 'json'), message('behind'))
    const found = (await pages(http)).flatMap((page) => JSON.parse(page.toString()) as unknown[])
    expect(found.length).toBe(5)
    expect(Buffer.from(found[1] as string, 'base64').equals(content)).toBe(true)
    expect(found[2] === text.toString()).toBe(true)
    expect(JSON.stringify(found[3]) === list.toString()).toBe(true)
    expect([found[0], found[4]]).toEqual(['before', 'behind'])
  })
})

describe('a read is refused', () => {
  it('of what is not there, and is not created by it', async () => {
    const http = await HttpBroker.start()
    for (const query of ['', '?offset=-1', '?offset=now']) {
      expect(await http.problem(`${PATH}${query}`)).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    }
    expect(http.test.broker.stats().residentTopics).toBe(0)
  })

  it('at an offset that is none, lies beyond the end, or is of a stream that had the name before', async () => {
    const { http, peer } = await written([message('a')])
    const offset = next(await http.fetch(PATH))
    for (const bad of ['', '0,1', '0 1', '-2', `${offset}x`, '9999999999999999_9999999999999999']) {
      const problem = await http.problem(`${PATH}?offset=${encodeURIComponent(bad)}`)
      expect(problem, bad).toMatchObject({ status: 400, code: 'BAD_CURSOR' })
    }
    expect(await http.problem(`${PATH}?offset=${offset}&offset=-1`)).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(await http.problem(`${PATH}?offset=-1&live=x`)).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    const beyond = `${'1'.padStart(15, '0')}0${offset.slice(16)}`
    expect(await http.problem(`${PATH}?offset=${beyond}`)).toMatchObject({ status: 400, code: 'OFFSET_BEYOND_END' })
    await peer.ask(UP.delete, 'chat/1', null)
    await peer.attach('chat/1', {}, 1)
    expect(await http.problem(`${PATH}?offset=${offset}`)).toMatchObject({ status: 410, code: 'RECREATED' })
  })

  it('at an offset whose records have been trimmed, while the beginning is what is left', async () => {
    const { http, peer } = await written([message('a')], [message('b')])
    const [start] = next(await http.fetch(PATH))
      .split('_')
      .slice(1)
    await peer.ask(UP.trim, 0, 0, 2, { before: 1 })
    const problem = await http.problem(`${PATH}?offset=${'0'.repeat(16)}_${start}`)
    expect(problem).toMatchObject({ status: 410, code: 'TRIMMED', details: { firstOffset: 1 } })
    expect(await (await http.fetch(PATH)).text()).toBe('["b"]')
  })
})

it('a read with the entity tag of what it would get is answered without it, until there is more', async () => {
  const { http, peer } = await written([message('a')])
  const etag = (await http.fetch(PATH)).headers.get('etag') ?? ''
  const again = (): Promise<Response> => http.fetch(PATH, { headers: { 'if-none-match': etag } })
  const same = await again()
  expect([same.status, await same.text(), same.headers.get('etag')]).toEqual([304, '', etag])
  expect(next(same)).toBe(next(await http.fetch(PATH)))
  await peer.append({ sequence: 1 }, message('b'))
  expect((await again()).status).toBe(200)
})

it('every answer keeps browsers from taking data for a page of this site', async () => {
  const { http } = await written([message('a')])
  for (const path of [PATH, '/v1/stream/none', `${PATH}?offset=x`]) {
    const { headers } = await http.fetch(path)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin')
    expect(headers.get('content-security-policy')).toContain('sandbox')
  }
})
