/** An interrupted run of the suite leaves neither processes nor directories behind. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, it } from 'vitest'

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))

let directory: string

afterEach(() => rm(directory, { recursive: true, force: true }))

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)(
  '%s stops the programs of a run, removes its directories, and ends with code %i',
  async (signal, code) => {
    directory = await mkdtemp(join(tmpdir(), 'litetopic-interruption-'))
    const suite = spawn(process.execPath, ['--import', 'tsx', MAIN, 'latency'], {
      env: { ...process.env, TMPDIR: directory },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    // What is under way then has a broker, clients and data.
    await once(suite.stderr, 'data')
    const children = await childrenOf(suite.pid ?? 0)
    expect(children).not.toEqual([])
    const runs = async () => (await readdir(directory)).filter((name) => name.startsWith('litetopic-'))
    expect(await runs()).toHaveLength(1)
    suite.kill(signal)
    expect(await once(suite, 'exit')).toEqual([code, null])
    expect(await runs()).toEqual([])
    expect(children.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([])
  },
  60_000,
)

/** Those of Linux; the process itself elsewhere, so that the test says so. */
async function childrenOf(pid: number): Promise<number[]> {
  const listed = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return listed.trim().split(' ').filter(Boolean).map(Number)
}
