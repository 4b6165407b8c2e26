/** Streams of writers without a connection: each request is over before the next, and a lease says how long one may be silent. */

import { describe, expect, it } from 'vitest'
import { DOWN, type StreamInfo } from '../../protocol/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { HttpBroker } from './http.ts'

interface Opened {
  readonly fence: number | null
  readonly offset: number | null
  readonly stream: StreamInfo
  readonly text: Record<string, string> | null
}

/** A function without a connection that writes one stream: it keeps its numbers, and nothing else. */
class Writer {
  readonly http: HttpBroker
  readonly topic: string
  private readonly producer: string
  private epoch = 0
  private sequence = 0
  fence = -1

  constructor(http: HttpBroker, producer: string, topic = 'demo') {
    this.http = http
    this.producer = producer
    this.topic = topic
  }

  /** A new run of it, which knows nothing of its numbers. */
  restart(): void {
    this.epoch++
    this.sequence = 0
  }

  headers(): Record<string, string> {
    return {
      'producer-id': this.producer,
      'producer-epoch': `${this.epoch}`,
      'producer-seq': `${this.sequence++}`,
    }
  }

  async open(body: object = {}, status = 201): Promise<Opened> {
    const opened = await this.http.json<Opened>(
      `/v1/streams/${this.topic}`,
      this.post({ streamId: 's', ...body }),
      status,
    )
    if (opened.fence !== null) this.fence = opened.fence
    return opened
  }

  async write(tokens: unknown, status = 201, query = ''): Promise<unknown> {
    return this.http.json(`/v1/tokens/${this.topic}?stream=s&fence=${this.fence}${query}`, this.post(tokens), status)
  }

  post(body: unknown): RequestInit {
    const headers = { ...this.headers(), 'content-type': 'application/json' }
    return { method: 'POST', headers, body: JSON.stringify(body) }
  }
}

const streamOf = (http: HttpBroker, topic = 'demo'): Promise<StreamInfo> =>
  http.json<StreamInfo>(`/v1/streams/${topic}?stream=s`)

/** State changes of streams in the log. */
async function history(http: HttpBroker, topic = 'demo'): Promise<string[]> {
  const { records } = await http.json<{ records: { kind: string; state?: string; text?: string }[] }>(
    `/v1/records/${topic}`,
  )
  return records.map(({ kind, state, text }) => (kind === 'stream' ? `${state}` : `${text}`))
}

describe('a stream opened over HTTP', () => {
  it('is live for its lease, and anew with each append to it', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    const opened = await writer.open({ leaseMs: 20_000 })
    expect(opened).toMatchObject({ offset: 0, fence: 0, stream: { state: 'open', live: true }, text: {} })
    await http.test.clock.advance(19_000)
    await writer.write(['a'])
    await http.test.clock.advance(19_000)
    expect(await streamOf(http)).toMatchObject({ state: 'open', live: true })
    await http.test.clock.advance(1_100)
    await eventually(async () => (await streamOf(http)).state === 'lost')
    expect(await streamOf(http)).toMatchObject({ live: false })
    expect(await history(http)).toEqual(['open', 'a', 'lost'])
  })

  it('has 60 s if it says nothing', async () => {
    const http = await HttpBroker.start()
    await new Writer(http, 'w').open()
    await http.test.clock.advance(59_000)
    expect(await streamOf(http)).toMatchObject({ state: 'open', live: true })
    await http.test.clock.advance(1_100)
    await eventually(async () => (await streamOf(http)).state === 'lost')
  })

  it('goes on with its fence after it was lost: readers are told first that it is resumed', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    await writer.open({ leaseMs: 1_000 })
    await http.test.clock.advance(2_000)
    await eventually(async () => (await streamOf(http)).state === 'lost')
    await writer.write(['a', 'b'], 201, '&leaseMs=30000')
    expect(await streamOf(http)).toMatchObject({ state: 'resumed', live: true, fence: 0 })
    await http.test.clock.advance(29_000)
    expect(await streamOf(http)).toMatchObject({ state: 'resumed', live: true })
    await writer.write([], 201, '&end=done')
    expect(await history(http)).toEqual(['open', 'lost', 'resumed', 'ab', 'done'])
    expect(await streamOf(http)).toMatchObject({ state: 'done', live: false })
  })

  it('is kept by a request that has nothing to append, which uses no number', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    await writer.open({ leaseMs: 10_000 })
    for (let i = 0; i < 3; i++) {
      await http.test.clock.advance(9_000)
      const kept = await http.json(`/v1/tokens/demo?stream=s&fence=0`, { method: 'POST' })
      expect(kept).toMatchObject({ count: 0, offset: null })
    }
    await writer.write(['a'])
    expect(await history(http)).toEqual(['open', 'a'])
    const stale = await http.problem('/v1/tokens/demo?stream=s&fence=7', { method: 'POST' })
    expect(stale).toMatchObject({ status: 409, code: 'FENCED' })
  })

  it('holds its topic, which would else be gone between two requests', async () => {
    const http = await HttpBroker.start({ lingerMs: 0 })
    const writer = new Writer(http, 'w')
    await writer.open({ leaseMs: 30_000 })
    await http.test.clock.advance(29_000)
    await writer.write(['a'])
    await http.test.clock.advance(29_000)
    expect(await streamOf(http)).toMatchObject({ live: true })
    await http.test.clock.advance(31_000)
    await eventually(async () => (await http.fetch('/v1/sessions/demo')).status === 404)
  })

  it('has a full grace after the broker was killed, and a new lease with the next append', async () => {
    const http = await HttpBroker.start({ streamGraceMs: 10_000 })
    const writer = new Writer(http, 'w')
    await writer.open({ leaseMs: 5_000 })
    await http.test.clock.advance(4_000)
    const again = new HttpBroker(await http.test.kill())
    expect(await streamOf(again)).toMatchObject({ state: 'open', live: false })
    await again.test.clock.advance(9_000)
    const headers = { 'producer-id': 'w', 'producer-epoch': '0', 'producer-seq': '1' }
    await again.json('/v1/tokens/demo?stream=s&fence=0', { method: 'POST', headers, body: 'a' }, 201)
    expect(await streamOf(again)).toMatchObject({ state: 'open', live: true })
    await again.test.clock.advance(59_000)
    expect(await streamOf(again)).toMatchObject({ live: true })
    await again.test.clock.advance(1_100)
    await eventually(async () => (await streamOf(again)).state === 'lost')
  })
})

