/** A run of the suite that is interrupted, or loses its broker, leaves neither processes nor directories behind. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { programArgs } from '../programs.ts'

let directory: string

afterEach(() => rm(directory, { recursive: true, force: true }))

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)(
  '%s stops the programs of a run, removes its directories, and ends with code %i',
  async (signal, code) => {
    const { suite, children } = await running()
    suite.kill(signal)
    expect(await once(suite, 'exit')).toEqual([code, null])
    expect(await runs()).toEqual([])
    expect(children.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([])
  },
  60_000,
)

it('a broker that ends in the middle of a run fails it, and is named', async () => {
  const { suite, children } = await running()
  let said = ''
  suite.stderr.on('data', (bytes) => {
    said += bytes
  })
  const commands = await Promise.all(children.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8')))
  const broker = children.filter((_, i) => commands[i]?.includes('broker-main'))
  expect(broker).toHaveLength(1)
  process.kill(broker[0] as number, 'SIGKILL')
  expect(await once(suite, 'exit')).toEqual([1, null])
  expect(said).toContain('the broker ended in the middle of the run, with SIGKILL')
  expect(await runs()).toEqual([])
}, 60_000)

/** A run that has a broker, clients and data. */
async function running() {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-interruption-'))
  const suite = spawn(process.execPath, [...programArgs('bench/main.ts'), 'latency'], {
    env: { ...process.env, TMPDIR: directory },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await once(suite.stderr, 'data')
  const children = await childrenOf(suite.pid ?? 0)
  expect(children).not.toEqual([])
  expect(await runs()).toHaveLength(1)
  return { suite, children }
}

async function runs(): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.startsWith('litetopic-'))
}

/** Those of Linux; the process itself elsewhere, so that the test says so. */
async function childrenOf(pid: number): Promise<number[]> {
  const listed = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return listed.trim().split(' ').filter(Boolean).map(Number)
}
