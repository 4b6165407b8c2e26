/** The benchmark, in its tiny size: it must run, check what it delivers, and say what it measured in the agreed shape. */

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'

const run = promisify(execFile)
const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))

it('a tiny run of tokens delivers every token and writes its figures as JSON', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'litetopic-bench-test-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const file = join(dir, 'out.json')
  await run(process.execPath, ['--import', 'tsx', MAIN, 'tokens', '--size', 'tiny', '--topics', '20', '--json', file])
  const report = JSON.parse(await readFile(file, 'utf8'))
  expect(Object.keys(report).sort()).toEqual(['machine', 'params', 'results', 'scenario', 'versions'])
  expect(report.scenario).toBe('tokens')
  expect(report.params).toMatchObject({ topics: 20, tokensPerTopic: 100, durability: 'fsync' })
  expect(report.results.tokens).toBe(2000)
  expect(report.results.tokensPerSecond).toBeGreaterThan(0)
  expect(report.results.ackMs.p99).toBeGreaterThanOrEqual(report.results.ackMs.p50)
})

it('an unknown scenario is refused with the usage and exit code 2', async () => {
  const failed = await run(process.execPath, ['--import', 'tsx', MAIN, 'nothing']).catch((error) => error)
  expect(failed.code).toBe(2)
  expect(failed.stderr).toContain('usage: npm run bench')
})
