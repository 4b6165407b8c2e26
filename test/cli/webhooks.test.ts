/** A real broker process, told on its command line where webhooks may go, and killed between an append and the wake it causes. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { eventually } from '../broker/virtual-clock.ts'
import { Receiver } from '../http/webhooks.ts'
import { killAll, litetopic, type Running } from './processes.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-webhooks-'))
})

afterEach(async () => {
  killAll()
  await rm(directory, { recursive: true, force: true })
})

async function serve(): Promise<{ broker: Running; base: string }> {
  const broker = litetopic(['serve', '--port', '0', '--data', join(directory, 'data'), '--webhook-hosts', '127.0.0.1'])
  const [, url = ''] = await broker.printed(/^litetopic listening on (ws:\S+)\n/)
  return { broker, base: `http://${new URL(url).host}/v1/stream` }
}

const send = (url: string, method: string, body: unknown): Promise<Response> =>
  fetch(url, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

test('what was acknowledged before SIGKILL wakes its worker behind it, as often as it is killed', async () => {
  const receiver = await Receiver.open(() => undefined)
  const first = await serve()
  const webhook = { url: receiver.url }
  const made = await send(`${first.base}/__ds/subscriptions/s`, 'PUT', { type: 'webhook', pattern: 'jobs/*', webhook })
  expect(made.status).toBe(201)
  expect((await send(`${first.base}/jobs/one`, 'PUT', [{ job: 1 }])).status).toBe(201)
  first.broker.process.kill('SIGKILL')
  await first.broker.ended
  // It may have been called before; what counts is that it is called now.
  let calls = receiver.calls.length
  const second = await serve()
  expect((await receiver.call(calls + 1)).body.streams).toMatchObject([{ path: 'jobs/one', has_pending: true }])
  second.broker.process.kill('SIGKILL')
  await second.broker.ended
  calls = receiver.calls.length
  receiver.answer = { done: true }
  const third = await serve()
  const last = await receiver.call(calls + 1)
  const acked = async (): Promise<unknown> => {
    const told = await (await fetch(`${third.base}/__ds/subscriptions/s`)).json()
    return (told as { streams: { acked_offset: string }[] }).streams[0]?.acked_offset
  }
  await eventually(async () => (await acked()) === last.body.streams[0]?.tail_offset)
  expect(third.broker.stderr()).not.toContain(last.body.callback_token)
}, 60_000)
