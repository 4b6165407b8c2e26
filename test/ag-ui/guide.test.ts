/** The samples of the guide, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { AbstractAgent, HttpAgent } from '@ag-ui/client'
import { transform } from 'esbuild'
import { from } from 'rxjs'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { agentHandler, readRun, resumingFetch } from '../../client/ag-ui/index.ts'
import { connect } from '../../client/index.ts'
import { answer } from './events.ts'

type Route = (request: Request) => Promise<Response>

const GUIDE = readFileSync(new URL('../../client/ag-ui/README.md', import.meta.url), 'utf8')
const SAMPLES = [...GUIDE.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code as string)
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** Runs a sample with what it is given, and returns what is asked for. */
async function run<R>(
  sample: string | undefined,
  given: Readonly<Record<string, unknown>>,
  result: string,
): Promise<R> {
  const plain = (sample as string).replace(/^import .*$/gm, '').replace(/^export /gm, '')
  const { code } = await transform(`async function sample() {${plain}; return ${result}}`, { loader: 'ts' })
  return new AsyncFunction(...Object.keys(given), `${code}; return sample()`)(...Object.values(given)) as Promise<R>
}

it('the samples of the guide serve an agent, show its run through a reload, read it directly, and stop', async () => {
  const server = await startBroker({ port: 0, dataDir: null })
  const broker = connect(server.url)
  onTestFinished(async () => {
    await broker.close()
    await server.close()
  })
  let runs = 0
  const agent = {
    run: ({ runId, threadId }: { runId: string; threadId: string }) => {
      runs++
      return from(answer(runId, threadId))
    },
  }
  const given = { connect: () => broker, agentHandler, agent, userOf: () => 'ann' }
  const routes = await run<{ POST: Route; DELETE: Route }>(SAMPLES[0], given, '{ POST, DELETE }')
  const ask = (url: string, init: RequestInit) => routes.POST(new Request(new URL(url, 'http://app.test'), init))
  const page = { HttpAgent, resumingFetch: () => resumingFetch({ fetch: ask }), threadId: 't', runId: 'r' }
  const [first, reloaded] = [
    await run<HttpAgent>(SAMPLES[1], page, 'agent'),
    await run<HttpAgent>(SAMPLES[1], page, 'agent'),
  ]
  expect(first.messages.map(({ role }) => role)).toEqual(['reasoning', 'assistant', 'tool'])
  expect(reloaded.messages).toEqual(first.messages)
  expect(runs).toBe(1)

  const TopicAgent = await run<new (config: object) => AbstractAgent>(
    SAMPLES[2],
    { AbstractAgent, readRun, from, broker },
    'TopicAgent',
  )
  const direct = new TopicAgent({ threadId: 'ann/t' })
  await direct.runAgent({ runId: 'r' })
  expect(direct.messages).toEqual(first.messages)

  const stop = new Request('http://app.test', { method: 'DELETE', body: '{"threadId":"t","runId":"r2"}' })
  expect((await routes.DELETE(stop)).status).toBe(204)
  const session = await broker.session('threads/ann/t', { create: false })
  expect(await session.stream('r2')).toMatchObject({ state: 'stopped' })
})
