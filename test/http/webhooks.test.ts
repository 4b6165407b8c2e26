/** Webhooks of Durable Streams subscriptions: real receivers on real sockets, names that a table resolves, virtual time. */

import type { ServerResponse } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { LIMITS } from '../../protocol/index.ts'
import { afterwards } from '../broker/brokers.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { done, isSigned, Receiver, Rig } from './webhooks.ts'

describe('a webhook', () => {
  test('is called with what is pending, signed, and ends the wake when it says so', async () => {
    const receiver = await Receiver.open({ done: true })
    const rig = await Rig.start()
    await rig.webhook('s/1', receiver, { pattern: 'events/*', streams: ['named'] }).catch(() => undefined)
    await rig.webhook('s', receiver, { pattern: 'events/*', streams: ['named'] })
    await rig.append('events/a')
    const call = await receiver.call(1)
    expect(call.body).toMatchObject({
      subscription_id: 's',
      generation: 1,
      callback_url: `${rig.http.base}/v1/stream/__ds/subscriptions/s/callback`,
    })
    expect(call.body.streams).toEqual([
      {
        path: 'events/a',
        link_type: 'glob',
        acked_offset: expect.stringMatching(/^0000000000000000_/),
        tail_offset: expect.stringMatching(/^0000000000000001_/),
        has_pending: true,
      },
    ])
    expect(call.headers).toMatchObject({ 'content-type': 'application/json', host: new URL(receiver.url).host })
    expect(await isSigned(rig.http, call)).toBe(true)
    expect(await isSigned(rig.http, { ...call, raw: `${call.raw} ` })).toBe(false)
    await eventually(async () => (await rig.get('s')).streams[0]?.acked_offset === call.body.streams[0]?.tail_offset)
    // Not woken again by what it has had, but by what comes then.
    await rig.append('named')
    const next = await receiver.call(2)
    expect([next.body.generation, next.body.streams.map(({ path }) => path)]).toEqual([2, ['named']])
    expect(receiver.calls).toHaveLength(2)
  })

  test('is called again for what came after the call that it has done', async () => {
    const answers: ServerResponse[] = []
    const receiver = await Receiver.open((response) => answers.push(response))
    const rig = await Rig.start()
    await rig.webhook('s', receiver)
    await rig.append('events/a')
    const first = await receiver.call(1)
    await rig.append('events/a')
    answers[0]?.end(JSON.stringify({ done: true }))
    const second = await receiver.call(2)
    expect(second.body.streams[0]?.acked_offset).toBe(first.body.streams[0]?.tail_offset)
    expect(second.body.wake_id).not.toBe(first.body.wake_id)
  })

  test('calls back when it is done, once', async () => {
    const receiver = await Receiver.open()
    const rig = await Rig.start()
    await rig.webhook('s', receiver, { pattern: 'events/*', lease_ttl_ms: 10_000 })
    await rig.append('events/a')
    const call = await receiver.call(1)
    await rig.clock.advance(9_000)
    expect(await rig.callback(call, {})).toBe('200 {"ok":true,"next_wake":false}')
    await rig.clock.advance(9_000)
    expect(await rig.callback(call, done(call))).toBe('200 {"ok":true,"next_wake":false}')
    expect(await rig.callback(call, done(call))).toMatch(/^409 .*"FENCED"/)
    await rig.clock.advance(60_000)
    expect(receiver.calls).toHaveLength(1)
  })

  test('is called by a new wake when it does not call back while its lease lasts', async () => {
    const receiver = await Receiver.open()
    const rig = await Rig.start()
    await rig.webhook('s', receiver, { pattern: 'events/*', lease_ttl_ms: 10_000 })
    await rig.append('events/a')
    const first = await receiver.call(1)
    await rig.settle()
    await rig.clock.advance(9_999)
    await rig.settle()
    expect(receiver.calls).toHaveLength(1)
    await rig.clock.advance(1)
    const second = await receiver.call(2)
    expect([first.body.generation, second.body.generation]).toEqual([1, 2])
    expect(await rig.callback(first, done(first))).toMatch(/^409 .*"FENCED"/)
    expect(await rig.callback(second, done(second))).toMatch(/^200 /)
  })

  test('is called again, later and later, while it fails, and told of at once when it is well', async () => {
    const receiver = await Receiver.open(500)
    const rig = await Rig.start()
    await rig.webhook('s', receiver, { pattern: 'events/*', lease_ttl_ms: 600_000 })
    await rig.append('events/a')
    const random = vi.spyOn(Math, 'random').mockReturnValue(0)
    for (const [i, base] of [1, 2, 4, 8, 16, 32, 60, 60].entries()) {
      await receiver.call(i + 1)
      await rig.settle()
      await rig.append('events/a')
      expect((await rig.get('s')).status).toBe('failed')
      // A fifth earlier, for this one; later, for the next one.
      await rig.clock.advance(base * (i % 2 === 0 ? 800 : 1200) - 1)
      await rig.settle()
      expect(receiver.calls).toHaveLength(i + 1)
      random.mockReturnValue(i % 2 === 0 ? 1 : 0)
      await rig.clock.advance(1)
    }
    random.mockRestore()
    expect(rig.http.test.log.filter((line) => line.includes('tries again'))).toHaveLength(1)
    receiver.answer = { done: true }
    const last = await receiver.call(9)
    // All that time it was one wake.
    expect(new Set(receiver.calls.map(({ body }) => body.wake_id)).size).toBe(1)
    await rig.clock.advance(72_000)
    await eventually(async () => (await rig.get('s')).status === 'active')
    expect(last.body.streams[0]?.tail_offset).toMatch(/^0000000000000009_/)
  })

  test.each([
    ['redirects', 302],
    ['hangs up', (response: ServerResponse) => response.destroy()],
    [
      'answers half',
      (response: ServerResponse) =>
        response.writeHead(200, { 'content-length': 99 }).write('{"done":', () => response.destroy()),
    ],
  ])('has failed when it %s', async (_what, answer) => {
    const receiver = await Receiver.open(answer)
    const rig = await Rig.start()
    await rig.webhook('s', receiver)
    await rig.append('events/a')
    await eventually(async () => (await rig.get('s')).status === 'failed')
    expect(receiver.calls).toHaveLength(1)
  })

  test('has failed when it does not answer in time', async () => {
    const receiver = await Receiver.open(() => undefined)
    const rig = await Rig.start()
    await rig.webhook('s', receiver, { pattern: 'events/*', lease_ttl_ms: 600_000 })
    await rig.append('events/a')
    await receiver.call(1)
    await rig.clock.advance(LIMITS.webhookMs - 1)
    expect((await rig.get('s')).status).toBe('active')
    await rig.clock.advance(1)
    await eventually(async () => (await rig.get('s')).status === 'failed')
  })

  test('has failed when its name is not resolved in time', async () => {
    let asked = 0
    const resolveHost = (): Promise<string[]> => {
      asked++
      return new Promise(() => undefined)
    }
    const rig = await Rig.start({ webhookHosts: ['hooks.example.com'], resolveHost })
    const webhook = { url: 'https://hooks.example.com/' }
    await rig.put('s', { type: 'webhook', pattern: '*', webhook, lease_ttl_ms: 600_000 })
    await rig.append('a')
    await eventually(() => asked === 1)
    await rig.clock.advance(LIMITS.webhookMs)
    await eventually(async () => (await rig.get('s')).status === 'failed')
    await rig.clock.advance(1_200)
    await eventually(() => asked === 2)
  })

  test('has failed when its lease runs out before it answers, and the next wake waits', async () => {
    const receiver = await Receiver.open(() => undefined)
    const rig = await Rig.start()
    await rig.webhook('s', receiver, { pattern: 'events/*', lease_ttl_ms: 1_000 })
    await rig.append('events/a')
    const first = await receiver.call(1)
    await rig.clock.advance(1_000)
    await eventually(async () => (await rig.get('s')).status === 'failed')
    expect(await rig.callback(first, done(first))).toMatch(/^409 .*"FENCED"/)
    await rig.settle()
    expect(receiver.calls).toHaveLength(1)
    await rig.clock.advance(1_200)
    expect((await receiver.call(2)).body.generation).toBe(2)
  })

  test('may answer anything, of which no more than some is read', async () => {
    const receiver = await Receiver.open((response) => response.end('done'))
    const rig = await Rig.start()
    await rig.webhook('s', receiver, { pattern: 'events/*', lease_ttl_ms: 1_000 })
    await rig.append('events/a')
    const call = await receiver.call(1)
    await rig.settle()
    let closed = false
    receiver.answer = (response) => {
      response.on('close', () => {
        closed = true
      })
      const more = (): void => {
        if (!closed) response.write(Buffer.alloc(LIMITS.webhookAnswerBytes, 32), () => setImmediate(more))
      }
      more()
    }
    expect(await rig.callback(call, {})).toMatch(/^200 /)
    await rig.clock.advance(1_000)
    await receiver.call(2)
    await eventually(() => closed)
    expect((await rig.get('s')).status).toBe('active')
  })

  test('is called no more once the subscription is deleted', async () => {
    const receiver = await Receiver.open(() => undefined)
    const rig = await Rig.start()
    await rig.webhook('s', receiver)
    await rig.append('events/a')
    const call = await receiver.call(1)
    await rig.send('DELETE', 's')
    expect(await rig.callback(call, done(call))).toMatch(/^404 .*"SUBSCRIPTION_NOT_FOUND"/)
    await rig.append('events/a')
    await rig.clock.advance(120_000)
    await rig.settle()
    expect(receiver.calls).toHaveLength(1)
  })

  test('waits for its turn when many are called', async () => {
    const answers: ServerResponse[] = []
    const receiver = await Receiver.open((response) => answers.push(response))
    const rig = await Rig.start()
    for (let i = 0; i < LIMITS.webhooksInFlight + 1; i++) await rig.webhook(`s${i}`, receiver)
    await rig.append('events/a')
    await receiver.call(LIMITS.webhooksInFlight)
    await rig.settle()
    expect(receiver.calls).toHaveLength(LIMITS.webhooksInFlight)
    answers[0]?.end('{}')
    await receiver.call(LIMITS.webhooksInFlight + 1)
  })

  test('may be reached at another address than the one that is called back', async () => {
    const receiver = await Receiver.open()
    const rig = await Rig.start({ publicUrl: 'https://broker.example.com/litetopic/' })
    await rig.webhook('a&b', receiver).catch(() => undefined)
    await rig.webhook('%C3%A4', receiver)
    await rig.append('events/a')
    const { body } = await receiver.call(1)
    const at = 'https://broker.example.com/litetopic/v1/stream/__ds'
    expect(body.callback_url.startsWith(`${at}/subscriptions/`)).toBe(true)
    const told = (await rig.get('%C3%A4')) as unknown as { webhook: { signing: { jwks_url: string } } }
    expect(told.webhook.signing.jwks_url).toBe(`${at}/jwks.json`)
  })
})

