/** The samples of guides, taken from their pages and run with what they are given. */

import { readFileSync } from 'node:fs'
import { transform } from 'esbuild'

const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** The first block of TypeScript below a heading, without its imports. */
export function sampleOf(page: URL | string, heading: string): string {
  const text = readFileSync(page, 'utf8')
  const found = /```ts\n([\s\S]*?)```/.exec(text.slice(text.indexOf(`# ${heading}\n`)))?.[1]
  if (found === undefined) throw new Error(`${page} has no sample of "${heading}"`)
  return found.replace(/^import .*\n/gm, '')
}

/** Runs a sample with what it is given; resolves when it ends. */
export async function runSample(sample: string, given: Readonly<Record<string, unknown>>): Promise<void> {
  const { code } = await transform(`async function sample() {${sample}}`, { loader: 'ts' })
  const sampled = new AsyncFunction(...Object.keys(given), `${code}; await sample()`)
  await (sampled(...Object.values(given)) as Promise<void>)
}
