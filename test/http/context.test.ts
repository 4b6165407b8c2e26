/** Context, checkpoints and coming back, by plain HTTP. */

import { describe, expect, it } from 'vitest'
import { HttpBroker } from './http.ts'

const ask = (method: string, body?: string | Uint8Array<ArrayBuffer>, type = 'application/json'): RequestInit =>
  body === undefined ? { method } : { method, headers: { 'content-type': type }, body }
const json = (method: string, body: unknown): RequestInit => ask(method, JSON.stringify(body))

const entry = (http: HttpBroker, name: string, query = ''): Promise<Record<string, unknown>> =>
  http.json(`/v1/context/a?entry=${encodeURIComponent(name)}${query}`)

describe('a context entry', () => {
  it('is set, appended to and deleted, and read as the value that comes of it', async () => {
    const http = await HttpBroker.start()
    const change = async (
      name: string,
      method: string,
      body: string | Uint8Array<ArrayBuffer>,
      type?: string,
    ): Promise<void> => {
      await http.json(`/v1/context/a?entry=${name}`, ask(method, body, type), 201)
    }
    await change('list', 'PUT', '[1, {"a": 2}]')
    await change('list', 'POST', '"x"')
    await change('list', 'POST', 'text', 'text/plain')
    await change('list', 'POST', new Uint8Array([255]), 'image/png')
    await change('empty', 'PUT', '[]')
    await change('empty', 'POST', '1')
    await change('value', 'PUT', '{"n":1}')
    await change('value', 'POST', '2')
    await change('text', 'PUT', 'Hel', 'text/plain')
    await change('text', 'POST', 'lo', 'text/plain')
    await change('bytes', 'POST', new Uint8Array([1]), 'application/octet-stream')
    await change('bytes', 'POST', new Uint8Array([2]), 'application/octet-stream')
    await change('gone', 'PUT', 'x', 'text/plain')
    await http.json('/v1/context/a?entry=gone', ask('DELETE'), 201)
    const { entries } = await http.json<{ entries: { name: string }[] }>('/v1/context/a')
    expect(entries).toEqual([
      { name: 'bytes', offset: 11, base64: 'AQI=' },
      { name: 'empty', offset: 5, json: [1] },
      { name: 'list', offset: 3, json: [1, { a: 2 }, 'x', 'text', '/w=='] },
      { name: 'text', offset: 9, text: 'Hello' },
      { name: 'value', offset: 7, json: [{ n: 1 }, 2] },
    ])
    expect(await entry(http, 'value', '&asOf=7')).toEqual({ name: 'value', offset: 6, json: { n: 1 } })
    expect(await entry(http, 'value', '&pieces=true')).toMatchObject({ pieces: [{ json: { n: 1 } }, { json: 2 }] })
    expect(await http.problem('/v1/context/a?entry=gone')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it('has any name, and is listed by pages', async () => {
    const http = await HttpBroker.start()
    for (const name of ['a/b', 'ü?&=', 'z']) {
      await http.json(`/v1/context/a?entry=${encodeURIComponent(name)}`, json('PUT', name), 201)
    }
    expect(await entry(http, 'ü?&=')).toMatchObject({ name: 'ü?&=', json: 'ü?&=' })
    const first = await http.json<{ entries: { name: string }[]; more: boolean }>('/v1/context/a?limit=2')
    expect([first.entries.map(({ name }) => name), first.more]).toEqual([['a/b', 'z'], true])
    expect(await http.json('/v1/context/a?after=z')).toMatchObject({ entries: [{ name: 'ü?&=' }], more: false })
  })
})

describe('a checkpoint', () => {
  it('has the body as its state, and is where reading goes on', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json('POST', { text: 'before' }), 201)
    await http.json('/v1/checkpoints/a?checkpoint=answered', json('POST', { step: 3 }), 201)
    await http.json('/v1/records/a', json('POST', { text: 'after' }), 201)
    await http.json('/v1/checkpoints/a?checkpoint=bare', ask('POST'), 201)
    const { checkpoints } = await http.json<{ checkpoints: { cursor: string }[] }>('/v1/checkpoints/a')
    expect(checkpoints).toMatchObject([
      { name: 'bare', offset: 3 },
      { name: 'answered', offset: 1, timeMs: http.test.clock.wallMs(), json: { step: 3 } },
    ])
    expect(await http.json(`/v1/records/a?limit=1&cursor=${checkpoints[1]?.cursor}`)).toMatchObject({
      records: [{ text: 'after' }],
    })
    expect(await http.json('/v1/checkpoints/a?before=3&limit=1')).toMatchObject({
      checkpoints: [{ name: 'answered' }],
      more: false,
    })
  })
})

describe('resuming', () => {
  it('tells checkpoint, context and streams with their text in one answer', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/context/a?entry=plan', json('PUT', ['look']), 201)
    await http.json('/v1/checkpoints/a?checkpoint=begun', json('POST', { step: 1 }), 201)
    await http.json('/v1/context/a?entry=plan', json('POST', 'think'), 201)
    const headers = {
      'content-type': 'application/json',
      'producer-id': 'w',
      'producer-epoch': '0',
      'producer-seq': '0',
    }
    await http.json('/v1/streams/a', { ...json('POST', { streamId: 's' }), headers }, 201)
    await http.json(
      '/v1/tokens/a?stream=s&fence=3',
      json('POST', ['Hel', 'lo', { part: 'reasoning', text: 'hm' }]),
      201,
    )
    const resumed = await http.json<{ cursor: string }>('/v1/resume/a?checkpoint=begun')
    expect(resumed).toMatchObject({
      outcome: 'continued',
      firstOffset: 0,
      nextOffset: 7,
      checkpoint: { name: 'begun', json: { step: 1 } },
      context: [{ name: 'plan', json: ['look'] }],
      streams: [{ stream: { streamId: 's', state: 'open', live: true }, text: { text: 'Hello', reasoning: 'hm' } }],
    })
    expect(await http.json(`/v1/resume/a?cursor=${resumed.cursor}`)).toMatchObject({ outcome: 'continued' })
    expect(await http.json('/v1/resume/a?checkpoint=')).toMatchObject({ checkpoint: { name: 'begun' } })
  })

  it('says what became of a cursor that cannot be gone on from', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', json('POST', [{ text: 'a' }, { text: 'b' }]), 201)
    const { cursor } = await http.json<{ cursor: string }>('/v1/records/a?limit=1')
    await http.json('/v1/trim/a', json('POST', { before: 2 }))
    expect(await http.json(`/v1/resume/a?cursor=${cursor}`)).toMatchObject({ outcome: 'trimmed', firstOffset: 2 })
    await http.fetch('/v1/sessions/a', { method: 'DELETE' })
    expect(await http.problem(`/v1/resume/a?cursor=${cursor}`)).toMatchObject({ status: 410, code: 'GONE' })
    expect(await http.problem(`/v1/records/a?cursor=${cursor}`)).toMatchObject({ status: 410, code: 'GONE' })
    await http.json('/v1/records/a', json('POST', { text: 'new' }), 201)
    expect(await http.json(`/v1/resume/a?cursor=${cursor}`)).toMatchObject({ outcome: 'recreated', cursor: null })
    const recreated = await http.problem(`/v1/records/a?cursor=${cursor}`)
    expect(recreated).toMatchObject({ status: 410, code: 'RECREATED', details: { outcome: 'recreated' } })
    for (const query of ['', '?cursor=x&checkpoint=y', '?cursor=nonsense', '?checkpoint=none']) {
      const { status } = await http.problem(`/v1/resume/a${query}`)
      expect([query, status]).toEqual([query, query === '?checkpoint=none' ? 404 : 400])
    }
  })
})
