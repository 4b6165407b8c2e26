/** The demo as a user runs it: what it claims must be true, and it must clean up. */

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { killAll, type Running, runScript } from '../cli/processes.ts'

/** The demo itself gives up after 90 s. */
const DEMO_MS = 120_000

let temporary: string
beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'litetopic-demo-test-'))
})
afterEach(async () => {
  killAll()
  await rm(temporary, { recursive: true, force: true })
})

/** The demo with a temporary directory of its own. */
function demo(args: readonly string[], input?: string): Running {
  const started = runScript('client/demo/main.ts', args, { env: { TMPDIR: temporary }, input })
  started.process.stdin?.end()
  return started
}

/** What the demo has left behind; the TypeScript loader keeps its cache there as well. */
const left = async () => (await readdir(temporary)).filter((name) => !name.startsWith('tsx-'))

test('it plays to the end with its own text, and all of it holds', { timeout: DEMO_MS }, async () => {
  const { code, stdout, stderr } = await demo([]).ended
  expect(stderr).toBe('')
  expect(code).toBe(0)
  expect(stdout).toMatch(/tokens (\d+) of \1, gaps 0, repeats 0, reorders 0/)
  expect(stdout).toMatch(/the agent is killed/i)
  expect(stdout).toMatch(/the broker is killed/i)
  expect(stdout).toMatch(/All of it held/)
  expect(await left()).toEqual([])
})

test('it plays to the end with a reply of one token in each of two parts', { timeout: DEMO_MS }, async () => {
  const event = (delta: object) => JSON.stringify({ choices: [{ index: 0, delta }] })
  const input = `${event({ reasoning_content: 'Hm 👋' })}\n${event({ content: 'Yes.' })}\n`
  const { code, stdout } = await demo(['--input', '-'], input).ended
  expect(stdout).toMatch(/reasoning\s+7 B\s+identical/)
  expect(stdout).toMatch(/tokens 2 of 2, gaps 0, repeats 0, reorders 0/)
  expect(code).toBe(0)
})

test('interrupted, it leaves neither processes nor files', { timeout: DEMO_MS }, async () => {
  const started = demo([])
  const [, pid] = await started.printed(/process (\d+)/)
  await started.printed(/the reader has/)
  started.process.kill('SIGINT')
  const { code } = await started.ended
  expect(code).toBe(130)
  expect(await left()).toEqual([])
  expect(() => process.kill(Number(pid), 0)).toThrow(/ESRCH/)
})

test.each([
  ['is missing', async () => '/nonexistent/recording.jsonl', /recording\.jsonl cannot be read \(ENOENT\)/],
  ['is a directory', async () => tmpdir(), /cannot be read \(EISDIR\)/],
  ['is empty', () => file(''), /is empty/],
  ['is broken', () => file('{"choices":[]}\n{"choices":'), /line 2 is not a JSON object/],
  ['holds no tokens', () => file('{"level":"info"}\n'), /1 event/],
  ['is no text', () => file(new Uint8Array([0xff, 0x00, 0xfe])), /not UTF-8/],
])('input that %s costs one clear line and exit code 2', async (_, path, message) => {
  const { code, stderr } = await demo(['--input', await path()]).ended
  expect(code).toBe(2)
  expect(stderr.trim().split('\n').length).toBe(1)
  expect(stderr).toMatch(message)
})

async function file(content: string | Uint8Array): Promise<string> {
  const path = join(temporary, 'recording')
  await writeFile(path, content)
  return path
}
