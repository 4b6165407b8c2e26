/** Reading records by plain HTTP: every place to begin, every form, pages, conditions, and answers larger than memory should hold. */

import { describe, expect, it } from 'vitest'
import { BatchReader, ByteReader } from '../../protocol/index.ts'
import { afterwards } from '../broker/brokers.ts'
import { HttpBroker } from './http.ts'

interface Page {
  readonly epoch: number
  readonly firstOffset: number
  readonly nextOffset: number
  readonly cursor: string
  readonly more: boolean
  readonly records: Readonly<Record<string, unknown>>[]
}

const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
})

const as = (accept: string): RequestInit => ({ headers: { accept } })
const LINES = 'application/x-ndjson'

/** Messages m0, m1, …, a second after each other. */
async function messages(http: HttpBroker, count: number, topic = 'a'): Promise<void> {
  for (let i = 0; i < count; i++) {
    await http.json(`/v1/records/${topic}`, post({ text: `m${i}` }), 201)
    await http.test.clock.advance(1000)
  }
}

async function openStream(http: HttpBroker, streamId: string, topic = 'a'): Promise<number> {
  const headers = { 'producer-id': `w-${streamId}`, 'producer-epoch': '0', 'producer-seq': '0' }
  return (await http.json<{ fence: number }>(`/v1/streams/${topic}`, post({ streamId }, headers), 201)).fence
}

const write = (http: HttpBroker, streamId: string, fence: number, tokens: unknown, query = ''): Promise<unknown> =>
  http.json(`/v1/tokens/a?stream=${streamId}&fence=${fence}${query}`, post(tokens), 201)

const textsOf = ({ records }: Page): unknown[] => records.map(({ text, state }) => text ?? state)