describe('where a webhook may go', () => {
  const refusedUrl = (rig: Rig, url: string): Promise<string> =>
    rig.refused('PUT', 's', { type: 'webhook', pattern: 'a', webhook: { url } })

  test('is nowhere by default', async () => {
    const rig = await Rig.start({ webhookHosts: [] })
    expect(await refusedUrl(rig, 'https://hooks.example.com/')).toBe('400 WEBHOOK_URL_REJECTED')
    expect(await refusedUrl(rig, 'http://127.0.0.1:1/')).toBe('400 WEBHOOK_URL_REJECTED')
  })

  test('is judged when the name is resolved, each time', async () => {
    const receiver = await Receiver.open()
    const asked: string[] = []
    let addresses = ['10.0.0.1']
    const resolveHost = async (host: string): Promise<string[]> => {
      asked.push(host)
      return addresses
    }
    const rig = await Rig.start({ webhookHosts: ['localhost', '127.0.0.1'], resolveHost })
    const { port } = new URL(receiver.url)
    const url = `http://localhost:${port}/hook?key=secret`
    const created = await rig.put('s', { type: 'webhook', pattern: 'events/*', webhook: { url } })
    expect(created.status).toBe(201)
    await rig.append('events/a')
    await eventually(async () => (await rig.get('s')).status === 'failed')
    expect(receiver.calls).toEqual([])
    // One that may be called and one that may not: neither is.
    addresses = ['127.0.0.1', '10.0.0.1']
    await rig.clock.advance(1_200)
    await eventually(() => asked.length === 2)
    await rig.settle()
    expect(receiver.calls).toEqual([])
    addresses = ['127.0.0.1']
    await rig.clock.advance(2_400)
    const call = await receiver.call(1)
    expect([call.headers.host, call.path]).toEqual([`localhost:${port}`, '/hook?key=secret'])
    // Resolved once for each call, and called at what was checked.
    expect(asked).toEqual(['localhost', 'localhost', 'localhost'])
    expect(rig.http.test.log.join('\n')).not.toContain('secret')
    expect(rig.http.test.log.join('\n')).not.toContain(call.body.callback_token)
  })

  test('is the address that was checked, by the name that it has, though no other resolver knows it', async () => {
    let greeting = ''
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (bytes) => {
        greeting += bytes.toString('latin1')
        socket.destroy()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    afterwards(async () => server.close())
    const resolveHost = async (): Promise<string[]> => ['127.0.0.1']
    const rig = await Rig.start({ webhookHosts: ['hooks.invalid', '127.0.0.1'], resolveHost })
    const url = `https://hooks.invalid:${(server.address() as AddressInfo).port}/`
    expect((await rig.put('s', { type: 'webhook', pattern: '*', webhook: { url } })).status).toBe(201)
    await rig.append('a')
    // What TLS begins with names the host.
    await eventually(() => greeting.includes('hooks.invalid'))
    await eventually(async () => (await rig.get('s')).status === 'failed')
  })
})