describe('who else comes for it', () => {
  it('joins nothing while it is live, and takes it over once it is lost', async () => {
    const http = await HttpBroker.start()
    const first = new Writer(http, 'first')
    const second = new Writer(http, 'second')
    await first.open({ leaseMs: 5_000 })
    await first.write(['a', { part: 'reasoning', text: 'hm' }])
    expect(await second.open({}, 200)).toMatchObject({
      fence: null,
      offset: null,
      text: { text: 'a', reasoning: 'hm' },
    })
    await http.test.clock.advance(6_000)
    await eventually(async () => (await streamOf(http)).state === 'lost')
    expect(await second.open()).toMatchObject({
      fence: 4,
      stream: { state: 'resumed', live: true },
      text: { text: 'a' },
    })
    const refused = await http.problem(`/v1/tokens/demo?stream=s&fence=${first.fence}`, first.post(['b']))
    expect(refused).toMatchObject({ status: 409, code: 'FENCED' })
    await second.write(['c'])
    expect(await history(http)).toEqual(['open', 'a', 'hm', 'lost', 'resumed', 'c'])
  })

  it('is itself, run again: it takes over at once', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    await writer.open()
    await writer.write(['Hel'])
    writer.restart()
    expect(await writer.open()).toMatchObject({ fence: 2, text: { text: 'Hel' } })
    await writer.write(['lo'])
    const page = await http.fetch('/v1/records/demo?stream=s', { headers: { accept: 'text/plain' } })
    expect(await page.text()).toBe('Hello')
  })

  it('is a WebSocket client, which continues it, and writes without a lease', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    await writer.open()
    const peer = await http.test.peer()
    await peer.attach('demo', { producer: 'peer' })
    expect(await peer.ask(6, 0, 0, 0, 's', 'join')).toMatchObject({ fence: null, stream: { live: true } })
    expect(await peer.ask(6, 0, 0, 1, 's', 'continue')).toMatchObject({ fence: 1 })
    await http.test.clock.advance(120_000)
    expect(await streamOf(http)).toMatchObject({ state: 'resumed', live: true })
    await http.test.drop(peer)
    expect(await streamOf(http)).toMatchObject({ live: false })
  })

  it('is told that a WebSocket writer of it was taken over', async () => {
    const http = await HttpBroker.start()
    const peer = await http.test.peer()
    await peer.attach('demo', { producer: 'peer' })
    await peer.ask(6, 0, 0, 0, 's', 'create')
    expect(await new Writer(http, 'w').open({ mode: 'continue' })).toMatchObject({ fence: 1 })
    await peer.notice('fenced')
    expect(peer.order).toContain(DOWN.notice)
    await http.test.drop(peer)
    expect(await streamOf(http)).toMatchObject({ live: true })
  })

  it('is shut out, with its leases, by an exclusive session', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    await writer.open()
    const peer = await http.test.peer()
    await peer.attach('demo', { producer: 'peer', exclusive: true })
    expect(await streamOf(http)).toMatchObject({ live: false })
    const refused = await http.problem('/v1/tokens/demo?stream=s&fence=0', writer.post(['b']))
    expect(refused).toMatchObject({ code: 'FENCED' })
    await http.test.clock.advance(10_100)
    await eventually(async () => (await streamOf(http)).state === 'lost')
  })
})

describe('stopping it', () => {
  it('ends it for its writer, who learns from the next answer', async () => {
    const http = await HttpBroker.start()
    const writer = new Writer(http, 'w')
    await writer.open()
    const stopped = await http.json('/v1/stop/demo', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ streamId: 's', reason: 'enough' }),
    })
    expect(stopped).toMatchObject({ streams: [{ streamId: 's', state: 'stopped', detail: { reason: 'enough' } }] })
    const refused = await http.problem('/v1/tokens/demo?stream=s&fence=0', writer.post(['a']))
    expect(refused).toMatchObject({ status: 409, code: 'STREAM_ENDED', details: { state: 'stopped' } })
    await http.test.clock.advance(120_000)
    expect(await history(http)).toEqual(['open', 'stopped'])
  })
})

describe('a lease out of its bounds', () => {
  for (const leaseMs of [0, 999, 3_600_001, 1.5]) {
    it(`${leaseMs} ms is refused, and makes no topic`, async () => {
      const http = await HttpBroker.start()
      const problem = await http.problem('/v1/streams/demo', new Writer(http, 'w').post({ streamId: 's', leaseMs }))
      expect(problem).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
      expect((await http.fetch('/v1/sessions/demo')).status).toBe(404)
    })
  }
})
