/** The sample of the guide, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { transform } from 'esbuild'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { generateKey, sealedSession } from '../../client/e2e/index.ts'
import { connect } from '../../client/index.ts'

it('the sample of the guide writes and reads what the broker cannot', async () => {
  const server = await startBroker({ port: 0, dataDir: null })
  const broker = connect(server.url)
  onTestFinished(async () => {
    await broker.close()
    await server.close()
  })
  const guide = readFileSync(new URL('../../client/e2e/README.md', import.meta.url), 'utf8')
  const sample = /```ts\n([\s\S]*?)```/.exec(guide)?.[1]?.replace(/^import .*$/gm, '')
  const { code } = await transform(`async function sample() {${sample}}`, { loader: 'ts' })
  const shown: unknown[] = []
  const printed: unknown[][] = []
  const given = {
    connect: () => broker,
    generateKey,
    sealedSession,
    llm: (before: string) => [`${before}Hello`, ', ', 'wörld'],
    ui: { show: (value: unknown) => shown.push(value), append: (...token: unknown[]) => shown.push(token) },
    console: { log: (...values: unknown[]) => printed.push(values) },
  }
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor
  await (new AsyncFunction(...Object.keys(given), `${code}; await sample()`)(...Object.values(given)) as Promise<void>)
  expect(printed).toEqual([['done', 'Hello, wörld']])
  expect(shown).toEqual([{ role: 'user', content: 'hi' }, ['reply-1', 'text', 'Hello, wörld']])
})