describe('reading', () => {
  it('begins where it is asked to', async () => {
    const http = await HttpBroker.start()
    const start = http.test.clock.wallMs()
    await messages(http, 3)
    await http.json('/v1/records/a', post({ kind: 'checkpoint', name: 'c' }), 201)
    await http.json('/v1/records/a', post({ text: 'm4' }), 201)
    const { cursor } = await http.json<Page>('/v1/records/a?limit=2')
    const places: Record<string, unknown[]> = {
      '': ['m0', 'm1', 'm2', undefined, 'm4'],
      '?from=start': ['m0', 'm1', 'm2', undefined, 'm4'],
      '?from=live': [],
      [`?cursor=${cursor}`]: ['m2', undefined, 'm4'],
      '?offset=2': ['m2', undefined, 'm4'],
      '?offset=5': [],
      '?last=1': ['m4'],
      '?last=100': ['m0', 'm1', 'm2', undefined, 'm4'],
      [`?timeMs=${start + 2000}`]: ['m2', undefined, 'm4'],
      '?checkpoint=c': ['m4'],
      '?checkpoint=': ['m4'],
    }
    for (const [query, texts] of Object.entries(places)) {
      expect([query, textsOf(await http.json<Page>(`/v1/records/a${query}`))]).toEqual([query, texts])
    }
  })

  it('is refused for a place that is none, with what a reader needs to go on', async () => {
    const http = await HttpBroker.start()
    await messages(http, 4)
    const { cursor } = await http.json<Page>('/v1/records/a?limit=1')
    await http.json('/v1/trim/a', post({ before: 2 }))
    const bad: [string, number, string][] = [
      ['?offset=0', 410, 'TRIMMED'],
      [`?cursor=${cursor}`, 410, 'TRIMMED'],
      ['?offset=5', 416, 'OFFSET_BEYOND_END'],
      ['?cursor=nonsense', 400, 'BAD_CURSOR'],
      [`?cursor=${'0'.repeat(40)}`, 410, 'DIVERGED'],
      ['?checkpoint=none', 404, 'CHECKPOINT_UNKNOWN'],
      ['?stream=none', 404, 'STREAM_UNKNOWN'],
      ['?from=end', 400, 'BAD_REQUEST'],
      ['?offset=-1', 400, 'BAD_REQUEST'],
      ['?offset=1.5', 400, 'BAD_REQUEST'],
      ['?offset=99999999999999999', 400, 'BAD_REQUEST'],
      ['?limit=0', 400, 'BAD_REQUEST'],
      ['?raw=yes', 400, 'BAD_REQUEST'],
      ['?part=text', 400, 'BAD_REQUEST'],
      ['?offset=2&last=1', 400, 'BAD_REQUEST'],
      ['?epoch=1', 410, 'RECREATED'],
    ]
    for (const [query, status, code] of bad) {
      expect(await http.problem(`/v1/records/a${query}`), query).toMatchObject({ status, code })
    }
    const { details } = await http.problem('/v1/records/a?offset=0')
    expect(details).toMatchObject({ outcome: 'trimmed', firstOffset: 2 })
    expect(textsOf(await http.json<Page>(`/v1/records/a?cursor=${details.cursor}`))).toEqual(['m2', 'm3'])
    expect(await http.problem('/v1/records/none')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await http.problem('/v1/records/none?epoch=5')).toMatchObject({ status: 410, code: 'GONE' })
    expect((await http.fetch('/v1/sessions/none')).status).toBe(404)
  })

  it('goes page by page, by cursor or by link, and never twice over a record', async () => {
    const http = await HttpBroker.start()
    await messages(http, 7)
    for (const by of ['cursor', 'link'] as const) {
      const seen: unknown[] = []
      for (let path: string | undefined = '/v1/records/a?limit=3&raw=true'; path !== undefined; ) {
        const response = await http.fetch(path)
        const page = (await response.json()) as Page
        seen.push(...textsOf(page))
        const link = /^<(.*)>; rel="next"$/.exec(response.headers.get('link') ?? '')?.[1]
        expect(link !== undefined).toBe(page.more)
        path = by === 'link' ? link : page.more ? `/v1/records/a?limit=3&cursor=${page.cursor}` : undefined
      }
      expect(seen).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6'])
    }
  })

  it('joins tokens in runs, unless each is asked for, and cuts no page in the middle of one', async () => {
    const http = await HttpBroker.start()
    const fence = await openStream(http, 's')
    await write(http, 's', fence, ['a', 'b', 'c', 'd', { part: 'x', text: 'e' }])
    expect((await http.json<Page>('/v1/records/a')).records).toMatchObject([
      { offset: 0, kind: 'stream', state: 'open' },
      { offset: 1, lastOffset: 4, tokens: 4, text: 'abcd', part: 'text' },
      { offset: 5, text: 'e', part: 'x' },
    ])
    expect(textsOf(await http.json<Page>('/v1/records/a?raw=true'))).toEqual(['open', 'a', 'b', 'c', 'd', 'e'])
    const first = await http.json<Page>('/v1/records/a?limit=3')
    expect(textsOf(first)).toEqual(['open', 'ab'])
    expect(textsOf(await http.json<Page>(`/v1/records/a?limit=3&cursor=${first.cursor}`))).toEqual(['cd', 'e'])
  })

  it('is of one stream, or one part of it, if that is asked for', async () => {
    const http = await HttpBroker.start()
    const [s, t] = [await openStream(http, 's'), await openStream(http, 't')]
    await write(http, 's', s, ['Hel', { part: 'reasoning', text: 'hm' }])
    await write(http, 't', t, ['other'])
    await write(http, 's', s, [{ json: 1 }, 'lo'], '&end=done')
    await http.json('/v1/records/a', post({ text: 'message' }), 201)
    expect(textsOf(await http.json<Page>('/v1/records/a?stream=s'))).toEqual([
      'open',
      'Hel',
      'hm',
      undefined,
      'lo',
      'done',
    ])
    expect(textsOf(await http.json<Page>('/v1/records/a?stream=s&part=reasoning'))).toEqual(['hm'])
    const text = async (query: string): Promise<string> =>
      (await http.fetch(`/v1/records/a?${query}`, as('text/plain'))).text()
    expect(await text('stream=s')).toBe('Helhmlo')
    expect(await text('stream=s&part=text')).toBe('Hello')
    expect(await text('stream=s&part=text&offset=4')).toBe('lo')
    expect(await text('stream=t')).toBe('other')
    expect(await http.problem('/v1/records/a', as('text/plain'))).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })

  it('comes in the form that is accepted', async () => {
    const http = await HttpBroker.start()
    await messages(http, 2)
    const lines = await http.fetch('/v1/records/a', as(LINES))
    expect(lines.headers.get('content-type')).toBe(LINES)
    const records = (await lines.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(records).toEqual((await http.json<Page>('/v1/records/a')).records)
    const binary = await http.fetch('/v1/records/a', as('application/vnd.litetopic.records'))
    const batch = new BatchReader(new ByteReader(new Uint8Array(await binary.arrayBuffer())))
    expect([batch.advance(), batch.base, batch.advance(), batch.base, batch.advance()]).toEqual([
      true,
      0,
      true,
      1,
      false,
    ])
    expect(await http.problem('/v1/records/a', as('text/html'))).toMatchObject({ status: 406, code: 'BAD_REQUEST' })
  })

  it('tells in headers where it was, also to HEAD, which does not hold the topic', async () => {
    const http = await HttpBroker.start({ lingerMs: 5000 })
    await messages(http, 3)
    const { epoch, cursor } = await http.json<Page>('/v1/records/a?limit=2')
    await http.test.clock.advance(4000)
    const head = await http.fetch('/v1/records/a?limit=2', { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    const named = ['epoch', 'first-offset', 'next-offset', 'cursor'].map((name) =>
      head.headers.get(`litetopic-${name}`),
    )
    expect(named).toEqual([`${epoch}`, '0', '3', cursor])
    await http.test.clock.advance(1100)
    expect((await http.fetch('/v1/sessions/a')).status).toBe(404)
  })

  it('is compressed for who accepts that', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', post({ text: 'words and words '.repeat(1000) }), 201)
    for (const accept of ['application/json', LINES]) {
      const plain = await http.fetch('/v1/records/a', { headers: { accept, 'accept-encoding': 'identity' } })
      const packed = await http.fetch('/v1/records/a', { headers: { accept, 'accept-encoding': 'gzip' } })
      expect([plain, packed].map(({ headers }) => headers.get('content-encoding'))).toEqual([null, 'gzip'])
      expect(packed.headers.get('vary')).toBe('accept, accept-encoding')
      expect(packed.headers.get('etag')).toBe(plain.headers.get('etag'))
      expect(await packed.text()).toBe(await plain.text())
    }
  })

  it('is not repeated for who has it already', async () => {
    const http = await HttpBroker.start()
    await messages(http, 3)
    const ask = (query: string, tag?: string, accept = LINES): Promise<Response> =>
      http.fetch(`/v1/records/a${query}`, { headers: { accept, ...(tag !== undefined && { 'if-none-match': tag }) } })
    const tagOf = async (query: string, accept = LINES): Promise<string> =>
      (await ask(query, undefined, accept)).headers.get('etag') as string
    const tag = await tagOf('?limit=2')
    expect((await ask('?limit=2', tag)).status).toBe(304)
    await messages(http, 1)
    expect((await ask('?limit=2', tag)).status).toBe(304)
    const tags = [tag, await tagOf(''), await tagOf('?limit=2', 'application/json'), await tagOf('?limit=2&raw=true')]
    expect(new Set(tags).size).toBe(4)
    const whole = await tagOf('')
    await messages(http, 1)
    expect((await ask('', whole)).status).toBe(200)
  })
})

describe('a long answer', () => {
  it('is streamed at the pace of its reader, in all forms, whole and in order', async () => {
    const http = await HttpBroker.start()
    const fence = await openStream(http, 's')
    const tokens = Array.from({ length: 200 }, (_, i) => `${i} ${'x'.repeat(1000)}\n`)
    for (let i = 0; i < 20; i++) await write(http, 's', fence, tokens)
    const expected = tokens.join('').repeat(20)
    const text = await (await http.fetch('/v1/records/a?stream=s', as('text/plain'))).text()
    expect(text === expected).toBe(true)
    const page = await http.json<Page>('/v1/records/a?limit=100000')
    expect(page.records.map(({ text: piece }) => piece ?? '').join('') === expected).toBe(true)
    const lines = await (await http.fetch('/v1/records/a?raw=true', as(LINES))).text()
    expect(lines.trimEnd().split('\n')).toHaveLength(4001)
  })

  it('that nobody takes is not read into memory, and breaks off when its reader goes', async () => {
    const http = await HttpBroker.start()
    const big = { base64: Buffer.alloc(150_000, 7).toString('base64') }
    for (let i = 0; i < 200; i++) await http.json('/v1/records/a', post(big), 201)
    const abort = new AbortController()
    afterwards(async () => abort.abort())
    global.gc?.()
    const before = process.memoryUsage().arrayBuffers
    const responses = await Promise.all(
      Array.from({ length: 5 }, () => http.fetch('/v1/records/a', { ...as(LINES), signal: abort.signal })),
    )
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
    for (let turns = 0; turns < 200; turns++) await new Promise((resolve) => setImmediate(resolve))
    // 200 MB wait to be read: what is in memory of them is a few pieces and what sockets hold.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(60_000_000)
    abort.abort()
    expect(await http.json('/v1/sessions/a')).toMatchObject({ nextOffset: 200 })
  })
})
