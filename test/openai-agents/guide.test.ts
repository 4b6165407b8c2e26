/** The samples of the guide, taken from the page and run. */

import { readFileSync } from 'node:fs'
import { Agent, Runner } from '@openai/agents-core'
import { assistantMessage, ScriptedModel } from '@openai/agents-core/testing'
import { transform } from 'esbuild'
import { expect, it, onTestFinished } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { connect } from '../../client/index.ts'
import { AgentSession } from '../../client/openai-agents/index.ts'

const GUIDE = readFileSync(new URL('../../client/openai-agents/README.md', import.meta.url), 'utf8')
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** Runs the first sample below a heading, with what it is given in the place of its imports. */
async function run(heading: string, given: Readonly<Record<string, unknown>>): Promise<void> {
  const below = GUIDE.slice(GUIDE.indexOf(`# ${heading}\n`))
  const sample = /```ts\n([\s\S]*?)```/.exec(below)?.[1]
  if (sample === undefined) throw new Error(`the guide has no sample of "${heading}"`)
  const { code } = await transform(`async function sample() {${sample.replace(/^import .*$/gm, '')}}`, { loader: 'ts' })
  const sampled = new AsyncFunction(...Object.keys(given), `${code}; await sample()`)
  await (sampled(...Object.values(given)) as Promise<void>)
}

it('the sample of the memory stores what was said', async () => {
  const server = await startBroker({ port: 0, dataDir: null })
  const broker = connect(server.url)
  onTestFinished(async () => {
    await broker.close()
    await server.close()
  })
  const printed: unknown[][] = []
  const runner = new Runner({ tracingDisabled: true })
  await run('Memory', {
    agent: new Agent({ name: 'Support', model: new ScriptedModel([[assistantMessage('In Rome.')]]) }),
    run: runner.run.bind(runner),
    connect: () => broker,
    AgentSession,
    console: { log: (...values: unknown[]) => printed.push(values) },
  })
  expect(printed).toEqual([['In Rome.', 2]])
})
