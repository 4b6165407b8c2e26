/** The sample of the guide, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { transform } from 'esbuild'
import { expect, it, onTestFinished, vi } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { createResumableStreamContext } from '../../client/resumable-stream/index.ts'
import { Feed } from './text-stream.ts'

type Route = (request: Request) => Promise<Response>

it('the sample of the guide streams an answer, and gives it to who comes later', async () => {
  const server = await startBroker({ port: 0, dataDir: null })
  onTestFinished(() => server.close())
  vi.stubEnv('LITETOPIC_URL', server.url)
  const guide = readFileSync(new URL('../../client/resumable-stream/README.md', import.meta.url), 'utf8')
  const sample = /```ts\n([\s\S]*?)```/.exec(guide)?.[1] as string
  const { code } = await transform(sample.replace(/^import .*$/gm, '').replace(/^export /gm, ''), { loader: 'ts' })
  const stored: Promise<unknown>[] = []
  const feed = new Feed()
  const make = new Function('createResumableStreamContext', 'after', 'answer', `${code}; return { GET, POST }`)
  const { GET, POST } = make(
    createResumableStreamContext,
    (promise: Promise<unknown>) => stored.push(promise),
    () => feed.readable,
  ) as { GET: Route; POST: Route }
  const get = () => GET(new Request('http://app.test/?chat=42'))
  expect((await get()).status).toBe(204)
  const made = await POST(
    new Request('http://app.test/', { method: 'POST', body: JSON.stringify({ chatId: '42', prompt: 'hi' }) }),
  )
  feed.write('data: Hello\n\n')
  const resumed = await get()
  feed.write('data: wörld\n\n')
  feed.end()
  expect(await made.text()).toBe('data: Hello\n\ndata: wörld\n\n')
  expect(await resumed.text()).toBe('data: Hello\n\ndata: wörld\n\n')
  await Promise.all(stored)
  expect((await get()).status).toBe(204)
})
