/** Answers that stay open: they hold their topic, tell what happens to it, and are the connection of streams. */

import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { describe, expect, it } from 'vitest'
import { afterwards } from '../broker/brokers.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { HttpBroker } from './http.ts'

const numbered = (sequence: number, producer: string): Record<string, string> => ({
  'producer-id': producer,
  'producer-epoch': '0',
  'producer-seq': `${sequence}`,
})

const post = (body?: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
  ...(body !== undefined && { body: JSON.stringify(body) }),
})

/** An attachment over HTTP, and what it is told. */
class Attached {
  readonly events: [string | undefined, Record<string, unknown>][] = []
  ended = false
  private readonly abort = new AbortController()

  static async open(http: HttpBroker, query = '', headers: Record<string, string> = {}): Promise<Attached> {
    const attached = new Attached()
    const response = await http.fetch(`/v1/attachment/a${query}`, { headers, signal: attached.abort.signal })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
    afterwards(async () => attached.close())
    const parser = createParser({
      onEvent: ({ event, data }: EventSourceMessage) => attached.events.push([event, JSON.parse(data)]),
    })
    void attached.read(response, (text) => parser.feed(text))
    await eventually(() => attached.events.length > 0)
    return attached
  }

  close(): void {
    this.abort.abort()
  }

  /** Events behind the first. */
  get notices(): unknown[] {
    return this.events.slice(1)
  }

  private async read(response: Response, feed: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder()
    try {
      for await (const piece of response.body ?? []) feed(decoder.decode(piece as Uint8Array, { stream: true }))
    } catch {
      // It was closed.
    }
    this.ended = true
  }
}

describe('an attachment', () => {
  it('holds its topic as long as it is open, and the linger begins behind it', async () => {
    const http = await HttpBroker.start({ lingerMs: 10_000 })
    const attached = await Attached.open(http, '?create=true')
    expect(attached.events).toEqual([
      [
        'attached',
        expect.objectContaining({ created: true, firstOffset: 0, nextOffset: 0, lingerMs: 10_000, fence: 0 }),
      ],
    ])
    await http.test.clock.advance(60_000)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ hold: 'attached', attachments: 1 })
    attached.close()
    await eventually(async () => (await http.json<{ hold: string }>('/v1/sessions/a')).hold === 'lingering')
    await http.test.clock.advance(10_100)
    await eventually(async () => (await http.fetch('/v1/sessions/a')).status === 404)
  })

  it('that only observes holds nothing, and is told that its topic is reclaimed', async () => {
    const http = await HttpBroker.start({ lingerMs: 10_000 })
    await http.json('/v1/records/a', post({ text: 'a' }), 201)
    const attached = await Attached.open(http, '?observe=true')
    await http.test.clock.advance(10_100)
    await eventually(() => attached.ended)
    expect(attached.notices).toEqual([['reclaimed', {}]])
  })

  it('makes no topic unless it may', async () => {
    const http = await HttpBroker.start()
    expect(await http.problem('/v1/attachment/a')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await http.problem('/v1/attachment/a?create=true&epoch=5')).toMatchObject({ status: 410, code: 'GONE' })
    expect(await http.problem('/v1/attachment/a?create=true&exclusive=true')).toMatchObject({ code: 'BAD_REQUEST' })
    expect((await http.fetch('/v1/sessions/a')).status).toBe(404)
  })

  it('is told what is trimmed, and that the topic is deleted, which ends it', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/records/a', post([{ text: 'a' }, { text: 'b' }]), 201)
    const attached = await Attached.open(http)
    await http.json('/v1/trim/a', post({ before: 1 }))
    await http.fetch('/v1/sessions/a', { method: 'DELETE' })
    await eventually(() => attached.ended)
    expect(attached.notices).toEqual([
      ['trimmed', { firstOffset: 1 }],
      ['deleted', {}],
    ])
  })

  it('is the connection of the streams that requests of its producer open', async () => {
    const http = await HttpBroker.start()
    const attached = await Attached.open(http, '?create=true', { 'producer-id': 'w' })
    await http.json('/v1/streams/a', post({ streamId: 's', leaseMs: 1000 }, numbered(0, 'w')), 201)
    await http.test.clock.advance(60_000)
    expect(await http.json('/v1/streams/a?stream=s')).toMatchObject({ state: 'open', live: true })
    await http.json('/v1/stop/a', post({ reason: 'enough' }))
    await http.json('/v1/streams/a', post({ streamId: 't' }, numbered(1, 'w')), 201)
    await http.json('/v1/streams/a', post({ streamId: 't', mode: 'continue' }, numbered(0, 'other')), 201)
    await eventually(() => attached.notices.length === 2)
    expect(attached.notices).toEqual([
      ['stopped', { streamId: 's', fence: 0, reason: 'enough' }],
      ['fenced', { streamId: 't', fence: 3 }],
    ])
    await http.json('/v1/streams/a', post({ streamId: 'u' }, numbered(2, 'w')), 201)
    attached.close()
    await eventually(async () => !(await http.json<{ live: boolean }>('/v1/streams/a?stream=u')).live)
    await http.test.clock.advance(10_100)
    await eventually(async () => (await http.json<{ state: string }>('/v1/streams/a?stream=u')).state === 'lost')
  })

  it('adopts the streams of its producer that have a lease', async () => {
    const http = await HttpBroker.start()
    await http.json('/v1/streams/a', post({ streamId: 's', leaseMs: 5000 }, numbered(0, 'w')), 201)
    await Attached.open(http, '', { 'producer-id': 'w' })
    await http.test.clock.advance(60_000)
    expect(await http.json('/v1/streams/a?stream=s')).toMatchObject({ state: 'open', live: true })
  })

  it('that is exclusive shuts out others, until it lets go', async () => {
    const http = await HttpBroker.start()
    const before = await Attached.open(http, '?create=true', { 'producer-id': 'before' })
    const attached = await Attached.open(http, '?exclusive=true', { 'producer-id': 'x' })
    expect(attached.events[0]?.[1]).toMatchObject({ fence: 1 })
    await eventually(() => before.notices.length === 1)
    expect(before.notices).toEqual([['fenced', { fence: 1 }]])
    const refused = await http.problem('/v1/records/a', post({ text: 'a' }))
    expect(refused).toMatchObject({ status: 409, code: 'FENCED', details: { fence: 1 } })
    await http.json('/v1/records/a?topicFence=1', post({ text: 'b' }, numbered(0, 'x')), 201)
    attached.close()
    expect(await http.problem('/v1/records/a', post({ text: 'a' }))).toMatchObject({ code: 'FENCED' })
    const letGo = { method: 'DELETE', headers: { 'producer-id': 'x' } }
    expect((await http.fetch('/v1/attachment/a?topicFence=1', letGo)).status).toBe(204)
    await http.json('/v1/records/a', post({ text: 'a' }), 201)
    expect(await http.problem('/v1/records/a?topicFence=0', post({ text: 'c' }))).toMatchObject({ code: 'FENCED' })
  })

  it('is told to come back when the broker stops', async () => {
    const http = await HttpBroker.start()
    const attached = await Attached.open(http, '?create=true')
    await http.test.broker.close()
    await eventually(() => attached.ended)
    expect(attached.notices).toEqual([['goaway', { minDelayMs: 100, maxDelayMs: expect.any(Number) }]])
  })
})
